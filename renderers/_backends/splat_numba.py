"""Composite projected Gaussians on the CPU: SIMD inside rows, threads over bands of rows, bitwise repeatable (numba).

One depth sort, then every band of 8 rows walks all splats front to back (splat_bands). Gradients go to one slot per
splat and band and are summed in order: no atomics, the same bytes for any number of threads. Rules and constants are
gsplat's (Ye et al., arXiv:2409.06765). Twins: splat_torch (tiles), splat_dense (the definition).
"""

import math
from typing import no_type_check

import numba
import numpy as np
import torch
from dream3d.renderers._backends.splat_bands import MOMENTS, ROWS, backward, forward
from jaxtyping import Float
from numba import njit, prange
from torch import Tensor

F32, ZERO, HALF = np.float32, np.float32(0), np.float32(0.5)


def composite(
    means2d: Float[Tensor, "B N 2"],
    conics: Float[Tensor, "B N 3"],
    opacities: Float[Tensor, "B N"],
    features: Float[Tensor, "B N C"],
    depths: Float[Tensor, "B N"],
    height: int,
    width: int,
) -> tuple[Float[Tensor, "B H W C"], Float[Tensor, "B H W 1"]]:
    """Features and alpha, front to back; float32. See splat_dense.composite for the meaning of every argument."""
    order = depths.detach().argsort(dim=1, stable=True)
    return _Composite.apply(means2d, conics, opacities, features, order, height, width)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means2d, conics, opacities, features, order, height, width):
        numba.set_num_threads(max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)))
        colours = features.detach().gather(1, order[..., None].expand_as(features)).numpy()
        splats = np.empty((*order.shape, 7), F32)
        bands = np.empty((*order.shape, 2), np.int32)
        _prepare(*(_array(v) for v in (means2d, conics, opacities, order)), height, width, splats, bands)
        out = np.empty((len(order), height, width, features.shape[2]), F32)
        alpha = np.empty((len(order), height, width), F32)
        forward(splats, colours, bands, out, alpha)
        ctx.plan = splats, colours, bands, out, alpha
        ctx.order = order
        return torch.from_numpy(out), torch.from_numpy(alpha)[..., None]

    @staticmethod
    def backward(ctx, pull, pull_alpha):
        splats, colours, bands, out, alpha = ctx.plan
        starts = np.zeros(bands.shape[0] * bands.shape[1] + 1, np.int64)
        np.cumsum((bands[..., 1] - bands[..., 0]).ravel(), out=starts[1:])
        slots = np.empty((starts[-1], MOMENTS + colours.shape[2]), F32)
        backward(splats, colours, bands, starts, out, alpha, _array(pull), _array(pull_alpha[..., 0]), slots)
        means2d, conics, opacities = (np.empty((*bands.shape[:2], n), F32) for n in (2, 3, 1))
        features = np.empty_like(colours)
        _gather(splats, starts, slots, _array(ctx.order), means2d, conics, opacities, features)
        means2d, conics, opacities, features = map(torch.from_numpy, (means2d, conics, opacities, features))
        return means2d, conics, opacities[..., 0], features, None, None, None


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def _prepare(means2d, conics, opacities, order, height, width, splats, bands):
    """In depth order: mean, conic, opacity, largest exponent; and the half-open range of bands a splat can touch."""
    count = order.shape[1]
    for job in prange(order.shape[0] * count):
        view, rank = job // count, job % count
        n = order[view, rank]
        x, y = np.float64(means2d[view, n, 0]), np.float64(means2d[view, n, 1])
        a, b, c = np.float64(conics[view, n, 0]), np.float64(conics[view, n, 1]), np.float64(conics[view, n, 2])
        opacity = np.float64(opacities[view, n])
        det = a * c - b * b
        limit, first, last = 0.0, 0.0, 0.0
        if opacity * 255.0 >= 1.0 and a > 0.0 and det > 0.0:
            limit = math.log(255.0 * opacity)
            reach_x, reach_y = math.sqrt(2.0 * limit * c / det), math.sqrt(2.0 * limit * a / det)
            if x + reach_x > 0.0 and x - reach_x < width and y + reach_y > 0.0 and y - reach_y < height:
                first = max(math.floor((y - reach_y - 0.51) / ROWS), 0.0)
                last = min(math.floor((y + reach_y) / ROWS) + 1.0, (height + ROWS - 1) // ROWS)
        bands[view, rank, 0], bands[view, rank, 1] = int(first), int(last)
        splat = splats[view, rank]
        splat[0], splat[1], splat[2], splat[3], splat[4], splat[5], splat[6] = x, y, a, b, c, opacity, limit


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def _gather(splats, starts, slots, order, means2d, conics, opacities, features):
    """Sum the slots of every splat in order, and turn moments into gradients."""
    count = order.shape[1]
    for job in prange(order.shape[0] * count):
        view, rank = job // count, job % count
        n, splat = order[view, rank], splats[view, rank]
        total = np.zeros(slots.shape[1], F32)
        for slot in range(starts[job], starts[job + 1]):
            for k in range(total.size):
                total[k] += slots[slot, k]
        a, b, c, opacity = splat[2], splat[3], splat[4], splat[5]
        means2d[view, n, 0], means2d[view, n, 1] = a * total[1] + b * total[3], b * total[1] + c * total[3]
        conics[view, n, 0], conics[view, n, 1], conics[view, n, 2] = HALF * total[2], total[5], HALF * total[4]
        opacities[view, n, 0] = -total[0] / opacity if starts[job + 1] > starts[job] else ZERO
        for k in range(features.shape[2]):
            features[view, n, k] = total[MOMENTS + k]
