"""The fast renderer: a z-buffer of exact ray hits per primitive inside its screen box, parallel over images (numba).

Bitwise repeatable: no atomics, one thread per image, primitives in order, double precision, no fast-math. Twin: toybox.twin.
"""

import math

import numpy as np
from numba import njit, prange

from dream3d.toybox.hits import FAR, gradient, hit, second
from dream3d.toybox.shapes import AMBIENT, BOX, FRUSTUM, KEY, KEY_LIGHT, SKY, TORUS, WRAP


@njit(cache=True)
def _reach(kind, shape):
    """Half extents of the local bounds: along x and y, and along z."""
    if kind == BOX:
        return max(1.0, abs(shape[2]) + shape[0], abs(shape[3]) + shape[1]), 1.0
    if kind == FRUSTUM:
        return max(1.0, shape[0]), 1.0
    return (1.0 + shape[0], shape[0]) if kind == TORUS else (1.0, 1.0)


@njit(cache=True)
def _screen_box(kind, shape, to_pixel, height, width):
    """First and last rows and columns a primitive can cover, from the projected corners of its local bounds."""
    wide, tall = _reach(kind, shape)
    x0, x1, y0, y1 = np.inf, -np.inf, np.inf, -np.inf
    for corner in range(8):
        x, y = (wide if corner & 1 else -wide), (wide if corner & 2 else -wide)
        p = to_pixel[:, 0] * x + to_pixel[:, 1] * y + to_pixel[:, 2] * (tall if corner & 4 else -tall) + to_pixel[:, 3]
        if p[2] < 1e-6:
            return 0, height, 0, width
        x0, x1 = min(x0, p[0] / p[2]), max(x1, p[0] / p[2])
        y0, y1 = min(y0, p[1] / p[2]), max(y1, p[1] / p[2])
    top, left = max(0, math.floor(y0 - 0.5)), max(0, math.floor(x0 - 0.5))
    return top, min(height, math.ceil(y1 + 0.5)), left, min(width, math.ceil(x1 + 0.5))


@njit(cache=True)
def _cover(kinds, shapes, origins, ways, to_pixel, depth, owner):
    """Fill the z-buffer and the nearest primitive per sample."""
    height, width = depth.shape
    d = np.empty(3)
    for n in range(len(kinds)):
        top, bottom, left, right = _screen_box(kinds[n], shapes[n], to_pixel[n], height, width)
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
def _shade(n):
    light = n[0] * KEY_LIGHT[0] + n[1] * KEY_LIGHT[1] + n[2] * KEY_LIGHT[2]
    return AMBIENT + SKY * n[2] + KEY * max(0.0, (light + WRAP) / (1.0 + WRAP))


@njit(cache=True)
def _world_normal(kind, shape, o, way, to_local, t, x, y):
    p = (
        o[0] + t * (way[0, 0] * x + way[0, 1] * y + way[0, 2]),
        o[1] + t * (way[1, 0] * x + way[1, 1] * y + way[1, 2]),
        o[2] + t * (way[2, 0] * x + way[2, 1] * y + way[2, 2]),
    )
    g = gradient(kind, p, shape)
    a = g[0] * to_local[0, 0] + g[1] * to_local[1, 0] + g[2] * to_local[2, 0]
    b = g[0] * to_local[0, 1] + g[1] * to_local[1, 1] + g[2] * to_local[2, 1]
    c = g[0] * to_local[0, 2] + g[1] * to_local[1, 2] + g[2] * to_local[2, 2]
    scale = 1.0 / math.sqrt(a * a + b * b + c * c)
    return a * scale, b * scale, c * scale


@njit(cache=True)
def _own(centre, ray, t, x, y, frame, k):
    """Coordinate k of a hit in its object's own coordinates."""
    return (centre[k] + t * (ray[k, 0] * x + ray[k, 1] * y + ray[k, 2]) - frame[1 + k]) / frame[0]


@njit(cache=True, parallel=True)
def draw(images, pairs, prims, centre, ray, samples, out):
    """Draw every image.

    images: first and last pair of each view; pairs: primitive index, local origin (3), pixel to local direction (3 3), local to
    pixel (3 4); prims: kind, shape, world to local (3 3), colour, second colour, pattern, part, thing, frame; centre and ray
    (pixel to world direction) per view; out: rgb, alpha, depth, normal, albedo, labels, parts, each with B rows, or zero rows
    where it is not wanted.
    """
    start, stop = images
    which, origins, ways, to_pixel = pairs
    kinds, shapes = prims[0][which], prims[1][which]
    for view in prange(len(start)):
        a, b = start[view], stop[view]
        height, width = out[1].shape[1] * samples, out[1].shape[2] * samples
        depth, owner = np.full((height, width), FAR), np.full((height, width), -1, dtype=np.int32)
        _cover(kinds[a:b], shapes[a:b], origins[a:b], ways[a:b], to_pixel[a:b], depth, owner)
        _resolve(view, which[a:b], origins[a:b], ways[a:b], prims, centre[view], ray[view], samples, depth, owner, out)


@njit(cache=True)
def _resolve(view, which, origins, ways, prims, centre, ray, samples, depth, owner, out):
    """Shade every sample and average the samples of each pixel."""
    kinds, shapes, to_local, colours, seconds, patterns, part, thing, frame = prims
    rgb, alpha, far, normal, albedo, labels, parts = out
    share = 1.0 / (samples * samples)
    for row in range(alpha.shape[1]):
        for column in range(alpha.shape[2]):
            hits, nearest = 0, FAR
            light, paint, facing, away = np.zeros(3), np.zeros(3), np.zeros(3), 0.0
            for s in range(samples * samples):
                r, c = row * samples + s // samples, column * samples + s % samples
                if owner[r, c] < 0:
                    continue
                n, t, x, y = owner[r, c], depth[r, c], c + 0.5, r + 0.5
                i = which[n]
                g = _world_normal(kinds[i], shapes[i], origins[n], ways[n], to_local[i], t, x, y)
                colour = colours[i]
                if patterns[i] > 0:
                    q = (
                        _own(centre, ray, t, x, y, frame[i], 0),
                        _own(centre, ray, t, x, y, frame[i], 1),
                        _own(centre, ray, t, x, y, frame[i], 2),
                    )
                    colour = seconds[i] if second(patterns[i], q, g) else colour
                shade = _shade(g)
                for k in range(3):
                    light[k] += min(1.0, colour[k] * shade) * share
                    paint[k] += colour[k] * share
                    facing[k] += g[k] * share
                away += t * share
                hits += 1
                if len(labels):
                    labels[view, row, column, thing[i]] += share
                if len(parts) and t < nearest:
                    nearest, parts[view, row, column, 0] = t, part[i]
            alpha[view, row, column, 0] = hits * share
            if len(labels):
                labels[view, row, column, labels.shape[3] - 1] = 1.0 - hits * share
            if len(far):
                far[view, row, column, 0] = away
            for k in range(3):
                if len(rgb):
                    rgb[view, row, column, k] = light[k]
                if len(normal):
                    normal[view, row, column, k] = facing[k]
                if len(albedo):
                    albedo[view, row, column, k] = paint[k]
