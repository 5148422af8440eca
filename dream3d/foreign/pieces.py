"""What a file holds, before it is one mesh: pieces with materials, as numpy arrays in the world's axes."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from dream3d.errors import Mistake
from dream3d.foreign.files import LIMITS, broken

WHITE = (1.0, 1.0, 1.0)
BESIDE, NO_UV = "colours of vertices beside a texture are left out", "a texture without uv is left out"


@dataclass(frozen=True, eq=False)
class Material:
    """Maps are encoded pictures, or where they are. `rgb` is display sRGB, of what has no map, `tint` linear and multiplies a map;
    `rough` and `metal` are of what has no such map; `repeat` is of u and v."""

    rgb: tuple[float, float, float] | None = None
    tint: tuple[float, float, float] = WHITE
    rough: float = 1.0
    metal: float = 0.0
    colour: memoryview | Path | None = None
    surface: memoryview | Path | None = None  # green is roughness, blue metallic
    occlusion: memoryview | Path | None = None  # red
    bump: memoryview | Path | None = None
    repeat: tuple[bool, bool] = (True, True)

    @property
    def maps(self) -> bool:
        return any(m is not None for m in (self.colour, self.surface, self.occlusion, self.bump))


@dataclass(frozen=True, eq=False)
class Piece:
    """Triangles of one material; uv (0, 0) is the lower left; rgb is display sRGB."""

    vertices: Float[ndarray, "V 3"]
    faces: Int[ndarray, "F 3"]
    uv: Float[ndarray, "F 3 2"] | None = None
    rgb: Float[ndarray, "V 3"] | None = None
    material: Material = field(default_factory=Material)


class Budget:
    """Counts what a file makes, and stops it: a small file may name the same thing many times."""

    def __init__(self, path: Path):
        self.path, self.spent = path, dict.fromkeys(LIMITS, 0)

    def take(self, what: str, count: int) -> None:
        """Before memory is taken for it."""
        self.spent[what] += count
        if self.spent[what] > LIMITS[what]:
            raise broken(self.path, f"more than {LIMITS[what]:,} {what}", fix="decimate it first")


def fans(lengths: Int[ndarray, " P"]) -> Int[ndarray, "T 3"]:
    """Polygons, whose corners stand one after the other, as triangles: indices of corners. Those of two corners or less give none."""
    first, count = np.cumsum(lengths) - lengths, np.maximum(lengths - 2, 0)
    start = np.repeat(first, count)
    rank = np.arange(len(start)) - np.repeat(np.cumsum(count) - count, count)
    return np.stack([start, start + rank + 1, start + rank + 2], -1)


STARTS = 16  # corners of a polygon that are tried


def cut(lengths: Int[ndarray, " P"], place: Float[ndarray, "C 3"], said: list[str]) -> Int[ndarray, "T 3"]:
    """As `fans`, from the first corner of each polygon from which no triangle is folded back over others, as not all of one that is not
    convex are; from its first where there is none."""
    out, owner = fans(lengths), np.repeat(np.arange(len(lengths)), np.maximum(lengths - 2, 0))
    rows = np.flatnonzero(lengths[owner] > 3)
    rows = rows[_folded(place[out[rows]], owner[rows])]
    whole, first = out[rows], (np.cumsum(lengths) - lengths)[owner[rows], None]
    left = np.arange(len(rows))
    for turn in range(1, STARTS):
        mine = rows[left]
        out[mine] = first[left] + (whole[left] - first[left] + turn) % lengths[owner[mine], None]
        left = left[_folded(place[out[mine]], owner[mine])]
    out[rows[left]] = whole[left]
    if len(left):
        said.append(f"{len(np.unique(owner[rows[left]]))} polygons are not convex: their triangles overlap")
    return out


def _folded(corners: Float[ndarray, "T 3 3"], owner: Int[ndarray, " T"]) -> Bool[ndarray, " T"]:
    """All triangles of every polygon of which one looks to the other side than the whole."""
    if not len(owner):
        return np.zeros(0, bool)
    _, start, number = np.unique(owner, return_index=True, return_inverse=True)
    with np.errstate(over="ignore", invalid="ignore"):
        a, b, c = corners.astype(np.float64).swapaxes(0, 1)
        normal = np.cross(b - a, c - a)
        total = np.add.reduceat(normal, start)[number]
        return np.logical_or.reduceat((normal * total).sum(1) < -1e-6 * (total * total).sum(1), start)[number]


def within(index: ndarray, count: int, path: Path, what: str = "vertex") -> Int[ndarray, " ..."]:
    """Whole numbers in [0, count), as they are: a file that points elsewhere is refused."""
    whole = index.astype(np.int64) if index.dtype.kind != "f" or bool(np.isfinite(index).all()) else None
    if whole is None or bool((whole != index).any()) or len(whole) and (int(whole.min()) < 0 or int(whole.max()) >= count):
        raise broken(path, f"a face names a {what} that is not there (there are {count})")
    return whole


def to_display(linear: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
    """IEC 61966-2-1."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def to_linear(display: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
    return np.where(display <= 0.04045, display / 12.92, ((np.maximum(display, 0) + 0.055) / 1.055) ** 2.4)


def finite(values: ndarray, path: Path, what: str) -> ndarray:
    """The values, all of which are numbers."""
    bad = int((~np.isfinite(values)).any(-1).sum())
    if bad:
        raise Mistake(f"{path.name}: {bad} of {len(values)} {what} are not finite", where=str(path), fix="mend it, and export it again")
    return values
