"""What a rig is. Letters: V vertices, F faces, J joints, K shape directions, P numbers that a pose corrects by."""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.types import Mesh


@dataclass(frozen=True)
class Rig:
    """A template at rest with joints, in the axes and the unit of its own file, unbent and of mean shape.

    parents: of every joint, -1 for the root. weights: how much a joint moves a vertex, at least 0, of sum 1. shapes: what coefficient 1
    adds to the vertices, joint_shapes to the joints; the last `expressions` of them are of the face. bends: what (R - 1) of the joints but
    the first, row by row, adds to the vertices (P = 9 (J - 1), or 0). limits: lowest and highest angle about each axis, radians;
    where they are not `bounded` its file has none, and these say how far a joint sways from where it stands.
    To the world: `scale` (axes x) + `shift`, metres. uv: one per face corner. about: where it is from. digest: SHA-256 of its file.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    vertices: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]
    joints: Float[Tensor, "J 3"]
    weights: Float[Tensor, "V J"]
    shapes: Float[Tensor, "V 3 K"]
    joint_shapes: Float[Tensor, "J 3 K"]
    shape_names: tuple[str, ...]
    limits: Float[Tensor, "J 2 3"]
    bends: Float[Tensor, "V 3 P"]
    axes: Float[Tensor, "3 3"]
    shift: Float[Tensor, "3"]
    scale: float = 1.0
    expressions: int = 0
    uv: Float[Tensor, "F 3 2"] | None = None
    about: str = ""
    digest: bytes = b""
    bounded: bool = True

    def to(self, dtype: torch.dtype) -> "Rig":
        """The same in another precision."""
        changed = {k: v.to(dtype) for k, v in vars(self).items() if isinstance(v, Tensor) and v.is_floating_point()}
        return dataclasses.replace(self, **changed)

    def world(self, x: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """From the rig's own axes to metres in the world."""
        return self.scale * (x @ self.axes.mT) + self.shift

    def own(self, way: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Differences of places in the world, in the rig's own axes and unit."""
        return way @ self.axes / self.scale

    def back(self, x: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """The inverse of `world`."""
        return self.own(x - self.shift)

    def mesh(self) -> Mesh:
        """The template as it is, in the world."""
        return Mesh(self.world(self.vertices).float(), self.faces, uv=None if self.uv is None else self.uv.float())
