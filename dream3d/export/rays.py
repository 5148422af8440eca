"""Rays against triangles on the CPU: a tree of boxes, what a ray meets first, the nearest place, and whether light comes in (numba).

The tree is a complete binary one over triangles halved along the longest side of their centres' box, its nodes numbered as in a heap, so
that it needs no links. No two threads write to one place: the same bytes for any number of threads.
"""

import math
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit, prange
from numpy import ndarray
from torch import Tensor

from dream3d.export.texels import threads
from dream3d.types import Mesh

LEAF = 4  # triangles at most
DEEP = 64  # nodes that wait while a tree is walked: twice its depth


class Tree:
    """Over the faces of a mesh; `corners` lie in the tree's order, `order` says which face each is."""

    def __init__(self, mesh: Mesh):
        threads()
        corners = mesh.vertices.detach().cpu().numpy().astype(np.float64)[mesh.faces.cpu().numpy()]
        depth = max(0, math.ceil(math.log2(max(len(corners), 1) / LEAF)))
        self.order = np.arange(len(corners))
        self.first = _halve(corners.mean(1), self.order, depth)  # of each leaf, and the end
        self.corners = np.ascontiguousarray(corners[self.order])
        self.boxes = _bound(self.corners, self.first, depth)

    def along(
        self, place: Float[Tensor, "n 3"], way: Float[Tensor, "n 3"], reach: float
    ) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3"]]:
        """The face nearest to each place along its unit way, ahead or behind within `reach` metres, among those that look the same way;
        -1 where there is none. And barycentric weights there."""
        face, weights = np.empty(len(place), np.int64), np.zeros((len(place), 3), np.float32)
        _along(self.corners, self.first, self.boxes, _array(place), _array(way), reach, face, weights)
        return self._named(face, weights)

    def nearest(self, place: Float[Tensor, "n 3"]) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3"]]:
        """The face with the nearest point, and its barycentric weights."""
        face, weights = np.empty(len(place), np.int64), np.zeros((len(place), 3), np.float32)
        _nearest(self.corners, self.first, self.boxes, _array(place), face, weights)
        return self._named(face, weights)

    def open(
        self, place: Float[Tensor, "n 3"], normal: Float[Tensor, "n 3"], rays: Float[ndarray, "K 3"], reach: float, shift: float
    ) -> Float[Tensor, " n"]:
        """The share of `rays` (directions about +z) that leave each place, about its normal and turned by a number of its own, without
        meeting a face within `reach` metres. They start `shift` metres above."""
        share = np.empty(len(place), np.float32)
        _open(self.corners, self.first, self.boxes, _array(place), _array(normal), rays, reach, shift, share)
        return torch.from_numpy(share)

    def _named(self, face: Int[ndarray, " n"], weights: Float[ndarray, "n 3"]) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3"]]:
        return torch.from_numpy(np.where(face >= 0, self.order[face], -1)), torch.from_numpy(weights)


def _array(tensor: Tensor) -> ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)


