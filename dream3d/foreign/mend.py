"""What is wrong with meshes: refused, mended and said, or said and kept."""

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.types import Mesh, Points

SMALL, LARGE = 0.05, 10.0  # metres across: scenes are 1.5
THIN = 1e-12  # of a face's longest edge, squared: its area is nothing


def mended(mesh: Mesh, *, where: str = "") -> tuple[Mesh, list[str]]:
    """The mesh, and what was done to it and what is odd in it. Faces without area, faces that are there already and vertices of no face
    are left out; a closed mesh that is inside out is turned. Holes, edges of more than two faces, and a strange size are said. Raises
    Mistake where it is empty, has vertices that are not finite, or faces of vertices that are not there."""
    _refuse(mesh, where)
    said: list[str] = []
    keep = _solid(mesh)
    mesh = _kept(mesh, keep, f"{int((~keep).sum())} of {len(keep)} faces have no area: left out", said, where)
    keep = _first(mesh.faces)
    mesh = _kept(mesh, keep, f"{int((~keep).sum())} of {len(keep)} faces are there already: left out", said, where)
    mesh = _used(mesh, said)
    odd, is_closed = _edges(mesh)
    if is_closed and float(_volume(mesh)) < 0:
        said.append("inside out: turned")
        mesh = _turned(mesh)
    return mesh, [*said, *odd, *_size(mesh.vertices)]


def sound(points: Points, *, where: str = "") -> tuple[Points, list[str]]:
    """The same for points: numbers must be finite and colours in [0, 1]; rotations of no length become none."""
    if not len(points.position):
        raise Mistake("there is nothing in it", where=where)
    tensors = {f.name: getattr(points, f.name) for f in dataclasses.fields(points) if getattr(points, f.name) is not None}
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise Mistake(f"its points have a {name} that is not finite", where=where, fix="mend it, and export it again")
    said = []
    if points.rotation is not None:
        none = points.rotation.norm(dim=-1) < 0.5
        if bool(none.any()):
            said.append(f"{int(none.sum())} Gaussians have no rotation: not turned")
            points = dataclasses.replace(points, rotation=torch.where(none[:, None], torch.eye(4)[0], points.rotation))
    return points, [*said, *_size(points.position)]


def _refuse(mesh: Mesh, where: str) -> None:
    bad = int((~mesh.vertices.isfinite()).any(-1).sum())
    if bad:
        raise Mistake(f"{bad} of {len(mesh.vertices)} vertices are not finite", where=where, fix="mend it, and export it again")
    if not len(mesh.faces):
        raise Mistake("there are no faces in it", where=where, fix="a mesh of triangles or polygons")
    if int(mesh.faces.min()) < 0 or int(mesh.faces.max()) >= len(mesh.vertices):
        raise Mistake("a face names a vertex that is not there", where=where, fix="export it again")


def _kept(mesh: Mesh, keep: Bool[Tensor, " F"], text: str, said: list[str], where: str) -> Mesh:
    if bool(keep.all()):
        return mesh
    if not bool(keep.any()):
        raise Mistake("no face in it has an area", where=where, fix="a mesh with a surface")
    said.append(text)
    rows = {name: None if getattr(mesh, name) is None else getattr(mesh, name)[keep] for name in ("faces", "uv", "label")}
    return dataclasses.replace(mesh, **rows)


def _solid(mesh: Mesh) -> Bool[Tensor, " F"]:
    """Which faces have an area."""
    a, b, c = mesh.vertices.double()[mesh.faces].unbind(1)
    longest = torch.stack([(b - a).square().sum(-1), (c - b).square().sum(-1), (a - c).square().sum(-1)]).amax(0)
    return torch.linalg.cross(b - a, c - a).norm(dim=-1) > THIN * longest


def _first(faces: Int[Tensor, "F 3"]) -> Bool[Tensor, " F"]:
    """Which faces are the first of their three vertices, whichever way round."""
    keys, size = faces.sort(dim=1).values, int(faces.max()) + 1
    order = (keys[:, 1] * size + keys[:, 2]).argsort(stable=True)
    order = order[keys[order, 0].argsort(stable=True)]
    same = (keys[order][1:] == keys[order][:-1]).all(1)
    keep = torch.ones(len(faces), dtype=torch.bool)
    keep[order[1:][same]] = False
    return keep


def _used(mesh: Mesh, said: list[str]) -> Mesh:
    used = torch.zeros(len(mesh.vertices), dtype=torch.bool)
    used[mesh.faces.flatten()] = True
    if bool(used.all()):
        return mesh
    said.append(f"{int((~used).sum())} of {len(used)} vertices are of no face: left out")
    rgb = None if mesh.rgb is None else mesh.rgb[used]
    return dataclasses.replace(mesh, vertices=mesh.vertices[used], rgb=rgb, faces=(used.cumsum(0) - 1)[mesh.faces])


def _edges(mesh: Mesh) -> tuple[list[str], bool]:
    """What is odd about the edges, and whether every edge has one face on either side."""
    size = len(mesh.vertices)
    start, end = mesh.faces.flatten(), mesh.faces.roll(-1, 1).flatten()
    _, edge, count = torch.unique(torch.minimum(start, end) * size + torch.maximum(start, end), return_inverse=True, return_counts=True)
    way = torch.zeros(len(count), dtype=torch.long).index_add(0, edge, (start < end).long() * 2 - 1)
    open_edges, many, twisted = int((count == 1).sum()), int((count > 2).sum()), int(((count == 2) & (way != 0)).sum())
    known = ((open_edges, "edges have one face only: it is not closed"), (many, "edges have more than two faces: not a manifold"),
             (twisted, "edges lie between faces that look to different sides"))  # fmt: skip
    return [f"{number} {text}" for number, text in known if number], not open_edges and not bool((way != 0).any())


def _volume(mesh: Mesh) -> Float[Tensor, ""]:
    """Six times the signed volume, positive where faces look outwards."""
    vertices = mesh.vertices.double()
    a, b, c = (vertices - vertices.mean(0))[mesh.faces].unbind(1)
    return (a * torch.linalg.cross(b, c)).sum()


def _turned(mesh: Mesh) -> Mesh:
    return dataclasses.replace(mesh, faces=mesh.faces.flip(1), uv=None if mesh.uv is None else mesh.uv.flip(1))


def _size(position: Float[Tensor, "N 3"]) -> list[str]:
    across = float((position.double().amax(0) - position.double().amin(0)).max())
    if SMALL <= across <= LARGE:
        return []
    return [f"{across:.3g} m across: {'tiny' if across < SMALL else 'huge'}"]
