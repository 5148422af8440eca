"""How far points are from a mesh, and on which side.

Distance by the nearest places found in a k-d tree and then exact. Side by the generalised winding number (Jacobson et al., "Robust
Inside-Outside Segmentation using Generalized Winding Numbers", SIGGRAPH 2013), so that open, overlapping and inside-out meshes have an
inside too; distant faces together as dipoles (Barill et al., "Fast Winding Numbers for Soups and Clouds", SIGGRAPH 2018).
"""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.types import Mesh

NEAREST = 8  # faces of which the exact distance is taken
PARTS = 1_000_000  # parts that faces are seen in, at most: huge ones by the thousand are seen coarsely
BLOCK = 1 << 15  # points at a time
BINS = 12  # clusters a side of the mesh's box
FAR = 2.5  # radii of a cluster beyond which it is a dipole: an error of about 1 % of its part


def signed(
    mesh: Mesh, x: Float[Tensor, "N 3"], spacing: float, links: Int[Tensor, "E 2"] | None = None
) -> tuple[Float[Tensor, " N"], Int[Tensor, " N"], Float[Tensor, "N 3"]]:
    """Metres from the surface, negative inside; the nearest face and where in it (barycentric). Faces longer than `spacing` are looked at
    in parts. Points that are linked closer than the surface is lie on the same side, which saves most of the work. Raises Mistake for
    a mesh without faces or with places that are no numbers."""
    if len(mesh.faces) == 0:
        raise Mistake("there is nothing to start from: the mesh has no faces")
    if not bool(mesh.vertices[mesh.faces].isfinite().all()):
        raise Mistake("the mesh has vertices that are nowhere (not a number, or infinite)")
    corners = mesh.vertices.detach().cpu().double()[mesh.faces.cpu()]
    away, face, weights = nearest(corners, x.detach().cpu().double(), spacing)
    inside = _sides(corners, x.detach().cpu().double(), away, links)
    return torch.where(inside, -away, away).to(x), face.to(x.device), weights.to(x)


def nearest(
    corners: Float[Tensor, "F 3 3"], x: Float[Tensor, "N 3"], spacing: float
) -> tuple[Float[Tensor, " N"], Int[Tensor, " N"], Float[Tensor, "N 3"]]:
    """The distance of each point, the nearest face, and where in it."""
    from trimesh.remesh import subdivide_to_size

    count = len(corners)
    longest = (corners - corners.roll(1, 1)).norm(dim=-1).amax(1)
    size = max(spacing, math.sqrt(float(longest.square().sum()) / PARTS))
    flat = torch.arange(3 * count).view(-1, 3).numpy()
    vertices, parts, origin = subdivide_to_size(corners.flatten(0, 1).numpy(), flat, size, max_iter=16, return_index=True)
    tree, found = cKDTree(vertices[parts].mean(1)), []
    for block in x.split(BLOCK):
        _, part = tree.query(block.numpy(), k=min(NEAREST, len(parts)))
        face = torch.from_numpy(np.asarray(origin)[part.reshape(len(block), -1)]).long()
        weights = _closest(corners[face], block[:, None])
        away = ((weights[..., None] * corners[face]).sum(-2) - block[:, None]).norm(dim=-1)
        best = away.argmin(1, keepdim=True)
        found.append((away.gather(1, best)[:, 0], face.gather(1, best)[:, 0], weights[torch.arange(len(block)), best[:, 0]]))
    return tuple(torch.cat(column) for column in zip(*found, strict=True))