@njit(cache=True)
@no_type_check
def _halve(centre, order, depth):
    """Sort `order` so that the leaves' triangles lie together; where each begins."""
    leaves = 1 << depth
    first = np.empty(leaves + 1, np.int64)
    first[0], first[leaves] = 0, len(order)
    size = leaves
    while size > 1:
        for left in range(0, leaves, size):
            begin, end = first[left], first[left + size]
            low, high = np.full(3, np.inf), np.full(3, -np.inf)
            for i in range(begin, end):
                for k in range(3):
                    low[k], high[k] = min(low[k], centre[order[i], k]), max(high[k], centre[order[i], k])
            axis = np.argmax(high - low)
            part = order[begin:end].copy()
            order[begin:end] = part[np.argsort(centre[part, axis], kind="mergesort")]
            first[left + size // 2] = (begin + end) // 2
        size //= 2
    return first


@njit(cache=True)
@no_type_check
def _bound(corners, first, depth):
    """Least and greatest corner of every node, leaves last."""
    leaves = 1 << depth
    boxes = np.empty((2 * leaves - 1, 6), np.float32)
    for leaf in range(leaves):
        box = boxes[leaves - 1 + leaf]
        box[:3], box[3:] = np.inf, -np.inf
        for i in range(first[leaf], first[leaf + 1]):
            for j in range(3):
                for k in range(3):
                    box[k], box[3 + k] = min(box[k], corners[i, j, k]), max(box[3 + k], corners[i, j, k])
        for k in range(3):  # float32 rounds: a little wider
            box[k] -= 1e-6 + 1e-6 * abs(box[k])
            box[3 + k] += 1e-6 + 1e-6 * abs(box[3 + k])
    for node in range(leaves - 2, -1, -1):
        a, b = boxes[2 * node + 1], boxes[2 * node + 2]
        for k in range(3):
            boxes[node, k], boxes[node, 3 + k] = min(a[k], b[k]), max(a[3 + k], b[3 + k])
    return boxes


@njit(cache=True, inline="always")
@no_type_check
def _enters(box, x, y, z, u, v, w, low, high):
    """Where a line (inverse direction u v w) enters a box, within [low, high]; inf where it misses."""
    a, b = (box[0] - x) * u, (box[3] - x) * u
    low, high = max(low, min(a, b)), min(high, max(a, b))
    a, b = (box[1] - y) * v, (box[4] - y) * v
    low, high = max(low, min(a, b)), min(high, max(a, b))
    a, b = (box[2] - z) * w, (box[5] - z) * w
    low, high = max(low, min(a, b)), min(high, max(a, b))
    return low if low <= high else np.inf


@njit(cache=True, inline="always")
@no_type_check
def _meets(t, x, y, z, u, v, w):
    """Where a line meets a triangle (Moeller and Trumbore 1997): (distance, second weight, third, cosine's sign); inf where it does not."""
    ax, ay, az = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    bx, by, bz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    px, py, pz = v * bz - w * by, w * bx - u * bz, u * by - v * bx
    det = ax * px + ay * py + az * pz
    if abs(det) < 1e-18:
        return np.inf, 0.0, 0.0, 0.0
    sx, sy, sz = x - t[0, 0], y - t[0, 1], z - t[0, 2]
    b = (sx * px + sy * py + sz * pz) / det
    if b < -1e-6 or b > 1.000001:
        return np.inf, 0.0, 0.0, 0.0
    qx, qy, qz = sy * az - sz * ay, sz * ax - sx * az, sx * ay - sy * ax
    c = (u * qx + v * qy + w * qz) / det
    if c < -1e-6 or b + c > 1.000001:
        return np.inf, 0.0, 0.0, 0.0
    return (bx * qx + by * qy + bz * qz) / det, b, c, -det  # det > 0: the line comes from the front


@njit(cache=True, inline="always")
@no_type_check
def _inverse(v):
    return 1.0 / v if abs(v) > 1e-12 else 1e12


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def _along(corners, first, boxes, place, way, reach, face, weights):
    leaves = len(first) - 1
    for i in prange(len(place)):
        x, y, z = np.float64(place[i, 0]), np.float64(place[i, 1]), np.float64(place[i, 2])
        u, v, w = np.float64(way[i, 0]), np.float64(way[i, 1]), np.float64(way[i, 2])
        p, q, r = _inverse(u), _inverse(v), _inverse(w)
        best, found, s1, s2 = reach, -1, 0.0, 0.0
        stack = np.empty(DEEP, np.int64)
        stack[0], size = 0, 1
        while size:
            size -= 1
            node = stack[size]
            if _enters(boxes[node], x, y, z, p, q, r, -best, best) == np.inf:
                continue
            if node < leaves - 1:
                stack[size], stack[size + 1] = 2 * node + 2, 2 * node + 1
                size += 2
                continue
            leaf = node - leaves + 1
            for k in range(first[leaf], first[leaf + 1]):
                t, b, c, side = _meets(corners[k], x, y, z, u, v, w)
                if abs(t) < best and side > 0.0:
                    best, found, s1, s2 = abs(t), k, b, c
        face[i] = found
        if found >= 0:
            weights[i, 0], weights[i, 1], weights[i, 2] = 1.0 - s1 - s2, s1, s2


@njit(cache=True, inline="always")
@no_type_check
def _far(box, x, y, z):
    """Squared distance to a box."""
    a = max(box[0] - x, 0.0, x - box[3])
    b = max(box[1] - y, 0.0, y - box[4])
    c = max(box[2] - z, 0.0, z - box[5])
    return a * a + b * b + c * c


@njit(cache=True)
@no_type_check
def _closest(t, x, y, z):
    """Squared distance to a triangle, and the weights of the nearest point (Ericson, Real-Time Collision Detection, 5.1.5)."""
    ax, ay, az = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    bx, by, bz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    px, py, pz = x - t[0, 0], y - t[0, 1], z - t[0, 2]
    aa, ab, bb = ax * ax + ay * ay + az * az, ax * bx + ay * by + az * bz, bx * bx + by * by + bz * bz
    d1, d2 = ax * px + ay * py + az * pz, bx * px + by * py + bz * pz
    d3, d4, d5, d6 = d1 - aa, d2 - ab, d1 - ab, d2 - bb
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    if d1 <= 0.0 and d2 <= 0.0:
        s, r = 0.0, 0.0
    elif d3 >= 0.0 and d4 <= d3:
        s, r = 1.0, 0.0
    elif d6 >= 0.0 and d5 <= d6:
        s, r = 0.0, 1.0
    elif vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
        s, r = d1 / max(d1 - d3, 1e-30), 0.0
    elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
        s, r = 0.0, d2 / max(d2 - d6, 1e-30)
    elif va <= 0.0 and d4 - d3 >= 0.0 and d5 - d6 >= 0.0:
        r = (d4 - d3) / max((d4 - d3) + (d5 - d6), 1e-30)
        s = 1.0 - r
    else:
        total = max(va + vb + vc, 1e-30)
        s, r = vb / total, vc / total
    gx, gy, gz = px - s * ax - r * bx, py - s * ay - r * by, pz - s * az - r * bz
    return gx * gx + gy * gy + gz * gz, s, r


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def _nearest(corners, first, boxes, place, face, weights):
    leaves = len(first) - 1
    for i in prange(len(place)):
        x, y, z = np.float64(place[i, 0]), np.float64(place[i, 1]), np.float64(place[i, 2])
        best, found, s1, s2 = np.inf, 0, 0.0, 0.0
        stack = np.empty(DEEP, np.int64)
        stack[0], size = 0, 1
        while size:
            size -= 1
            node = stack[size]
            if _far(boxes[node], x, y, z) >= best:
                continue
            if node < leaves - 1:
                left, right = 2 * node + 1, 2 * node + 2
                if _far(boxes[left], x, y, z) > _far(boxes[right], x, y, z):
                    left, right = right, left
                stack[size], stack[size + 1] = right, left
                size += 2
                continue
            leaf = node - leaves + 1
            for k in range(first[leaf], first[leaf + 1]):
                d, b, c = _closest(corners[k], x, y, z)
                if d < best:
                    best, found, s1, s2 = d, k, b, c
        face[i] = found
        weights[i, 0], weights[i, 1], weights[i, 2] = 1.0 - s1 - s2, s1, s2


@njit(cache=True)
@no_type_check
def _blocked(corners, first, boxes, x, y, z, u, v, w, reach, stack):
    leaves = len(first) - 1
    p, q, r = _inverse(u), _inverse(v), _inverse(w)
    stack[0], size = 0, 1
    while size:
        size -= 1
        node = stack[size]
        if _enters(boxes[node], x, y, z, p, q, r, 0.0, reach) == np.inf:
            continue
        if node < leaves - 1:
            stack[size], stack[size + 1] = 2 * node + 2, 2 * node + 1
            size += 2
            continue
        leaf = node - leaves + 1
        for k in range(first[leaf], first[leaf + 1]):
            t, _, _, _ = _meets(corners[k], x, y, z, u, v, w)
            if 0.0 < t < reach:
                return True
    return False


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def _open(corners, first, boxes, place, normal, rays, reach, shift, share):
    for i in prange(len(place)):
        nx, ny, nz = np.float64(normal[i, 0]), np.float64(normal[i, 1]), np.float64(normal[i, 2])
        x, y, z = place[i, 0] + shift * nx, place[i, 1] + shift * ny, place[i, 2] + shift * nz
        # a frame about the normal (Duff et al., JCGT 2017), turned by the golden ratio's multiple of the number
        sign = 1.0 if nz >= 0.0 else -1.0
        a = -1.0 / (sign + nz)
        b = nx * ny * a
        sx, sy, sz = 1.0 + sign * nx * nx * a, sign * b, -sign * nx
        tx, ty, tz = b, sign + ny * ny * a, -ny
        turn = 2.0 * math.pi * ((i * 0.6180339887498949) % 1.0)
        c, s = math.cos(turn), math.sin(turn)
        stack = np.empty(DEEP, np.int64)
        free = 0
        for k in range(len(rays)):
            e, f, g = c * rays[k, 0] - s * rays[k, 1], s * rays[k, 0] + c * rays[k, 1], rays[k, 2]
            u, v, w = e * sx + f * tx + g * nx, e * sy + f * ty + g * ny, e * sz + f * tz + g * nz
            if not _blocked(corners, first, boxes, x, y, z, u, v, w, reach, stack):
                free += 1
        share[i] = free / len(rays)
