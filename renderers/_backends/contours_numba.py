"""Where surfaces end between neighbouring pixels, on the CPU: threads over views, bitwise repeatable (numba).

The same search as contours_torch, which says what is looked for and why, in float64 without fast-math. Edges are found in buckets by their
lower vertex and parts by union, without sorting; memory is linear in faces, pixels and views.
"""

import math
from typing import no_type_check

import numba
import numpy as np
import torch
from dream3d.renderers._contours import Ends
from jaxtyping import Float, Int
from numba import njit, prange
from torch import Tensor

NEAR = 0.01  # _contours's
CONTOUR, MEETING, STEP = 1, 2, 3


def find(points: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], intrinsics: Float[Tensor, "B 3 3"], seen: Int[Tensor, "B H W"]) -> Ends:
    """The ends of surfaces in a picture; float32 on the CPU. See contours_torch.find."""
    numba.set_num_threads(max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)))
    corners = faces.detach().contiguous().numpy()
    low, high, of = _edges(corners, points.shape[1])
    root = _parts(corners, points.shape[1])
    views, height, width = seen.shape
    kind, rows = np.zeros((2, views, height, width), np.int8), np.full((2, views, height, width, 2), -1)
    lens = intrinsics.detach().double().contiguous().numpy()
    _search(points.detach().contiguous().numpy(), corners, lens, seen.contiguous().numpy(), low, high, of, root, kind, rows)
    return Ends(*(torch.from_numpy(v) for v in _listed(kind, rows, corners, points.shape[1])))


@njit(cache=True, nogil=True)
@no_type_check
def _edges(faces, count):
    """Lower and higher vertex of every edge, and the edge of every side of a face."""
    head, after = np.full(count, -1), np.empty(3 * len(faces), np.int64)
    low, high, of = np.empty(3 * len(faces), np.int64), np.empty(3 * len(faces), np.int64), np.empty((len(faces), 3), np.int64)
    found = 0
    for face in range(len(faces)):
        for k in range(3):
            a, b = faces[face, k], faces[face, (k + 1) % 3]
            a, b = min(a, b), max(a, b)
            edge = head[a]
            while edge >= 0 and high[edge] != b:
                edge = after[edge]
            if edge < 0:
                edge, found = found, found + 1
                low[edge], high[edge], after[edge], head[a] = a, b, head[a], edge
            of[face, k] = edge
    return low[:found], high[:found], of


@njit(cache=True, nogil=True)
@no_type_check
def _parts(faces, count):
    """The lowest vertex to which each vertex is joined by edges."""
    root = np.arange(count)
    for face in range(len(faces)):
        for k in range(2):
            a, b = faces[face, k], faces[face, k + 1]
            while root[a] != a:
                root[a] = root[root[a]]
                a = root[a]
            while root[b] != b:
                root[b] = root[root[b]]
                b = root[b]
            root[max(a, b)] = min(a, b)
    for vertex in range(count):
        root[vertex] = root[root[vertex]]  # lower ones point at their root already
    return root


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def _search(points, faces, lens, seen, low, high, of, root, kind, rows):
    for view in prange(len(points)):
        _view(points[view], faces, lens[view], seen[view], low, high, of, root, kind[:, view], rows[:, view])


@njit(cache=True)
@no_type_check
def _view(points, faces, lens, seen, low, high, of, root, kind, rows):
    """One picture, into `kind` (0: no end) and `rows` (the edge, or the two faces) by direction, row, column of the first pixel."""
    height, width = seen.shape
    extent = np.full((2, height, width), -1.0)
    sides = _sides(points, faces, of, len(low))
    for edge in range(len(low)):
        if sides[edge] != 0:
            _walk(points, faces, lens, seen, root, low[edge], high[edge], sides[edge], CONTOUR, kind, rows, extent)
    used, some = np.zeros(len(root), np.bool_), False
    for axis in range(2):
        for row in range(height - axis):
            for column in range(width - 1 + axis):
                a, b = seen[row, column], seen[row + axis, column + 1 - axis]
                if a < 0 or b < 0 or kind[axis, row, column] != 0 or root[faces[a, 0]] == root[faces[b, 0]]:
                    continue
                if _meet(points, faces, lens, a, b, column + 0.5, row + 0.5, axis):
                    kind[axis, row, column], rows[axis, row, column, 0], rows[axis, row, column, 1] = MEETING, a, b
                else:
                    used[root[faces[a, 0]]] = used[root[faces[b, 0]]] = some = True
    if some:
        for edge in range(len(low)):
            if used[root[low[edge]]]:
                _walk(points, faces, lens, seen, root, low[edge], high[edge], 0, STEP, kind, rows, extent)


@njit(cache=True)
@no_type_check
def _sides(points, faces, of, count):
    """Per edge the side on which all its faces lie (1 or -1), 0 where they lie on both or none is seen."""
    more, less = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for face in range(len(faces)):
        i, j, k = faces[face]
        ax, ay, az = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        bx, by, bz = points[j, 0] - ax, points[j, 1] - ay, points[j, 2] - az
        cx, cy, cz = points[k, 0] - ax, points[k, 1] - ay, points[k, 2] - az
        det = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
        if det == 0.0 or math.isnan(det):
            continue
        for side in range(3):
            if (faces[face, side] < faces[face, (side + 1) % 3]) == (det > 0.0):
                more[of[face, side]] = True
            else:
                less[of[face, side]] = True
    out = np.zeros(count, np.int8)
    for edge in range(count):
        out[edge] = np.int8(more[edge]) - np.int8(less[edge])
    return out


