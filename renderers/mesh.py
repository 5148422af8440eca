"""Triangles: vertices that move, triangles that follow them, colours or materials on top.

Vertices move in large steps (`_stiff.py`), edges are split, collapsed and flipped between steps (`_remesh.py`). What the surface is made
of says `_appearance.py`, how it is lit `_shading.py`, how it is drawn `_surface.py`.
"""

import dataclasses
from typing import ClassVar, Literal

import numpy as np
import torch
from dream3d.renderers import _appearance
from dream3d.renderers._appearance import Vertex
from dream3d.renderers._remesh import Net, remesh
from dream3d.renderers._settle import settle
from dream3d.renderers._shading import Shading
from dream3d.renderers._solid import as_mesh
from dream3d.renderers._stiff import Stiff
from dream3d.renderers._surface import draw
from jaxtyping import Float, Int
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.export.decimate import decimate
from dream3d.interfaces import Group, Representation
from dream3d.schedule import Count, NonNegative, Positive, Ramp, Share, Whole, at
from dream3d.types import Cameras, Field, Mesh, Points, Render, Step


class TriangleMesh(Representation):
    """At first a ball with half axes of `radii` metres and at most `faces` faces, or what an earlier stage hands over: of volumes and
    Gaussians the surface (densities are solid at `threshold`, 1/metre, see `_solid.py`), with about `decimate` faces (null: half of
    `max_faces`), fitted to pictures of them for `settle` steps; meshes as they are, or so where `decimate` is given and they have no uvs.
    train: what is optimised, "texture" is all that lies on the surface.

    appearance: numbers per vertex, in a square texture of `texture` texels, or in a field over [-bound, bound]^3. shading: one of albedo,
    lambert (a lamp near the camera, `ambient` of the light from everywhere), textureless (the same on white) and pbr (roughness and
    metalness, in textures normals, under an `environment`: studio, constant or a picture's path, turned by chance each step if `turning`),
    or several with probabilities: {albedo: 0.5, lambert: 0.5}. features: latent channels instead of colours. smooth: normals are
    interpolated.

    stiffness: how far a step of one vertex moves its neighbours (0: not at all). Between progress `remesh_from` and `remesh_until`, after
    every `remesh_every` of the run (fractions; 0: never), edges become about `edge` metres long, with at most about `max_faces` faces.
    Uvs would be torn by that: a mesh with a texture keeps its triangles. lr_vertices is in metres, lr_colour in colour units.
    """

    memory: ClassVar[str] = (
        "max(faces, max_faces) * 1500 + 135 * texture**2 * (appearance == 'texture') + 320 * views * side**2"
    )

    offers: ClassVar[dict[str, str]] = {"normal": "True", "features": "features > 0"}
    gives: ClassVar[dict[str, str]] = {}

    def __init__(
        self,
        rng: torch.Generator,
        *,
        faces: Count = 1280,
        radii: tuple[Positive, Positive, Positive] = (0.5, 0.5, 0.5),
        threshold: Positive | Literal["auto"] = "auto",
        settle: Whole = 60,
        decimate: Count | None = None,
        train: Literal["all", "geometry", "texture"] = "all",
        appearance: Literal["vertex", "texture", "field"] = "vertex",
        texture: Count = 512,
        bound: Positive = 0.8,
        features: Whole = 0,
        shading: Literal["albedo", "lambert", "textureless", "pbr"]
        | dict[Literal["albedo", "lambert", "textureless", "pbr"], Share] = "albedo",
        ambient: Share = 0.3,
        environment: str = "studio",
        turning: bool = True,
        smooth: bool = True,
        stiffness: NonNegative = 4.0,
        remesh_from: Share = 0.05,
        remesh_until: Share = 0.8,
        remesh_every: Share = 0.02,
        edge: Ramp = Ramp(0.08, 0.03),
        max_faces: Count = 20000,
        lr_vertices: Ramp = Ramp(1e-2, 2e-3),
        lr_colour: Ramp = Ramp(1e-2, 2e-3),
        backend: Literal["auto", "numba", "torch", "nvdiffrast"] = "auto",
    ):
        super().__init__()
        self.train_what, self.threshold, self.settle, self.decimate, self.texture = train, threshold, settle, decimate, texture
        self.smooth, self.stiffness, self.edge, self.max_faces, self.backend = smooth, stiffness, edge, max_faces, backend
        self.remesh_from, self.remesh_until, self.remesh_every = remesh_from, remesh_until, remesh_every
        self.lr_vertices, self.lr_colour = lr_vertices, lr_colour
        self.shading = Shading(shading, ambient=ambient, environment=environment, turning=turning)
        self.look = _appearance.appearance(appearance, rng, texture=texture, bound=bound, features=features, pbr=self.shading.pbr)
        self.u = nn.Parameter(torch.zeros(0, 3))
        self.register_buffer("faces", torch.zeros(0, 3, dtype=torch.long))
        self.register_buffer("label", None)
        self.register_buffer("objects", torch.tensor(0))
        self._start(ball(faces, radii))

    @property
    def about(self) -> str:
        fast = self.u.device.type == "cpu" and self.u.dtype == torch.float32
        kernel = self.backend if self.backend != "auto" else "numba" if fast else "torch"
        return f"{len(self.faces)} faces on {kernel}, {'remeshed' if self._remeshes() else 'as they are'}"

    # --- drawing ----------------------------------------------------------------------------------------------------

    def render(self, cameras: Cameras, now: Step | None = None) -> Render:
        """All buffers. extras: vertices (V 3, metres), faces (F 3)."""
        return self.shown(self.vertices(), self.look, cameras, now)

    def shown(self, vertices: Float[Tensor, "V 3"], look, cameras: Cameras, now: Step | None) -> Render:
        """The same with the vertices there, and what looks as an Appearance does."""
        shade = self.shading.shader(look, vertices, self.faces, cameras, now)
        more = {} if self.label is None else {"label": self.label, "labels": int(self.objects)}
        return draw(vertices, self.faces, cameras, shade, smooth=self.smooth, backend=self.backend, **more)

    def vertices(self) -> Float[Tensor, "V 3"]:
        """Metres; differentiable in `u`."""
        vertices = self.stiff.vertices(self.u)
        return vertices.detach() if self.train_what == "texture" else vertices

    # --- optimising -------------------------------------------------------------------------------------------------

    def groups(self, now: Step) -> list[Group]:
        shape = [Group("vertices", self.u, at(self.lr_vertices, now))] if self.train_what != "texture" else []
        return shape + (self.look.groups(at(self.lr_colour, now)) if self.train_what != "geometry" else [])

    def _remeshes(self) -> bool:
        return self.remesh_every > 0 and self.train_what != "texture" and not hasattr(self.look, "uv")

    @torch.no_grad()
    def refine(self, render: Render, optimizer, now: Step) -> None:
        """New triangles where the surface has been stretched or crushed; moments go along with the vertices."""
        due = now.every(max(1, round(self.remesh_every * now.total))) and self.remesh_from <= now.progress <= self.remesh_until
        if not (due and self._remeshes()):
            return
        colour = self.look.colour.data if isinstance(self.look, Vertex) else self.u.new_zeros(len(self.u), 0)
        rows = torch.cat([self.vertices(), colour], 1).cpu().double().numpy()
        label = torch.zeros(len(self.faces), dtype=torch.long) if self.label is None else self.label
        net = Net(rows, self.faces.cpu().numpy(), np.arange(len(rows)), label.cpu().numpy())
        net = remesh(net, at(self.edge, now), self.max_faces)
        rows, source = torch.from_numpy(net.rows).float(), torch.from_numpy(net.source)
        source = source.to(self.u.device)
        optimizer.remap(["vertices", "colour"] if colour.shape[1] else ["vertices"], source, torch.zeros_like(source, dtype=torch.bool))
        self._place(rows[:, :3], torch.from_numpy(net.faces))
        self.label = None if self.label is None else torch.from_numpy(net.label).to(self.faces.device)
        if colour.shape[1]:
            self.look.colour = nn.Parameter(rows[:, 3:].to(colour))

    def _place(self, vertices: Float[Tensor, "V 3"], faces: Tensor) -> None:
        """These vertices, joined like this."""
        self.stiff = Stiff(faces, len(vertices), self.stiffness)
        self.u = nn.Parameter(self.stiff.inverse(vertices).to(self.u.device))
        self.faces = faces.to(self.u.device)

    # --- handing over -----------------------------------------------------------------------------------------------

    def handover(self) -> Mesh:
        """With a colour per vertex, or a texture where there is one, materials, or a field."""
        with torch.no_grad():
            vertices = self.vertices()
        label = None if self.label is None else self.label.cpu().clone()
        return self.look.onto(Mesh(vertices.cpu(), self.faces.cpu().clone(), label=label), self.texture)

    def init_from(self, data: Points | Mesh | Field) -> None:
        """Meshes are taken as they are, with their colours, textures, uvs and materials, or with fewer faces; of volumes and Gaussians the
        surface, with many, since colours lie at their corners. Where a scene is shown as its colours, these and the surface are then
        fitted to pictures of what was given."""
        mesh = data if isinstance(data, Mesh) else as_mesh(data, threshold=self.threshold)
        most = self.decimate or (len(mesh.faces) if isinstance(data, Mesh) else self.max_faces // 2)
        changed = mesh is not data or mesh.uv is None and most < len(mesh.faces)
        self._start(fewer(mesh, most) if changed else mesh)
        if changed and self.shading.mode(None) == "albedo":
            settle(self, data, self.settle)

    def _start(self, mesh: Mesh) -> None:
        mesh = dataclasses.replace(mesh, **{k: v.detach().cpu() for k, v in vars(mesh).items() if v is not None})
        if len(mesh.faces) == 0:
            raise Mistake("a mesh cannot start from nothing: what it was given has no faces")
        if not bool(mesh.vertices.isfinite().all()):
            raise Mistake("a mesh cannot start from vertices that are not finite numbers")
        self._place(mesh.vertices.float(), mesh.faces)
        self.look.paint(mesh)
        self.label = None if mesh.label is None else mesh.label.clone().to(self.faces.device)
        self.objects.fill_(0 if mesh.label is None else int(mesh.label.max()) + 1)

    def restore(self, state: dict[str, Tensor]) -> None:
        device = self.u.device
        self.u, self.faces = nn.Parameter(state["u"].clone().to(device)), state["faces"].clone().to(device)
        self.label = state["label"].clone().to(device) if "label" in state else None
        self.objects.copy_(state["objects"])
        self.stiff = Stiff(self.faces, len(self.u), self.stiffness)
        self.look.restore({name.removeprefix("look."): v for name, v in state.items() if name.startswith("look.")})


def ball(faces: int, radii: tuple[float, float, float]) -> Mesh:
    """An icosahedron, its faces cut into four as often as `faces` allows, as an ellipsoid."""
    from trimesh.creation import icosphere

    cuts = 0
    while 20 * 4 ** (cuts + 1) <= faces:
        cuts += 1
    sphere = icosphere(subdivisions=cuts)
    return Mesh(torch.tensor(sphere.vertices * np.array(radii)).float(), torch.tensor(sphere.faces).long())


def fewer(mesh: Mesh, faces: int) -> Mesh:
    """A mesh with about `faces` faces; their corners have the colour of the nearest vertex, they the label of the nearest face."""
    small = decimate(mesh, faces)
    rgb = None if mesh.rgb is None else mesh.rgb[_nearest(mesh.vertices, small.vertices)]
    label = None if mesh.label is None else mesh.label[_nearest(*(m.vertices[m.faces].mean(1) for m in (mesh, small)))]
    return Mesh(small.vertices, small.faces, rgb=rgb, label=label)


def _nearest(those: Float[Tensor, "N 3"], to: Float[Tensor, "M 3"]) -> Int[Tensor, " M"]:
    from scipy.spatial import cKDTree

    return torch.from_numpy(cKDTree(those.numpy()).query(to.numpy())[1])
