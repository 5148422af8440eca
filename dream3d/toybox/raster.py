"""The fast renderer: a z-buffer of exact ray hits per primitive inside its screen box, parallel over images (numba).

Bitwise repeatable: no atomics, one thread per image, double precision, no fast-math. Twin: toybox.twin. Rays o + t d
are in local coordinates; a hit is the smallest t > 0 from outside, FAR where there is none.
One file, constants too: numba's cache does not notice changes in another. no_type_check: shape checkers stay outside.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit, prange

from dream3d.toybox.shapes import BOX, ELLIPSOID, FRUSTUM, TORUS

MARCH, NEWTON, CLOSE, CONVERGED = 64, 8, 2e-3, 1e-5  # torus: sphere tracing steps, then Newton steps from CLOSE on
KEY_LIGHT = (-0.36, -0.56, 0.746)  # towards the light: above, front-left; fixed in the world
AMBIENT, SKY, KEY, WRAP = 0.67, 0.05, 0.34, 1.0  # shade = AMBIENT + SKY nz + KEY max(0, (n.l + WRAP) / (1 + WRAP))
STRIPE, DOT, CHECK, STRIPE_AXIS = 0.21, 0.36, 0.29, (0.42, 0.26, 0.87)  # pattern periods in an object's own coordinates
DOT_AREA, CHECK_SHIFT = 0.11, 0.5  # squared radius in periods; the phase centres cells on the object
FAR, TINY = np.inf, 1e-12


@njit(cache=True)
@no_type_check
def _ellipsoid(o, d, shape):
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    disc = b * b - a * (o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1.0)
    if disc <= 0.0:
        return FAR
    root = math.sqrt(disc)
    near, far = (-b - root) / a, (-b + root) / a
    dz = d[2] + TINY
    t0, t1 = (shape[0] - o[2]) / dz, (shape[1] - o[2]) / dz
    near, far = max(near, min(t0, t1)), min(far, max(t0, t1))
    return near if 0.0 < near < far else FAR


@njit(cache=True, inline="always")
@no_type_check
def _plane(o, d, nx, ny, nz, w, near, far):
    """Clip the interval [near, far] by n.p <= w."""
    speed = nx * d[0] + ny * d[1] + nz * d[2] + TINY
    t = (w - (nx * o[0] + ny * o[1] + nz * o[2])) / speed
    return (near, min(far, t)) if speed > 0.0 else (max(near, t), far)


@njit(cache=True)
@no_type_check
def _box(o, d, shape):
    kx, ky, sx, sy = 0.5 * (shape[0] - 1.0), 0.5 * (shape[1] - 1.0), 0.5 * shape[2], 0.5 * shape[3]
    near, far = -FAR, FAR
    for sign in (1.0, -1.0):
        near, far = _plane(o, d, 0.0, 0.0, sign, 1.0, near, far)
        near, far = _plane(o, d, sign, 0.0, -kx - sign * sx, 1.0 + kx + sign * sx, near, far)
        near, far = _plane(o, d, 0.0, sign, -ky - sign * sy, 1.0 + ky + sign * sy, near, far)
    return near if 0.0 < near < far else FAR


@njit(cache=True)
@no_type_check
def _frustum(o, d, shape):
    a, b = 0.5 * (1.0 + shape[0]), 0.5 * (shape[0] - 1.0)
    best = FAR
    ro, rd = a + b * o[2], b * d[2]
    qa = d[0] * d[0] + d[1] * d[1] - rd * rd + TINY
    qb = o[0] * d[0] + o[1] * d[1] - ro * rd
    qc = o[0] * o[0] + o[1] * o[1] - ro * ro
    disc = qb * qb - qa * qc
    if disc > 0.0:
        q = -(qb + math.copysign(math.sqrt(disc), qb))
        for t in (q / qa, qc / (q + TINY)):
            if 0.0 < t < best and abs(o[2] + t * d[2]) <= 1.0:
                best = t
    dz = d[2] + TINY
    for cap in (-1.0, 1.0):
        t = (cap - o[2]) / dz
        x, y = o[0] + t * d[0], o[1] + t * d[1]
        if 0.0 < t < best and x * x + y * y <= (a + b * cap) ** 2:
            best = t
    return best


@njit(cache=True)
@no_type_check
def _torus(o, d, shape):
    minor = shape[0]
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    disc = b * b - a * (o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - (1.0 + minor) ** 2)
    if disc <= 0.0:
        return FAR
    dz, speed = d[2] + TINY, math.sqrt(a)
    t0, t1 = (-minor - o[2]) / dz, (minor - o[2]) / dz
    t = max((-b - math.sqrt(disc)) / a, min(t0, t1), 0.0)
    end = min((-b + math.sqrt(disc)) / a, max(t0, t1))
    gap, slope = CLOSE, 0.0
    for _ in range(MARCH):
        gap = _tube(o, d, t, minor)[0]
        if gap < CLOSE or t > end:
            break
        t += gap / speed
    if gap >= CLOSE or t > end:
        return FAR
    for _ in range(NEWTON):
        gap, slope = _tube(o, d, t, minor)
        if slope >= -TINY:
            return FAR
        t -= gap / slope
    return t if abs(gap) < CONVERGED and t > 0.0 else FAR


@njit(cache=True, inline="always")
@no_type_check
def _tube(o, d, t, minor):
    """Signed distance to the torus at t, and its derivative along the ray."""
    x, y, z = o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2]
    ring = max(math.sqrt(x * x + y * y), TINY)
    away = max(math.sqrt((ring - 1.0) ** 2 + z * z), TINY)
    return away - minor, ((ring - 1.0) * (x * d[0] + y * d[1]) / ring + z * d[2]) / away


@njit(cache=True)
@no_type_check
def hit(kind, o, d, shape):
    if kind == ELLIPSOID:
        return _ellipsoid(o, d, shape)
    if kind == BOX:
        return _box(o, d, shape)
    if kind == FRUSTUM:
        return _frustum(o, d, shape)
    return _torus(o, d, shape)


@njit(cache=True)
@no_type_check
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
@no_type_check
def second(pattern, p, frame, n):
    """Whether a point p of an object with a frame (world to object, 3 4) shows the pattern's second tone; n is the normal there."""
    q = (
        frame[0, 0] * p[0] + frame[0, 1] * p[1] + frame[0, 2] * p[2] + frame[0, 3],
        frame[1, 0] * p[0] + frame[1, 1] * p[1] + frame[1, 2] * p[2] + frame[1, 3],
        frame[2, 0] * p[0] + frame[2, 1] * p[1] + frame[2, 2] * p[2] + frame[2, 3],
    )
    if pattern == 1:
        band = (q[0] * STRIPE_AXIS[0] + q[1] * STRIPE_AXIS[1] + q[2] * STRIPE_AXIS[2]) / STRIPE
        return int(math.floor(band)) % 2 == 1
    if pattern == 3:
        cell = (
            math.floor(q[0] / CHECK + CHECK_SHIFT)
            + math.floor(q[1] / CHECK + CHECK_SHIFT)
            + math.floor(q[2] / CHECK + CHECK_SHIFT)
        )
        return int(cell) % 2 == 1
    ax = abs(frame[0, 0] * n[0] + frame[0, 1] * n[1] + frame[0, 2] * n[2])
    ay = abs(frame[1, 0] * n[0] + frame[1, 1] * n[1] + frame[1, 2] * n[2])
    az = abs(frame[2, 0] * n[0] + frame[2, 1] * n[1] + frame[2, 2] * n[2])
    u, v = (q[0], q[1]) if az >= ax and az >= ay else (q[0], q[2]) if ay >= ax else (q[1], q[2])
    row = math.floor(v / DOT)
    u = u / DOT + 0.5 * (int(row) % 2)
    u, v = u - math.floor(u) - 0.5, v / DOT - row - 0.5
    return u * u + v * v < DOT_AREA


