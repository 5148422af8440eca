"""Whatever a stage may hand over, as a volume on a grid; and what a grid says at a point."""

import dataclasses
import math

import numpy as np
import torch
import torch.nn.functional as F
from dream3d.renderers._backends.seeds import colours
from dream3d.renderers._signed import signed
from jaxtyping import Float
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.export.density import summed
from dream3d.types import Field, Mesh, Points

GREY = 0.5
FINE = 96  # nodes a side of what has none of its own


def as_field(data: Points | Mesh | Field, resolution: int | None = None, bound: float = 0.8) -> Field:
    """A volume of whatever it is. Raises Mistake for points that are no Gaussians, and for fields without geometry."""
    resolution = resolution or FINE
    if isinstance(data, Mesh):
        return from_mesh(data, resolution, bound)
    if isinstance(data, Points):
        return from_gaussians(data, resolution, bound)
    if data.density is None and data.distance is None:
        raise Mistake("a volume needs a field with density or distance")
    return data


def trilinear(grid: Float[Tensor, "1 K X Y Z"], x: Float[Tensor, "N 3"]) -> Float[Tensor, "N K"]:
    """Values at x in [-1, 1]^3 of a grid whose outer nodes lie on the faces; beyond them those of the nearest place."""
    places = x.flip(-1)[None, :, None, None]
    return F.grid_sample(grid, places, padding_mode="border", align_corners=True)[0, :, :, 0, 0].T


def nodes(side: int, bound: float, device="cpu") -> Float[Tensor, "n 3"]:
    """All nodes of a grid over [-bound, bound]^3, z fastest."""
    axis = torch.linspace(-bound, bound, side, device=device)
    return torch.cartesian_prod(axis, axis, axis)


def read(grid: Float[Tensor, "X Y Z *K"], field: Field, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N K"]:
    """A grid of the field's at world points."""
    grid = grid[..., None] if grid.ndim == 3 else grid
    return trilinear(grid.movedim(-1, 0)[None].to(x), x / field.bound)


def density_at(field: Field, x: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    """1/metre at world points, nothing beyond the field."""
    return torch.where(_beyond(field, x) > 0, 0, read(density(field), field, x)[:, 0])


def distance_at(field: Field, x: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    """Metres at world points; beyond the field at least those to its end."""
    near, beyond = read(distance(field), field, x)[:, 0], _beyond(field, x)
    return torch.where(beyond > 0, near.clamp(min=0) + beyond, near)


def _beyond(field: Field, x: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    """Metres to the field's cube, but for rounding."""
    inside = field.bound * (1 + 1e-5)
    return (x - x.clamp(-inside, inside)).norm(dim=-1)


def density(field: Field) -> Float[Tensor, "X Y Z"]:
    """1/metre: of a distance, an edge within a cell, a quarter of one inside, since light is lost before it reaches the middle of it."""
    if field.density is not None:
        return field.density
    width = 2 * field.bound / max(max(field.distance.shape) - 1, 1)
    return torch.sigmoid(-8 * (field.distance / width + 0.25)) * 4 / width


def distance(field: Field) -> Float[Tensor, "X Y Z"]:
    """Metres, negative inside: of a density, from where a ray loses half of its light in four cells."""
    if field.distance is not None:
        return field.distance
    from scipy.ndimage import distance_transform_edt as transform

    widths = 2 * field.bound / np.maximum(np.array(field.density.shape) - 1, 1)
    width = widths.min()
    inside = (field.density > math.log(2) / (4 * width)).cpu().numpy()
    if not inside.any():
        raise Mistake("there is no surface in what the earlier stage handed over: its density is too thin")
    inside = np.pad(inside, 1)  # beyond the field there is nothing
    away = (transform(~inside, sampling=widths) - transform(inside, sampling=widths))[1:-1, 1:-1, 1:-1]
    return torch.from_numpy(away - 0.5 * width * np.sign(away)).float()


def from_gaussians(points: Points, resolution: int, bound: float) -> Field:
    """Gaussians as fog: a ray through the middle of one loses the light that its opacity says."""
    if None in (points.scale, points.rotation, points.opacity):
        raise Mistake("a volume cannot start from plain points: they have no extent", fix="start gaussians from them, then hand over")
    size = points.scale.prod(-1) ** (1 / 3)
    peak = -torch.log1p(-points.opacity.clamp(max=0.99)) / (size * math.sqrt(2 * math.pi))
    amounts = [peak, *(peak * channel for channel in points.rgb.T)]
    fog, *paint = (
        torch.from_numpy(summed(dataclasses.replace(points, opacity=amount), resolution, bound)) for amount in amounts
    )
    return Field(bound, density=fog, rgb=(torch.stack(paint, -1) / fog[..., None].clamp(min=1e-6)).clamp(0, 1))


def from_mesh(mesh: Mesh, resolution: int, bound: float) -> Field:
    """Signed distances, and everywhere the colour of the nearest place."""
    x, spacing = nodes(resolution, bound), 2 * bound / (resolution - 1)
    index = torch.arange(resolution**3).view((resolution,) * 3)
    pairs = [torch.stack([index.narrow(k, 0, resolution - 1), index.narrow(k, 1, resolution - 1)], -1) for k in range(3)]
    links = torch.cat([pair.view(-1, 2) for pair in pairs])
    distance, face, weights = signed(mesh, x, spacing, links)
    shape = (resolution,) * 3
    return Field(bound, distance=distance.view(shape), rgb=colours(mesh, face, weights[..., None]).view(*shape, 3))
