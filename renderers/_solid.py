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
from dream3d.export.texture import vertex_normals
from dream3d.types import Field, Mesh, Points

OPAQUE = 4.6  # optical depth of a cell beyond which more density tells nothing: 99 % of the light is lost
FRONT, BEHIND = 4, 12  # cells before and behind a surface whose colours are seen
LEVEL = 0.6  # of the density inside: where fitted volumes of a toybox car lose the least
FINEST = 192  # nodes a side beyond which fields are read on a coarser grid


def as_mesh(
    data: Points | Mesh | Field, *, threshold: float | Literal["auto"] = "auto", resolution: int = 128, bound: float = 0.8
) -> Mesh:
    """A closed surface of whatever it is, without specks and hidden hollows, with a colour per vertex; meshes as they are. A density is
    solid at `threshold` (1/metre); "auto" is 0.6 of the mean of what is denser than the mean of the positive densities. (That mean itself
    is Magic3D's choice: thin fog around a body lowers it, and the body swells.) Raises Mistake where
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
        mesh = dataclasses.replace(mesh, vertices=mesh.vertices.clamp(-data.bound, data.bound))  # closed where the field ends
    if field.rgb is None:
        return mesh
    return dataclasses.replace(mesh, rgb=_seen(field, mesh).clamp(0, 1))


def _seen(field: Field, mesh: Mesh) -> Float[Tensor, "V 3"]:
    """What a ray along a vertex' normal sees of a field: through fog, not what is painted at its level."""
    if field.density is None:
        return _fields.read(field.rgb, field, mesh.vertices)
    cell = 2 * field.bound / (max(field.density.shape) - 1)
    normal, rgb, light = vertex_normals(mesh), torch.zeros_like(mesh.vertices), torch.ones_like(mesh.vertices[:, :1])
    for depth in torch.arange(-FRONT, BEHIND, 0.5).tolist():
        places = mesh.vertices - cell * depth * normal
        through = torch.exp(-cell / 2 * _fields.read(field.density, field, places).clamp(min=0))
        rgb += light * (1 - through) * _fields.read(field.rgb, field, places)
        light = light * through
    nothing = _fields.read(field.rgb, field, mesh.vertices)
    return torch.where(light < 0.999, rgb / (1 - light).clamp(min=1e-3), nothing)


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
    auto = float(dense[dense >= dense.mean()].mean() * LEVEL)
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
