"""Encode places by a multiresolution hash grid on the CPU: threads over places on the way there and over levels on the way back (numba).

The gradient of a level's entries is summed by one thread, place after place: no atomics, the same bytes for any number of threads.
Where entries lie: see hash_rows. Twin: hash_torch.
"""

from typing import no_type_check

import numba
import numpy as np
import torch
from dream3d.renderers._backends.hash_rows import PRIMES, levels
from jaxtyping import Float
from numba import njit, prange
from torch import Tensor
from torch.autograd.function import once_differentiable

F32, I64, U32, U64, ZERO, ONE = np.float32, np.int64, np.uint32, np.uint64, np.float32(0), np.float32(1)
Y, Z = U32(PRIMES[0]), U32(PRIMES[1])
BLOCK = 1024  # places whose answers stay in a core's cache while their levels are walked
FAST = {"contract"}


def encode(
    x: Float[Tensor, "N 3"], table: Float[Tensor, "T 2"], resolutions: tuple[int, ...], size: int
) -> Float[Tensor, "N F"]:
    """Trilinear features of every level at x in [0, 1]^3; float32. See hash_torch.encode for the meaning of every argument."""
    return _Encode.apply(x, table, np.array(levels(resolutions, size, len(table)), np.int64), size)


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, table, levels, size):
        numba.set_num_threads(max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)))
        out = np.empty((len(x), 2 * len(levels)), F32)
        _forward(_array(x), _array(table), levels, size, out)
        ctx.save_for_backward(x, table)
        ctx.levels, ctx.size = levels, size
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx, pull):
        x, table = map(_array, ctx.saved_tensors)
        by_x = by_table = None
        if ctx.needs_input_grad[0]:
            by_x = np.empty_like(x)
            _backward_x(x, table, ctx.levels, ctx.size, _array(pull), by_x)
            by_x = torch.from_numpy(by_x)
        if ctx.needs_input_grad[1]:
            by_table = np.zeros_like(table)
            _backward_table(x, ctx.levels, ctx.size, _array(pull), by_table)
            by_table = torch.from_numpy(by_table)
        return by_x, by_table, None, None


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


@njit(cache=True, inline="always", fastmath=FAST)
@no_type_check
def _cell(x, r):
    """Cell along one axis, and how far into it; what is not a number is nowhere in cell 0."""
    p = x if x > ZERO else ZERO
    p = (p if p < ONE else ONE) * F32(r)
    cell = min(I64(p), I64(r - 1))
    return cell, p - F32(cell) if x == x else x


@njit(cache=True, inline="always")
@no_type_check
def _entries(x, y, z, r, whole, size):
    """Of the 8 corners of a cell, x fastest. Unsigned, so that numba does not look for negative ones."""
    if whole:
        n = U64(r + 1)
        a = U64(x) + n * (U64(y) + n * U64(z))
        b, c = a + n, a + n * n
        return a, a + U64(1), b, b + U64(1), c, c + U64(1), c + n, c + n + U64(1)
    x0, y0, z0 = U32(x), U32(U32(y) * Y), U32(U32(z) * Z)
    x1, y1, z1 = U32(x0 + U32(1)), U32(y0 + Y), U32(z0 + Z)
    a, b, c, d = U32(y0 ^ z0), U32(y1 ^ z0), U32(y0 ^ z1), U32(y1 ^ z1)
    if size & (size - 1) == 0:  # as the remainder, many times faster
        m = U32(size - 1)
        return (U64((x0 ^ a) & m), U64((x1 ^ a) & m), U64((x0 ^ b) & m), U64((x1 ^ b) & m),
                U64((x0 ^ c) & m), U64((x1 ^ c) & m), U64((x0 ^ d) & m), U64((x1 ^ d) & m))  # fmt: skip
    m = U32(size)
    return (U64(U32(x0 ^ a) % m), U64(U32(x1 ^ a) % m), U64(U32(x0 ^ b) % m), U64(U32(x1 ^ b) % m),
            U64(U32(x0 ^ c) % m), U64(U32(x1 ^ c) % m), U64(U32(x0 ^ d) % m), U64(U32(x1 ^ d) % m))  # fmt: skip