@njit(cache=True)
@no_type_check
def _screen_box(to_pixel, height, width):
    """First and last rows and columns a primitive can cover: its bounds, here [-1, 1]^3, projected."""
    x0, x1, y0, y1 = np.inf, -np.inf, np.inf, -np.inf
    for corner in range(8):
        x, y, z = (1.0 if corner & 1 else -1.0), (1.0 if corner & 2 else -1.0), (1.0 if corner & 4 else -1.0)
        p = to_pixel[:, 0] * x + to_pixel[:, 1] * y + to_pixel[:, 2] * z + to_pixel[:, 3]
        if p[2] < 1e-6:
            return 0, height, 0, width
        x0, x1 = min(x0, p[0] / p[2]), max(x1, p[0] / p[2])
        y0, y1 = min(y0, p[1] / p[2]), max(y1, p[1] / p[2])
    top, left = max(0, math.floor(y0 - 0.5)), max(0, math.floor(x0 - 0.5))
    return top, min(height, math.ceil(y1 + 0.5)), left, min(width, math.ceil(x1 + 0.5))


@njit(cache=True)
@no_type_check
def _cover(kinds, shapes, origins, ways, to_pixel, depth, owner):
    """Fill the z-buffer and the nearest primitive per sample."""
    height, width = depth.shape
    d = np.empty(3)
    for n in range(len(kinds)):
        top, bottom, left, right = _screen_box(to_pixel[n], height, width)
        o, way, shape = origins[n], ways[n], shapes[n]
        for row in range(top, bottom):
            y = row + 0.5
            for column in range(left, right):
                x = column + 0.5
                for k in range(3):
                    d[k] = way[k, 0] * x + way[k, 1] * y + way[k, 2]
                t = hit(kinds[n], o, d, shape)
                if t < depth[row, column]:
                    depth[row, column], owner[row, column] = t, n


