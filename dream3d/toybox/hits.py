"""Exact ray hits, normals and patterns of the canonical primitives, one ray at a time (numba). Twin: toybox.twin.

A ray o + t d is in the primitive's local coordinates; hits are the smallest t > 0 from outside, FAR where there is none.
"""

import math

import numpy as np
from numba import njit

from dream3d.toybox.shapes import (
    BOX,
    CHECK,
    CLOSE,
    DOT,
    ELLIPSOID,
    FRUSTUM,
    MARCH,
    NEWTON,
    STRIPE,
    STRIPE_AXIS,
    TORUS,
)

FAR = np.inf
TINY = 1e-12


@njit(cache=True, inline="always")
def _safe(x):
    return x if abs(x) > TINY else TINY


@njit(cache=True)
def _ellipsoid(o, d, shape):
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    disc = b * b - a * (o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1.0)
    if disc <= 0.0:
        return FAR
    root = math.sqrt(disc)
    near, far = (-b - root) / a, (-b + root) / a
    dz = _safe(d[2])
    t0, t1 = (shape[0] - o[2]) / dz, (shape[1] - o[2]) / dz
    near, far = max(near, min(t0, t1)), min(far, max(t0, t1))
    return near if 0.0 < near < far else FAR


@njit(cache=True, inline="always")
def _plane(o, d, nx, ny, nz, w, near, far):
    """Clip the interval [near, far] by n.p <= w."""
    speed = _safe(nx * d[0] + ny * d[1] + nz * d[2])
    t = (w - (nx * o[0] + ny * o[1] + nz * o[2])) / speed
    return (near, min(far, t)) if speed > 0.0 else (max(near, t), far)


@njit(cache=True)
def _box(o, d, shape):
    near, far = _plane(o, d, 0.0, 0.0, 1.0, 1.0, -FAR, FAR)
    near, far = _plane(o, d, 0.0, 0.0, -1.0, 1.0, near, far)
    kx, ky, sx, sy = 0.5 * (shape[0] - 1.0), 0.5 * (shape[1] - 1.0), 0.5 * shape[2], 0.5 * shape[3]
    near, far = _plane(o, d, 1.0, 0.0, -kx - sx, 1.0 + kx + sx, near, far)
    near, far = _plane(o, d, -1.0, 0.0, -kx + sx, 1.0 + kx - sx, near, far)
    near, far = _plane(o, d, 0.0, 1.0, -ky - sy, 1.0 + ky + sy, near, far)
    near, far = _plane(o, d, 0.0, -1.0, -ky + sy, 1.0 + ky - sy, near, far)
    return near if 0.0 < near < far else FAR


@njit(cache=True)
def _frustum(o, d, shape):
    a, b = 0.5 * (1.0 + shape[0]), 0.5 * (shape[0] - 1.0)
    best = FAR
    ro, rd = a + b * o[2], b * d[2]
    qa = _safe(d[0] * d[0] + d[1] * d[1] - rd * rd)
    qb = o[0] * d[0] + o[1] * d[1] - ro * rd
    qc = o[0] * o[0] + o[1] * o[1] - ro * ro
    disc = qb * qb - qa * qc
    if disc > 0.0:
        q = -(qb + math.copysign(math.sqrt(disc), qb))
        for t in (q / qa, qc / _safe(q)):
            if 0.0 < t < best and abs(o[2] + t * d[2]) <= 1.0:
                best = t
    dz = _safe(d[2])
    for cap in (-1.0, 1.0):
        t = (cap - o[2]) / dz
        x, y = o[0] + t * d[0], o[1] + t * d[1]
        if 0.0 < t < best and x * x + y * y <= (a + b * cap) ** 2:
            best = t
    return best


