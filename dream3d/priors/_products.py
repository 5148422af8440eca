"""Products of a few vectors with thousands of pictures, on the CPU: what an exact answer spends its time on.

A matrix product of so few rows is slower than reading the pictures from memory. Here each is read once for all rows, in pieces that stay in
the cache, four sums at a time; and not at all by rows that it means nothing to. The order of sums is fixed: any number of threads gives the
same bits.
"""

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float
from numba import njit, prange
from torch import Tensor

FEW = 16  # rows; of more a matrix product is as fast
PIECE, CHUNK = 1024, 64  # numbers of a picture, pictures: a piece of every row and of one picture lie in the first cache
ZERO = np.float32(0)
FAST = {"contract", "reassoc", "nsz", "arcp"}


def dots(pictures: Float[Tensor, "M D"], rows: Float[Tensor, "Q D"], asked: Bool[Tensor, "Q M"] | None = None) -> Float[Tensor, "Q M"]:
    """rows @ pictures.T; what is not asked for may be 0 instead."""
    if not _here(rows):
        return rows @ pictures.T
    asked = torch.ones(len(rows), len(pictures), dtype=torch.bool) if asked is None else asked
    found = torch.zeros(len(rows), len(pictures))
    _dots(pictures.numpy(), rows.detach().contiguous().numpy(), asked.T.contiguous().numpy(), found.numpy())
    return found


def mixed(weights: Float[Tensor, "Q M"], pictures: Float[Tensor, "M D"]) -> Float[Tensor, "Q D"]:
    """weights @ pictures; pictures with no weight are not read."""
    if not _here(weights):
        return weights @ pictures
    found = torch.zeros(len(weights), pictures.shape[1])
    weights = weights.detach()
    used = (weights != 0).any(0).nonzero()[:, 0]
    _mixed(weights.T[used].contiguous().numpy(), used.numpy(), pictures.numpy(), found.numpy())
    return found


def _here(rows: Tensor) -> bool:
    return len(rows) <= FEW and rows.device.type == "cpu" and not (torch.is_grad_enabled() and rows.requires_grad)


@njit(cache=True, parallel=True, nogil=True, fastmath=FAST)
@no_type_check
def _dots(pictures, rows, asked, found):
    count, size = pictures.shape
    for chunk in prange((count + CHUNK - 1) // CHUNK):
        queries = np.empty(len(rows), np.int64)
        for start in range(0, size, PIECE):
            end = min(size, start + PIECE)
            for k in range(chunk * CHUNK, min(count, (chunk + 1) * CHUNK)):
                wanted = 0
                for q in range(len(rows)):
                    if asked[k, q]:
                        queries[wanted] = q
                        wanted += 1
                picture = pictures[k, start:end]
                for i in range(0, wanted - 3, 4):
                    a, b = rows[queries[i], start:end], rows[queries[i + 1], start:end]
                    c, d = rows[queries[i + 2], start:end], rows[queries[i + 3], start:end]
                    sa, sb, sc, sd = ZERO, ZERO, ZERO, ZERO
                    for j in range(end - start):
                        value = picture[j]
                        sa += value * a[j]
                        sb += value * b[j]
                        sc += value * c[j]
                        sd += value * d[j]
                    found[queries[i], k] += sa
                    found[queries[i + 1], k] += sb
                    found[queries[i + 2], k] += sc
                    found[queries[i + 3], k] += sd
                for i in range(wanted - wanted % 4, wanted):
                    a, sa = rows[queries[i], start:end], ZERO
                    for j in range(end - start):
                        sa += picture[j] * a[j]
                    found[queries[i], k] += sa


@njit(cache=True, parallel=True, nogil=True, fastmath=FAST)
@no_type_check
def _mixed(weights, used, pictures, found):
    """weights: (N, Q), of the N pictures that are used."""
    size, whole = pictures.shape[1], len(used) - len(used) % 4
    for piece in prange((size + PIECE - 1) // PIECE):
        start, end = piece * PIECE, min(size, (piece + 1) * PIECE)
        for k in range(0, whole, 4):
            a, b = pictures[used[k], start:end], pictures[used[k + 1], start:end]
            c, d = pictures[used[k + 2], start:end], pictures[used[k + 3], start:end]
            for q in range(len(found)):
                wa, wb, wc, wd = weights[k, q], weights[k + 1, q], weights[k + 2, q], weights[k + 3, q]
                if wa != ZERO or wb != ZERO or wc != ZERO or wd != ZERO:
                    row = found[q, start:end]
                    for j in range(end - start):
                        row[j] += wa * a[j] + wb * b[j] + wc * c[j] + wd * d[j]
        for k in range(whole, len(used)):
            for q in range(len(found)):
                for j in range(start, end):
                    found[q, j] += weights[k, q] * pictures[used[k], j]
