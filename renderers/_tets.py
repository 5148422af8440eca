"""Tetrahedral grids: a lattice, its subdivision, and the surface where a signed distance on its vertices changes sign.

The lattice is body-centred cubic: cube corners and cube centres, every cell between two neighbouring centres and one edge of the
face between them. Of the usual choices it has the best cells: all alike, with dihedral angles of 60 and 90 degrees only (five cells a
cube: 55 to 109, six: 45 to 90), and the only ones whose eight parts are again cells of the same shape, so that nothing gets
worse by subdivision. Where the cube ends, half cells close the lattice.

Marching tetrahedra (Doi and Koide, "An Efficient Method of Triangulating Equi-Valued Surfaces by Using Tetrahedral Cells", 1991;
differentiable as in DMTet, Shen et al., arXiv:2111.04276). Every table is made from the geometry of one cell when it is imported.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dream3d.errors import Mistake

PAIRS = tuple(combinations(range(4), 2))  # the edges of a cell: 01 02 03 12 13 23; edge e lies opposite to edge 5 - e
FACES = ((1, 2, 3), (0, 3, 2), (0, 1, 3), (0, 2, 1))  # of a positive cell, outwards; face k is opposite to corner k
_STAR = [[k in pair for pair in PAIRS] for k in range(4)]  # the edges at each corner
_MIDDLE = {pair: 4 + PAIRS.index(tuple(sorted(pair))) for pair in permutations(range(4), 2)}
MOST = 2_097_151  # vertices: three numbers of them fit into one of 63 bits
UNIT = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])  # a positive cell


@dataclass(frozen=True)
class Tets:
    """Cells with positive volume, (b - a) x (c - a) . (d - a) > 0. Edges ascend; `sides` are a cell's edges in the order of PAIRS. `rim`:
    1 on the outer boundary, -1 around cavities, 0 within."""

    points: Float[Tensor, "V 3"]
    cells: Int[Tensor, "T 4"]
    edges: Int[Tensor, "E 2"]
    sides: Int[Tensor, "T 6"]
    rim: Int[Tensor, " V"]


@dataclass(frozen=True)
class Cut:
    """The surface: vertex v lies on the edge `ends[v]`, `share[v]` of the way to its second end. Faces are outward counter-clockwise."""

    vertices: Float[Tensor, "N 3"]
    faces: Int[Tensor, "F 3"]
    ends: Int[Tensor, "N 2"]
    share: Float[Tensor, " N"]

    def carry(self, values: Float[Tensor, "V K"]) -> Float[Tensor, "N K"]:
        """Values on the grid, on the surface."""
        return _between(values, self.ends, self.share)


def march(grid: Tets, points: Float[Tensor, "V 3"], distance: Float[Tensor, " V"]) -> Cut:
    """The surface between vertices with negative and with other distance, differentiable in both; the order of its vertices is that of
    the edges. Closed where the whole rim is on one side."""
    inside = distance.detach() < 0
    crossing = inside[grid.edges[:, 0]] != inside[grid.edges[:, 1]]
    ends = grid.edges[crossing]
    a, b = distance.index_select(0, ends.flatten()).unflatten(0, (-1, 2)).unbind(1)
    share = a / (a - b)
    code = (inside[grid.cells] * _on(_BITS, inside)).sum(1)
    active = ((code > 0) & (code < 15)).nonzero()[:, 0]
    corners = _on(_TRIANGLES, code)[code[active]]
    number = crossing.cumsum(0) - 1
    faces = number[grid.sides[active].gather(1, corners.clamp(min=0).flatten(1))].unflatten(1, (2, 3))
    return Cut(_between(points, ends, share), faces[corners[..., 0] >= 0], ends, share)


def _between(values: Float[Tensor, "V K"], ends: Int[Tensor, "N 2"], share: Float[Tensor, " N"]) -> Float[Tensor, "N K"]:
    # index_select: its backward adds in order, so that a repeated step is bit-equal
    a, b = values.index_select(0, ends.flatten()).unflatten(0, (-1, 2)).unbind(1)
    return a + share[:, None] * (b - a)


# --- grids ----------------------------------------------------------------------------------------------------------


def lattice(bound: float, cubes: int) -> Tets:
    """The body-centred lattice over [-bound, bound]^3 with `cubes` a side: 2 cubes^3 vertices and 12 cubes^3 cells, roughly."""
    side = torch.arange(cubes)
    cube = torch.cartesian_prod(side, side, side).view(-1, 3)
    corners = torch.cartesian_prod(*[torch.arange(cubes + 1)] * 3)
    points = torch.cat([corners.double(), cube + 0.5]) * (2 * bound / cubes) - bound
    cells = torch.cat([part for axis in range(3) for part in _across(cube, cubes, axis)])
    return connect(points.float(), oriented(points, cells)[0])


def _across(cube: Int[Tensor, "C 3"], cubes: int, axis: int) -> Iterator[Int[Tensor, "T 4"]]:
    """The cells around all faces across an axis: four between two cubes, two where there is one cube only."""
    eye = torch.eye(3, dtype=torch.long)
    along, v, w = eye[axis], eye[(axis + 1) % 3], eye[(axis + 2) % 3]
    turn = torch.stack([0 * v, v, v + w, w])

    def centre(at):
        return (cubes + 1) ** 3 + (at * torch.tensor([cubes * cubes, cubes, 1])).sum(-1)

    def face(at):
        return ((at[:, None] + turn) * torch.tensor([(cubes + 1) ** 2, cubes + 1, 1])).sum(-1)

    low, high = cube[cube[:, axis] == 0], cube[cube[:, axis] == cubes - 1]
    here = cube[cube[:, axis] < cubes - 1]
    ring = face(here + along)
    for q in range(4):
        yield torch.stack([centre(here), centre(here + along), ring[:, q], ring[:, (q + 1) % 4]], 1)
    for at, ring in ((low, face(low)), (high, face(high + along))):
        yield torch.cat([centre(at)[:, None], ring[:, :3]], 1)
        yield torch.cat([centre(at)[:, None], ring[:, [0, 2, 3]]], 1)


def connect(points: Float[Tensor, "V 3"], cells: Int[Tensor, "T 4"]) -> Tets:
    """The grid with its edges and its rim. Raises Mistake where more than two cells share a face, or two on one
    side of it, or for more than MOST vertices."""
    if len(points) > MOST:
        problem = f"a tetrahedral grid has at most {MOST} vertices, but this would have {len(points)}"
        raise Mistake(problem, near="renderer.resolution=100", code=4)
    low, high = cells[:, torch.tensor(PAIRS, device=cells.device)].sort(-1).values.unbind(-1)
    keys, sides = torch.unique(low * len(points) + high, return_inverse=True)
    edges = torch.stack([keys // len(points), keys % len(points)], 1)
    return Tets(points, cells, edges, sides, _rim(points, cells))


def _rim(points: Float[Tensor, "V 3"], cells: Int[Tensor, "T 4"]) -> Int[Tensor, " V"]:
    """The boundary is what belongs to one cell only. Each of its parts turns its back on a volume, or on a cavity."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(points)
    faces = cells[:, torch.tensor(FACES, device=cells.device)].flatten(0, 1)
    a, b, c = faces.sort(-1).values.unbind(-1)
    _, inverse, shared = torch.unique((a * count + b) * count + c, return_inverse=True, return_counts=True)
    if len(shared) and int(shared.max()) > 2:
        raise Mistake(f"{int((shared > 2).sum())} faces of the tetrahedral grid belong to more than two cells")
    x, y, z = faces.unbind(-1)
    turn = ((y - x).sign() * (z - y).sign() * (z - x).sign()).float()  # two cells on either side of a face see it turn both ways
    folded = (torch.zeros_like(shared, dtype=torch.float).index_add(0, inverse, turn).abs() > 1).sum()
    if folded:
        raise Mistake(f"the tetrahedral grid is folded: both cells of {int(folded)} faces lie on the same side")
    faces = faces[shared[inverse] == 1].cpu()
    i, j = faces.flatten().numpy(), faces.roll(1, 1).flatten().numpy()
    _, part = connected_components(coo_matrix((np.ones(len(i)), (i, j)), (count, count)), directed=False)
    corner = points.detach().cpu().double().numpy()[faces.numpy()]
    volume = np.bincount(part[faces[:, 0].numpy()], np.linalg.det(corner), minlength=part.max() + 1)
    rim = torch.zeros(count, dtype=torch.long)
    rim[faces.flatten()] = torch.from_numpy(np.where(volume > 0, 1, -1)[part])[faces.flatten()]
    return rim.to(points.device)


