"""Composite projected Gaussians on the CPU: SIMD inside rows, threads over bands of rows, bitwise repeatable (numba).

One depth sort, then every band of 8 rows walks all splats front to back. On each row the interval where alpha >= 1/255 is exact;
its pixels are handled in blocks of 8, whose loops LLVM turns into vector instructions. The backward walks front to back too: what a
pixel still has to receive is its final value minus what it got ("remaining colour"), so nothing is stored per pixel and splat.
Gradients go to one slot per splat and band and are summed in order: no atomics, the same bytes for any number of threads.
Rules and constants are gsplat's (Ye et al., arXiv:2409.06765). Twins: splat_torch (tiles), splat_dense (the definition).
All of it stays in one file: numba's cache does not notice changes in another. no_type_check keeps the tests' shape checker off kernels.
"""

import math
from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float
from numba import njit, prange
from torch import Tensor

F32, U64 = np.float32, np.uint64
ZERO, HALF, ONE, SIXTEENTH = F32(0), F32(0.5), F32(1), F32(1 / 16)
MOST, STOP = F32(0.999), F32(1e-4)  # largest alpha; a pixel takes no splat that would leave it less light than STOP
INVERSE = tuple(F32((-1) ** k / math.factorial(k)) for k in range(8))  # exp(-u), u <= 0.35, to 6e-9
E0, E1, E2, E3, E4, E5, E6, E7 = INVERSE
ROWS, LANES, RETIRE = 8, U64(8), 32  # band height; pixels per block; splats between two looks for finished blocks
# a block is a run of 8-pixel vectors in one array, at constant distances, so that LLVM sees that they cannot overlap
LIGHT, X, WEIGHT, PULL, REST, VALUES = U64(0), U64(8), U64(16), U64(24), U64(32), U64(40)
MOMENTS = 6  # sums of q, q dx, q dx^2, q dy, q dy^2, q dx dy with q = d loss / d exponent
FAST = {"contract", "reassoc", "nsz", "arcp"}


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
        _forward(splats, colours, bands, out, alpha)
        ctx.plan = splats, colours, bands, out, alpha
        ctx.order = order
        return torch.from_numpy(out), torch.from_numpy(alpha)[..., None]

    @staticmethod
    def backward(ctx, pull, pull_alpha):
        splats, colours, bands, out, alpha = ctx.plan
        starts = np.zeros(bands.shape[0] * bands.shape[1] + 1, np.int64)
        np.cumsum((bands[..., 1] - bands[..., 0]).ravel(), out=starts[1:])
        slots = np.empty((starts[-1], MOMENTS + colours.shape[2]), F32)
        _backward(splats, colours, bands, starts, out, alpha, _array(pull), _array(pull_alpha[..., 0]), slots)
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


@njit(cache=True, inline="always")
@no_type_check
def _span(splat, y, blocks):
    """The half-open range of blocks on row centre y where the exponent is within its limit (with a little slack)."""
    a, b, c = np.float64(splat[2]), np.float64(splat[3]), np.float64(splat[4])
    dy = np.float64(splat[1]) - y
    inside = 2.0 * a * np.float64(splat[6]) - (a * c - b * b) * dy * dy
    if inside < 0.0:
        return 0, 0
    middle, reach = np.float64(splat[0]) + b * dy / a, math.sqrt(inside) / a + 0.01
    low = min(max(middle - reach - 0.5, 0.0), 8.0 * blocks)
    high = min(max(middle + reach + 7.5, 0.0), 8.0 * blocks)
    return int(low) // 8, int(high) // 8


@njit(cache=True, inline="always")
@no_type_check
def _alpha(sigma, opacity, limit):
    """min(0.999, opacity exp(-sigma)) where 0 <= sigma <= limit, else 0; exp is a polynomial of sigma / 16, raised to 16."""
    u = (sigma if sigma < limit else limit) * SIXTEENTH
    e = E0 + u * (E1 + u * (E2 + u * (E3 + u * (E4 + u * (E5 + u * (E6 + u * E7))))))
    e = e * e
    e = e * e
    e = e * e
    e = opacity * (e * e)
    e = e if e < MOST else MOST
    e = e if sigma >= ZERO else ZERO
    return e if sigma <= limit else ZERO


