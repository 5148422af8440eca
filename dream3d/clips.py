"""What moves, as files hold it: a mesh over time, Gaussians over time, a body on joints. World axes (z up), metres, seconds."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from dream3d.types import Mesh, Points


@dataclass(frozen=True)
class MeshClip:
    """One mesh whose vertices are elsewhere at every moment; faces, uvs and textures stay. `mesh` is as at `times[0]`."""

    mesh: Mesh
    places: Float[Tensor, "T V 3"]
    times: Float[Tensor, " T"]


@dataclass(frozen=True)
class SplatClip:
    """Gaussians at every moment, the same ones in the same order."""

    frames: tuple[Points, ...]
    times: Float[Tensor, " T"]


@dataclass(frozen=True)
class Skin:
    """A mesh at rest on joints, by linear blend skinning. `parents[j] < j`, -1 for the root; `joints`: where they rest, axes as the
    world's; `weights`: every row sums to one; `turns`: rotations of every joint beside its parent (unit quaternions wxyz); `shift`: of the
    root, in metres."""

    mesh: Mesh
    names: tuple[str, ...]
    parents: Int[Tensor, " J"]
    joints: Float[Tensor, "J 3"]
    weights: Float[Tensor, "V J"]
    turns: Float[Tensor, "T J 4"]
    shift: Float[Tensor, "T 3"]
    times: Float[Tensor, " T"]
