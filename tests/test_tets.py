"""Tetrahedral grids: the lattice, its subdivision, marching tetrahedra, signed distances of meshes, grids from files."""

import math
import zipfile

import numpy as np
import pytest
import torch
import trimesh
from dream3d.renderers import _grids
from dream3d.renderers._signed import nearest, signed, winding
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


def mesh(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(torch.from_numpy(shape.vertices.copy()).float(), torch.from_numpy(shape.faces.copy()).long())


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


# --- distances of meshes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("linked", [True, False])
def test_distance_to_a_box_is_exact_for_either_orientation(linked):
    grid, half = lattice(0.8, 10), torch.tensor([0.4, 0.45, 0.5])
    box, q = mesh(trimesh.creation.box((0.8, 0.9, 1.0))), grid.points.abs() - half
    exact = q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)
    for faces in (box.faces, box.faces.flip(1)):
        distance, face, weights = signed(Mesh(box.vertices, faces), grid.points, 0.05, grid.edges if linked else None)
        torch.testing.assert_close(distance, exact, atol=1e-5, rtol=0)
        places = (weights[..., None] * box.vertices[faces[face]]).sum(1)
        torch.testing.assert_close((places - grid.points).norm(dim=-1), exact.abs(), atol=1e-5, rtol=0)
        assert (weights >= -1e-6).all()


def test_overlapping_parts_and_a_hole_leave_inside_inside():
    one, other = trimesh.creation.icosphere(3, 0.4), trimesh.creation.icosphere(3, 0.4)
    other.apply_translation((0.3, 0, 0))
    both = mesh(trimesh.util.concatenate([one, other]))
    x = torch.tensor([[0.15, 0, 0], [-0.3, 0, 0], [0.6, 0, 0], [0.8, 0, 0], [0.15, 0.4, 0]])
    inside = [True, True, True, False, False]
    assert (signed(both, x, 0.05)[0] < 0).tolist() == inside
    holed = Mesh(both.vertices, both.faces[torch.arange(len(both.faces)) % 97 > 0])
    assert (signed(holed, x, 0.05)[0] < 0).tolist() == inside


def test_winding_numbers_count():
    ball = mesh(trimesh.creation.icosphere(4, 0.5))
    corners = ball.vertices.double()[ball.faces]
    rng = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(500, 3, generator=rng, dtype=torch.float64), dim=-1)
    scale = torch.rand(500, 1, generator=rng, dtype=torch.float64)
    assert (winding(corners, x * 0.48 * scale) - 1).abs().max() < 0.02
    assert winding(corners, x * (0.52 + scale)).abs().max() < 0.02
    half = corners[corners.mean(1)[:, 2] > 0]
    assert winding(half, torch.zeros(1, 3, dtype=torch.float64)).item() == pytest.approx(0.5, abs=0.02)


def test_a_distance_needs_a_mesh():
    x = torch.zeros(2, 3)
    with pytest.raises(Mistake, match="no faces"):
        signed(Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.long)), x, 0.1)
    with pytest.raises(Mistake, match="nowhere"):
        signed(Mesh(torch.full((3, 3), torch.nan), torch.tensor([[0, 1, 2]])), x, 0.1)
    line = Mesh(torch.tensor([[1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0]]), torch.tensor([[0, 1, 2]]))  # a face without an area
    assert signed(line, x, 0.1)[0].tolist() == pytest.approx([1.0, 1.0])


def test_thousands_of_huge_faces_stay_bounded():
    """A fan of 3000 faces, each as large as the mesh, thick or as thin as a hair: quick, and still on the right side."""
    turn = torch.linspace(0, 2 * math.pi, 3001)[:-1]
    rim = torch.stack([turn.cos(), turn.sin(), 0 * turn], -1)
    ends = torch.tensor([[0.0, 0.0, 5.0], [0.0, 0.0, -5.0]])
    i = torch.arange(3000)
    j = (i + 1) % 3000
    faces = torch.cat([torch.stack([i, j, 0 * i + 3000], -1), torch.stack([j, i, 0 * i + 3001], -1)])
    x = torch.tensor([[0.0, 0, 0], [0.5, 0, 1], [0.9, 0, 2], [0.0, 2, 0]])
    distance = signed(Mesh(torch.cat([rim, ends]), faces), x, 1e-3)[0]
    slope = 5 / math.sqrt(26)  # the cones x + |z| / 5 = 1; the last place is nearest to their rim
    exact = torch.tensor([-slope, -0.3 * slope, 0.3 * slope, 1.0])
    torch.testing.assert_close(distance, exact, atol=2e-3, rtol=0)


# --- grids from files -----------------------------------------------------------------------------------------------


def saved(path, points, cells, **more) -> str:
    np.savez(path, vertices=points, tets=cells, **more)
    return str(path)


@pytest.fixture
def plain():
    grid = lattice(0.8, 3)
    return grid.points.numpy(), grid.cells.numpy()


def test_a_grid_from_a_file_is_the_grid(tmp_path, plain):
    points, cells = plain
    for name, array in (("a", cells), ("b", cells.astype(np.uint16))):
        grid, repairs = _grids.load(saved(tmp_path / f"{name}.npz", points, array))
        assert repairs == "" and torch.equal(grid.points, torch.from_numpy(points))
        assert torch.equal(grid.cells, torch.from_numpy(cells)) and torch.equal(grid.rim, lattice(0.8, 3).rim)
    np.savez_compressed(tmp_path / "c.npz", vertices=np.asfortranarray(points.astype(np.float64)), indices=cells)
    assert torch.equal(_grids.load(str(tmp_path / "c.npz"))[0].points, torch.from_numpy(points))


