"""What files can be made of: a scene as mesh, as Gaussians, as what moves. Each is made when it is first asked for, and once."""

import dataclasses
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from dream3d.clips import MeshClip, Skin, SplatClip, lasting, onto, posed
from dream3d.export.clean import clean
from dream3d.export.decimate import closed
from dream3d.export.density import surface_of
from dream3d.export.fit import fitted
from dream3d.export.formats import Format
from dream3d.export.surface import surface
from dream3d.export.texture import bake, hidden, lit
from dream3d.interfaces import Representation
from dream3d.options import Export
from dream3d.types import Field, Mesh, Points

Item = Mesh | Points | MeshClip | SplatClip | Skin
MESHES, SPLATS = ("skin", "mesh-clip", "mesh"), ("splat-clip", "splats")  # the richest first
VIEWS = 24  # that colours are taken from; of Gaussians, which show others to each and are drawn fast, twice as many
LEVEL, COARSEST = 4, 16  # each level of detail has so many times fewer faces than the one before; least faces, and texels a side
FOUND, ROUGH = 0.6, 0.3  # shares: of a mesh's time, until its surface is found; of that, before it is fitted


class Stock:
    """Of a finished scene; with `own` of a file's mesh, which is kept as it is unless settings.rebake says otherwise."""

    def __init__(self, scene: Representation, settings: Export, own: Mesh | None = None):
        self.scene, self.settings, self.own = scene, settings, own
        self.tell: Callable[[str, float], None] = lambda what, share: None  # hears what is being made for the present file
        self.said: list[str] = []  # what was done to the mesh
        self._levels: dict[int, Mesh] = {}

    @cached_property
    def handed(self) -> Points | Mesh | Field:
        """What the scene is made of, on the CPU, without gradients."""
        return settled(self.scene.handover() if self.own is None else self.own)

    @cached_property
    def clip(self) -> MeshClip | SplatClip | Skin | None:
        """The scene over time; None: it stands still."""
        times = torch.linspace(0, 1, self.settings.moments)
        clip = None if self.own is not None else self.scene.clip(times)
        return None if clip is None else lasting(settled(clip), self.settings.seconds)

    @property
    def gaussian(self) -> bool:
        """Whether the scene is made of Gaussians."""
        return isinstance(self.handed, Points) and None not in (self.handed.scale, self.handed.rotation, self.handed.opacity)

    @cached_property
    def kinds(self) -> frozenset[str]:
        """Of dream3d.export.formats.KINDS those that it can be."""
        found = {"mesh"} | ({"splats"} if self.gaussian else set())
        match self.clip:
            case SplatClip():
                found |= {"splats", "splat-clip"}
            case MeshClip():
                found.add("mesh-clip")
            case Skin():
                found |= {"skin", "mesh-clip"} if len(self.clip.times) > 1 else {"skin"}
        return frozenset(found)

    def fitting(self, form: Format) -> str | None:
        """The richest kind that the format takes and the scene has; what it is made of before what can be made of it."""
        order = (*SPLATS, *MESHES) if self.gaussian else (*MESHES, *SPLATS)
        return next((kind for kind in order if kind in form.files and kind in self.kinds), None)

    def item(self, kind: str) -> Item:
        """Where the scene has it. Raises Mistake where there is no surface."""
        match kind:
            case "splats":
                return self.handed if self.gaussian else self.clip.frames[0]
            case "splat-clip":
                return self.clip
            case "mesh":
                return self.mesh(0)
            case _:
                return self.moving(kind, 0)

    def moving(self, kind: str, level: int) -> MeshClip | Skin:
        """The clip on the mesh of a level of detail."""
        mesh, clip = self.mesh(level), self.clip
        if torch.equal(mesh.vertices, self.handed.vertices):  # the same triangles: nothing has to be looked up
            still = clip.mesh.vertices if isinstance(clip, Skin) else clip.places[0]
            clip = dataclasses.replace(clip, mesh=dataclasses.replace(mesh, vertices=still))
        else:
            clip = onto(clip, mesh, self.handed)
        return posed(clip) if kind == "mesh-clip" and isinstance(clip, Skin) else clip

    def mesh(self, level: int) -> Mesh:
        """With texture, at a level of detail: 0 as asked, each further one with a quarter of the faces and half the texture."""
        if level not in self._levels:
            self._levels[level] = self._first() if level == 0 else self._coarser(level)
        return self._levels[level]

    @property
    def textured(self) -> bool:
        return isinstance(self.handed, Mesh) and self.handed.uv is not None and self.handed.texture is not None

    def _first(self) -> Mesh:
        """A mesh with a texture as it is: nothing has to be unwrapped again, and a user's keeps its triangles and uv. Else the fine one
        with fewer triangles, and a texture."""
        s, many = self.settings, isinstance(self.handed, Mesh) and len(self.handed.faces) > self.settings.faces
        again = s.rebake == "always" or s.rebake == "larger" and many
        if self.own is not None and not again:
            return self.handed
        if self.textured and not again:
            return hidden(self.handed) if s.occlusion else self.handed
        return self._baked(s.faces, s.texture)

    def _coarser(self, level: int) -> Mesh:
        faces = min(len(self.mesh(0).faces), self.settings.faces) // LEVEL**level
        side = self.settings.texture if self.mesh(0).texture is None else max(self.mesh(0).texture.shape[:2])
        return self._baked(max(faces, COARSEST), max(side >> level, COARSEST))

    def _baked(self, faces: int, texture: int) -> Mesh:
        s = self.settings
        views = 2 * VIEWS if self.gaussian else VIEWS
        before = 0.0 if self.whole or "fine" in vars(self) else FOUND
        fine = self.fine
        return bake(fine, None if self.own is not None else self.scene, faces=faces, texture=texture, views=views, size=2 * s.size,
                    uv=s.uv, occlusion=s.occlusion, delight=s.delight,
                    progress=lambda what, share: self.tell(what, before + (1 - before) * share))  # fmt: skip

    @property
    def whole(self) -> bool:
        """Whether the surface of the scene is its own mesh, and none has to be found."""
        kept = isinstance(self.clip, MeshClip | Skin) or self.own is not None
        return isinstance(self.handed, Mesh) and (kept or self.textured or closed(self.handed.faces))

    @cached_property
    def fine(self) -> Mesh:
        """The surface with all its triangles: the scene's own mesh where that is closed or moves, the surface of its Gaussians, or
        what renders show, fitted to pictures where that is asked; but for what moves without stray parts and holes."""
        if isinstance(self.clip, MeshClip | Skin):  # it goes with these vertices
            return self.handed
        mesh, did = clean(self.handed if self.whole else self._rough())
        self.said += did
        if self.whole or not self.settings.fit:
            return mesh
        begin = ROUGH * FOUND
        return fitted(mesh, self.scene, size=self.settings.size,
                      progress=lambda done, of: self.tell(f"fit {done}/{of}", begin + (FOUND - begin) * done / of))  # fmt: skip

    def _rough(self) -> Mesh:
        self.tell("surface", 0.0)
        fine = {"resolution": self.settings.resolution}
        return surface_of(self.handed, **fine, scene=self.scene) if self.gaussian else surface(self.scene, **fine, size=self.settings.size)

    def lighting(self, item: Item) -> str:
        """Of what is written: "material" where colours are without light, "divided out" where that is an estimate, else "baked"."""
        mesh = item if isinstance(item, Mesh) else getattr(item, "mesh", None)
        if mesh is None:
            return "material" if lit(self.scene) else "baked"
        if mesh.orm is None:
            return "baked"
        return "divided out" if self.settings.delight and not lit(self.scene) else "material"


def settled(data):
    """The same, of tensors, tuples and what holds them, on the CPU and without gradients."""
    if isinstance(data, Tensor):
        return data.detach().cpu()
    if isinstance(data, SplatClip):
        return dataclasses.replace(data.each(settled), times=settled(data.times))
    if isinstance(data, tuple):
        return tuple(map(settled, data))
    if not dataclasses.is_dataclass(data):
        return data
    return dataclasses.replace(data, **{f.name: settled(getattr(data, f.name)) for f in dataclasses.fields(data)})
