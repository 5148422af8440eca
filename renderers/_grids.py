"""Tetrahedral grids from files: an .npz with `vertices` (V 3, metres) and `tets` (T 4; also called `indices`, as nvdiffrec's are)."""

import math
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from dream3d.renderers._tets import Tets, connect, oriented, volumes
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from dream3d.errors import Mistake, choices

LARGEST = 1 << 27  # bytes of an array
FLAT = 1e-6  # six volumes over the cube of the longest edge: less is no cell
WHERE = "renderer.grid"
BROKEN = (OSError, ValueError, TypeError, SyntaxError, EOFError, NotImplementedError, RuntimeError, tokenize.TokenError,
          zipfile.BadZipFile, zlib.error)  # fmt: skip


def load(name: str) -> tuple[Tets, str]:
    """The grid, and what was repaired ("" for nothing): inverted cells are swapped, vertices of no cell dropped. Raises Mistake for
    what is no grid, is huge, has cells without a volume, faces between more than two cells, or cells pushed through their neighbours."""
    points, cells = _arrays(name)
    if points.ndim != 2 or points.shape[1] != 3 or cells.ndim != 2 or cells.shape[1] != 4 or 0 in (len(points), len(cells)):
        shapes = f"vertices {points.shape} and tets {cells.shape}"
        raise Mistake(f"{name}: expected vertices (V, 3) and tets (T, 4), but it has {shapes}", where=WHERE)
    if points.dtype.kind != "f" or cells.dtype.kind not in "iu":
        kinds = f"{points.dtype} and {cells.dtype}"
        raise Mistake(f"{name}: expected vertices of floats and tets of whole numbers, but they are {kinds}", where=WHERE)
    if not np.isfinite(points).all() or np.abs(points).max() > 1e6:
        raise Mistake(f"{name}: vertices are not all finite and within 1000 km", where=WHERE)
    if cells.min() < 0 or cells.max() >= len(points):
        span = f"{cells.min()} to {cells.max()}"
        raise Mistake(f"{name}: tets name vertices {span}, but there are {len(points)}", where=WHERE)
    return _repaired(name, torch.from_numpy(points.astype(np.float32)), torch.from_numpy(cells.astype(np.int64)))


def _repaired(name: str, points: Float[Tensor, "V 3"], cells: Int[Tensor, "T 4"]) -> tuple[Tets, str]:
    longest = torch.stack([(points[cells[:, i]] - points[cells[:, j]]).norm(dim=-1) for i in range(4) for j in range(i)]).amax(0)
    flat = volumes(points, cells).abs() <= FLAT * longest**3
    if bool(flat.any()):
        first = int(flat.nonzero()[0])
        raise Mistake(f"{name}: {int(flat.sum())} of {len(cells)} cells have no volume, the first is tets[{first}]", where=WHERE,
                      fix="remove them, or move their vertices apart")  # fmt: skip
    cells, wrong = oriented(points, cells)
    used = torch.zeros(len(points), dtype=torch.bool).index_fill_(0, cells.flatten(), True)
    try:
        grid = connect(points[used], (used.cumsum(0) - 1)[cells])
    except Mistake as mistake:
        raise mistake.completed(where=WHERE, within=f"{name}: ") from None
    done = [(int(wrong.sum()), "inverted cells turned"), (int((~used).sum()), "vertices of no cell dropped")]
    return grid, ", ".join(f"{count} {what}" for count, what in done if count)


def _arrays(name: str) -> tuple[ndarray, ndarray]:
    path = Path(name)
    try:
        if not name.strip() or not path.is_file():
            raise Mistake(f"there is no file {name!r}", where=WHERE, fix=f"{WHERE}=PATH of an .npz with vertices and tets")
        with zipfile.ZipFile(path) as archive:
            names = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            keys = ["vertices", "tets" if "tets" in names else "indices"]
            for key in keys:
                if key not in names:
                    raise Mistake(f"{name} has no {key!r}", where=WHERE, near=choices(key, sorted(names)[:20]))
            return tuple(_array(archive, names[key], f"{name}: {key}") for key in keys)
    except BROKEN as error:
        raise Mistake(f"{name} cannot be read as an .npz: {error}", where=WHERE) from None


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> ndarray:
    """One array, no larger than it says and than LARGEST, never a pickle."""
    if entry.file_size > LARGEST:
        raise Mistake(f"{name}: at most {LARGEST >> 20} MiB, but it has {entry.file_size >> 20}", where=WHERE)
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise Mistake(f"{name}: expected an .npy of version 1 or 2, but it is {version}", where=WHERE)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, kind = header(file)
        size = math.prod(shape) * kind.itemsize
        if kind.hasobject or kind.kind not in "fiu" or not 0 <= size <= entry.file_size:
            raise Mistake(f"{name}: says it is {shape} of {kind}, which it cannot be", where=WHERE)
        data = file.read(size)
    if len(data) != size:
        raise Mistake(f"{name}: ends after {len(data)} of {size} bytes", where=WHERE)
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C")