@njit(cache=True)
@no_type_check
def _retire(state, size, finished):
    """Mark the blocks in which no pixel takes light any more; True where none is left."""
    every = True
    for k in range(finished.size):
        o = U64(k) * size + LIGHT
        most = state[o]
        for i in range(LANES):
            most = max(most, state[o + i])
        finished[k] = most <= ZERO
        every = every and finished[k]
    return every


@njit(cache=True)
@no_type_check
def _blocks(rows, blocks, size):
    """Fresh blocks: full light, pixel centres, zero elsewhere."""
    state = np.zeros(rows * blocks * size, F32)
    for k in range(rows * blocks):
        for i in range(8):
            state[k * size + LIGHT + U64(i)] = ONE
            state[k * size + X + U64(i)] = F32((k % blocks) * 8 + i + 0.5)
    return state


@njit(cache=True)
@no_type_check
def _over(state, o, splat, dy, colour):
    """Put one splat over one block. Light t > 0: open; t <= 0: closed with -t left."""
    x, a, opacity, limit = splat[0], HALF * splat[2], splat[5], splat[6]
    b, c = splat[3] * dy, HALF * splat[4] * dy * dy
    for i in range(LANES):
        dx = x - state[o + X + i]
        alpha = _alpha((a * dx + b) * dx + c, opacity, limit)
        light = state[o + LIGHT + i]
        open = light if light > ZERO else ZERO
        after = open * (ONE - alpha)
        closed = -light if light > ZERO else light
        state[o + LIGHT + i] = after if after > STOP else closed
        state[o + WEIGHT + i] = alpha * open if after > STOP else ZERO
    for channel in range(U64(colour.size)):
        value, p = colour[channel], o + PULL + channel * LANES
        for i in range(LANES):
            state[p + i] += value * state[o + WEIGHT + i]


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def _forward(splats, colours, bands, out, alpha):
    views, height = out.shape[:2]
    per_view = (height + ROWS - 1) // ROWS
    for job in prange(views * per_view):
        view, band = job // per_view, job % per_view
        _forward_band(splats[view], colours[view], bands[view], band, out[view], alpha[view])