@njit(cache=True)
@no_type_check
def _nearness(points, faces, lens, face, x, y):
    """1/z of a face's plane at a spot of the picture; 0 for no face."""
    if face < 0:
        return 0.0
    ray_y = (y - lens[1, 2]) / lens[1, 1]
    ray_x = (x - lens[0, 2] - lens[0, 1] * ray_y) / lens[0, 0]
    i, j, k = faces[face]
    az, bz, cz = np.float64(points[i, 2]), np.float64(points[j, 2]), np.float64(points[k, 2])
    ax, ay = points[i, 0] - az * ray_x, points[i, 1] - az * ray_y
    bx, by = points[j, 0] - bz * ray_x, points[j, 1] - bz * ray_y
    cx, cy = points[k, 0] - cz * ray_x, points[k, 1] - cz * ray_y
    u, v, w = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
    return np.divide(u + v + w, u * az + v * bz + w * cz)


@njit(cache=True)
@no_type_check
def _meet(points, faces, lens, a, b, x, y, axis):
    """Whether the planes of two faces cross between a pixel and the next, the nearer one giving way."""
    begin = _nearness(points, faces, lens, a, x, y) - _nearness(points, faces, lens, b, x, y)
    x, y = x + 1 - axis, y + axis
    end = _nearness(points, faces, lens, a, x, y) - _nearness(points, faces, lens, b, x, y)
    return begin >= 0.0 and end <= 0.0 and begin > end


@njit(cache=True)
@no_type_check
def _walk(points, faces, lens, seen, root, low, high, side, want, kind, rows, extent):
    """Follow an edge over rows and columns of pixel centres; keep it where it is the outermost end of a surface."""
    height, width = seen.shape
    ax, ay, az = np.float64(points[low, 0]), np.float64(points[low, 1]), np.float64(points[low, 2])
    bx, by, bz = np.float64(points[high, 0]), np.float64(points[high, 1]), np.float64(points[high, 2])
    if not (az > NEAR or bz > NEAR):
        return
    if az < NEAR:
        share = (NEAR - az) / (bz - az)
        ax, ay, az = ax + share * (bx - ax), ay + share * (by - ay), NEAR
    elif bz < NEAR:
        share = (NEAR - bz) / (az - bz)
        bx, by, bz = bx + share * (ax - bx), by + share * (ay - by), NEAR
    ux, uy = (lens[0, 0] * ax + lens[0, 1] * ay + lens[0, 2] * az) / az, (lens[1, 1] * ay + lens[1, 2] * az) / az
    vx, vy = (lens[0, 0] * bx + lens[0, 1] * by + lens[0, 2] * bz) / bz, (lens[1, 1] * by + lens[1, 2] * bz) / bz
    if not (math.isfinite(ux) and math.isfinite(uy) and math.isfinite(vx) and math.isfinite(vy)):
        return
    for axis in range(2):
        if axis == 1:
            ux, uy, vx, vy = uy, ux, vy, vx
        lines, across = (height, width) if axis == 0 else (width, height)
        begin = int(min(max(math.ceil(min(uy, vy) - 0.5), 0.0), lines))
        stop = int(min(max(math.ceil(max(uy, vy) - 0.5), 0.0), lines))
        for line in range(begin, stop):
            share = (line + 0.5 - uy) / (vy - uy)
            where = ux + share * (vx - ux)
            if not (0.5 <= where < across - 0.5):
                continue
            cell = int(math.floor(where - 0.5))
            row, column = (line, cell) if axis == 0 else (cell, line)
            a, b, held = seen[row, column], seen[row + axis, column + 1 - axis], kind[axis, row, column]
            if a == b or (held != 0 and held != want):
                continue
            if want == CONTOUR:
                beyond = side * (uy - vy if axis == 0 else vy - uy) > 0
            elif a < 0 or b < 0 or root[faces[a, 0]] == root[faces[b, 0]]:
                continue
            else:
                beyond = root[faces[b, 0]] == root[low]
                if not (beyond or root[faces[a, 0]] == root[low]):
                    continue
            x, y = (where, line + 0.5) if axis == 0 else (line + 0.5, where)
            s, inner, outer = (1 / az) + share * (1 / bz - 1 / az), (b if beyond else a), (a if beyond else b)
            far = _nearness(points, faces, lens, outer, x, y)
            if not s > far or (want == CONTOUR and not 2 * _nearness(points, faces, lens, inner, x, y) > s + far):
                continue
            reach = where - (cell + 0.5)
            reach = 1 - reach if beyond else reach
            if reach > extent[axis, row, column] or (
                reach == extent[axis, row, column] and (low, high) < (rows[axis, row, column, 0], rows[axis, row, column, 1])
            ):
                kind[axis, row, column], extent[axis, row, column] = want, reach
                rows[axis, row, column, 0], rows[axis, row, column, 1] = low, high


@njit(cache=True)
@no_type_check
def _listed(kind, rows, faces, count):
    """The columns of Ends."""
    _, views, height, width = kind.shape
    total = np.count_nonzero(kind)
    first, second, level, meets = np.empty(total, np.int64), np.empty(total, np.int64), np.empty(total, np.bool_), np.empty(total, np.bool_)
    out, n = np.full((total, 6), -1), 0
    for axis in range(2):
        for view in range(views):
            for row in range(height):
                for column in range(width):
                    what = kind[axis, view, row, column]
                    if what == 0:
                        continue
                    first[n] = (view * height + row) * width + column
                    second[n], level[n], meets[n] = first[n] + (width if axis else 1), axis == 0, what == MEETING
                    for k in range(2):
                        value = rows[axis, view, row, column, k]
                        if what == MEETING:
                            for corner in range(3):
                                out[n, 3 * k + corner] = view * count + faces[value, corner]
                        else:
                            out[n, k] = view * count + value
                    n += 1
    return first, second, level, meets, out
