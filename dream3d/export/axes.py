"""From the world's axes to a file's and back: what lies where, which way Gaussians lie, and colours that depend on the view.

The world is z up, its front looks towards -y. Files have y up, front towards +z, (x, z, -y); or y down, as cameras of 3D Gaussian
Splatting have it, front towards -z, (x, -z, y). Harmonics turn by least squares on directions, which is exact: those of one degree
are a closed family (as Wigner's matrices; Ivanic and Ruedenberg 1996 have a recursion for these).
"""

import dataclasses
from typing import Literal, TypeVar

import torch
from dream3d.renderers._compose_place import turned_harmonics
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from dream3d.clips import MeshClip, Skin, SplatClip
from dream3d.errors import Mistake
from dream3d.rig.kinematics import product
from dream3d.types import Mesh, Points

Item = TypeVar("Item", Mesh, Points, MeshClip, SplatClip, Skin)
Up = Literal["z", "y", "-y"]
TURNS = {
    "z": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    "y": [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]],
    "-y": [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]],
}
COEFFICIENTS = (1, 4, 9, 16)  # per colour, of degree 0, 1, 2, 3


def outward(item: Item, up: Up) -> Item:
    """What is in the world, in the axes of a file where `up` points up ("-y": y points down)."""
    return item if up == "z" else turned(item, torch.tensor(TURNS[up]))


def inward(item: Item, up: Up) -> Item:
    """What is in the axes of a file, in the world."""
    return item if up == "z" else turned(item, torch.tensor(TURNS[up]).T)


def turned(item: Item, turn: Float[Tensor, "3 3"]) -> Item:
    """The item after x -> turn x, a rotation. Raises Mistake for Gaussians with spherical harmonics of more than degree 3."""
    match item:
        case Mesh():
            changed = {"vertices": _places(item.vertices, turn)}
        case Points():
            changed = {"position": _places(item.position, turn)}
            if item.rotation is not None:
                changed["rotation"] = product(_quaternion(turn).to(item.rotation), item.rotation)
            if item.sh is not None:
                changed["sh"] = _harmonics(item.sh, turn)
        case MeshClip():
            changed = {"mesh": turned(item.mesh, turn), "places": _places(item.places, turn)}
        case SplatClip():
            return item.each(lambda frame: turned(frame, turn))
        case Skin():
            vectors = {name: getattr(item, name) for name in ("joints", "shift", "bends") if getattr(item, name) is not None}
            changed = {name: _places(value, turn) for name, value in vectors.items()}
            changed |= {"mesh": turned(item.mesh, turn), "turns": _beside(item.turns, turn)}
        case _:
            raise TypeError(f"{type(item).__name__} has no axes")
    return dataclasses.replace(item, **changed)


def _places(x: Float[Tensor, "*n 3"], turn: Float[Tensor, "3 3"]) -> Float[Tensor, "*n 3"]:
    return x @ turn.T.to(x)


def _quaternion(turn: Float[Tensor, "3 3"]) -> Float[Tensor, "4"]:
    x, y, z, w = Rotation.from_matrix(turn.double().numpy()).as_quat()
    return torch.tensor([w, x, y, z])


def _beside(turns: Float[Tensor, "*n 4"], turn: Float[Tensor, "3 3"]) -> Float[Tensor, "*n 4"]:
    """The same rotations, about axes that have turned."""
    return torch.cat([turns[..., :1], _places(turns[..., 1:], turn)], -1)


def _harmonics(sh: Float[Tensor, "N K 3"], turn: Float[Tensor, "3 3"]) -> Float[Tensor, "N K 3"]:
    if sh.shape[1] not in COEFFICIENTS:
        raise Mistake(f"{sh.shape[1]} coefficients per colour are of no degree", near=", ".join(map(str, COEFFICIENTS)))
    return torch.cat([sh[:, :1], turned_harmonics(sh[:, 1:], turn)], 1)
