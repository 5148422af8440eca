"""A user's mesh, point cloud or Gaussians as Mesh or Points in the world: z up, inside [-0.75, 0.75]^3.

glTF, OBJ and .spz are y up, (x, y, z) -> (x, -z, y), so that what faces +z there looks towards -y here; in a .splat and a .sog y points
down; a PLY is taken to be z up, as ours are. A .glb or .ply of ours that was asked for otherwise says so.
Nothing in a file is trusted; what was mended or left out is said.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from dream3d.errors import Mistake
from dream3d.export.axes import Up, inward
from dream3d.export.splat import gaussians
from dream3d.foreign.atlas import joined
from dream3d.foreign.files import kind
from dream3d.foreign.gltf import read_gltf
from dream3d.foreign.mend import mended, sound
from dream3d.foreign.obj import read_obj
from dream3d.foreign.pictures import Pictures
from dream3d.foreign.pieces import Piece, finite
from dream3d.foreign.ply import colours, read_ply, stacked
from dream3d.foreign.sog import read_sog
from dream3d.foreign.splats import read_splat, read_spz
from dream3d.foreign.start import place, unchanged
from dream3d.foreign.upright import told
from dream3d.options import Init
from dream3d.types import Mesh, Points

READERS = {"glTF": read_gltf, "OBJ": read_obj, "PLY": read_ply, "splat": read_splat, "SPZ": read_spz, "SOG": read_sog}
UPS: dict[str, Up] = {"PLY": "z", "splat": "-y", "SOG": "-y"}  # the others y
FAR = 100.0  # half extents: further away float32 rounds by more than a hundred thousandth of the size
INSIDE, OUTSIDE, SMALLEST = 0.7, 0.75, 0.35  # metres: fitted into, where objects live, the least half extent that counts as meant
GREY = 0.5


def load(path: str | Path, *, fit: bool | None = None, up: Up | None = None) -> tuple[Mesh | Points, list[str]]:
    """What is in the file, and what was done to it. `fit` moves and scales it so that its box just fits into [-0.7, 0.7]^3 (null: where
    it is not inside [-0.75, 0.75]^3 or much smaller); `up` is the file's axis that points up (null: as it says itself, else as above).
    Raises Mistake for what is no such file, or broken, or empty."""
    path = Path(path)
    sort, said = kind(path), []
    pieces, columns = READERS[sort](path, said)
    if fit is not False:
        pieces, columns = _near(pieces, columns, said)
    data, mending = _made(path, pieces, columns, said)
    data = inward(data, up or told(path) or UPS.get(sort, "y"))
    return _fitted(data, fit, [*dict.fromkeys(said), *mending])


def given(init: Init, renderer: dict[str, Any]) -> tuple[Mesh | Points, list[str]]:
    """What the `init` section names, and what was done to it, the last of it by the renderer with these settings."""
    path = place(init.file)
    unchanged(path, init.sha256)
    data, said = load(path, fit=init.fit, up=init.up)
    return data, [*said, *_repainted(data, renderer)]


def _repainted(data: Mesh | Points, renderer: dict[str, Any]) -> list[str]:
    """How a texture changes before the first step."""
    if not isinstance(data, Mesh) or data.texture is None:
        return []
    side, most = max(data.texture.shape[:2]), renderer.get("texture", 0)
    if renderer["type"] != "mesh" or renderer.get("appearance") != "texture":
        return [f"its texture becomes the colours of {renderer['type']}; a mesh with appearance: texture keeps it, and its uvs"]
    return [f"its texture of {side} texels a side is drawn in {most}; renderer.texture={side} keeps it"] if side > most else []


def _made(path: Path, pieces: list[Piece], columns: dict[str, ndarray], said: list[str]) -> tuple[Mesh | Points, list[str]]:
    where = str(path)
    if any(len(piece.faces) for piece in pieces):
        pieces = [piece for piece in pieces if len(piece.faces)]
        for piece in pieces:
            finite(piece.vertices, path, "vertices")
        return mended(joined(pieces, Pictures(path, said)), where=where)
    if not columns or not len(next(iter(columns.values()))):
        raise Mistake(f"there is nothing in {path.name}", where=where, fix="a file with a mesh, or points")
    return sound(_points(columns, path), where=where)


def _points(columns: dict[str, ndarray], path: Path) -> Points:
    if "f_dc_0" in columns:
        with np.errstate(over="ignore", invalid="ignore"):
            return gaussians({name: torch.from_numpy(column.astype(np.float32)) for name, column in columns.items()}, path)
    position = torch.from_numpy(stacked(columns, ("x", "y", "z"), path))
    rgb = colours(columns, path)
    return Points(position, torch.full_like(position, GREY) if rgb is None else torch.from_numpy(np.ascontiguousarray(rgb, np.float32)))


# --- where it is -----------------------------------------------------------------------------------------------------------------


def _near(pieces: list[Piece], columns: dict[str, ndarray], said: list[str]) -> tuple[list[Piece], dict[str, ndarray]]:
    """What lies far from the origin, as scans in the coordinates of a country do, moved there before numbers become float32."""
    with np.errstate(invalid="ignore"):  # some of what is not a number complains when it is copied
        axes = [columns[key].astype(np.float64)[None] for key in "xyz" if key in columns]
    places = [p.vertices for p in pieces if len(p.faces)] or ([np.concatenate(axes).T] if len(axes) == 3 else [])
    if not sum(map(len, places)):
        return pieces, columns
    with np.errstate(over="ignore", invalid="ignore"):
        ends = np.stack([end(np.stack([end(p, 0) for p in places if len(p)]), 0) for end in (np.min, np.max)]).astype(np.float64)
        centre, half = ends.mean(0), float((ends[1] - ends[0]).max()) / 2
    if not np.isfinite([*centre, half]).all() or np.abs(centre).max() <= (FAR * half or OUTSIDE):
        return pieces, columns
    said.append(f"moved to the origin: it lay {np.linalg.norm(centre):.6g} away")
    moved = {key: axis[0] - shift for key, axis, shift in zip("xyz", axes, centre, strict=False)}
    return [dataclasses.replace(p, vertices=p.vertices - centre) for p in pieces], {**columns, **moved}


def _fitted(data: Mesh | Points, fit: bool | None, said: list[str]) -> tuple[Mesh | Points, list[str]]:
    position = data.vertices if isinstance(data, Mesh) else data.position
    low, high = position.double().amin(0), position.double().amax(0)
    half = float((high - low).max()) / 2
    if fit is None:
        fit = max(-float(low.min()), float(high.max())) > OUTSIDE or half < SMALLEST
    if not fit or half == 0:
        outside = bool((low > OUTSIDE).any() or (high < -OUTSIDE).any())
        return data, [*said, *["out of sight: init.fit=true moves it to where objects live"] * outside]
    scale, centre = INSIDE / half, (low + high) / 2
    placed = ((position.double() - centre) * scale).float().clamp(-INSIDE, INSIDE)
    said = [*said, f"moved and scaled by {scale:.4g} to fit: it was {2 * half:.4g} across"]
    if isinstance(data, Mesh):
        return dataclasses.replace(data, vertices=placed), said
    sizes = None if data.scale is None else (data.scale.double() * scale).float()
    return dataclasses.replace(data, position=placed, scale=sizes), said
