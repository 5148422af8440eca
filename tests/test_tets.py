"""Tetrahedral grids: the lattice, its subdivision, marching tetrahedra."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from dream3d.renderers._signed import nearest, winding
from dream3d.renderers._tets import PAIRS, Cut, Tets, connect, lattice, march, oriented, subdivide, volumes, widths

from dream3d.errors import Mistake
from dream3d.types import Mesh


def sphere(grid: Tets, radius: float = 0.5) -> torch.Tensor:
    return grid.points.norm(dim=-1) - radius


def noise(grid: Tets, seed: int = 0) -> torch.Tensor:
    """Distances with many small surfaces, none of which reaches the rim."""
    values = torch.randn(len(grid.points), generator=torch.Generator().manual_seed(seed))
    return torch.where(grid.rim > 0, values.abs(), values)


def sides(faces: torch.Tensor) -> dict[tuple[int, int], int]:
    """How often each directed edge occurs."""
    found = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs, count = found.unique(dim=0, return_counts=True)
    return dict(zip(map(tuple, pairs.tolist()), count.tolist(), strict=True))


def closed(faces: torch.Tensor) -> bool:
    """Every edge once in each direction: watertight and consistently oriented."""
    found = sides(faces)
    return all(count == 1 and (b, a) in found for (a, b), count in found.items())


def volume(cut: Cut | Mesh) -> float:
    a, b, c = cut.vertices.detach().double()[cut.faces].unbind(1)
    return (torch.linalg.cross(a, b) * c).sum().item() / 6


def euler(cut: Cut) -> int:
    return len(cut.vertices) - len(sides(cut.faces)) // 2 + len(cut.faces)


# --- the lattice ----------------------------------------------------------------------------------------------------


def test_the_lattice_fills_its_cube_and_is_whole():
    grid = lattice(0.8, 6)
    size = volumes(grid.points, grid.cells)
    assert (size > 0).all() and size.sum().item() / 6 == pytest.approx(1.6**3, rel=1e-5)
    on_the_faces = grid.points.abs().amax(-1) > 0.8 - 1e-5
    assert torch.equal(grid.rim > 0, on_the_faces) and (grid.rim >= 0).all()
    assert torch.equal(grid.edges[grid.sides].sort(-1).values, grid.cells[:, torch.tensor(PAIRS)].sort(-1).values)
    assert len(grid.points) == 7**3 + 6**3 and len(grid.edges) == len({tuple(e) for e in grid.edges.tolist()})


def test_cells_within_have_angles_of_60_and_90_degrees_and_so_do_their_eight_parts():
    grid = lattice(1.0, 4)
    inner = (grid.rim[grid.cells] == 0).all(1)
    finer, _ = subdivide(grid, torch.ones(len(grid.cells), dtype=torch.bool))
    assert len(finer.cells) == 8 * len(grid.cells)
    inside = (finer.points[finer.cells].abs().amax((1, 2)) < 0.5 + 1e-6).nonzero()[:, 0]
    for points, cells in ((grid.points, grid.cells[inner]), (finer.points, finer.cells[inside])):
        assert len(cells) > 50
        angle = torch.rad2deg(dihedral(points.double(), cells))
        assert torch.minimum((angle - 60).abs(), (angle - 90).abs()).max() < 1e-3


def dihedral(points: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    corner, found = points[cells], []
    for e, (i, j) in enumerate(PAIRS):
        k, l = PAIRS[5 - e]
        axis = corner[:, j] - corner[:, i]
        one, other = (torch.linalg.cross(axis, corner[:, v] - corner[:, i]) for v in (k, l))
        found.append(torch.acos((one * other).sum(-1) / (one.norm(dim=-1) * other.norm(dim=-1))))
    return torch.stack(found, -1)


def test_no_cell_turns_over_where_corners_move_by_less_than_half_its_width():
    """Random cells whose corners move by 0.499 of the width in random and in the worst directions; by 1 of it some do turn over."""
    rng = torch.Generator().manual_seed(0)
    points = torch.randn(8000, 3, generator=rng, dtype=torch.float64)
    cells, _ = oriented(points, torch.arange(8000).view(-1, 4))
    width, turned = widths(points, cells).repeat_interleave(4)[:, None], 0
    for _ in range(30):
        way = torch.nn.functional.normalize(torch.randn(8000, 3, generator=rng, dtype=torch.float64), dim=-1)
        if _ % 2:  # against the gradient of the volume
            leaf = points.clone().requires_grad_()
            volumes(leaf, cells).sum().backward()
            way = -torch.nn.functional.normalize(leaf.grad + 0.3 * _ / 30 * way, dim=-1)
        push = torch.zeros_like(points).index_copy(0, cells.flatten(), width.expand(-1, 3)) * way
        assert (volumes(points + 0.499 * push, cells) > 0).all()
        turned += int((volumes(points + push, cells) < 0).sum())
    assert turned > 100


# --- marching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cubes, within", [(24, 0.01), (40, 0.004)])
def test_a_sphere_has_its_volume_is_closed_and_has_no_handles(cubes, within):
    grid = lattice(0.8, cubes)
    cut = march(grid, grid.points, sphere(grid))
    assert volume(cut) == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=within)
    assert closed(cut.faces) and euler(cut) == 2
    a, b, c = cut.vertices[cut.faces].unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    assert ((normal * (a + b + c)).sum(-1) > -1e-9).all()  # outwards, but for rounding
    assert (cut.vertices.norm(dim=-1) - 0.5).abs().max() < 0.02 * 1.6 / cubes


@pytest.mark.parametrize("seed", range(4))
def test_any_distances_make_closed_surfaces_around_what_is_inside(seed):
    grid = lattice(1.0, 5)
    distance = noise(grid, seed)
    cut = march(grid, grid.points, distance)
    assert closed(cut.faces) and volume(cut) > 0
    assert cut.faces.unique().tolist() == list(range(len(cut.vertices)))
    inside = torch.from_numpy(np.asarray(winding(cut.vertices.double()[cut.faces], grid.points.double()) > 0.5))
    assert torch.equal(inside, distance < 0)


def test_a_cut_lies_where_the_linear_distance_is_zero_and_carries_values():
    grid, plane = lattice(1.0, 4), torch.tensor([0.3, -0.5, 0.8])
    distance = grid.points @ plane - 0.111
    cut = march(grid, grid.points, distance)
    assert (cut.vertices @ plane - 0.111).abs().max() < 1e-6
    torch.testing.assert_close(cut.carry(2 * grid.points + 1), 2 * cut.vertices + 1)


def test_gradients_of_vertices_in_distances_and_places():
    grid = lattice(1.0, 2)
    points = grid.points.double() + 0.05 * torch.randn(grid.points.shape, generator=torch.Generator().manual_seed(1)).double()
    distance = noise(grid, 3).double()
    distance = distance + 0.2 * distance.sign()
    args = (points.requires_grad_(), distance.requires_grad_())
    assert len(march(grid, *args).vertices) > 30
    assert torch.autograd.gradcheck(lambda p, d: march(grid, p, d).vertices, args)


def test_repeats_are_bit_equal():
    grid = lattice(0.8, 16)
    pull, found = None, []
    for _ in range(3):
        points, distance = grid.points.clone().requires_grad_(), sphere(grid).requires_grad_()
        cut = march(grid, points, distance)
        pull = torch.randn(cut.vertices.shape, generator=torch.Generator().manual_seed(0)) if pull is None else pull
        cut.vertices.backward(pull)
        found.append((cut.vertices, cut.faces, points.grad, distance.grad))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_one_side_only_gives_no_surface():
    grid = lattice(1.0, 2)
    cut = march(grid, grid.points, torch.ones(len(grid.points)))
    assert cut.vertices.shape == (0, 3) and cut.faces.shape == (0, 3)


# --- subdivision ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.003, 0.05, 0.3, 0.7, 1.0])
def test_subdivision_keeps_space_and_surface_and_cells_meet_face_to_face(share):
    """Twice, of random cells: every cell positive, the same volume, the same rim, the same zero set, still closed."""
    rng, grid = torch.Generator().manual_seed(2), lattice(1.0, 4)
    distance = noise(grid, 5)
    before = march(grid, grid.points, distance)
    for _ in range(2):
        chosen = torch.rand(len(grid.cells), generator=rng) < share
        finer, ends = subdivide(grid, chosen)
        assert len(finer.cells) >= len(grid.cells) + 7 * int(chosen.sum())
        size = volumes(finer.points, finer.cells)
        assert (size > 0).all() and size.sum().item() / 6 == pytest.approx(8, rel=1e-5)
        assert torch.equal(finer.points[len(grid.points) :], grid.points[ends].mean(1))
        assert torch.equal(finer.rim > 0, finer.points.abs().amax(-1) > 1 - 1e-6)  # a gap between cells would be rim
        distance = torch.cat([distance, distance[ends].mean(1)])
        grid = finer
    after = march(grid, grid.points, distance)
    assert closed(after.faces) and volume(after) == pytest.approx(volume(before), rel=1e-5)
    away, _, _ = nearest(before.vertices.double()[before.faces], after.vertices.double(), 0.05)
    assert away.max() < 1e-6


def shape(grid: Tets) -> float:
    """The least width of a cell over its longest edge."""
    longest = grid.points[grid.edges].diff(dim=1).norm(dim=-1)[:, 0][grid.sides].amax(1)
    return (widths(grid.points, grid.cells) / longest).min().item()


@pytest.mark.parametrize("seed", range(2))
def test_cells_stay_well_shaped_in_whatever_order_their_corners_are_named(seed):
    """All of them divided, they keep their shape; some of them, and some of these again, a quarter of it."""
    g, plain = torch.Generator().manual_seed(seed), lattice(0.8, 3)
    even = torch.tensor([p for p in permutations(range(4)) if np.linalg.det(np.eye(4)[list(p)]) > 0])
    start = connect(plain.points, plain.cells.gather(1, even[torch.randint(12, (len(plain.cells),), generator=g)]))
    whole = some = start
    for _ in range(2):
        whole = subdivide(whole, torch.ones(len(whole.cells), dtype=torch.bool))[0]
        some = subdivide(some, torch.rand(len(some.cells), generator=g) < 0.1)[0]
    assert shape(whole) == pytest.approx(shape(start), rel=1e-4) and shape(some) > 0.249 * shape(start)


def test_a_grid_may_be_too_large_to_number_its_faces():
    with pytest.raises(Mistake, match="at most 2097151 vertices"):
        connect(torch.zeros(2_097_152, 3), torch.arange(4)[None])


def test_subdivision_around_a_surface_stays_there():
    grid = lattice(0.8, 12)
    inside = (sphere(grid) < 0)[grid.cells]
    near = inside.any(1) & ~inside.all(1)
    finer, _ = subdivide(grid, near)
    assert 7 * int(near.sum()) <= len(finer.cells) - len(grid.cells) < 12 * int(near.sum())
    cut = march(finer, finer.points, sphere(finer))
    assert volume(cut) == pytest.approx(4 / 3 * math.pi * 0.125, rel=0.006) and euler(cut) == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_on_a_gpu():
    grid = lattice(0.8, 10)
    there = Tets(**{name: value.cuda() for name, value in vars(grid).items()})
    for _ in range(2):
        distance = sphere(grid) + 0.03 * noise(grid, 1)
        one, other = march(grid, grid.points, distance), march(there, there.points, distance.cuda())
        assert torch.equal(one.faces, other.faces.cpu())
        torch.testing.assert_close(one.vertices, other.vertices.cpu())
        chosen = (distance.abs() < 0.1)[grid.cells].any(1)
        grid, ends = subdivide(grid, chosen)
        there, twins = subdivide(there, chosen.cuda())
        assert torch.equal(ends, twins.cpu()) and torch.equal(grid.cells, there.cells.cpu()) and torch.equal(grid.rim, there.rim.cpu())
