"""A surface in a deformable tetrahedral grid (DMTet, Shen et al., arXiv:2111.04276): every vertex of the grid has a signed distance,
may move a little, and has a colour; marching tetrahedra draws the surface between them.

Two things differ. Offsets are bounded by length, x / sqrt(1 + |x|^2 / r^2) with r below half the least width of the cells around, so that
no cell can ever turn over. And distances are cut off a cell away from the surface, without moving it: what is far has nothing to
unlearn when the surface comes near.
"""

import math
from typing import ClassVar, Literal

import torch
from dream3d.renderers import _grids
from dream3d.renderers._appearance import METAL, ROUGH, Appearance, Vertex, appearance, latents
from dream3d.renderers._backends.seeds import colours
from dream3d.renderers._settle import settle
from dream3d.renderers._shading import Shading
from dream3d.renderers._signed import signed
from dream3d.renderers._solid import as_mesh
from dream3d.renderers._surface import draw
from dream3d.renderers._tets import Cut, Tets, around, connect, lattice, march, subdivide, widths
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.interfaces import Group, Representation
from dream3d.schedule import Count, Positive, Ramp, Share, Whole, at
from dream3d.types import Cameras, Field, Mesh, Points, Render, Step

REACH = 0.45  # of the least width of the cells around: how far a vertex may move. At a half cells could turn over
CUT = 2.0  # widths: distances beyond are cut off. One edge of a cube of the lattice
NOTHING = 1e-3  # widths: no distance starts smaller, for a surface through a vertex has faces without an area
SHAPE = ("distance", "offset")


