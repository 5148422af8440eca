"""Encode places by a multiresolution hash grid in plain torch, on any device and in any precision: the portable twin of hash_numba.

Where entries lie: see hash_rows. Level by level and corner by corner; on the way back each level is evaluated again, so that nothing is
stored per place but x and the answer.
"""

import itertools

import torch
from dream3d.renderers._backends.hash_rows import PRIMES, dense, rows
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def encode(
    x: Float[Tensor, "N 3"], table: Float[Tensor, "T 2"], resolutions: tuple[int, ...], size: int
) -> Float[Tensor, "N F"]:
    """Trilinear features of every level at x in [0, 1]^3, coarse to fine; outside those of the nearest place. table: `rows` entries.
    On a node the slope is the one towards larger x. A place that is not a number has features that are none."""
    first = rows(resolutions, size)
    parts = table.split([b - a for a, b in itertools.pairwise(first)])
    levels = zip(parts, resolutions, strict=True)
    each = (checkpoint(_level, x, part, r, size, use_reentrant=False, preserve_rng_state=False) for part, r in levels)
    return torch.cat([*each], 1)


def _level(x: Float[Tensor, "N 3"], part: Float[Tensor, "t 2"], resolution: int, size: int) -> Float[Tensor, "N 2"]:
    p = x.clamp(0, 1) * resolution
    cell = p.detach().long().clamp(0, resolution - 1)
    share = (p - cell).unbind(1)
    shares = [(1 - s, s) for s in share]
    features = torch.zeros(len(x), 2, dtype=part.dtype, device=part.device)
    for corner in itertools.product((0, 1), repeat=3):
        weight = shares[0][corner[0]] * shares[1][corner[1]] * shares[2][corner[2]]
        entry = _entry(*(cell[:, k] + up for k, up in enumerate(corner)), resolution, size)
        features = features + weight[:, None] * part.index_select(0, entry)
    return features


def _entry(
    x: Int[Tensor, " N"], y: Int[Tensor, " N"], z: Int[Tensor, " N"], resolution: int, size: int
) -> Int[Tensor, " N"]:
    """Of the nodes (x, y, z) of a level."""
    if dense(resolution, size):
        return x + (resolution + 1) * (y + (resolution + 1) * z)
    return ((x ^ y * PRIMES[0] ^ z * PRIMES[1]) & 0xFFFFFFFF) % size
