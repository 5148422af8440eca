"""How large an asset is and where its origin lies: one move, x -> scale x + shift, for everything that a scene is exported as."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.clips import MeshClip, Skin, SplatClip
from dream3d.errors import Mistake
from dream3d.types import Mesh, Points

Item = TypeVar("Item", Mesh, Points, MeshClip, SplatClip, Skin)
SEEN = 0.1  # opacity from which a Gaussian counts for the size


@dataclass(frozen=True)
class Placement:
    """x -> scale x + shift, in world axes (z up)."""

    scale: float = 1.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __call__(self, item: Item) -> Item:
        """The item there; what is there already comes back itself."""
        return item if self == Placement() else _moved(item, self)

    def after(self, first: "Placement") -> "Placement":
        """Both, `first` before this one."""
        return Placement(self.scale * first.scale, tuple(self.scale * a + b for a, b in zip(first.shift, self.shift, strict=True)))

    def json(self) -> dict[str, Any]:
        return {"scale": self.scale, "shift": list(self.shift)}


def placement(box: Float[Tensor, "2 3"], metres: float | None, origin: Literal["center", "base"]) -> Placement:
    """What makes the longest side of the box `metres` long (None: leaves it), and moves the middle of its bottom to the origin (base) or
    leaves the origin where it is (center). Raises Mistake for a size of what has none."""
    longest = float((box[1] - box[0]).max())
    if metres is not None and not longest > 0:
        raise Mistake("what has no extent cannot be given a size", where="--size")
    scale = 1.0 if metres is None else metres / longest
    if origin == "center":
        return Placement(scale)
    foot = torch.cat([(box[0] + box[1])[:2] / 2, box[0, 2:]]).double()
    return Placement(scale, tuple((-scale * foot + 0.0).tolist()))


def box(item: Mesh | Points | MeshClip | SplatClip | Skin) -> Float[Tensor, "2 3"]:
    """Lowest and highest coordinates: of the vertices that faces use, of Gaussians that can be seen out to one standard deviation; of
    what moves at its first moment, of a body at rest."""
    match item:
        case Mesh():
            place = item.vertices[item.faces.unique()] if len(item.faces) else item.vertices
            spread = torch.zeros(1, 3)
        case Points():
            place, spread = item.position, torch.zeros(1, 3)
            if item.scale is not None and item.rotation is not None and item.opacity is not None:
                seen = item.opacity >= min(SEEN, float(item.opacity.max()))
                place, spread = place[seen], _spread(item.scale[seen], item.rotation[seen])
        case MeshClip():
            return box(dataclasses.replace(item.mesh, vertices=item.places[0]))
        case SplatClip():
            return box(item.frames[0])
        case _:
            return box(item.mesh)
    if not len(place):
        raise Mistake("there is nothing to export in this scene")
    return torch.stack([(place - spread).amin(0), (place + spread).amax(0)]).double()


def _spread(scale: Float[Tensor, "N 3"], rotation: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3"]:
    """Standard deviations along the axes of the world."""
    from dream3d.rig.kinematics import matrices

    return ((matrices(rotation) * scale[:, None]) ** 2).sum(-1).sqrt()


def _moved(item: Item, to: Placement) -> Item:
    match item:
        case Mesh():
            changed = {"vertices": _places(item.vertices, to)}
        case Points():
            changed = {"position": _places(item.position, to), "scale": None if item.scale is None else item.scale * to.scale}
        case MeshClip():
            changed = {"mesh": _moved(item.mesh, to), "places": _places(item.places, to)}
        case SplatClip():
            return item.each(lambda frame: _moved(frame, to))
        case Skin():  # the root's shift and the bends are ways, not places
            changed = {"mesh": _moved(item.mesh, to), "joints": _places(item.joints, to), "shift": item.shift * to.scale,
                       "bends": None if item.bends is None else item.bends * to.scale}  # fmt: skip
        case _:
            raise TypeError(f"{type(item).__name__} has no place")
    return dataclasses.replace(item, **changed)


def _places(x: Float[Tensor, "*n 3"], to: Placement) -> Float[Tensor, "*n 3"]:
    return (to.scale * x.double() + torch.tensor(to.shift, dtype=torch.float64)).to(x.dtype)
