"""How much of one pixel's value lies in its neighbour where surfaces end: antialiasing with a derivative.

After Laine et al., "Modular primitives for high-performance differentiable rendering" (arXiv:2011.03277), section 3.5: the point where a
contour crosses the line between two neighbouring pixel centres says how far the value of one reaches into the other. Theirs looks for the
contour at the faces that the two pixels show; near a contour those seldom own it. `_backends/contours_*` instead walk edges over the rows
and columns of pixel centres, so that each crossing is met once. Rows and columns both see an edge; their shares are the squares of its
normal, so that together they measure the area it sweeps. Where one part of a mesh goes into another, it is their line of intersection.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NEAR = 0.01  # metres, the rasteriser's
TILT = 0.05  # tangent of the angle between planes below which their line of intersection is not to be trusted


@dataclass(frozen=True)
class Ends:
    """Pairs of neighbouring pixels between which a surface ends, each pair once. `first` and `second` are flat indices into B H W, the
    second to the right of the first (`level`) or below it. `rows` of B V: the ends of the edge that crosses between them, or, where
    `meets`, the corners of the first's face and then the second's, whose planes do; -1 where an edge has none."""

    first: Int[Tensor, " n"]
    second: Int[Tensor, " n"]
    level: Bool[Tensor, " n"]
    meets: Bool[Tensor, " n"]
    rows: Int[Tensor, "n 6"]


def blend(
    values: Float[Tensor, "P K"], points: Float[Tensor, "B V 3"], intrinsics: Float[Tensor, "B 3 3"], ends: Ends, size: tuple[int, int]
) -> Float[Tensor, "P K"]:
    """Pixels of (height, width) = `size` as convex combinations of themselves and their neighbours; differentiable in the points."""
    view = ends.first // (size[0] * size[1])
    spot = torch.stack([ends.first % size[1] + 0.5, ends.first // size[1] % size[0] + 0.5], -1).double()
    amount, flat = spot.new_zeros(len(view)), points.flatten(0, 1)
    for share, kind in ((_of_edges, ~ends.meets), (_of_meetings, ends.meets)):
        where = kind.nonzero()[:, 0]
        rows = gather(flat, ends.rows[where].clamp(min=0)).double()  # as exact as the search: no edge is too short to divide by
        amount = amount.index_copy(0, where, share(rows, spot[where], ends.level[where], intrinsics[view[where]].double()))
    amount = amount.to(values.dtype)
    out = amount > 0
    target, source = torch.where(out, ends.second, ends.first), torch.where(out, ends.first, ends.second)
    total = amount.new_zeros(len(values)).index_add(0, target, amount.detach().abs())
    amount = amount.abs() / total.clamp(min=1)[target]
    return values.index_add(0, target, amount[:, None] * (gather(values, source) - gather(values, target)))


def gather(table: Float[Tensor, "R K"], index: Int[Tensor, "..."]) -> Float[Tensor, "... K"]:
    """Rows of a table, added up in order on the way back: a repeated step is bit-equal, which plain indexing is not."""
    return table.index_select(0, index.flatten()).view(*index.shape, table.shape[1])


def _of_edges(points, spot, level, lens) -> Float[Tensor, " n"]:
    """How far beyond the middle between the pixels an edge crosses (< 0: before it), times the share of this direction."""
    on, _ = project(points[:, :2], lens)
    a, b = (torch.where(level[:, None], end, end.flip(1)) for end in (on - spot[:, None]).unbind(1))  # (along the pair, across it)
    at = a[:, 0] + a[:, 1] / (a[:, 1] - b[:, 1]) * (b[:, 0] - a[:, 0])
    way = (b - a).detach().square()
    return (at - 0.5) * way[:, 1] / way.sum(1)


def _of_meetings(points, spot, level, lens) -> Float[Tensor, " n"]:
    """The same for the line in which two planes intersect. Planes that hardly differ have one that jumps: it gets no derivative."""
    corners = points.unflatten(1, (2, 3))
    gap = gaps(corners, spot, level, lens)
    along, across = (gap[:, :1] - gap[:, 1:]).detach().square().unbind(1)
    level_one = nearness(corners[:, 0], spot, lens).detach() / lens[:, 0, 0]  # change of 1/z per pixel on a plane tilted by 45 degrees
    at = gap[:, 0] / (gap[:, 0] - gap[:, 1])
    return (torch.where((along + across).sqrt() > TILT * level_one, at, at.detach()) - 0.5) * along / (along + across)


def gaps(corners: Float[Tensor, "n 2 3 3"], spot: Float[Tensor, "n 2"], level: Bool[Tensor, " n"], lens: Float[Tensor, "n 3 3"]):
    """By how much 1/z of one plane exceeds the other's: at `spot`, one pixel on in the pair's direction, one pixel across it; (n 3)."""
    way = torch.where(level[:, None], spot.new_tensor([1.0, 0.0]), spot.new_tensor([0.0, 1.0]))
    spots = (spot, spot + way, spot + way.flip(1))
    return torch.stack([nearness(corners[:, 0], at, lens) - nearness(corners[:, 1], at, lens) for at in spots], -1)


def project(points: Float[Tensor, "n 2 3"], lens: Float[Tensor, "n 3 3"]) -> tuple[Float[Tensor, "n 2 2"], Float[Tensor, "n 2"]]:
    """Pixel coordinates and depths of the ends of edges, moved along the edge to the near plane where they lie before it."""
    other = points.flip(1)
    z, w = points[..., 2:], other[..., 2:]
    share = (NEAR - z) / torch.where(z == w, 1.0, w - z)
    points = torch.where((z < NEAR) & (w > NEAR), points + share * (other - points), points)
    on = torch.einsum("nij,nkj->nki", lens, points)
    return on[..., :2] / on[..., 2:], points[..., 2]


def offsets(corners: Float[Tensor, "n 3 3"], spot: Float[Tensor, "n 2"], lens: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3 2"]:
    """How far corners lie beside the ray of a pixel at their depth, in metres: exact for small faces."""
    y = (spot[:, 1] - lens[:, 1, 2]) / lens[:, 1, 1]
    x = (spot[:, 0] - lens[:, 0, 2] - lens[:, 0, 1] * y) / lens[:, 0, 0]
    return corners[..., :2] - corners[..., 2:] * torch.stack([x, y], -1)[:, None]


def shares(offset: Float[Tensor, "n 3 2"]) -> Float[Tensor, "n 3"]:
    """Twice the areas opposite to the corners: proportional to the barycentric weights."""
    a, b = offset.roll(-1, 1), offset.roll(-2, 1)
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def nearness(corners: Float[Tensor, "n 3 3"], spot: Float[Tensor, "n 2"], lens: Float[Tensor, "n 3 3"]) -> Float[Tensor, " n"]:
    """1/z of the planes of faces, linear in pixel coordinates."""
    weights = shares(offsets(corners, spot, lens))
    return weights.sum(1) / (weights * corners[..., 2]).sum(1)
