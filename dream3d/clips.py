"""What moves, as files hold it: a mesh over time, Gaussians over time, a body on joints. World axes (z up), metres, seconds."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.types import Mesh, Points


@dataclass(frozen=True)
class MeshClip:
    """One mesh whose vertices are elsewhere at every moment; faces, uvs and textures stay. `mesh` is as at `times[0]`."""

    mesh: Mesh
    places: Float[Tensor, "T V 3"]
    times: Float[Tensor, " T"]


class Frames(Sequence):
    """`make(k)` for k below `count`, made whenever it is asked for: of many Gaussians all moments at once are more than memory holds."""

    def __init__(self, make: Callable[[int], Points], count: int):
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    @torch.no_grad()  # as whoever said `make` was, which is over by now
    def __getitem__(self, k: int) -> Points:
        return self.make(range(self.count)[k])


@dataclass(frozen=True)
class SplatClip:
    """Gaussians at every moment, the same ones in the same order."""

    frames: Frames | tuple[Points, ...]
    times: Float[Tensor, " T"]

    def each(self, change: Callable[[Points], Points]) -> "SplatClip":
        """With every moment changed, when it is asked for."""
        return dataclasses.replace(self, frames=Frames(lambda k: change(self.frames[k]), len(self.frames)))


@dataclass(frozen=True)
class Skin:
    """A mesh at rest on joints, by linear blend skinning. `parents[j] < j`, -1 for the root; `joints`: where they rest, axes as the
    world's; `weights`: every row sums to one; `turns`: rotations of every joint beside its parent (unit quaternions wxyz); `shift`: of the
    root, in metres; `bends`: what a pose adds to the vertices at rest before they are skinned, in metres."""

    mesh: Mesh
    names: tuple[str, ...]
    parents: Int[Tensor, " J"]
    joints: Float[Tensor, "J 3"]
    weights: Float[Tensor, "V J"]
    turns: Float[Tensor, "T J 4"]
    shift: Float[Tensor, "T 3"]
    times: Float[Tensor, " T"]
    bends: Float[Tensor, "T V 3"] | None = None


Clip = MeshClip | SplatClip | Skin


def lasting(clip: Clip, seconds: float) -> Clip:
    """The same, so that what was one second takes that many."""
    return dataclasses.replace(clip, times=seconds * clip.times)


def sound(item: Mesh | MeshClip | Skin) -> Mesh | MeshClip | Skin:
    """The item, all of whose numbers are finite. Raises Mistake where they are not, or where there are no faces."""
    mesh = item if isinstance(item, Mesh) else item.mesh
    if not len(mesh.faces):
        raise Mistake("this mesh has no faces: there is nothing to write", code=5)
    rows = [value for part in {id(mesh): mesh, id(item): item}.values() for value in vars(part).values() if isinstance(value, Tensor)]
    if not all(bool(value.isfinite().all()) for value in rows):
        raise Mistake("what moves has places that are not finite: the run has diverged", code=5)
    return item


def posed(skin: Skin) -> MeshClip:
    """Where the vertices are at every moment: what skinning comes to, for files without joints."""
    places = torch.stack([_bent(skin, k) for k in range(len(skin.times))])
    return MeshClip(dataclasses.replace(skin.mesh, vertices=places[0]), places, skin.times)


def _bent(skin: Skin, k: int) -> Float[Tensor, "V 3"]:
    from dream3d.rig.kinematics import matrices

    turns, whole = matrices(skin.turns[k].double()), []
    joints, rest = skin.joints.double(), skin.mesh.vertices.double()
    for j, parent in enumerate(skin.parents.tolist()):  # x -> G x + a; a joint itself goes where its parent takes it
        above, moved = whole[parent] if parent >= 0 else (torch.eye(3).to(turns), skin.shift[k].double())
        whole.append((above @ turns[j], moved + (above - above @ turns[j]) @ joints[j]))
    rest = rest if skin.bends is None else rest + skin.bends[k].double()
    each = torch.stack([rest @ g.T + a for g, a in whole], 1)
    return (skin.weights.double()[..., None] * each).sum(1).to(skin.mesh.vertices)


def onto(clip: MeshClip | Skin, mesh: Mesh, of: Mesh) -> MeshClip | Skin:
    """The clip of another mesh of the same surface, with fewer triangles or unwrapped: `of` has the clip's triangles and lies where
    `mesh` was made from it. Every vertex goes with the place of `of` that is nearest to it. Raises ValueError where `of` has other
    vertices than the clip."""
    if len(of.vertices) != len(clip.mesh.vertices):
        raise ValueError(f"a clip of {len(clip.mesh.vertices)} vertices does not move a mesh of {len(of.vertices)}")
    corners, weights = _nearest(mesh, of)

    def taken(rows: Tensor) -> Tensor:
        return torch.einsum("nc,nc...->n...", weights.to(rows), rows[corners])

    away = mesh.vertices - taken(of.vertices)  # a vertex of fewer triangles need not lie on the surface, and goes along beside it
    away = (_frames(of.vertices[corners]).mT @ away[..., None])[..., 0]

    def carried(place: Float[Tensor, "V 3"]) -> Float[Tensor, "W 3"]:
        return taken(place) + (_frames(place[corners]) @ away[..., None])[..., 0]

    if isinstance(clip, MeshClip):
        places = torch.stack([carried(place) for place in clip.places])
        return MeshClip(dataclasses.replace(mesh, vertices=places[0]), places, clip.times)
    bends = None if clip.bends is None else torch.stack([taken(row) for row in clip.bends])
    rest = dataclasses.replace(mesh, vertices=carried(clip.mesh.vertices))
    return dataclasses.replace(clip, mesh=rest, weights=taken(clip.weights), bends=bends)


def _frames(corners: Float[Tensor, "W 3 3"]) -> Float[Tensor, "W 3 3"]:
    """Of triangles: along an edge, across it, and the normal, as columns; zero where they have no area."""
    edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    along, normal = F.normalize(edge, dim=-1), F.normalize(torch.linalg.cross(edge, other), dim=-1)
    return torch.stack([along, torch.linalg.cross(normal, along), normal], -1)


def _nearest(mesh: Mesh, of: Mesh) -> tuple[Int[Tensor, "W 3"], Float[Tensor, "W 3"]]:
    """Of every vertex of `mesh`: the corners of the nearest triangle of `of`, and where in it."""
    from dream3d.renderers._signed import nearest

    corners = of.vertices.double()[of.faces]
    edge = (corners - corners.roll(1, 1)).norm(dim=-1).mean().item()
    _, face, weights = nearest(corners, mesh.vertices.double(), max(4 * edge, 1e-6))
    return of.faces[face], weights
