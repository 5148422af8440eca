"""Whatever a stage may hand over, as a surface and its colours."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from dream3d.renderers import _fields
from dream3d.renderers._backends.seeds import colours
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.export.density import surface_of
from dream3d.export.surface import REACH, march, solid
from dream3d.types import Field, Mesh, Points

Paint = Callable[[Int[Tensor, " n"], Float[Tensor, "n 3"]], Float[Tensor, "n 3"]]  # faces and weights in them -> display sRGB
FINEST = 192  # nodes a side beyond which fields are read on a coarser grid


def as_mesh(
    data: Points | Mesh | Field, *, threshold: float | Literal["auto"] = "auto", resolution: int = 128, bound: float = 0.8
) -> tuple[Mesh, Paint]:
    """A closed surface of whatever it is (meshes as they are), without a field's specks and hidden hollows, and what paints it. A density
    becomes solid at `threshold` (1/metre); "auto" is the mean of the positive densities, as Magic3D's is (Lin et al.,
    arXiv:2211.10440), and at most half of the largest. Raises Mistake where there is nothing."""
    if isinstance(data, Mesh):
        return data, lambda face, weights: colours(data, face, weights[..., None])
    field = data
    if isinstance(data, Points):
        field = _fields.as_field(data, resolution=resolution, bound=bound)
        mesh = surface_of(_on_cpu(data), resolution=resolution, bound=bound)
    else:
        mesh = march(solid(_depth(data, threshold)), data.bound)

    def paint(face: Int[Tensor, " n"], weights: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        places = (weights[..., None] * mesh.vertices[mesh.faces[face]]).sum(1)
        if field.rgb is None:
            return torch.full_like(places, _fields.GREY)
        return _fields.read(field.rgb, field, places).clamp(0, 1)

    return mesh, paint


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
    level = min(volume[volume > 0].mean(), volume.max() / 2) if threshold == "auto" else torch.tensor(threshold)
    if not bool(volume.max() > level):
        raise Mistake(f"there is no surface: the density is nowhere above {threshold:g}", where="renderer.threshold",
                      near=f"auto, which would be {min(volume[volume > 0].mean(), volume.max() / 2):.3g}")  # fmt: skip
    return (REACH * torch.tanh(torch.log(level / volume.clamp(min=1e-6 * float(level))))).numpy()


def _cubic(volume: Float[Tensor, "X Y Z"]) -> Float[Tensor, "n n n"]:
    """With as many nodes a side each way, FINEST at most."""
    side = min(max(volume.shape), FINEST)
    volume = volume.detach().cpu().float()
    if volume.shape == (side,) * 3:
        return volume
    return torch.nn.functional.interpolate(volume[None, None], (side,) * 3, mode="trilinear", align_corners=True)[0, 0]


def _on_cpu(points: Points) -> Points:
    return Points(**{k: None if v is None else v.detach().cpu() for k, v in vars(points).items()})
