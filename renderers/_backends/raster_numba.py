"""Which face every pixel shows, on the CPU: a z-buffer, threads over views and bands of rows, bitwise repeatable (numba).

The same float64 arithmetic as raster_torch, which says what is computed and why; no fast-math, so that both give the same faces. No two
threads write to one place: the same bytes for any number of threads.
"""

import math
from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit, prange
from torch import Tensor

NEAR, SLACK = 0.01, 1e-4  # raster_torch's
ROWS = 16  # of a band


def rasterize(
    points: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], intrinsics: Float[Tensor, "B 3 3"], height: int, width: int
) -> tuple[Int[Tensor, "B H W"], Float[Tensor, "B H W 3"]]:
    """(face or -1, barycentric weights or 0) at the pixel centres; float32 on the CPU. See raster_torch.rasterize."""
    numba.set_num_threads(max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)))
    lens = intrinsics.detach().double()
    views, count = len(points), len(faces)
    planes, boxes = np.empty((views, count, 10)), np.empty((views, count, 4), np.int32)
    indices = faces.detach().contiguous().numpy()
    _prepare(_array(points), indices, lens.contiguous().numpy(), _array(torch.linalg.inv(lens)), height, width, planes, boxes)
    seen, weights = np.full((views, height, width), -1), np.zeros((views, height, width, 3), np.float32)
    _fill(planes, boxes, seen, weights)
    return torch.from_numpy(seen), torch.from_numpy(weights)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def _prepare(points, faces, lens, ray, height, width, planes, boxes):
    """Per view and face: the three e as factors of (x, y, 1), positive inside, and |det|; the box of pixels it can cover."""
    count = len(faces)
    for job in prange(len(points) * count):
        view, face = job // count, job % count
        plane, box = planes[view, face], boxes[view, face]
        v, cross = np.empty((3, 3)), np.empty((3, 3))
        for i in range(3):
            for k in range(3):
                v[i, k] = points[view, faces[face, i], k]
        for i in range(3):
            a, b = v[(i + 1) % 3], v[(i + 2) % 3]
            cross[i, 0], cross[i, 1], cross[i, 2] = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
        det = (v[0, 0] * cross[0, 0] + v[0, 1] * cross[0, 1]) + v[0, 2] * cross[0, 2]
        box[0], box[1], box[2], box[3] = 0, 0, 0, 0
        if not (math.isfinite(det) and det != 0.0):
            continue
        sign, way = (1.0 if det > 0.0 else -1.0), ray[view]
        for i in range(3):
            for k in range(3):
                plane[3 * i + k] = sign * ((cross[i, 0] * way[0, k] + cross[i, 1] * way[1, k]) + cross[i, 2] * way[2, k])
        plane[9] = abs(det)
        _box(v, lens[view], height, width, box)


@njit(cache=True)
@no_type_check
def _box(v, lens, height, width, box):
    """First and last + 1 columns and rows of the pixels that what lies beyond NEAR can cover."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for i in range(3):
        a, b = v[i], v[(i + 1) % 3]
        if a[2] >= NEAR:
            _grow(lens, a[0], a[1], a[2], low, high)
        if (a[2] < NEAR) != (b[2] < NEAR):
            share = (NEAR - a[2]) / (b[2] - a[2])
            _grow(lens, a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]), NEAR, low, high)
    for k in range(2):
        size = height if k else width
        box[2 * k] = int(min(max(math.ceil(low[k] - 0.5 - SLACK), 0.0), size)) if low[k] < np.inf else size
        box[2 * k + 1] = int(min(max(math.floor(high[k] - 0.5 + SLACK) + 1.0, 0.0), size)) if high[k] > -np.inf else 0


@njit(cache=True, inline="always")
@no_type_check
def _grow(lens, x, y, z, low, high):
    for k in range(2):
        on = ((lens[k, 0] * x + lens[k, 1] * y) + lens[k, 2] * z) / z
        low[k], high[k] = min(low[k], on), max(high[k], on)


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def _fill(planes, boxes, seen, weights):
    """The z-buffer, band by band."""
    views, height, width = seen.shape
    bands = (height + ROWS - 1) // ROWS
    for job in prange(views * bands):
        view, first = job // bands, (job % bands) * ROWS
        last = min(first + ROWS, height)
        nearest = np.zeros((last - first, width))
        for face in range(planes.shape[1]):
            left, right, top, bottom = boxes[view, face]
            top, bottom = max(top, first), min(bottom, last)
            if top >= bottom or left >= right:
                continue
            p = planes[view, face]
            a0, b0, c0, a1, b1, c1, a2, b2, c2, det = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9]
            for row in range(top, bottom):
                y = row + 0.5
                r0, r1, r2 = b0 * y + c0, b1 * y + c1, b2 * y + c2
                for column in range(left, right):
                    x = column + 0.5
                    e0, e1, e2 = a0 * x + r0, a1 * x + r1, a2 * x + r2
                    if e0 >= 0.0 and e1 >= 0.0 and e2 >= 0.0:
                        s = ((e0 + e1) + e2) / det
                        if s * NEAR <= 1.0 and s > nearest[row - first, column]:
                            nearest[row - first, column], seen[view, row, column] = s, face
        _weigh(planes[view], seen[view], weights[view], first, last)


@njit(cache=True)
@no_type_check
def _weigh(planes, seen, weights, first, last):
    for row in range(first, last):
        for column in range(seen.shape[1]):
            if seen[row, column] >= 0:
                p, x, y = planes[seen[row, column]], column + 0.5, row + 0.5
                e0 = p[0] * x + (p[1] * y + p[2])
                e1 = p[3] * x + (p[4] * y + p[5])
                e2 = p[6] * x + (p[7] * y + p[8])
                total = (e0 + e1) + e2
                weights[row, column, 0], weights[row, column, 1], weights[row, column, 2] = e0 / total, e1 / total, e2 / total
