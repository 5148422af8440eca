"""Pictures of a scene's surface on a small mesh: decimate, unwrap, and for every texel look up colour, material, normal and occlusion.

A mesh brings its own colours and materials, which are read off at the place of the fine surface below each texel. Of all else the colours
are projected from renders all around (`project.py`). What is lit gets glTF's metallic-roughness pictures: occlusion by rays, normals of the
fine surface in the tangent space of the small one. What is not, colours with their light, gets its colours alone.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.export.decimate import decimate
from dream3d.export.delight import delit
from dream3d.export.health import FULL, overlap
from dream3d.export.occlusion import occlusion as occluded
from dream3d.export.project import project
from dream3d.export.rays import Tree
from dream3d.export.tangents import split, told
from dream3d.export.texels import Spread, between, inside, texels, vertex_normals
from dream3d.export.transfer import Fine
from dream3d.export.unwrap import unwrap
from dream3d.interfaces import Representation
from dream3d.types import Mesh

__all__ = ["bake", "hidden", "inside", "lit", "unwrap", "vertex_normals"]

BLOCK = 1 << 19  # texels at a time, so that memory is bounded
ROUGH, METAL = 0.8, 0.0  # of what was lit by a lamp: nothing is known of its gloss
OPEN = 0.995  # an occlusion above this everywhere says nothing
Progress = Callable[[str, float], None]


def bake(
    mesh: Mesh,
    scene: Representation | None,
    *,
    faces: int = 10000,
    texture: int = 1024,
    views: int = 24,
    size: int = 512,
    uv: Literal["auto", "atlas", "fast"] = "auto",
    occlusion: bool = True,
    delight: bool = False,
    progress: Progress | None = None,
) -> Mesh:
    """The mesh with about `faces` faces at most, uvs, and square pictures `texture` texels wide, top row first: the colours of the mesh
    where it has any, else those that the scene shows. `orm` and `bump` where the colours are without light (see `lit`), or it is divided
    out (`delight`, see delight.py). Texels that no view sees take the colour of the nearest that one does. `progress` hears what is
    being made, and the share done before it."""
    tell = progress or (lambda what, share: None)
    tell("decimate", 0.0)
    small = decimate(mesh, faces)
    tell("unwrap", 0.05)
    small = unwrap(small, texture, how=uv)
    tell("colour", 0.3)
    index, face, weights = texels(small, texture)
    own = scene is None or mesh.rgb is not None or mesh.texture is not None
    material = delight or mesh.orm is not None or (scene is not None and lit(scene))
    fine = Fine(mesh, density=_density(small, texture)) if own or material else None
    found = {} if fine is None else _looked_up(fine, small, face, weights, bumps=material, normals=delight)
    if not own:
        found["colour"] = project(scene, *_places(small, face, weights), views, size)
    if delight:
        found["colour"] = delit(found["colour"], found["normal"])
    pictures = Spread(index, texture)
    small = dataclasses.replace(small, texture=pictures.picture(found["colour"]))
    if not material:
        return small
    tell("occlusion", 0.7)
    orm = found.get("material", torch.tensor([1.0, ROUGH, METAL]).expand(len(index), 3))
    if occlusion and bool((orm[:, 0] > OPEN).all()):
        orm = torch.cat([occluded(small, mesh, fine.tree, index, texture)[:, None], orm[:, 1:]], 1)
    bump = pictures.picture(found["bump"], torch.tensor([0.0, 0.0, 1.0]))
    return dataclasses.replace(small, orm=pictures.picture(orm), bump=bump)


def lit(scene: Representation) -> bool:
    """Whether the colours that a scene shows are without light: it was optimised under a lamp, and shows what that fell on."""
    shading = getattr(scene, "shading", None)
    return shading is not None and shading.lamp and shading.mode(None) == "albedo"


def hidden(mesh: Mesh) -> Mesh:
    """The mesh with materials, as it is, with the occlusion by its own faces where its pictures say nothing of that. Texels that several
    faces share, or that repeat, have none of their own: then it stays."""
    if mesh.orm is None or mesh.uv is None or bool((mesh.orm[..., 0] < OPEN).any()) or not _own(mesh.uv):
        return mesh
    side = max(mesh.orm.shape[:2])
    index, _, _ = texels(mesh, side)
    share = occluded(mesh, mesh, Tree(mesh), index, side)
    picture = Spread(index, side).picture(share[:, None], torch.ones(1))
    picture = F.interpolate(picture.movedim(-1, 0)[None], mesh.orm.shape[:2], mode="bilinear")[0].movedim(0, -1)
    return dataclasses.replace(mesh, orm=torch.cat([picture, mesh.orm[..., 1:]], -1))


def _own(uv: Float[Tensor, "F 3 2"]) -> bool:
    """Whether every place has texels of its own."""
    return bool(uv.min() >= -1e-4 and uv.max() <= 1 + 1e-4) and overlap(uv.numpy()) < FULL


def _looked_up(
    fine: Fine, small: Mesh, face: Int[Tensor, " T"], weights: Float[Tensor, "T 3"], *, bumps: bool, normals: bool
) -> dict[str, Float[Tensor, "T 3"]]:
    """What the fine mesh has below each texel: colour, material where it has one, normal in the world and as the normal map holds it."""
    corners, found = split(small, tangents=True) if bumps else None, {}
    for block in torch.arange(len(face)).split(BLOCK):
        part = face[block], weights[block]
        position, normal = _places(small, *part)
        on = fine.meet(position, normal)
        here = {"colour": fine.colour(*on), "material": fine.material(*on)}
        if bumps:
            turned = fine.normal(*on)
            turned = torch.where((turned * normal).sum(-1, keepdim=True) > 0, turned, normal)
            here |= {"bump": told(corners, *part, turned)} | ({"normal": turned} if normals else {})
        for name, values in here.items():
            if values is not None:
                found.setdefault(name, []).append(values)
    return {name: torch.cat(values) for name, values in found.items()}


def _places(mesh: Mesh, face: Int[Tensor, " T"], weights: Float[Tensor, "T 3"]) -> tuple[Float[Tensor, "T 3"], Float[Tensor, "T 3"]]:
    """Where places on a mesh lie in the world, and their unit normals."""
    normal = between(vertex_normals(mesh), mesh.faces, face, weights)
    return between(mesh.vertices, mesh.faces, face, weights), F.normalize(normal, dim=-1)


def _density(mesh: Mesh, texture: int) -> float:
    """Texels per metre, on the whole."""
    corners, uv = mesh.vertices[mesh.faces].double(), mesh.uv.double()
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1).sum()
    s, t = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    return float(((s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).abs().sum() / area.clamp(min=1e-30)).sqrt()) * texture
