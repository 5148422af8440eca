"""The two walks of splat_numba over bands of 8 rows: forward, and backward. numba and LLVM only, no torch.

On each row the interval where alpha >= 1/255 is exact; its pixels are handled in blocks of 8, one vector each. A
block is a run of such vectors in one array, at constant distances, so that LLVM sees that they cannot overlap. The
backward walks front to back too: what a pixel still has to receive is its final value minus what it got, so nothing
is stored per pixel and splat. numba's cache does not notice changes in another file, so nothing here is called by
kernels elsewhere. `no_type_check` keeps the tests' shape checker, which knows tensors only, out of kernels.
"""

import math
from typing import no_type_check

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic

F32, U64 = np.float32, np.uint64
ZERO, HALF, ONE, SIXTEENTH = F32(0), F32(0.5), F32(1), F32(1 / 16)
MOST, STOP = F32(0.999), F32(1e-4)  # largest alpha; a pixel takes no splat that would leave it less light than STOP
E0, E1, E2, E3, E4, E5, E6, E7 = (F32((-1) ** k / math.factorial(k)) for k in range(8))  # exp(-u), u <= 0.35, to 6e-9
ROWS, LANES, RETIRE = 8, U64(8), 32  # band height; pixels per block; splats between two looks for finished blocks
LIGHT, X, WEIGHT, ALPHA, PULL, REST, VALUES = (U64(8 * k) for k in range(7))  # vectors of a block; VALUES: the rest
MOMENTS = 6  # sums of q, q dx, q dx^2, q dy, q dy^2, q dx dy with q = d loss / d exponent
FAST = {"contract", "reassoc", "nsz", "arcp"}


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


@njit(cache=True, inline="always", fastmath=FAST)
@no_type_check
def _alpha(sigma, opacity, limit):
    """min(0.999, opacity exp(-sigma)) where 0 <= sigma <= limit, else 0; exp is a polynomial of sigma / 16, raised to
    16."""
    u = (sigma if sigma < limit else limit) * SIXTEENTH
    e = E0 + u * (E1 + u * (E2 + u * (E3 + u * (E4 + u * (E5 + u * (E6 + u * E7))))))
    e = e * e
    e = e * e
    e = e * e
    e = opacity * (e * e)
    e = e if e < MOST else MOST
    e = e if sigma >= ZERO else ZERO
    return e if sigma <= limit else ZERO


def _vector(context, builder, array_type, array, index):
    """A pointer to the 8 floats from array[index] on. LLVM unrolls loops this short before it looks for vectors, and
    then, not knowing what overlaps, leaves them scalar; so the two loops over channels say what they mean."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.VectorType(ir.FloatType(), 8).as_pointer())


@intrinsic
@no_type_check
def _add(typing, state, p, value, q):
    """state[p : p + 8] += value * state[q : q + 8]."""

    def build(context, builder, signature, arguments):
        array, p, value, q = arguments
        p, q = (_vector(context, builder, signature.args[0], array, k) for k in (p, q))
        many = ir.Constant(ir.VectorType(ir.FloatType(), 8), ir.Undefined)
        for i in range(8):
            many = builder.insert_element(many, value, ir.IntType(32)(i))
        product = builder.fmul(many, builder.load(q, align=4), flags=("contract",))
        builder.store(builder.fadd(builder.load(p, align=4), product, flags=("contract",)), p, align=4)
        return context.get_dummy_value()

    return types.void(state, p, value, q), build


@intrinsic
@no_type_check
def _dot(typing, state, p, q):
    """The sum of state[p : p + 8] * state[q : q + 8], in pairs."""

    def build(context, builder, signature, arguments):
        array, p, q = arguments
        p, q = (_vector(context, builder, signature.args[0], array, k) for k in (p, q))
        total = builder.fmul(builder.load(p, align=4), builder.load(q, align=4))
        for width in (4, 2, 1):
            kind = ir.VectorType(ir.IntType(32), width)
            low, high = (ir.Constant(kind, list(range(k, k + width))) for k in (0, width))
            total = builder.fadd(builder.shuffle_vector(total, total, low), builder.shuffle_vector(total, total, high))
        return builder.extract_element(total, ir.IntType(32)(0))

    return types.float32(state, p, q), build


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


@njit(cache=True, inline="always", fastmath=FAST)
@no_type_check
def _take(state, o, splat, dy):
    """Let one splat take its light from one block: fills ALPHA (0 where it takes none) and WEIGHT, lowers LIGHT.
    Light above 0 is open; at or below it a pixel is closed, with minus the light that is left."""
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
        state[o + ALPHA + i] = alpha if after > STOP else ZERO


@njit(cache=True, fastmath=FAST)
@no_type_check
def _over(state, o, splat, dy, colour):
    """Put one splat over one block."""
    _take(state, o, splat, dy)
    for channel in range(U64(colour.size)):
        _add(state, o + PULL + channel * LANES, colour[channel], o + WEIGHT)


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def forward(splats, colours, bands, out, alpha):
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


@njit(cache=True, fastmath=FAST)
@no_type_check
def _under(state, o, splat, dy, colour, sums):
    """Walk one splat over one block again, and add what it does to the loss to `sums`."""
    _take(state, o, splat, dy)
    for i in range(LANES):
        state[o + PULL + i] = state[o + VALUES + i]
    for channel in range(U64(colour.size)):
        _add(state, o + PULL, colour[channel], o + VALUES + LANES + channel * LANES)
    for i in range(LANES):
        alpha = state[o + ALPHA + i]
        gain = state[o + WEIGHT + i] * state[o + PULL + i]
        rest = state[o + REST + i] - gain
        state[o + REST + i] = rest
        slope = rest * alpha / (ONE - alpha) - gain  # d loss / d exponent
        state[o + PULL + i] = slope if alpha < MOST else ZERO
    x = splat[0]
    zeroth, first, second = ZERO, ZERO, ZERO
    for i in range(LANES):
        q, dx = state[o + PULL + i], x - state[o + X + i]
        zeroth += q
        first += q * dx
        second += q * dx * dx
    sums[0] += zeroth
    sums[1] += first
    sums[2] += second
    sums[3] += zeroth * dy
    sums[4] += zeroth * dy * dy
    sums[5] += first * dy
    for channel in range(U64(colour.size)):
        sums[U64(MOMENTS) + channel] += _dot(state, o + WEIGHT, o + VALUES + LANES + channel * LANES)


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def backward(splats, colours, bands, starts, out, alpha, pull, pull_alpha, slots):
    views, height = out.shape[:2]
    per_view, count = (height + ROWS - 1) // ROWS, splats.shape[1]
    for job in prange(views * per_view):
        view, band = job // per_view, job % per_view
        _backward_band(splats[view], colours[view], bands[view], band, out[view], alpha[view],
                       pull[view], pull_alpha[view], starts[view * count :], slots)  # fmt: skip


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
    seen, done = 0, False
    for n in range(len(bands)):
        if bands[n, 0] > band or bands[n, 1] <= band:
            continue
        seen += 1
        done = done or (seen % RETIRE == 0 and _retire(state, size, finished))
        slot = slots[starts[n] + band - bands[n, 0]]
        slot[:] = ZERO
        for r in range(0 if done else rows):
            y = top + r + 0.5
            low, high = _span(splats[n], y, blocks)
            for k in range(r * blocks + low, r * blocks + high):
                if not finished[k]:
                    _under(state, U64(k) * size, splats[n], splats[n, 1] - F32(y), colours[n], slot)
