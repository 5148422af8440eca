"""Which face every pixel shows, in plain torch: the readable twin of raster_numba, for any device.

A pixel's ray is d = K^-1 (x, y, 1). It meets the plane of a face (v0, v1, v2) where sum e_i v_i is along d, with e_0 = d . (v1 x v2) and
so on: linear in x and y, of one sign inside the face, and e / sum e are the perspective-correct weights, whatever lies behind the camera
(homogeneous rasterisation, Olano and Greer 1997). 1/z is sum e / det [v0 v1 v2]. All in float64, in the order of operations of the numba
kernel, so that both give the same faces; a shared edge has exactly opposite e in its two faces, so no pixel falls between them.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

NEAR = 0.01  # metres
CHUNK = 1 << 20  # pairs of a face and a pixel in its box at a time
SLACK = 1e-4  # pixels around a face's box, far above the rounding of its corners


def rasterize(
    points: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], intrinsics: Float[Tensor, "B 3 3"], height: int, width: int
) -> tuple[Int[Tensor, "B H W"], Float[Tensor, "B H W 3"]]:
    """(face or -1, barycentric weights or 0) at the pixel centres (+0.5). `points` are in camera coordinates (z forward); both sides
    of a face are seen from NEAR on, the nearest wins, of equals the lower index. Faces without an area, seen from the side, or with
    points that are not finite are left out. No gradients."""
    seen = torch.full((len(points), height, width), -1, dtype=torch.long, device=points.device)
    weights = points.new_zeros(len(points), height, width, 3)
    for view in range(len(points)):
        _view(points[view].detach().double(), faces, intrinsics[view].detach().double(), seen[view], weights[view])
    return seen, weights


def _view(points, faces, lens, seen, weights) -> None:
    """One view, into `seen` and `weights`."""
    height, width = seen.shape
    corners = points[faces]
    edges, det = _planes(corners, torch.linalg.inv(lens))
    left, right, top, bottom = _boxes(corners, lens, height, width)
    drawn = det.isfinite() & (det != 0) & (right > left) & (bottom > top)
    wide = right - left
    last = torch.where(drawn, wide * (bottom - top), 0).cumsum(0)
    total = int(last[-1]) if len(last) else 0

    def pairs(start: int):
        """Faces and pixels of the pairs from `start` on that hit, and 1/z there."""
        pair = torch.arange(start, min(start + CHUNK, total), device=points.device)
        face = torch.searchsorted(last, pair, right=True)
        rest = pair - last[face] + wide[face] * (bottom - top)[face]
        x, y = left[face] + rest % wide[face], top[face] + rest // wide[face]
        e = _at(edges[face], det[face].sign(), x, y)
        s = ((e[:, 0] + e[:, 1]) + e[:, 2]) / det[face].abs()
        hit = (e >= 0).all(1) & (s > 0) & (s * NEAR <= 1)
        return face[hit], (y * width + x)[hit], s[hit]

    nearest = points.new_zeros(height * width)
    for start in range(0, total, CHUNK):
        _, pixel, s = pairs(start)
        nearest.scatter_reduce_(0, pixel, s, "amax")
    first = torch.full((height * width,), len(faces), device=points.device)
    for start in range(0, total, CHUNK):
        face, pixel, s = pairs(start)
        best = s == nearest[pixel]
        first.scatter_reduce_(0, pixel[best], face[best], "amin")
    pixel = (first < len(faces)).nonzero()[:, 0]
    face = first[pixel]
    seen.view(-1)[pixel] = face
    e = _at(edges[face], det[face].sign(), pixel % width, pixel // width)
    weights.view(-1, 3)[pixel] = (e / ((e[:, 0] + e[:, 1]) + e[:, 2])[:, None]).to(weights.dtype)


def _planes(corners: Float[Tensor, "F 3 3"], ray: Float[Tensor, "3 3"]) -> tuple[Float[Tensor, "F 3 3"], Float[Tensor, " F"]]:
    """e_i as factors of (x, y, 1), and det [v0 v1 v2]."""
    a, b = corners.roll(-1, 1), corners.roll(-2, 1)
    cross = [a[..., i] * b[..., j] - a[..., j] * b[..., i] for i, j in ((1, 2), (2, 0), (0, 1))]
    edges = torch.stack([(cross[0] * ray[0, k] + cross[1] * ray[1, k]) + cross[2] * ray[2, k] for k in range(3)], -1)
    v = corners[:, 0]
    return edges, (v[:, 0] * cross[0][:, 0] + v[:, 1] * cross[1][:, 0]) + v[:, 2] * cross[2][:, 0]


def _at(edges: Float[Tensor, "n 3 3"], sign: Float[Tensor, " n"], x: Int[Tensor, " n"], y: Int[Tensor, " n"]) -> Float[Tensor, "n 3"]:
    """e at pixel centres, positive inside."""
    x, y = (x + 0.5)[:, None], (y + 0.5)[:, None]
    return sign[:, None] * (edges[..., 0] * x + (edges[..., 1] * y + edges[..., 2]))


def _boxes(corners: Float[Tensor, "F 3 3"], lens: Float[Tensor, "3 3"], height: int, width: int) -> list[Int[Tensor, " F"]]:
    """First and last + 1 columns and rows of the pixels that what lies beyond NEAR can cover."""
    other = corners.roll(-1, 1)
    z, w = corners[..., 2], other[..., 2]
    share = ((NEAR - z) / torch.where(z == w, 1.0, w - z))[..., None]
    points = torch.cat([corners, corners + share * (other - corners)], 1)  # corners, and where the sides pierce the near plane
    points[:, 3:, 2] = NEAR
    there = torch.cat([z >= NEAR, (z < NEAR) != (w < NEAR)], 1)
    out = []
    for k, size in ((0, width), (1, height)):
        on = ((lens[k, 0] * points[..., 0] + lens[k, 1] * points[..., 1]) + lens[k, 2] * points[..., 2]) / points[..., 2]
        low = torch.where(there, on, torch.inf).amin(1).nan_to_num(torch.inf)
        high = torch.where(there, on, -torch.inf).amax(1).nan_to_num(-torch.inf)
        out.append((low - 0.5 - SLACK).ceil().clamp(0, size).long())
        out.append(((high - 0.5 + SLACK).floor() + 1).clamp(0, size).long())
    return out