@njit(cache=True)
@no_type_check
def _forward_band(splats, colours, bands, band, out, alpha):
    height, width, channels = out.shape
    top = band * ROWS
    rows, blocks = min(ROWS, height - top), (width + 7) // 8
    size = PULL + LANES * U64(channels)
    state = _blocks(U64(rows), U64(blocks), size)
    finished = np.zeros(rows * blocks, np.bool_)
    seen = 0
    for n in range(len(bands)):
        if bands[n, 0] > band or bands[n, 1] <= band:
            continue
        seen += 1
        if seen % RETIRE == 0 and _retire(state, size, finished):
            break
        for r in range(rows):
            y = top + r + 0.5
            low, high = _span(splats[n], y, blocks)
            for k in range(r * blocks + low, r * blocks + high):
                if not finished[k]:
                    _over(state, U64(k) * size, splats[n], splats[n, 1] - F32(y), colours[n])
    for r in range(rows):
        for x in range(width):
            o = U64(r * blocks + x // 8) * size + U64(x % 8)
            alpha[top + r, x] = ONE - abs(state[o + LIGHT])
            for channel in range(channels):
                out[top + r, x, channel] = state[o + PULL + U64(channel) * LANES]


@njit(cache=True)
@no_type_check
def _under(state, o, splat, dy, colour, sums):
    """Walk one splat over one block again, and add what it does to the loss to `sums`."""
    x, a, opacity, limit = splat[0], HALF * splat[2], splat[5], splat[6]
    b, c = splat[3] * dy, HALF * splat[4] * dy * dy
    for i in range(LANES):
        state[o + PULL + i] = state[o + VALUES + i]
    for channel in range(U64(colour.size)):
        value, p = colour[channel], o + VALUES + LANES + channel * LANES
        for i in range(LANES):
            state[o + PULL + i] += value * state[p + i]
    for i in range(LANES):
        dx = x - state[o + X + i]
        alpha = _alpha((a * dx + b) * dx + c, opacity, limit)
        light = state[o + LIGHT + i]
        open = light if light > ZERO else ZERO
        after = open * (ONE - alpha)
        closed = -light if light > ZERO else light
        state[o + LIGHT + i] = after if after > STOP else closed
        weight = alpha * open if after > STOP else ZERO
        state[o + WEIGHT + i] = weight
        rest = state[o + REST + i] - weight * state[o + PULL + i]
        state[o + REST + i] = rest
        slope = -alpha * (open * state[o + PULL + i] - rest / (ONE - alpha))  # d loss / d exponent
        slope = slope if after > STOP else ZERO
        state[o + PULL + i] = slope if alpha < MOST else ZERO
    for i in range(LANES):
        q, dx = state[o + PULL + i], x - state[o + X + i]
        sums[i] += q
        sums[i + U64(8)] += q * dx
        sums[i + U64(16)] += q * dx * dx
        sums[i + U64(24)] += q * dy
        sums[i + U64(32)] += q * dy * dy
        sums[i + U64(40)] += q * dx * dy
    for channel in range(U64(colour.size)):
        p, s = o + VALUES + LANES + channel * LANES, U64(48) + channel * LANES
        for i in range(LANES):
            sums[s + i] += state[o + WEIGHT + i] * state[p + i]


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def _backward(splats, colours, bands, starts, out, alpha, pull, pull_alpha, slots):
    views, height = out.shape[:2]
    per_view, count = (height + ROWS - 1) // ROWS, splats.shape[1]
    for job in prange(views * per_view):
        view, band = job // per_view, job % per_view
        _backward_band(splats[view], colours[view], bands[view], band, out[view], alpha[view], pull[view], pull_alpha[view],
                       starts[view * count :], slots)  # fmt: skip


@njit(cache=True)
@no_type_check
def _pulls(state, size, top, rows, blocks, out, alpha, pull, pull_alpha):
    """Load the gradients of every pixel's values, alpha first, and the loss it still has to receive (linearised)."""
    for r in range(rows):
        for x in range(out.shape[1]):
            o, y = U64(r * blocks + x // 8) * size + U64(x % 8), top + r
            state[o + VALUES] = pull_alpha[y, x]
            rest = pull_alpha[y, x] * alpha[y, x]
            for channel in range(out.shape[2]):
                state[o + VALUES + LANES + U64(channel) * LANES] = pull[y, x, channel]
                rest += pull[y, x, channel] * out[y, x, channel]
            state[o + REST] = rest


@njit(cache=True)
@no_type_check
def _backward_band(splats, colours, bands, band, out, alpha, pull, pull_alpha, starts, slots):
    height, width, channels = out.shape
    top = band * ROWS
    rows, blocks = min(ROWS, height - top), (width + 7) // 8
    size = VALUES + LANES + LANES * U64(channels)
    state = _blocks(U64(rows), U64(blocks), size)
    _pulls(state, size, top, rows, blocks, out, alpha, pull, pull_alpha)
    finished = np.zeros(rows * blocks, np.bool_)
    sums = np.empty((MOMENTS + channels) * 8, F32)
    seen, done = 0, False
    for n in range(len(bands)):
        if bands[n, 0] > band or bands[n, 1] <= band:
            continue
        seen += 1
        done = done or (seen % RETIRE == 0 and _retire(state, size, finished))
        sums[:] = ZERO
        for r in range(0 if done else rows):
            y = top + r + 0.5
            low, high = _span(splats[n], y, blocks)
            for k in range(r * blocks + low, r * blocks + high):
                if not finished[k]:
                    _under(state, U64(k) * size, splats[n], splats[n, 1] - F32(y), colours[n], sums)
        slot = slots[starts[n] + band - bands[n, 0]]
        for k in range(slot.size):
            total = ZERO
            for i in range(8):
                total += sums[8 * k + i]
            slot[k] = total


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