def _closest(corners: Float[Tensor, "N k 3 3"], x: Float[Tensor, "N 1 3"]) -> Float[Tensor, "N k 3"]:
    """Barycentric coordinates of the point of a triangle that is nearest to x: its foot, or the best of the three edges."""
    a, b, c = corners.unbind(-2)
    normal = torch.linalg.cross(b - a, c - a)
    foot = torch.stack([(torch.linalg.cross(q - p, x - p) * normal).sum(-1) for p, q in ((b, c), (c, a), (a, b))], -1)
    foot = foot / normal.square().sum(-1, keepdim=True)
    within = (foot >= 0).all(-1, keepdim=True)  # false where the triangle is degenerate
    edges, gaps = [], []
    for i in range(3):
        p, q = corners[..., i, :], corners[..., (i + 1) % 3, :]
        along = ((x - p) * (q - p)).sum(-1) / (q - p).square().sum(-1).clamp(min=1e-300)
        t = along.clamp(0, 1)[..., None]
        edges.append(torch.cat([1 - t, t, 0 * t], -1).roll(i, -1))
        gaps.append((p + t * (q - p) - x).norm(dim=-1))
    pick = torch.stack(gaps, -1).argmin(-1)[..., None, None].expand(*foot.shape[:2], 1, 3)
    return torch.where(within, foot, torch.stack(edges, -2).gather(-2, pick)[..., 0, :])


def _sides(
    corners: Float[Tensor, "F 3 3"], x: Float[Tensor, "N 3"], away: Float[Tensor, " N"], links: Int[Tensor, "E 2"] | None
) -> Bool[Tensor, " N"]:
    """Inside or not, decided for one point of each group that the surface cannot part."""
    if links is None:
        return winding(corners, x).abs() > 0.5
    i, j = links.cpu().unbind(1)
    free = (x[i] - x[j]).norm(dim=-1) < 0.999 * torch.maximum(away[i], away[j])
    graph = coo_matrix((np.ones(int(free.sum())), (i[free].numpy(), j[free].numpy())), (len(x), len(x)))
    count, group = connected_components(graph, directed=False)
    first = np.zeros(count, np.int64)
    first[group[::-1]] = np.arange(len(x))[::-1]
    return (winding(corners, x[torch.from_numpy(first)]).abs() > 0.5)[torch.from_numpy(group).long()]


def winding(corners: Float[Tensor, "F 3 3"], x: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    """How often the mesh goes around each point: 1 inside an outward surface, 0 outside, between them where it is open."""
    middle, total = corners.mean(1), torch.zeros_like(x[:, 0])
    for rows in _clusters(middle.numpy()):
        part = corners[torch.from_numpy(rows)]
        area = torch.linalg.cross(part[:, 1] - part[:, 0], part[:, 2] - part[:, 0]) / 2
        size = area.norm(dim=-1, keepdim=True).clamp(min=1e-300)
        centre = (size * part.mean(1)).sum(0) / size.sum()
        radius = (part - centre).norm(dim=-1).max()
        to = centre - x
        gap = to.norm(dim=-1)
        total += torch.where(gap > FAR * radius, (to * area.sum(0)).sum(-1) / gap.clamp(min=1e-12) ** 3, 0)
        near = (gap <= FAR * radius).nonzero()[:, 0]
        for some in near.split(max(1, (1 << 21) // len(part))):
            total[some] += _angles(part, x[some])
    return total / (4 * math.pi)


def _clusters(middle: Float[ndarray, "F 3"]) -> list[Int[ndarray, " n"]]:
    """Faces by the cell of the mesh's box that their middle lies in."""
    low, span = middle.min(0), max(float(np.ptp(middle, 0).max()), 1e-12)
    cell = np.minimum((middle - low) / span * BINS, BINS - 1).astype(np.int64) @ np.array([BINS * BINS, BINS, 1])
    order = np.argsort(cell, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(cell[order])) + 1)


def _angles(corners: Float[Tensor, "F 3 3"], x: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    """The sum of solid angles of faces (Van Oosterom and Strackee 1983)."""
    a, b, c = (corners - x[:, None, None]).unbind(-2)
    la, lb, lc = a.norm(dim=-1), b.norm(dim=-1), c.norm(dim=-1)
    up = (a * torch.linalg.cross(b, c)).sum(-1)
    down = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return 2 * torch.atan2(up, down).sum(-1)