class DMTet(Representation):
    """A lattice of `resolution` cubes a side over [-bound, bound]^3, or the `grid` of a file (.npz with vertices, in metres, and tets; its
    hollows count as inside, for shells around a body). It starts as a grey ellipsoid with these `radii` in metres, or from what
    an earlier stage hands over: densities become solid at `threshold` (1/metre;
    "auto": from the mean of the positive ones, as Magic3D, Lin et al., arXiv:2211.10440), fitted to pictures of it for `settle` steps.

    train: what is optimised. appearance: colours at the vertices of the grid, or in a field (`texture` texels a side where that has to
    be handed over). shading: albedo, lambert (a lamp near the camera, `ambient` of the light from everywhere), textureless (the same
    on white) or pbr (under an `environment`: studio, constant or a picture's path, turned by chance each step if `turning`), or
    several with probabilities. features: latent channels instead of colours. smooth: normals are interpolated. Learning rates are per
    Adam step: lr_distance and lr_offset in metres, lr_colour of rgb. At each progress in `subdivide` the cells around the surface become
    eight each, unless there would be more than `max_cells`."""

    memory: ClassVar[str] = (
        "800 * max(12 * resolution**3, min(max_cells, 12 * resolution**3 + 150 * resolution**2 * (4**len(subdivide) - 1)))"
        " + 500 * views * side**2"
    )

    offers: ClassVar[dict[str, str]] = {"normal": "True", "features": "features > 0"}
    gives: ClassVar[dict[str, str]] = {}

    def __init__(
        self,
        rng: torch.Generator,
        *,
        resolution: Count = 24,
        bound: Positive = 0.8,
        grid: str | None = None,
        radii: tuple[Positive, Positive, Positive] = (0.5, 0.5, 0.5),
        threshold: Positive | Literal["auto"] = "auto",
        settle: Whole = 60,
        train: Literal["all", "geometry", "colour"] = "all",
        appearance: Literal["vertex", "field"] = "vertex",
        texture: Count = 512,
        features: Whole = 0,
        shading: Literal["albedo", "lambert", "textureless", "pbr"]
        | dict[Literal["albedo", "lambert", "textureless", "pbr"], Share] = "albedo",
        ambient: Share = 0.3,
        environment: str = "studio",
        turning: bool = True,
        smooth: bool = True,
        subdivide: tuple[Share, ...] = (),
        max_cells: Count = 2_000_000,
        lr_distance: Ramp = Ramp(3e-3, 1e-3, shape="exp"),
        lr_offset: Ramp = Ramp(1e-3, 3e-4, shape="exp"),
        lr_colour: Ramp = Ramp(1e-2, 2e-3),
        backend: Literal["auto", "numba", "torch", "nvdiffrast"] = "auto",
    ):
        super().__init__()
        self.bound, self.threshold, self.settle, self.train_what = bound, threshold, settle, train
        self.smooth, self.backend = smooth, backend
        self.rates = {"distance": lr_distance, "offset": lr_offset, "colour": lr_colour}
        self.subdivisions, self.max_cells, self.texture, self.features, self.kept = subdivide, max_cells, texture, features, None
        self.shading = Shading(shading, ambient=ambient, environment=environment, turning=turning)
        self.look = None if appearance == "vertex" else _field(rng, features=features, pbr=self.shading.pbr, bound=bound)
        self.register_buffer("rescued", torch.tensor(0))
        made, self.repairs = (lattice(bound, resolution), "") if grid is None else _grids.load(grid)
        self._lay(made)
        self._begin(_ellipsoid(made.points, radii), torch.full_like(made.points, 0.5))

    @property
    def about(self) -> str:
        notes = [self.repairs] if self.repairs else []
        notes += [f"kept {int(self.rescued)} times from vanishing"] if int(self.rescued) else []
        return ", ".join([f"surface in {len(self.cells)} tetrahedra", *notes])

    # --- the grid ---------------------------------------------------------------------------------------------------

    def _lay(self, grid: Tets) -> None:
        """Take over a grid; `width` is the least of the cells around each vertex."""
        width = around(grid, widths(grid.points, grid.cells))
        for name, value in {**vars(grid), "width": width}.items():
            self.register_buffer(name, value, persistent=name in ("points", "cells"))

    @property
    def grid(self) -> Tets:
        return Tets(self.points, self.cells, self.edges, self.sides, self.rim)

    def _replace(self, **values: Tensor) -> None:
        for name, value in values.items():
            setattr(self, name, nn.Parameter(value))
        self.kept = self.distance.detach().clone()

    def _begin(self, distance: Float[Tensor, " V"], rgb: Float[Tensor, "V 3"]) -> None:
        least = NOTHING * self.width
        distance = torch.where(distance.abs() < least, torch.where(distance < 0, -least, least), distance)
        self._replace(distance=distance, offset=torch.zeros_like(self.points), **self._painted(rgb))
        if not bool(self._crossing(self.signed()).any()):
            raise Mistake("the surface is smaller than a cell of the tetrahedral grid, or outside of it", where="renderer",
                          fix="renderer.resolution=48, or another renderer.bound")  # fmt: skip
        self._cut_off()

    def _painted(self, rgb: Float[Tensor, "V 3"]) -> dict[str, Tensor]:
        """What is stored at vertices of these colours; nothing where a field knows it."""
        if self.look is not None:
            return {}
        if self.features:
            return {"colour": latents(rgb, self.features)}
        more = rgb.new_tensor([ROUGH, METAL] if self.shading.pbr else []).expand(len(rgb), -1)
        return {"colour": torch.cat([rgb, more], 1)}

    @property
    def names(self) -> tuple[str, ...]:
        """The groups with a row per vertex."""
        return SHAPE if self.look is not None else (*SHAPE, "colour")

    def signed(self) -> Float[Tensor, " V"]:
        """Metres, negative inside. The grid's outer rim is outside and its hollows are inside, whatever was learnt: always closed."""
        least = NOTHING * self.width
        outer = torch.where(self.rim > 0, self.distance.clamp(min=least), self.distance)
        return torch.where(self.rim < 0, outer.minimum(-least), outer)

    def places(self) -> Float[Tensor, "V 3"]:
        """Where the vertices of the grid are, in the world."""
        return self.points + self.offset / (1 + self.offset.square().sum(-1, keepdim=True) / self._reach().square()).sqrt()

    def _reach(self) -> Float[Tensor, "V 1"]:
        return REACH * self.width[:, None]

    def surface(self) -> Cut:
        """The surface as it is, with a graph unless geometry is not trained."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.train_what != "colour"):
            return march(self.grid, self.places(), self.signed())

    def _crossing(self, distance: Float[Tensor, " V"]) -> Bool[Tensor, " E"]:
        inside = distance < 0
        return inside[self.edges[:, 0]] != inside[self.edges[:, 1]]

    # --- drawing ----------------------------------------------------------------------------------------------------

    def render(self, cameras: Cameras, now: Step | None = None) -> Render:
        """All buffers. extras: vertices (N 3), faces (F 3) of the surface, crossing (N 2): the distances in cells at the two ends
        of the edges that it crosses."""
        cut = self.surface()
        shade = self.shading.shader(self._look(cut), cut.vertices, cut.faces, cameras, now)
        render = draw(cut.vertices, cut.faces, cameras, shade, smooth=self.smooth, backend=self.backend)
        cells = (self.signed() / (CUT * self.width)).index_select(0, cut.ends.flatten()).unflatten(0, (-1, 2))
        render.extras.update(vertices=cut.vertices, faces=cut.faces, crossing=cells)
        return render

    def _look(self, cut: Cut) -> Appearance:
        """What the surface is made of: a field as it is, numbers at the grid's vertices between them."""
        if self.look is not None:
            return self.look
        look = Vertex(torch.Generator(), features=self.features, pbr=self.shading.pbr)
        del look.colour  # a parameter, and these are no leaves
        look.colour = cut.carry(self.colour)
        return look

    # --- optimising -------------------------------------------------------------------------------------------------

    def groups(self, now: Step) -> list[Group]:
        shape = [Group(name, getattr(self, name), at(self.rates[name], now)) for name in SHAPE]
        rate = at(self.rates["colour"], now)
        look = [Group("colour", self.colour, rate)] if self.look is None else self.look.groups(rate)
        return {"all": shape + look, "geometry": shape, "colour": look}[self.train_what]

    @torch.no_grad()
    def refine(self, render: Render, optimizer, now: Step) -> None:
        """After a step: a surface that has vanished comes back as it was, distances far from it are cut off, and when it is time the cells
        around it are subdivided."""
        if not bool(self._crossing(self.signed()).any()):
            self.distance.data.copy_(self.kept)
            optimizer.forget("distance")
            self.rescued += 1
        self._cut_off()
        self.kept = self.distance.detach().clone()
        if now.index in {max(1, round(share * now.total)) for share in self.subdivisions}:
            self._subdivide(optimizer)

    def _cut_off(self) -> None:
        """Distances of vertices that no crossing edge ends at: no further than CUT."""
        far = torch.ones_like(self.rim, dtype=torch.bool)
        far[self.edges[self._crossing(self.signed())].flatten()] = False
        limit = CUT * self.width
        self.distance.data = torch.where(far, self.distance.clamp(-limit, limit), self.distance.data)

    def _subdivide(self, optimizer) -> None:
        """Cells that share a vertex with one that the surface crosses. Vertices are fixed where they have moved to, so that the surface
        stays; the new ones lie halfway and go on as the first of their two neighbours did."""
        near = torch.zeros_like(self.rim, dtype=torch.bool)
        inside = (self.signed() < 0)[self.cells]
        near[self.cells[inside.any(1) & ~inside.all(1)].flatten()] = True
        chosen = near[self.cells].any(1)
        if len(self.cells) + 7 * int(chosen.sum()) > self.max_cells:
            return
        values = {"distance": self.signed()} | ({"colour": self.colour.data} if self.look is None else {})
        moved = Tets(self.places(), self.cells, self.edges, self.sides, self.rim)
        finer, ends = subdivide(moved, chosen)
        values = {name: torch.cat([value, value[ends].mean(1)]) for name, value in values.items()}
        source = torch.cat([torch.arange(len(self.points), device=ends.device), ends[:, 0]])
        optimizer.remap(list(self.names), source, torch.zeros_like(source, dtype=torch.bool))
        self._lay(finer)
        self._replace(**values, offset=torch.zeros_like(finer.points))
        self._cut_off()
        self.kept = self.distance.detach().clone()

    # --- handing over -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def handover(self) -> Mesh:
        """The surface, with a colour at each vertex, or with a texture where a field says more or there are materials."""
        cut = self.surface()
        look = self._look(cut)
        if self.look is None:
            look.colour = nn.Parameter(look.colour.cpu())
        return look.onto(Mesh(cut.vertices.cpu(), cut.faces.cpu()), self.texture)

    @torch.no_grad()
    def init_from(self, data: Points | Mesh | Field) -> None:
        """Shape and colours of an earlier stage, which have to be inside the grid; colours go on beyond the surface. Where a scene is shown
        as its colours, both are then fitted to pictures of what was given."""
        mesh, points = as_mesh(data, threshold=self.threshold, bound=self.bound), self.points.cpu()
        size, room = mesh.vertices[mesh.faces].abs().flatten(), points.abs().amax().item()
        if len(size) and (size := size.max().item()) > 1.001 * room:
            raise Mistake(f"the surface to start from reaches {size:.3g} m from the middle, the tetrahedral grid {room:.3g} m",
                          where="renderer.bound", fix=f"renderer.bound={math.ceil(11 * size) / 10:g}")  # fmt: skip
        distance, face, weights = signed(mesh, points, float(self.width.median()), self.edges)
        device = self.points.device
        if self.look is not None:
            self.look.paint(mesh)
        self._begin(distance.to(device), colours(mesh, face, weights[..., None]).float().to(device))
        if self.shading.mode(None) == "albedo":
            settle(self, data, self.settle)

    def restore(self, state: dict[str, Tensor]) -> None:
        device, points, cells = self.points.device, state["points"], state["cells"].long()
        if not torch.equal(cells.to(device), self.cells) or not torch.equal(points.to(device), self.points):
            self._lay(connect(points.to(device), cells.to(device)))
        self._replace(**{name: state[name].clone().to(device) for name in self.names})
        if self.look is not None:
            self.look.load_state_dict({k.removeprefix("look."): v for k, v in state.items() if k.startswith("look.")})
        self.rescued = state["rescued"].clone().to(device)

    def state(self) -> dict[str, Tensor]:
        return {**self.state_dict(), "cells": self.cells.int()}


def _field(rng: torch.Generator, **settings) -> Appearance:
    return appearance("field", rng, **settings)


def _ellipsoid(x: Float[Tensor, "V 3"], radii: tuple[float, float, float]) -> Float[Tensor, " V"]:
    """The distance to first order, exact on the surface and for spheres."""
    radius = x.new_tensor(radii)
    f, g = (x / radius).norm(dim=-1), (x / radius.square()).norm(dim=-1)
    return torch.where(g > 0, f * (f - 1) / g.clamp(min=1e-9), -radius.min())