def test_inverted_cells_are_turned_and_lone_vertices_dropped(tmp_path, plain):
    points, cells = plain
    wrong = cells.copy()
    wrong[:5] = wrong[:5, [1, 0, 2, 3]]
    grid, repairs = _grids.load(saved(tmp_path / "a.npz", np.concatenate([np.ones((2, 3), np.float32), points]), wrong + 2))
    assert repairs == "5 inverted cells turned, 2 vertices of no cell dropped"
    assert (volumes(grid.points, grid.cells) > 0).all() and len(grid.points) == len(points)


def test_a_shell_has_an_outside_and_a_hollow():
    grid = lattice(0.8, 8)
    keep = grid.points[grid.cells].norm(dim=-1).amax(1) > 0.35
    used = torch.zeros(len(grid.points), dtype=torch.bool).index_fill_(0, grid.cells[keep].flatten(), True)
    shell = connect(grid.points[used], (used.cumsum(0) - 1)[grid.cells[keep]])
    assert (shell.points[shell.rim > 0].abs().amax(-1) > 0.79).all()
    hollow = shell.points[shell.rim < 0].norm(dim=-1)
    assert len(hollow) > 20 and hollow.max() < 0.4


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda p, c: (p, c[:0]), "tets (0, 4)"),
        (lambda p, c: (p[:0], c), "vertices (0, 3)"),
        (lambda p, c: (p[:, :2], c), "expected vertices (V, 3)"),
        (lambda p, c: (p, c[:, :3]), "tets (T, 4)"),
        (lambda p, c: (p * np.nan, c), "not all finite"),
        (lambda p, c: (p + 1e9, c), "within 1000 km"),
        (lambda p, c: (p, c + len(p)), "there are 91"),
        (lambda p, c: (p, -c), "there are 91"),
        (lambda p, c: (p, c.astype(float)), "whole numbers"),
        (lambda p, c: ((100 * p).astype(int), c), "of floats"),
        (lambda p, c: (p, np.concatenate([c, c[:3]])), "more than two cells"),
        (lambda p, c: (p, np.concatenate([c, [[0, 1, 2, 2]]])), "1 of 325 cells have no volume, the first is tets[324]"),
        (lambda p, c: (0 * p, c), "324 of 324 cells have no volume"),
        (lambda p, c: (p.astype(object), c), "which it cannot be"),
    ],
)
def test_bad_grids_are_told(tmp_path, plain, change, words):
    points, cells = change(*plain)
    with pytest.raises(Mistake) as raised:
        _grids.load(saved(tmp_path / "a.npz", points, cells))
    assert words in str(raised.value) and "renderer.grid" in str(raised.value)


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def test_headers_that_promise_what_is_not_there(tmp_path, plain):
    """10^12 vertices, other versions, pickles, a file that ends early: a Mistake before anything is allocated."""
    good = np.zeros((4, 3), np.float32)
    for i, member in enumerate([
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3), }"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -3), }", good.tobytes()),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (4, 3), }", b"\x80\x04."),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3), }", good.tobytes()[:20]),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4.5, 3), }", good.tobytes()),
        npy("__import__('os').abort()"), npy("{" * 200), b"\x93NUMPY\x07\x00" + bytes(50), b"", b"\x93NUM",
    ]):  # fmt: skip
        path = tmp_path / f"{i}.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("vertices.npy", member)
            archive.writestr("tets.npy", npy("{'descr': '<i8', 'fortran_order': False, 'shape': (1, 4), }", bytes(32)))
        with pytest.raises(Mistake):
            _grids.load(str(path))
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("vertices.npy", "w", force_zip64=True) as file:
        file.write(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (12000000, 3), }"))
        for _ in range(144):
            file.write(bytes(1_000_000))
    with pytest.raises(Mistake, match="vertices"):
        _grids.load(str(bomb))
    for name in ("", " ", "nowhere.npz", str(tmp_path), "a\0b"):
        with pytest.raises(Mistake):
            _grids.load(name)


def test_mutated_files_give_a_mistake_or_a_grid(tmp_path, plain):
    """Three hundred files with flipped, missing or repeated bytes."""
    points, cells = plain
    np.savez(tmp_path / "s.npz", vertices=points, tets=cells)
    np.savez_compressed(tmp_path / "z.npz", vertices=points, tets=cells)
    whole = [(tmp_path / name).read_bytes() for name in ("s.npz", "z.npz")]
    rng, path, mistakes = np.random.default_rng(0), tmp_path / "m.npz", 0
    for k in range(300):
        data = bytearray(whole[k % 2])
        for _ in range(1 + k % 5):
            at, kind = int(rng.integers(len(data))), rng.integers(4)
            if kind < 2:  # mostly in the headers, where it matters
                data[at if kind else at % 400] = int(rng.integers(256))
            elif kind == 2:
                del data[at : at + int(rng.integers(1, 200))]
            else:
                data[at:at] = data[at : at + int(rng.integers(1, 200))]
        path.write_bytes(data)
        try:
            grid, _ = _grids.load(str(path))
            assert (volumes(grid.points, grid.cells) > 0).all()
        except Mistake:
            mistakes += 1
    assert mistakes > 200
