"""Two scenes as one, on a grid: the other within a mask, the one outside (the last step of Vox-E, Sella et al., arXiv:2303.12048)."""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from torch import Tensor

from dream3d import build
from dream3d.convert import cut
from dream3d.errors import Mistake
from dream3d.foreign import files
from dream3d.foreign.load import load as load_file
from dream3d.interfaces import Representation
from dream3d.types import Field, Mesh, Points

BOUND, FARTHEST = 0.8, 1.6  # metres: of what has none of its own, at least and at most
MOST, LARGEST = 160, 1 << 27  # nodes a side; bytes of a mask
WHERE = "system.mask"
Mask = str | tuple[float, float, float, float, float, float]
Told = str | Bool[Tensor, "X Y Z"] | Float[Tensor, "X Y Z"]


@torch.no_grad()
def merged(one: Representation, other: Representation, mask: Mask, grid: int) -> tuple[Representation, list[str]]:
    """A grid of `grid` nodes a side that is the one scene at nodes outside the mask and the other inside, and what is to be said of it.
    Raises Mistake where both are fields of different bounds, and where nothing is inside."""
    if not 2 <= grid <= MOST:
        raise Mistake(f"scenes are merged on 2 to {MOST} nodes a side, but it is {grid}", where="system.grid", fix="system.grid=64")
    handed = [scene.handover() for scene in (one, other)]
    bounds = sorted({data.bound for data in handed if isinstance(data, Field)})
    if len(bounds) > 1:
        raise Mistake(f"the scenes have different bounds: {bounds[0]:g} and {bounds[1]:g} metres", where="system.merge",
                      fix="convert one of them first: --to voxels bound=" + f"{bounds[0]:g}")  # fmt: skip
    bound = bounds[0] if bounds else min(max(BOUND, *map(_reach, handed)), FARTHEST)
    said = told(mask, grid, bound)  # before the scenes are read off, which takes a while
    first, second = (_voxels(data, grid, bound) for data in handed)
    fields = first.handover(), second.handover()
    inside = within(said, *fields)
    _check_inside(inside, mask, *fields)
    for name, values in first.named_parameters():
        values.copy_(torch.where(inside, dict(second.named_parameters())[name], values))
    return first, [*_left_out(handed, bound), *_about(inside, bound)]


def _places(data: Points | Mesh | Field) -> Float[Tensor, "N 3"]:
    """Of what has no bound."""
    return data.position if isinstance(data, Points) else data.vertices if isinstance(data, Mesh) else torch.zeros(0, 3)


def _reach(data: Points | Mesh | Field) -> float:
    """Metres along an axis, with a little room around."""
    return 1.05 * float(_places(data).abs().amax()) if len(_places(data)) else 0.0


def _left_out(handed: list[Points | Mesh | Field], bound: float) -> list[str]:
    said = []
    for which, data in zip(("the first", "the second"), handed, strict=True):
        outside = int((_places(data).abs().amax(-1) > bound).sum()) if len(_places(data)) else 0
        if outside:
            what = "Gaussians or points" if isinstance(data, Points) else "vertices"
            said.append(f"{outside} of {len(_places(data))} {what} of {which} scene lie beyond {bound:g} m and are left out")
    return said


def _about(inside: Bool[Tensor, "X Y Z"], bound: float) -> list[str]:
    whole = ["everything is inside the mask: nothing is left of the first scene"] if bool(inside.all()) else []
    return [*whole, *([f"merged in [-{bound:.3g}, {bound:.3g}]^3 m"] if bound > BOUND else [])]


def _check_inside(inside: Bool[Tensor, "X Y Z"], mask: Mask, one: Field, other: Field) -> None:
    """Raises Mistake where nothing is."""
    if bool(inside.any()):
        return
    if mask == "cut":
        most = float(cut.evidence(cut.looks(one), cut.looks(other)).max())
        raise Mistake(f"the cut takes nothing: light and colours of the scenes differ by {most:.2f} at most, where {cut.EVEN:g} speaks for "
                      "neither", where=WHERE, near="-0.2,-0.2,0,0.2,0.2,0.5", fix="a mask that says where, or no merge")  # fmt: skip
    raise Mistake(f"nothing lies inside the mask {str(mask)!r}: nothing would be merged", where=WHERE, near="cut, -0.2,-0.2,0,0.2,0.2,0.5",
                  fix="a closed mesh where the scenes are, larger than a cell of the grid; or a mask with numbers above 0.5, weights "
                  f"above {cut.EVEN:g}")  # fmt: skip


