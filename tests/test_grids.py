"""Tetrahedral grids from files: as they are, mended where that can be said, refused where not."""

import zipfile

import numpy as np
import pytest
import torch
from dream3d.renderers import _grids
from dream3d.renderers._tets import connect, lattice, volumes

from dream3d.errors import Mistake


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


def test_cells_pushed_through_their_neighbours_are_refused(tmp_path, plain):
    """Turning them would do no good: they overlap, and the surface between them would face both ways."""
    points, cells = plain
    folded = points.copy()
    folded[np.abs(points).max(1).argmin()] += [0.5, 0.3, 0.2]
    assert (volumes(torch.from_numpy(folded), torch.from_numpy(cells)) < 0).any()
    with pytest.raises(Mistake, match="is folded: both cells of [0-9]+ faces lie on the same side"):
        _grids.load(saved(tmp_path / "a.npz", folded, cells))


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


def test_limits_of_grids(tmp_path, plain, monkeypatch):
    """Tiny is not flat, flat is not thin, the last vertex is not beyond the last, and what is too large is not read."""
    points, cells = plain
    assert _grids.load(saved(tmp_path / "a.npz", 1e-7 * points, cells))[1] == ""
    for height, flat in ((1e-5, False), (1e-7, True)):
        name = saved(tmp_path / "b.npz", np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.3, 0.3, height]]), np.arange(4)[None])
        if flat:
            with pytest.raises(Mistake, match="have no volume"):
                _grids.load(name)
        else:
            assert len(_grids.load(name)[0].cells) == 1
    beyond = cells.copy()
    beyond[0, 0] = len(points)
    with pytest.raises(Mistake, match=f"tets name vertices 0 to {len(points)}, but there are {len(points)}"):
        _grids.load(saved(tmp_path / "c.npz", points, beyond))
    monkeypatch.setattr(_grids, "LARGEST", 1 << 10)
    with pytest.raises(Mistake, match="vertices: at most 0 MiB"):
        _grids.load(saved(tmp_path / "d.npz", points, cells))


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