@njit(cache=True)
@no_type_check
def _facing(kind, shape, p, to_local):
    """World normal at a local point."""
    g = gradient(kind, p, shape)
    x = g[0] * to_local[0, 0] + g[1] * to_local[1, 0] + g[2] * to_local[2, 0]
    y = g[0] * to_local[0, 1] + g[1] * to_local[1, 1] + g[2] * to_local[2, 1]
    z = g[0] * to_local[0, 2] + g[1] * to_local[1, 2] + g[2] * to_local[2, 2]
    scale = 1.0 / math.sqrt(x * x + y * y + z * z)
    return x * scale, y * scale, z * scale


@njit(cache=True, inline="always")
@no_type_check
def _along(o, way, t, x, y):
    """The point at t on the ray of pixel (x, y)."""
    return (
        o[0] + t * (way[0, 0] * x + way[0, 1] * y + way[0, 2]),
        o[1] + t * (way[1, 0] * x + way[1, 1] * y + way[1, 2]),
        o[2] + t * (way[2, 0] * x + way[2, 1] * y + way[2, 2]),
    )


@njit(cache=True, parallel=True)
@no_type_check
def draw(images, pairs, prims, centre, ray, samples, out):
    """Draw every image.

    images: first and last pair per view; pairs: primitive, local origin, pixel to local way (3 3), bounds to pixel
    (3 4); prims: kind, shape, world to local (3 3), colour, second tone, pattern, part, thing, frame; centre and ray
    (pixel to world) per view; out: rgb, alpha, depth, normal, albedo, labels, parts; no rows where it is not wanted.
    """
    which, origins, ways, to_pixel = pairs
    kinds, shapes = prims[0][which], prims[1][which]
    height, width = out[1].shape[1] * samples, out[1].shape[2] * samples
    for view in prange(len(images[0])):
        a, b = images[0][view], images[1][view]
        depth, owner = np.full((height, width), FAR), np.full((height, width), -1, dtype=np.int32)
        _cover(kinds[a:b], shapes[a:b], origins[a:b], ways[a:b], to_pixel[a:b], depth, owner)
        _resolve(view, which[a:b], origins[a:b], ways[a:b], prims, centre[view], ray[view], samples, depth, owner, out)


@njit(cache=True)
@no_type_check
def _resolve(view, which, origins, ways, prims, centre, ray, samples, depth, owner, out):
    """Shade every sample and average the samples of each pixel."""
    kinds, shapes, to_local, colours, seconds, patterns, part, thing, frame = prims
    rgb, alpha, far, normal, albedo, labels, parts = out
    share, total = 1.0 / (samples * samples), np.zeros(11)  # rgb, alpha, depth, normal, albedo
    for row in range(alpha.shape[1]):
        for column in range(alpha.shape[2]):
            total[:], nearest = 0.0, FAR
            for s in range(samples * samples):
                r, c = row * samples + s // samples, column * samples + s % samples
                n, t, x, y = owner[r, c], depth[r, c], c + 0.5, r + 0.5
                if n < 0:
                    continue
                i = which[n]
                g = _facing(kinds[i], shapes[i], _along(origins[n], ways[n], t, x, y), to_local[i])
                colour, light = colours[i], g[0] * KEY_LIGHT[0] + g[1] * KEY_LIGHT[1] + g[2] * KEY_LIGHT[2]
                shade = AMBIENT + SKY * g[2] + KEY * max(0.0, (light + WRAP) / (1.0 + WRAP))
                if patterns[i] > 0 and second(patterns[i], _along(centre, ray, t, x, y), frame[i], g):
                    colour = seconds[i]
                for k in range(3):
                    total[k] += min(1.0, colour[k] * shade) * share
                    total[5 + k] += g[k] * share
                    total[8 + k] += colour[k] * share
                total[3] += share
                total[4] += t * share
                if len(labels):
                    labels[view, row, column, thing[i]] += share
                if len(parts) and t < nearest:
                    nearest, parts[view, row, column, 0] = t, part[i]
            for buffer, first in ((rgb, 0), (alpha, 3), (far, 4), (normal, 5), (albedo, 8)):
                if len(buffer):
                    for k in range(buffer.shape[3]):
                        buffer[view, row, column, k] = total[first + k]