def oriented(points: Float[Tensor, "V 3"], cells: Int[Tensor, "T 4"]) -> tuple[Int[Tensor, "T 4"], Bool[Tensor, " T"]]:
    """The cells with two corners of the inverted ones swapped, and which these were."""
    wrong = volumes(points, cells) < 0
    return torch.where(wrong[:, None], cells[:, [0, 1, 3, 2]], cells), wrong


def volumes(points: Float[Tensor, "V 3"], cells: Int[Tensor, "T 4"]) -> Float[Tensor, " T"]:
    """Six times the signed volume of each cell."""
    a, b, c, d = points[cells].unbind(1)
    return (torch.linalg.cross(b - a, c - a) * (d - a)).sum(-1)


def widths(points: Float[Tensor, "V 3"], cells: Int[Tensor, "T 4"]) -> Float[Tensor, " T"]:
    """The least distance of a corner from its opposite face, or of an edge from its opposite edge. Four points in a plane have a corner
    in the triangle of the others or two edges that cross: a cell whose corners move by less than half of this never turns over."""
    corner = points[cells]
    span = [torch.linalg.cross(corner[:, j] - corner[:, i], corner[:, k] - corner[:, i]) for i, j, k in FACES]
    for (i, j), (k, l) in zip(PAIRS[:3], PAIRS[:2:-1], strict=True):
        span.append(torch.linalg.cross(corner[:, j] - corner[:, i], corner[:, l] - corner[:, k]))
    return volumes(points, cells).abs() / torch.stack(span).norm(dim=-1).amax(0)


