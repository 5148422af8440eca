"""A closed surface around Gaussians themselves: where their summed opacity reaches a level.

The field is DreamGaussian's (Tang et al., arXiv 2309.16653), the sum of opacity exp(-d^2 / 2) with d in standard
deviations. It beats renders of depth for soft splats: their depth is a mean over everything the ray passes, which lies
behind thin parts. Hollows inside a shell of Gaussians are filled.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from dream3d.errors import Mistake
from dream3d.export.surface import REACH, march, solid
from dream3d.types import Mesh, Points

LEVEL = 0.6  # summed opacity at the surface
EXTENT = 3.0  # standard deviations that count


def surface_of(points: Points, *, resolution: int = 128, bound: float = 0.8) -> Mesh:
    """A watertight mesh around Gaussians (with scale, rotation, opacity) inside [-bound, bound]^3. Raises Mistake where
    their opacity nowhere reaches the level."""
    field = summed(points, resolution, bound)
    if not field.max() > LEVEL:
        raise Mistake("there is no surface to export: the Gaussians are too thin to hide anything")
    return march(solid(REACH * np.tanh(np.log(LEVEL / np.maximum(field, 1e-6)))), bound)


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
