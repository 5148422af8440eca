"""Renders from all around, projected onto the places of a mesh: each takes the mean over the views that see it, by how frontally they do.

Whether a view sees a place says the mesh's own depth, from its texels, which are denser than coarse pixels. The scene's depth would not do:
soft scenes are vague about it. Kernels in numba, the same bytes for any number of threads.
"""

import math
from typing import no_type_check

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numba import njit, prange
from torch import Tensor

from dream3d.export.texels import threads
from dream3d.export.views import renders, sphere
from dream3d.interfaces import Representation

COARSE = 2  # pixels of a render per pixel of the mesh's depth
SHARE = 0.03  # of the mesh's radius: how far behind the nearest surface a texel may lie and still be seen


def project(
    scene: Representation, position: Float[Tensor, "T 3"], normal: Float[Tensor, "T 3"], views: int, size: int
) -> Float[Tensor, "T 3"]:
    """The scene's colour at each place, from `views` renders of `size` pixels a side. What no view sees is coloured like the nearest place
    that one does."""
    threads()
    radius = float(position.norm(dim=-1).max())
    total, weight = np.zeros((len(position), 3), np.float32), np.zeros(len(position), np.float32)
    place, facing = position.contiguous().numpy(), normal.contiguous().numpy()
    for cameras, render in renders(scene, sphere(views, radius=1.05 * radius, size=size)):
        to_pixel = (cameras.intrinsics @ cameras.to_camera[:, :3]).contiguous().numpy()
        centre = cameras.centre.contiguous().numpy()
        seen = torch.cat([render.rgb, render.alpha], -1).contiguous().numpy()
        least = torch.full((len(cameras), size // COARSE, size // COARSE), torch.inf)
        greatest = -least
        _depths(place, facing, centre, to_pixel, least.numpy(), greatest.numpy())
        least, greatest = -F.max_pool2d(-least, 3, 1, 1), F.max_pool2d(greatest, 3, 1, 1)
        _see(place, facing, centre, to_pixel, seen, least.numpy(), greatest.numpy(), SHARE * radius, total, weight)
    known = torch.from_numpy(weight > 1e-9)
    return _fill(position, torch.from_numpy(total / np.maximum(weight, 1e-12)[:, None]), known)


@njit(cache=True, inline="always")
@no_type_check
def _pixel(to_pixel, p):
    """Where a view sees a place, and at what depth."""
    x = to_pixel[0, 0] * p[0] + to_pixel[0, 1] * p[1] + to_pixel[0, 2] * p[2] + to_pixel[0, 3]
    y = to_pixel[1, 0] * p[0] + to_pixel[1, 1] * p[1] + to_pixel[1, 2] * p[2] + to_pixel[1, 3]
    z = to_pixel[2, 0] * p[0] + to_pixel[2, 1] * p[1] + to_pixel[2, 2] * p[2] + to_pixel[2, 3]
    return x / z, y / z, z


@njit(cache=True, inline="always")
@no_type_check
def _fronts(n, p, c):
    """Whether a camera is before a place's plane."""
    return n[0] * (c[0] - p[0]) + n[1] * (c[1] - p[1]) + n[2] * (c[2] - p[2]) > 0.0


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def _depths(place, normal, centre, to_pixel, least, greatest):
    """The least and greatest depth in every coarse pixel of each view, of the places that face it."""
    size = least.shape[1]
    for view in prange(len(centre)):
        for i in range(len(place)):
            if _fronts(normal[i], place[i], centre[view]):
                x, y, z = _pixel(to_pixel[view], place[i])
                column, row = min(max(int(x / COARSE), 0), size - 1), min(max(int(y / COARSE), 0), size - 1)
                least[view, row, column] = min(least[view, row, column], z)
                greatest[view, row, column] = max(greatest[view, row, column], z)


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def _see(place, normal, centre, to_pixel, seen, least, greatest, tolerance, total, weight):
    """Add what each view has for each place: not where the mesh hides it, not near edges."""
    size, coarse = seen.shape[1], least.shape[1]
    for i in prange(len(place)):
        for view in range(len(centre)):
            if not _fronts(normal[i], place[i], centre[view]):
                continue
            x, y, z = _pixel(to_pixel[view], place[i])
            column, row = int(x / COARSE), int(y / COARSE)
            if not (x >= 0.0 and y >= 0.0 and column < coarse and row < coarse):
                continue
            c = centre[view]
            u, v, w = c[0] - place[i, 0], c[1] - place[i, 1], c[2] - place[i, 2]
            cosine = (u * normal[i, 0] + v * normal[i, 1] + w * normal[i, 2]) / math.sqrt(u * u + v * v + w * w)
            factor = max(cosine, 0.2) / tolerance
            near, far = (least[view, row, column] - z) * factor, (greatest[view, row, column] - z) * factor
            if not (abs(near) < 1.0 and abs(far) < 1.0):
                continue
            s, t = x - 0.5, y - 0.5
            left, top = int(math.floor(s)), int(math.floor(t))
            s, t = s - left, t - top
            a, b = min(max(left, 0), size - 1), min(left + 1, size - 1)
            d, e = min(max(top, 0), size - 1), min(top + 1, size - 1)
            p, q, r, o = (1 - s) * (1 - t), s * (1 - t), (1 - s) * t, s * t
            image = seen[view]
            alpha = p * image[d, a, 3] + q * image[d, b, 3] + r * image[e, a, 3] + o * image[e, b, 3]
            trust = math.exp(-(((near + far) / 2) ** 2)) * alpha * cosine
            for k in range(3):
                value = p * image[d, a, k] + q * image[d, b, k] + r * image[e, a, k] + o * image[e, b, k]
                total[i, k] += trust * min(max(value / max(alpha, 1e-3), 0.0), 1.0)
            weight[i] += trust


def _fill(
    position: Float[Tensor, "T 3"], colour: Float[Tensor, "T 3"], known: Bool[Tensor, " T"]
) -> Float[Tensor, "T 3"]:
    """Places that no view has seen, coloured like the nearest one in space that was."""
    from scipy.spatial import cKDTree

    if bool(known.all()) or not bool(known.any()):
        return colour
    some = known.nonzero()[:, 0]
    some = some[:: max(1, len(some) >> 17)]  # so many say enough of where colours are
    _, nearest = cKDTree(position[some].numpy()).query(position[~known].numpy())
    colour[~known] = colour[some[torch.from_numpy(nearest)]]
    return colour
