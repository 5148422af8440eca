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
        i, j, k = faces[face]
        box = boxes[view, face]
        ax, ay, az = np.float64(points[view, i, 0]), np.float64(points[view, i, 1]), np.float64(points[view, i, 2])
        bx, by, bz = np.float64(points[view, j, 0]), np.float64(points[view, j, 1]), np.float64(points[view, j, 2])
        cx, cy, cz = np.float64(points[view, k, 0]), np.float64(points[view, k, 1]), np.float64(points[view, k, 2])
        n0, n1, n2 = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
        det = (ax * n0 + ay * n1) + az * n2
        box[0], box[1], box[2], box[3] = 0, 0, 0, 0
        if not (math.isfinite(det) and det != 0.0):
            continue
        plane, sign, way = planes[view, face], 1.0 if det > 0.0 else -1.0, ray[view]
        _side(n0, n1, n2, way, sign, plane, 0)
        _side(cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax, way, sign, plane, 3)
        _side(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx, way, sign, plane, 6)
        plane[9] = abs(det)
        low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
        for _ in range(3):
            if az >= NEAR:
                x, y = _on(lens[view], ax, ay, az)
                low_x, high_x, low_y, high_y = min(low_x, x), max(high_x, x), min(low_y, y), max(high_y, y)
            if (az < NEAR) != (bz < NEAR):
                share = (NEAR - az) / (bz - az)
                x, y = _on(lens[view], ax + share * (bx - ax), ay + share * (by - ay), NEAR)
                low_x, high_x, low_y, high_y = min(low_x, x), max(high_x, x), min(low_y, y), max(high_y, y)
            ax, ay, az, bx, by, bz, cx, cy, cz = bx, by, bz, cx, cy, cz, ax, ay, az
        if low_x < np.inf and low_y < np.inf and high_x > -np.inf and high_y > -np.inf:
            box[0], box[1] = _range(low_x, high_x, width)
            box[2], box[3] = _range(low_y, high_y, height)


@njit(cache=True, inline="always")
@no_type_check
def _side(x, y, z, way, sign, plane, at):
    for k in range(3):
        plane[at + k] = sign * ((x * way[0, k] + y * way[1, k]) + z * way[2, k])


@njit(cache=True, inline="always")
@no_type_check
def _on(lens, x, y, z):
    """Where a point is seen."""
    return ((lens[0, 0] * x + lens[0, 1] * y) + lens[0, 2] * z) / z, ((lens[1, 0] * x + lens[1, 1] * y) + lens[1, 2] * z) / z


@njit(cache=True, inline="always")
@no_type_check
def _range(low, high, size):
    """First and last + 1 of the pixels whose centres lie between."""
    return int(min(max(math.ceil(low - 0.5 - SLACK), 0.0), size)), int(min(max(math.floor(high - 0.5 + SLACK) + 1.0, 0.0), size))


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