def around(grid: Tets, values: Float[Tensor, " T"]) -> Float[Tensor, " V"]:
    """Of the cells around each vertex the least value."""
    least = values.new_full((len(grid.points),), torch.inf)
    return least.scatter_reduce(0, grid.cells.flatten(), values.repeat_interleave(4), "amin")


# --- subdivision ----------------------------------------------------------------------------------------------------


def subdivide(grid: Tets, chosen: Bool[Tensor, " T"]) -> tuple[Tets, Int[Tensor, "n 2"]]:
    """Every chosen cell in eight, and so those with five halved edges or four that leave no other way; the others beside them in two to
    seven, so that all meet face to face (red and green refinement, Bank, Sherman and Weiser 1983). The old vertices come first, then
    the middles of the returned pairs."""
    halved = grid.rim.new_zeros(len(grid.edges), dtype=torch.bool)
    halved[grid.sides[chosen].flatten()] = True
    while bool((more := (_way(halved[grid.sides]) == 2) & ~halved[grid.sides].all(1)).any()):
        halved[grid.sides[more].flatten()] = True
    ends, way = grid.edges[halved], _way(halved[grid.sides])
    points = torch.cat([grid.points, grid.points[ends].mean(1)])
    middle = torch.where(halved, len(grid.points) + halved.cumsum(0) - 1, -1)
    local = torch.cat([grid.cells, middle[grid.sides]], 1)  # ten places: corners, then middles of edges
    parts = [_bisected(local[way == 0], _order(grid)[halved], len(grid.points))]
    for k, corners in enumerate(FACES):
        parts.append(_divided(local[(way == 1) & (local[:, 4:][:, _STAR[k]] < 0).all(1)], _four(corners)))
    whole = local[way == 2]
    span = torch.stack([(points[whole[:, 4 + e]] - points[whole[:, 9 - e]]).norm(dim=-1) for e in range(3)], 1)
    shortest = (span < 1.0001 * span.amin(1, keepdim=True)).long().argmax(1)  # the first, where they are equal up to rounding
    parts += [_divided(whole[shortest == e], _eight(e)) for e in range(3)]
    return connect(points, torch.cat(parts)), ends


def _way(marked: Bool[Tensor, "T 6"]) -> Int[Tensor, " T"]:
    """How cells with these edges halved divide: 0 edge by edge, 1 in four beside the one face that is halved all around, 2 in eight."""
    full = torch.stack([marked[:, [e for e in range(6) if not _STAR[k][e]]].all(1) for k in range(4)], 1).any(1)
    return full.long() + (full & (marked.sum(1) > 3))