def _voxels(data, grid: int, bound: float, **more) -> Representation:
    """Whatever it is, read off at the nodes of a grid."""
    settings = {"type": "voxels", "resolution": grid, "grid": grid, "bound": bound, "samples": grid, "blob": "none", **more}
    made = build.make("renderers", settings, torch.Generator().manual_seed(0))
    made.init_from(data)
    return made


def told(mask: Mask, side: int, bound: float) -> Told:
    """What a mask says on a grid of `side` nodes: "cut", weights for it, or which nodes are inside. Raises Mistake for a box that holds no
    node, and for a file that is neither a closed mesh nor a grid."""
    if not isinstance(mask, str):
        return _box(mask, side, bound)
    if mask == "cut":
        return mask
    path = Path(mask)
    if path.suffix.lower() == ".safetensors":
        name, values = _grid(path, side)
        return values > 0.5 if name == "mask" else values
    data, _ = load_file(path, fit=False)  # where it is
    if not isinstance(data, Mesh):
        raise Mistake(f"{path.name} holds no mesh: points have no inside", where=WHERE, fix="a closed mesh, or a .safetensors grid")
    return _voxels(data, side, bound, geometry="volsdf").handover().distance < 0


def within(said: Told, one: Field, other: Field) -> Bool[Tensor, "X Y Z"]:
    """At which nodes of two fields on the same grid the other one is taken."""
    if not isinstance(said, str) and said.dtype == torch.bool:
        return said
    looks = cut.looks(one), cut.looks(other)
    return cut.cut(*looks, cut.evidence(*looks) if isinstance(said, str) else said)


def _box(ends: tuple[float, ...], side: int, bound: float) -> Bool[Tensor, "X Y Z"]:
    low, high = ends[:3], ends[3:]
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise Mistake(f"the box from {low} to {high} has no inside", where=WHERE, near="-0.2,-0.2,0,0.2,0.2,0.5", fix="x,y,z,X,Y,Z")
    axis = torch.linspace(-bound, bound, side)
    x, y, z = ((axis >= a) & (axis <= b) for a, b in zip(low, high, strict=True))
    inside = x[:, None, None] & y[None, :, None] & z[None, None, :]
    if not bool(inside.any()):
        raise Mistake(f"the box from {low} to {high} holds no node of the grid", where=WHERE, fix=f"a box inside [-{bound:g}, {bound:g}]^3")
    return inside


def _grid(path: Path, side: int) -> tuple[str, Float[Tensor, "X Y Z"]]:
    """"mask" or "weights" of a file, on the nodes of the grid."""
    try:
        tensors = parse_tensors(files.whole(path, LARGEST))
    except SafetensorError as error:
        raise Mistake(f"{path.name} cannot be read: {error}", where=str(path), fix="save it with safetensors") from None
    names = [name for name in ("mask", "weights") if name in tensors]
    if len(names) != 1:
        raise Mistake(f"{path.name} needs one of mask, weights; it has {', '.join(sorted(tensors)) or 'nothing'}", where=str(path),
                      fix="a grid X Y Z over the cube of the scene")  # fmt: skip
    values = tensors[names[0]].float()
    if values.ndim != 3 or 0 in values.shape or not bool(values.isfinite().all()) or values.min() < 0 or values.max() > 1:
        raise Mistake(f"{path.name}: {names[0]} must be a grid X Y Z of numbers in [0, 1]", where=str(path))
    mode = {"mode": "nearest-exact"} if names[0] == "mask" else {"mode": "trilinear", "align_corners": True}
    return names[0], F.interpolate(values[None, None], (side,) * 3, **mode)[0, 0]