@njit(cache=True)
def _torus(o, d, shape):
    minor = shape[0]
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    disc = b * b - a * (o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - (1.0 + minor) ** 2)
    if disc <= 0.0:
        return FAR
    dz, speed = _safe(d[2]), math.sqrt(a)
    t0, t1 = (-minor - o[2]) / dz, (minor - o[2]) / dz
    t = max((-b - math.sqrt(disc)) / a, min(t0, t1), 0.0)
    end = min((-b + math.sqrt(disc)) / a, max(t0, t1))
    gap = CLOSE
    for _ in range(MARCH):
        gap = _tube(o, d, t, minor)[0]
        if gap < CLOSE or t > end:
            break
        t += gap / speed
    if gap >= CLOSE or t > end:
        return FAR
    slope = 0.0
    for _ in range(NEWTON):
        gap, slope = _tube(o, d, t, minor)
        if slope >= -TINY:
            return FAR
        t -= gap / slope
    return t if abs(gap) < 1e-6 and t > 0.0 else FAR


@njit(cache=True, inline="always")
def _tube(o, d, t, minor):
    """Signed distance to the torus at t, and its derivative along the ray."""
    x, y, z = o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2]
    ring = max(math.sqrt(x * x + y * y), TINY)
    away = max(math.sqrt((ring - 1.0) ** 2 + z * z), TINY)
    return away - minor, ((ring - 1.0) * (x * d[0] + y * d[1]) / ring + z * d[2]) / away


@njit(cache=True)
def hit(kind, o, d, shape):
    if kind == ELLIPSOID:
        return _ellipsoid(o, d, shape)
    if kind == BOX:
        return _box(o, d, shape)
    if kind == FRUSTUM:
        return _frustum(o, d, shape)
    return _torus(o, d, shape)


@njit(cache=True)
def gradient(kind, p, shape):
    """An outward normal in local coordinates: of the face whose constraint is the tightest."""
    x, y, z = p
    if kind == TORUS:
        ring = max(math.sqrt(x * x + y * y), TINY)
        return x - x / ring, y - y / ring, z
    low, high = (shape[0], shape[1]) if kind == ELLIPSOID else (-1.0, 1.0)
    n, worst = (0.0, 0.0, 1.0), z - high
    if low - z > worst:
        n, worst = (0.0, 0.0, -1.0), low - z
    if kind == ELLIPSOID:
        return (x, y, z) if math.sqrt(x * x + y * y + z * z) - 1.0 > worst else n
    if kind == FRUSTUM:
        a, b, ring = 0.5 * (1.0 + shape[0]), 0.5 * (shape[0] - 1.0), max(math.sqrt(x * x + y * y), TINY)
        return (x / ring, y / ring, -b) if ring - a - b * z > worst else n
    kx, ky, sx, sy = 0.5 * (shape[0] - 1.0), 0.5 * (shape[1] - 1.0), 0.5 * shape[2], 0.5 * shape[3]
    for sign in (1.0, -1.0):
        gap = sign * (x - sx * (z + 1.0)) - 1.0 - kx * (z + 1.0)
        if gap > worst:
            n, worst = (sign, 0.0, -kx - sign * sx), gap
        gap = sign * (y - sy * (z + 1.0)) - 1.0 - ky * (z + 1.0)
        if gap > worst:
            n, worst = (0.0, sign, -ky - sign * sy), gap
    return n


@njit(cache=True)
def second(pattern, q, n):
    """Whether a point of an object (own coordinates q, normal n) shows the pattern's second tone."""
    if pattern == 1:
        band = (q[0] * STRIPE_AXIS[0] + q[1] * STRIPE_AXIS[1] + q[2] * STRIPE_AXIS[2]) / STRIPE
        return int(math.floor(band)) % 2 == 1
    if pattern == 3:
        cell = math.floor(q[0] / CHECK + 0.37) + math.floor(q[1] / CHECK + 0.37) + math.floor(q[2] / CHECK + 0.37)
        return int(cell) % 2 == 1
    ax, ay, az = abs(n[0]), abs(n[1]), abs(n[2])
    u, v = (q[0], q[1]) if az >= ax and az >= ay else (q[0], q[2]) if ay >= ax else (q[1], q[2])
    row = math.floor(v / DOT)
    u = u / DOT + 0.5 * (int(row) % 2)
    u, v = u - math.floor(u) - 0.5, v / DOT - row - 0.5
    return u * u + v * v < 0.1
