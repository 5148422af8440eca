"""Places on a mesh for the texels of a picture that lies on it by uvs, and pictures made of them. Kernels in numba, the same bytes for
any number of threads."""

import math
from typing import no_type_check

import numba
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numba import njit, prange
from torch import Tensor

from dream3d.types import Mesh

DILATION = 16  # texels of colour around islands, for mip-maps
EDGE = -1e-6  # of a barycentric weight: a texel's centre on an edge is in both faces


def inside(
    corners: Float[Tensor, "F 3 2"], width: int
) -> tuple[Int[Tensor, " T"], Int[Tensor, " T"], Float[Tensor, "T 3"]]:
    """The texels whose centre lies in a face, corners in texels: flat index in rows of `width` (row 0 at the bottom), the face, and
    barycentric weights."""
    threads()
    corner = np.ascontiguousarray(corners.detach().cpu().numpy(), np.float64)
    count = np.empty(len(corner), np.int64)
    _count(corner, count)
    start = np.cumsum(count) - count
    total = int(count.sum())
    index, face, weights = np.empty(total, np.int64), np.empty(total, np.int64), np.empty((total, 3), np.float32)
    _fill(corner, start, count, width, index, face, weights)
    return torch.from_numpy(index), torch.from_numpy(face), torch.from_numpy(weights).to(corners.dtype)


def threads() -> None:
    """As many for numba as torch has."""
    numba.set_num_threads(max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)))


@njit(cache=True, inline="always")
@no_type_check
def _box(face):
    """First and last + 1 of the columns and rows whose centres lie between the corners."""
    low_x, high_x = min(face[0, 0], face[1, 0], face[2, 0]), max(face[0, 0], face[1, 0], face[2, 0])
    low_y, high_y = min(face[0, 1], face[1, 1], face[2, 1]), max(face[0, 1], face[1, 1], face[2, 1])
    left, right = int(math.ceil(low_x - 0.5)), int(math.floor(high_x - 0.5)) + 1
    return left, right, int(math.ceil(low_y - 0.5)), int(math.floor(high_y - 0.5)) + 1


@njit(cache=True, inline="always")
@no_type_check
def _shares(face, x, y):
    """Barycentric weights of a point, the last two; -1 in faces without area."""
    ax, ay, bx, by = face[1, 0] - face[0, 0], face[1, 1] - face[0, 1], face[2, 0] - face[0, 0], face[2, 1] - face[0, 1]
    px, py = x - face[0, 0], y - face[0, 1]
    area = ax * by - ay * bx
    if abs(area) < 1e-12:
        return -1.0, -1.0
    return (px * by - py * bx) / area, (ax * py - ay * px) / area


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def _count(corner, count):
    for i in prange(len(corner)):
        left, right, low, high = _box(corner[i])
        found = 0
        for y in range(low, high):
            for x in range(left, right):
                b, c = _shares(corner[i], x + 0.5, y + 0.5)
                if b >= EDGE and c >= EDGE and 1.0 - b - c >= EDGE:
                    found += 1
        count[i] = found


@njit(cache=True, parallel=True, nogil=True)
@no_type_check
def _fill(corner, start, count, width, index, face, weights):
    for i in prange(len(corner)):
        if count[i] == 0:
            continue
        left, right, low, high = _box(corner[i])
        at = start[i]
        for y in range(low, high):
            for x in range(left, right):
                b, c = _shares(corner[i], x + 0.5, y + 0.5)
                if b >= EDGE and c >= EDGE and 1.0 - b - c >= EDGE:
                    index[at], face[at] = y * width + x, i
                    weights[at, 0], weights[at, 1], weights[at, 2] = 1.0 - b - c, b, c
                    at += 1


def texels(mesh: Mesh, texture: int) -> tuple[Int[Tensor, " T"], Int[Tensor, " T"], Float[Tensor, "T 3"]]:
    """The texels of a mesh's texture that a face covers, each once: flat index (row 0 at the bottom), face, barycentric weights."""
    index, face, weights = inside(mesh.uv * texture, texture)
    first = torch.full((texture * texture,), -1)
    within = (index >= 0) & (index < texture * texture)
    rows = torch.arange(len(index))[within]
    first[index[within]] = rows  # the last of those that claim a texel
    keep = torch.zeros(len(index), dtype=torch.bool)
    keep[first[first >= 0]] = True
    return index[keep], face[keep], weights[keep]


def between(
    rows: Float[Tensor, "V K"], faces: Int[Tensor, "F 3"], face: Int[Tensor, " n"], weights: Float[Tensor, "n 3"]
) -> Float[Tensor, "n K"]:
    """Rows per vertex, at places on the faces."""
    total = weights[:, :1] * rows[faces[face, 0]]
    for k in (1, 2):
        total += weights[:, k : k + 1] * rows[faces[face, k]]
    return total


def vertex_normals(mesh: Mesh) -> Float[Tensor, "V 3"]:
    """Unit normals, weighted by the area of the faces around a vertex; +z where these cancel."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]].double() for i in range(3))
    face = torch.linalg.cross(b - a, c - a).numpy()
    corners, count = mesh.faces.flatten().numpy(), len(mesh.vertices)
    total = [np.bincount(corners, np.repeat(face[:, i], 3), count) for i in range(3)]
    normal = torch.from_numpy(np.stack(total, -1))
    length = normal.norm(dim=-1, keepdim=True)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    return torch.where(length > 1e-20, normal / length.clamp(min=1e-20), up).float()


def sampled(image: Float[Tensor, "h w C"], uv: Float[Tensor, "n 2"]) -> Float[Tensor, "n C"]:
    """A picture at uvs, top row first, bilinear; uvs beyond the unit square see it repeat."""
    uv = torch.where((uv < -1e-4) | (uv > 1 + 1e-4), uv - uv.floor(), uv)
    at = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], -1)
    maps = image.movedim(-1, 0)[None].float()
    return F.grid_sample(maps, at[None, None], padding_mode="border", align_corners=False)[0, :, 0].T


class Spread:
    """How values of covered texels become pictures: islands dilated by DILATION texels; beyond them one value."""

    def __init__(self, index: Int[Tensor, " T"], texture: int):
        from scipy import ndimage

        self.texture, empty = texture, np.ones(texture * texture, bool)
        empty[index.numpy()] = False
        empty = empty.reshape(texture, texture)
        distance, (row, column) = ndimage.distance_transform_edt(empty, return_indices=True)
        place = np.full(texture * texture, -1, np.int32)
        place[index.numpy()] = np.arange(len(index), dtype=np.int32)
        self.source = np.where(distance <= DILATION, place[row * texture + column], -1)[::-1].copy()

    def picture(self, values: Float[Tensor, "T C"], beyond: Float[Tensor, " C"] | None = None) -> Float[Tensor, "h w C"]:
        """Top row first; `beyond` is the mean where it is not given."""
        rest = values.mean(0) if beyond is None else beyond
        rows = torch.cat([values, rest[None].to(values)])  # -1 is the last
        return rows[torch.from_numpy(self.source).long()]
