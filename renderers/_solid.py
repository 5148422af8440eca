"""Whatever a stage may hand over, as a surface with colours."""

import dataclasses
from typing import Literal

import numpy as np
import torch
from dream3d.renderers import _fields
from jaxtyping import Float
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.export.density import surface_of
from dream3d.export.surface import REACH, march, solid
from dream3d.types import Field, Mesh, Points

OPAQUE = 4.6  # optical depth of a cell beyond which more density tells nothing: 99 % of the light is lost
FINEST = 192  # nodes a side beyond which fields are read on a coarser grid


def as_mesh(
    data: Points | Mesh | Field, *, threshold: float | Literal["auto"] = "auto", resolution: int = 128, bound: float = 0.8
) -> Mesh:
    """A closed surface of whatever it is, without specks and hidden hollows, with a colour per vertex; meshes as they are. A density is
    solid at `threshold` (1/metre); "auto" is half the mean of what is denser than the mean of the positive densities. (That mean itself
    is Magic3D's choice, Lin et al., arXiv:2211.10440: thin fog around a body lowers it, and the body swells.) Raises Mistake where
    there is nothing."""
    if isinstance(data, Mesh):
        return data
    data = dataclasses.replace(data, **{k: v.detach().cpu() for k, v in vars(data).items() if isinstance(v, Tensor)})
    field = data
    if isinstance(data, Points):
        field = _fields.as_field(data, resolution=resolution, bound=bound)
        mesh = surface_of(data, resolution=resolution, bound=bound)
    else:
        mesh = march(solid(_depth(data, threshold)), data.bound)
    if field.rgb is None:
        return mesh
    return dataclasses.replace(mesh, rgb=_fields.read(field.rgb, field, mesh.vertices).clamp(0, 1))


def _depth(field: Field, threshold: float | Literal["auto"]) -> Float[np.ndarray, "X X X"]:
    """About the signed distance in nodes, cut at REACH: exact where the sign changes."""
    if field.density is None and field.distance is None:
        raise Mistake("a surface needs a field with density or distance")
    if field.distance is not None:
        volume = _cubic(field.distance)
        return (volume * (len(volume) - 1) / (2 * field.bound)).clamp(-REACH, REACH).numpy()
    volume = _cubic(field.density)
    if not bool((volume > 0).any()):
        raise Mistake("there is no surface in what the earlier stage handed over: its density is nowhere above 0")
    dense = volume[volume > 0].clamp(max=OPAQUE * (len(volume) - 1) / (2 * field.bound))
    auto = float(dense[dense >= dense.mean()].mean() / 2)
    level = auto if threshold == "auto" else threshold
    if not bool(volume.max() > level):
        raise Mistake(f"there is no surface: the density is nowhere above {level:g}", where="renderer.threshold",
                      near=f"auto, which would be {auto:.3g}")  # fmt: skip
    return (REACH * torch.tanh(torch.log(level / volume.clamp(min=1e-6 * level)))).numpy()


def _cubic(volume: Float[Tensor, "X Y Z"]) -> Float[Tensor, "n n n"]:
    """With as many nodes a side each way, FINEST at most."""
    side = min(max(volume.shape), FINEST)
    if volume.shape == (side,) * 3:
        return volume.float()
    return torch.nn.functional.interpolate(volume.float()[None, None], (side,) * 3, mode="trilinear", align_corners=True)[0, 0]