@njit(cache=True, parallel=True, nogil=True, fastmath=FAST)
@no_type_check
def _forward(x, table, levels, size, out):
    for block in prange((len(x) + BLOCK - 1) // BLOCK):
        for level in range(len(levels)):
            r, first, whole = levels[level, 0], levels[level, 1], levels[level, 2] != 0
            part = table[first:]
            for n in range(block * BLOCK, min((block + 1) * BLOCK, len(x))):
                i, u = _cell(x[n, 0], r)
                j, v = _cell(x[n, 1], r)
                k, w = _cell(x[n, 2], r)
                e = _entries(i, j, k, r, whole, size)
                u0, v0, w0 = ONE - u, ONE - v, ONE - w
                a, b, c, d = v0 * w0, v * w0, v0 * w, v * w
                for f in range(2):
                    out[n, 2 * level + f] = (
                        a * (u0 * part[e[0], f] + u * part[e[1], f])
                        + b * (u0 * part[e[2], f] + u * part[e[3], f])
                        + c * (u0 * part[e[4], f] + u * part[e[5], f])
                        + d * (u0 * part[e[6], f] + u * part[e[7], f])
                    )


@njit(cache=True, parallel=True, nogil=True, fastmath=FAST)
@no_type_check
def _backward_table(x, levels, size, pull, by_table):
    for level in prange(len(levels)):
        r, first, whole = levels[level, 0], levels[level, 1], levels[level, 2] != 0
        part = by_table[first:]
        for n in range(len(x)):
            i, u = _cell(x[n, 0], r)
            j, v = _cell(x[n, 1], r)
            k, w = _cell(x[n, 2], r)
            e = _entries(i, j, k, r, whole, size)
            u0, v0, w0 = ONE - u, ONE - v, ONE - w
            for f in range(2):
                g = pull[n, 2 * level + f]
                g0, g1 = u0 * g, u * g
                a, b, c, d = v0 * w0, v * w0, v0 * w, v * w
                part[e[0], f] += a * g0
                part[e[1], f] += a * g1
                part[e[2], f] += b * g0
                part[e[3], f] += b * g1
                part[e[4], f] += c * g0
                part[e[5], f] += c * g1
                part[e[6], f] += d * g0
                part[e[7], f] += d * g1


@njit(cache=True, parallel=True, nogil=True, fastmath=FAST)
@no_type_check
def _backward_x(x, table, levels, size, pull, by_x):
    for n in prange(len(x)):
        gx, gy, gz = ZERO, ZERO, ZERO
        for level in range(len(levels)):
            r, first, whole = levels[level, 0], levels[level, 1], levels[level, 2] != 0
            part = table[first:]
            i, u = _cell(x[n, 0], r)
            j, v = _cell(x[n, 1], r)
            k, w = _cell(x[n, 2], r)
            e = _entries(i, j, k, r, whole, size)
            u0, v0, w0 = ONE - u, ONE - v, ONE - w
            p, q = pull[n, 2 * level] * F32(r), pull[n, 2 * level + 1] * F32(r)
            t0, t1 = p * part[e[0], 0] + q * part[e[0], 1], p * part[e[1], 0] + q * part[e[1], 1]
            t2, t3 = p * part[e[2], 0] + q * part[e[2], 1], p * part[e[3], 0] + q * part[e[3], 1]
            t4, t5 = p * part[e[4], 0] + q * part[e[4], 1], p * part[e[5], 0] + q * part[e[5], 1]
            t6, t7 = p * part[e[6], 0] + q * part[e[6], 1], p * part[e[7], 0] + q * part[e[7], 1]
            gx += w0 * (v0 * (t1 - t0) + v * (t3 - t2)) + w * (v0 * (t5 - t4) + v * (t7 - t6))
            gy += w0 * (u0 * (t2 - t0) + u * (t3 - t1)) + w * (u0 * (t6 - t4) + u * (t7 - t5))
            gz += v0 * (u0 * (t4 - t0) + u * (t5 - t1)) + v * (u0 * (t6 - t2) + u * (t7 - t3))
        by_x[n, 0] = ZERO if x[n, 0] < ZERO or x[n, 0] > ONE else gx
        by_x[n, 1] = ZERO if x[n, 1] < ZERO or x[n, 1] > ONE else gy
        by_x[n, 2] = ZERO if x[n, 2] < ZERO or x[n, 2] > ONE else gz
