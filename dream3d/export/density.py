"""A closed surface around Gaussians themselves: where their summed opacity reaches a level.

The field is DreamGaussian's (Tang et al., arXiv 2309.16653), the sum of opacity exp(-d^2 / 2) with d in standard
deviations. It beats renders of depth for soft splats: their depth is a mean over everything the ray passes, which lies
behind thin parts. Hollows inside a shell of Gaussians are filled. The level is one number, or the one at which the outlines are
those that the scene shows: a ray meets the surface where the greatest value on it exceeds the level.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from dream3d.export.surface import REACH, NoSurface, march, solid
from dream3d.export.views import renders, sphere
from dream3d.interfaces import Representation
from dream3d.types import Mesh, Points

LEVEL = 0.6  # summed opacity at the surface
LOW, HIGH = 0.1, 1.5  # between which it is sought
ALIKE = 0.01  # of intersection over union: the highest level of those that are nearly as good, as colours lie deep in what is soft
EXTENT = 3.0  # standard deviations that count
VIEWS, SIZE = 12, 96  # of the outlines
LEAST = 0.5  # of the scene's outline that the level must come to, as intersection over union: else it is the usual one


def surface_of(points: Points, *, resolution: int = 128, bound: float = 0.8, scene: Representation | None = None) -> Mesh:
    """A watertight mesh around Gaussians (with scale, rotation, opacity) inside [-bound, bound]^3, with the outlines of the `scene` that
    shows them where that is told. Raises Mistake where their opacity nowhere reaches the level."""
    field = summed(points, resolution, bound)
    if not field.max() > LEVEL:
        where = f"no Gaussian lies within {bound:g} m of the origin" if not field.any() else "the Gaussians are too thin to hide anything"
        raise NoSurface(f"there is no surface to export: {where}", fix="--format ply writes the Gaussians themselves")
    level = LEVEL if scene is None else min(fitting(field, scene, bound), float(field.max()) * 0.9)
    return march(solid(REACH * np.tanh(np.log(level / np.maximum(field, 1e-6)))), bound)


def fitting(field: Float[ndarray, "X Y Z"], scene: Representation, bound: float) -> float:
    """The level in [LOW, HIGH] whose outlines agree with where the scene is more than half opaque (intersection over union): of those
    that do so nearly as well as the best, the highest."""
    grid = torch.from_numpy(field)[None, None]
    cameras = sphere(VIEWS, radius=bound, size=SIZE)
    most, there = [], []
    for part, render in renders(scene, cameras):
        origin, way = part.rays()
        along = torch.linspace(-math.sqrt(3), math.sqrt(3), 2 * len(field)) * bound
        way = torch.nn.functional.normalize(way, dim=-1)
        middle = origin - (origin * way).sum(-1, keepdim=True) * way  # of the ray, next to the centre of the world
        for row in range(len(part)):
            place = (middle[row, ..., None, :] + along[:, None] * way[row, ..., None, :]) / bound
            values = torch.nn.functional.grid_sample(grid, place.flip(-1)[None], align_corners=True)
            most.append(values[0, 0].amax(-1).flatten())
        there.append((render.alpha > 0.5).flatten())
    value, order = torch.cat(most).sort(descending=True)
    shown = torch.cat(there)[order].double().cumsum(0)
    overlap = shown / (torch.arange(1, len(value) + 1) + shown[-1] - shown)
    overlap[(value < LOW) | (value > HIGH)] = 0
    good = int((overlap >= overlap.max() - ALIKE).nonzero()[0])
    return float(value[good]) if float(overlap.max()) > LEAST else LEVEL


def summed(points: Points, resolution: int, bound: float) -> Float[ndarray, "X Y Z"]:
    """Summed opacity on a grid over [-bound, bound]^3, one Gaussian after the other within its box."""
    field, voxel = np.zeros((resolution,) * 3, np.float32), 2 * bound / (resolution - 1)
    centre = (points.position.numpy() + bound) / voxel
    scale = points.scale.clamp(min=0.3 * voxel)  # thinner ones would slip between the voxels
    spread = (_axes(points.rotation) * scale[:, None]).numpy() / voxel  # columns: axes times standard deviations
    reach = EXTENT * np.sqrt((spread**2).sum(-1))
    low = np.ceil(centre - reach).clip(0, resolution).astype(int)
    high = (np.floor(centre + reach) + 1).clip(0, resolution).astype(int)
    for c, m, a, b, opacity in zip(centre, np.linalg.inv(spread), low, high, points.opacity.numpy(), strict=True):
        if (a >= b).any():
            continue
        x, y, z = (np.arange(a[i], b[i], dtype=np.float32) - c[i] for i in range(3))
        d = sum((m[i, 0] * x[:, None, None] + m[i, 1] * y[:, None] + m[i, 2] * z) ** 2 for i in range(3))
        field[a[0] : b[0], a[1] : b[1], a[2] : b[2]] += opacity * np.exp(-0.5 * d)
    return field


def _axes(q: Float[torch.Tensor, "N 4"]) -> Float[torch.Tensor, "N 3 3"]:
    """Rotation matrices of quaternions wxyz."""
    w, x, y, z = torch.nn.functional.normalize(q, dim=-1).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))
