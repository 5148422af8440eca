"""Where an object of a scene stands: from its own frame, in which it is as large as alone, into the world and back.

x_world = scale turn x + centre, one scale for all axes, so that what an object is made of stays what it is: Gaussians stay Gaussians, and a
picture of the object is the one that moved cameras take of it alone.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from dream3d.renderers._backends.project import harmonics, matrix
from jaxtyping import Float
from torch import Tensor

from dream3d import places
from dream3d.rig.kinematics import product
from dream3d.types import Cameras

SPAN = 2 * places.WORLD  # metres: the side of an object's own frame


@dataclass(frozen=True)
class Place:
    """`rotation` is a unit quaternion wxyz, `half` half the size of the object's box along its own axes, in its own frame."""

    centre: Float[Tensor, "3"]
    rotation: Float[Tensor, "4"]
    scale: Float[Tensor, ""]
    half: Float[Tensor, "3"]

    @property
    def turn(self) -> Float[Tensor, "3 3"]:
        return matrix(self.rotation[None])[0]

    def out(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Points of the object, in the world."""
        return self.scale * (x @ self.turn.T) + self.centre

    def back(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Points of the world, in the object's frame."""
        return (x - self.centre) @ self.turn / self.scale

    def turned(self, rotation: Float[Tensor, "N 4"]) -> Float[Tensor, "N 4"]:
        """Quaternions of the object, in the world."""
        return product(self.rotation, rotation)

    def unturned(self, rotation: Float[Tensor, "N 4"]) -> Float[Tensor, "N 4"]:
        return product(self.rotation * self.rotation.new_tensor([1.0, -1.0, -1.0, -1.0]), rotation)

    def cameras(self, cameras: Cameras) -> Cameras:
        """The cameras that see the object in its own frame as these see it in the world; depths there are times 1 / scale. What is lit
        is lit as in the world."""
        moved = cameras.to_world.clone()
        moved[:, :3, :3] = self.turn.T @ cameras.to_world[:, :3, :3]
        moved[:, :3, 3] = self.back(cameras.centre)
        frame = torch.eye(4).to(moved).repeat(len(cameras), 1, 1)
        frame[:, :3, :3], frame[:, :3, 3] = self.scale * self.turn, self.centre
        return dataclasses.replace(cameras, to_world=moved, frame=frame)

    def outside(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """How far points of the object lie out of its box, in metres of the world, summed over the axes of the box. What is
        outside is pulled back; the box, and with it the object, does not shrink for that."""
        return self.scale.detach() * (x.abs() - self.half).clamp(min=0).sum(-1)

    def to(self, device) -> "Place":
        return Place(*(value.to(device) for value in vars(self).values()))


def of_box(thing: dict) -> Place:
    """Where a layout puts an object: the longest side of its box is as long as an object is alone."""
    size, turn = thing["box"]["size"], thing["rotation"]
    angles = tuple(turn) if isinstance(turn, list | tuple) else (0.0, 0.0, turn)
    scale = max(size) / SPAN
    half = torch.tensor(size, dtype=torch.float64) / (2 * scale)
    values = torch.tensor(thing["box"]["centre"], dtype=torch.float64), _quaternion(angles), torch.tensor(scale), half
    return Place(*(value.float() for value in values))


def moved(place: Place, pivot: Float[Tensor, "3"], shift: Float[Tensor, "3"], turn: Float[Tensor, ""], size: Float[Tensor, ""]) -> Place:
    """A place in a group that is turned about z through `pivot` (radians), made exp(size) times as large, and shifted (metres)."""
    about = torch.stack([(turn / 2).cos(), *(0 * turn,) * 2, (turn / 2).sin()])
    centre = pivot + shift + size.exp() * matrix(about[None])[0] @ (place.centre - pivot)
    return Place(centre, product(about, place.rotation), size.exp() * place.scale, place.half)


def _quaternion(angles: tuple[float, float, float]) -> Float[Tensor, "4"]:
    """Of turns about x, then y, then z, in degrees."""
    found = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    for axis, angle in enumerate(angles):
        one = torch.zeros(4, dtype=torch.float64)
        one[0], one[1 + axis] = math.cos(math.radians(angle) / 2), math.sin(math.radians(angle) / 2)
        found = product(one, found)
    return found


def turned_harmonics(coefficients: Float[Tensor, "N K 3"], turn: Float[Tensor, "3 3"]) -> Float[Tensor, "N K 3"]:
    """What coefficients of degree 1 and more are once their object is turned: c'(d) = c(turn^T d) for all directions d. The harmonics of a
    degree are a closed family, so that a few directions tell."""
    degree = math.isqrt(coefficients.shape[1] + 1) - 1
    if degree == 0:
        return coefficients
    golden = torch.arange(64, dtype=torch.float64) * math.pi * (3 - 5**0.5)
    z = (torch.arange(64, dtype=torch.float64) + 0.5) / 32 - 1
    d = torch.stack([(1 - z * z).sqrt() * golden.cos(), (1 - z * z).sqrt() * golden.sin(), z], -1).to(turn.device)
    basis = harmonics(d, degree)[:, 1:]
    seen = harmonics(d @ turn.double(), degree)[:, 1:]
    mix = torch.linalg.pinv(basis) @ seen  # seen = basis @ mix
    return torch.einsum("jk,nkc->njc", mix.to(coefficients), coefficients)
