"""Where a surface ends in a picture, and how much of one pixel's value lies in its neighbour: antialiasing with a derivative.

After Laine et al., "Modular primitives for high-performance differentiable rendering" (arXiv:2011.03277), section 3.5: between two
neighbouring pixel centres that show different faces, the point where a contour crosses decides how much of one reaches into the other.
Theirs looks for the contour at the faces the two pixels show; near a contour these seldom own it. Here every contour edge (all its faces on
one side, as seen from the camera) is walked over the rows and columns of pixel centres, so each crossing is met exactly once. Rows and
columns both see an edge; their shares are the squares of its normal, so that together they measure the area it sweeps.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NEAR = 0.01  # metres, the rasteriser's


@dataclass(frozen=True)
class Edges:
    """Every edge once: its `ends` (lower vertex first), and which edge each side of a face is (side k: from corner k to the next)."""

    ends: Int[Tensor, "E 2"]
    of: Int[Tensor, "F 3"]
    along: Float[Tensor, "F 3"]  # 1 where the face goes from the edge's first end to its second, else -1


@dataclass(frozen=True)
class Crossings:
    """Pairs of neighbouring pixels between which a contour passes: flat indices into B H W of both (right of or below the other), the
    ends of the edge as rows of B V, and whether the pair lies in a row (else in a column)."""

    first: Int[Tensor, " n"]
    second: Int[Tensor, " n"]
    ends: Int[Tensor, "n 2"]
    level: Bool[Tensor, " n"]


def edges(faces: Int[Tensor, "F 3"], count: int) -> Edges:
    """The edges of faces on `count` vertices."""
    ends = torch.stack([faces, faces.roll(-1, 1)], -1)
    key = ends.amin(-1) * count + ends.amax(-1)
    unique, of = key.unique(return_inverse=True)
    return Edges(torch.stack([unique // count, unique % count], -1), of, torch.where(ends[..., 0] < ends[..., 1], 1.0, -1.0))


def contours(points: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], known: Edges) -> tuple[Tensor, Tensor, Tensor]:
    """(view, edge, side) of the edges all of whose faces that are not seen from the side lie on one side, seen from the origin; side
    is the sign of det [first end, second end, a point of the face]."""
    corners = points[:, faces].double()
    a, b, c = corners.unbind(2)
    sign = (a * torch.linalg.cross(b - a, c - a)).sum(-1).sign()
    side = (sign[..., None] * known.along).flatten(1)
    index = known.of.flatten().expand_as(side)
    high, low = (side.new_zeros(len(points), len(known.ends)).scatter_reduce(1, index, side, way) for way in ("amax", "amin"))
    view, edge = (high + low).nonzero(as_tuple=True)
    return view, edge, (high + low)[view, edge]


def crossings(
    points: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], intrinsics: Float[Tensor, "B 3 3"], seen: Int[Tensor, "B H W"], known: Edges
) -> Crossings:
    """The contour that is to be seen between each two neighbouring pixels with different faces, where there is one. The outermost
    where there are several, the edge with the lowest index of equals. No gradients."""
    points, width = points.detach(), seen.shape[2]
    view, edge, side = contours(points, faces, known)
    ends = view[:, None] * points.shape[1] + known.ends[edge]
    on, depth = project(points.flatten(0, 1)[ends], intrinsics[view])
    keep = (depth > NEAR).any(1) & on.isfinite().all(-1).all(-1)
    found = [_walk(axis, view[keep], ends[keep], side[keep], on[keep], depth[keep], points, faces, intrinsics, seen) for axis in (0, 1)]
    pixel, end, extent, level = (torch.cat(part) for part in zip(*found, strict=True))
    slot = torch.where(level, pixel, pixel + seen.numel())
    best = extent.new_full((2 * seen.numel(),), -1.0).scatter_reduce(0, slot, extent, "amax")
    order = torch.arange(len(slot), device=slot.device)
    order = torch.where(extent == best[slot], order, len(slot))
    chosen = order.new_full((2 * seen.numel(),), len(slot)).scatter_reduce(0, slot, order, "amin")
    chosen = chosen[chosen < len(slot)]
    step = torch.where(level, 1, width)
    return Crossings(pixel[chosen], (pixel + step)[chosen], end[chosen], level[chosen])


def _walk(axis, view, ends, side, on, depth, points, faces, intrinsics, seen):
    """The crossings of contour edges with the rows (axis 0) or columns (1) of pixel centres that are to be seen: pixel before the
    crossing, ends, how far from the centre of the pixel on the surface (of the distance of both centres)."""
    height, width = seen.shape[1:]
    lines, across = (height, width) if axis == 0 else (width, height)
    low, high = on[..., 1 - axis].amin(1), on[..., 1 - axis].amax(1)
    first, last = ((v - 0.5).ceil().clamp(0, lines).long() for v in (low, high))
    count = last - first
    index = torch.repeat_interleave(count)
    line = first[index] + torch.arange(len(index), device=index.device) - (count.cumsum(0) - count)[index]
    a, b = on[index].unbind(1)
    share = (line + 0.5 - a[:, 1 - axis]) / (b - a)[:, 1 - axis]
    where = a[:, axis] + share * (b - a)[:, axis]
    cell = (where - 0.5).floor()
    inside = (cell >= 0) & (cell < across - 1)
    index, line, share, where, cell = index[inside], line[inside], share[inside], where[inside], cell[inside].long()
    pixel = view[index] * height * width + (line * width + cell if axis == 0 else cell * width + line)
    after = pixel + (1 if axis == 0 else width)
    flat = seen.flatten()
    differ = flat[pixel] != flat[after]
    index, line, share, where, cell, pixel, after = (v[differ] for v in (index, line, share, where, cell, pixel, after))
    a, b = on[index].unbind(1)
    along = (b - a)[:, 1 - axis]
    beyond = side[index] * (-along if axis == 0 else along) > 0  # the surface lies at the second pixel
    inner, outer = torch.where(beyond, after, pixel), torch.where(beyond, pixel, after)
    s = (1 / depth[index]).unbind(1)
    s = s[0] + share * (s[1] - s[0])
    spot = torch.stack([where, line + 0.5] if axis == 0 else [line + 0.5, where], -1)
    near = _nearness(inner, None, points, faces, intrinsics, seen)
    far = _nearness(outer, None, points, faces, intrinsics, seen)
    there = _nearness(outer, spot, points, faces, intrinsics, seen)
    visible = (near > far) & (s > there)
    extent = where - (cell + 0.5)
    extent = torch.where(beyond, 1 - extent, extent)
    level = torch.full_like(visible, axis == 0)
    return pixel[visible], ends[index][visible], extent[visible], level[visible]


def _nearness(pixel, spot, points, faces, intrinsics, seen):
    """1/z at `spot` (None: the centre) of the planes of the faces that pixels show; 0 where they show none."""
    height, width = seen.shape[1:]
    view, face = pixel // (height * width), seen.flatten()[pixel]
    if spot is None:
        spot = torch.stack([pixel % width + 0.5, pixel // width % height + 0.5], -1)
    if len(faces) == 0:
        return spot.new_zeros(len(pixel))
    corners = points[view[:, None], faces[face.clamp(min=0)]]
    return torch.where(face >= 0, inverse_depth(corners, spot, intrinsics[view]), 0)


def project(points: Float[Tensor, "n 2 3"], lens: Float[Tensor, "n 3 3"]) -> tuple[Float[Tensor, "n 2 2"], Float[Tensor, "n 2"]]:
    """Pixel coordinates and depths of the ends of edges, moved along the edge to the near plane where they lie before it."""
    other = points.flip(1)
    z, w = points[..., 2:], other[..., 2:]
    share = (NEAR - z) / torch.where(z == w, 1.0, w - z)
    points = torch.where((z < NEAR) & (w > NEAR), points + share * (other - points), points)
    on = torch.einsum("nij,nkj->nki", lens, points)
    return on[..., :2] / on[..., 2:], points[..., 2]


def offsets(corners: Float[Tensor, "n 3 3"], spot: Float[Tensor, "n 2"], lens: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3 2"]:
    """How far corners lie beside the ray of a pixel, at their depth: in camera coordinates, exact for small faces."""
    ray_y = (spot[:, 1] - lens[:, 1, 2]) / lens[:, 1, 1]
    ray_x = (spot[:, 0] - lens[:, 0, 2] - lens[:, 0, 1] * ray_y) / lens[:, 0, 0]
    return corners[..., :2] - corners[..., 2:] * torch.stack([ray_x, ray_y], -1)[:, None]


def shares(offset: Float[Tensor, "n 3 2"]) -> Float[Tensor, "n 3"]:
    """Twice the areas opposite to the corners: proportional to the barycentric weights."""
    a, b = offset.roll(-1, 1), offset.roll(-2, 1)
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def inverse_depth(corners: Float[Tensor, "n 3 3"], spot: Float[Tensor, "n 2"], lens: Float[Tensor, "n 3 3"]) -> Float[Tensor, " n"]:
    """1/z of the planes of faces in pixel coordinates: linear in them."""
    weights = shares(offsets(corners, spot, lens))
    return weights.sum(1) / (weights * corners[..., 2]).sum(1)


def amounts(points: Float[Tensor, "B V 3"], intrinsics: Float[Tensor, "B 3 3"], met: Crossings, height: int, width: int):
    """(target, source, amount): pixel `target` takes `amount` of the value of pixel `source`; differentiable in the points."""
    on, _ = project(points.flatten(0, 1)[met.ends], intrinsics[met.first // (height * width)])
    centre = torch.stack([met.first % width + 0.5, met.first // width % height + 0.5], -1).to(on)
    a, b = ((end - centre) for end in on.unbind(1))
    a, b = (torch.where(met.level[:, None], end, end.flip(1)) for end in (a, b))  # (along the pair, across)
    share = a[:, 1] / (a[:, 1] - b[:, 1])
    at = a[:, 0] + share * (b[:, 0] - a[:, 0])  # 0 at the first pixel's centre, 1 at the second's
    way = (b - a).detach().square()
    amount = (at - 0.5) * way[:, 1] / way.sum(1)
    out = amount > 0
    return torch.where(out, met.second, met.first), torch.where(out, met.first, met.second), amount.abs()


def blend(
    values: Float[Tensor, "P K"], target: Int[Tensor, " n"], source: Int[Tensor, " n"], amount: Float[Tensor, " n"]
) -> Float[Tensor, "P K"]:
    """Every pixel a convex combination of itself and its neighbours."""
    total = amount.new_zeros(len(values)).index_add(0, target, amount.detach())
    amount = amount / total.clamp(min=1)[target]
    return values.index_add(0, target, amount[:, None] * (values[source] - values[target]))