def _order(grid: Tets) -> Int[Tensor, " E"]:
    """The place of each edge in one order for all cells, long edges first: neighbours divide the face between them alike."""
    length = grid.points[grid.edges].diff(dim=1).norm(dim=-1)[:, 0]
    return (length * (1e4 / length.max())).round().argsort(descending=True, stable=True).argsort()


def _bisected(local: Int[Tensor, "n 10"], order: Int[Tensor, " m"], first: int) -> Int[Tensor, "N 4"]:
    """Cut through the middles of halved edges, in their order, until there are none. Middles are numbered from `first`."""
    order = torch.cat([order, order.new_full((1,), torch.iinfo(order.dtype).max)])  # the last: of edges that stay whole
    pairs, star, done = torch.tensor(PAIRS).to(local.device), torch.tensor(_STAR).to(local.device), []
    while len(local):
        cut = (local[:, 4:] >= 0).any(1)
        done.append(local[~cut, :4])
        cells, middle = local[cut].split([4, 6], 1)
        edge = order[torch.where(middle < 0, -1, middle - first)].argmin(1)
        at = middle.gather(1, edge[:, None])
        halves = [(cells.scatter(1, end[:, None], at), middle.masked_fill(star[end], -1)) for end in pairs[edge].unbind(1)]
        local = torch.cat([torch.cat(half, 1) for half in halves])
    return torch.cat([local[:, :4], *done])


def _divided(local: Int[Tensor, "n 10"], parts: list[tuple[int, ...]]) -> Int[Tensor, "m 4"]:
    return local[:, torch.tensor(parts, device=local.device)].flatten(0, 1)


def _four(face: tuple[int, ...]) -> list[tuple[int, ...]]:
    """A part at each corner of a face, and the one between."""
    ring = [{u: _MIDDLE[u, v] for u in face if u != v} for v in face]
    ring.append({v: _MIDDLE[tuple(u for u in face if u != v)] for v in face})
    return [tuple(swap.get(v, v) for v in range(4)) for swap in ring]


def _eight(diagonal: int) -> list[tuple[int, ...]]:
    """A part at each corner, and four around a diagonal (0, 1 or 2) of the octahedron between them."""
    parts = [tuple(v if v == u else _MIDDLE[u, v] for v in range(4)) for u in range(4)]
    place = np.concatenate([UNIT, [UNIT[list(pair)].mean(0) for pair in PAIRS]])
    p, q = 4 + diagonal, 9 - diagonal
    r, s = (4 + e for e in range(3) if e != diagonal)
    ring = (r, s, 13 - r, 13 - s)  # opposite middles add up to 13; neighbours in the ring are not opposite
    for k in range(4):
        part = (p, q, ring[k], ring[(k + 1) % 4])
        positive = np.linalg.det(place[list(part[1:])] - place[p]) > 0
        parts.append(part if positive else (*part[:2], *part[:1:-1]))
    return parts


def _triangles() -> list[list[list[int]]]:
    """For each of the 16 patterns of corners inside: up to two triangles, as edges of the cell that their corners lie on."""
    table = []
    for code in range(16):
        within, without = ([v for v in range(4) if (code >> v & 1) == side] for side in (1, 0))
        found: list[tuple[int, ...]] = []
        if len(within) == 2:
            (a, b), (c, d) = within, without
            ring = [PAIRS.index(tuple(sorted(pair))) for pair in ((a, c), (a, d), (b, d), (b, c))]
            found = [(ring[0], ring[1], ring[2]), (ring[0], ring[2], ring[3])]
        elif within and without:
            found = [tuple(PAIRS.index(tuple(sorted((a, c)))) for a in within for c in without)]
        if found:
            outwards = UNIT[without].mean(0) - UNIT[within].mean(0)
            corner = UNIT[np.array(PAIRS)].mean(1)
            found = [f if np.linalg.det([*np.diff(corner[list(f)], axis=0), outwards]) > 0 else f[::-1] for f in found]
        table.append([list(f) for f in found] + [[-1] * 3] * (2 - len(found)))
    return table


_BITS = 2 ** torch.arange(4)
_TRIANGLES = torch.tensor(_triangles())


def _on(table: Tensor, like: Tensor) -> Tensor:
    return table.to(like.device)
