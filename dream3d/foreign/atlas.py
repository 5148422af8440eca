"""Pieces of a file as one mesh: equal vertices become one, several textures one texture."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from dream3d.foreign.pictures import LARGEST, Pictures, resized
from dream3d.foreign.pieces import BESIDE, NO_UV, Material, Piece, to_display, to_linear
from dream3d.types import Mesh

GREY = (0.5, 0.5, 0.5)
SOLID, EDGE = 4, 4  # texels: side of a tile of one colour, border around a tile among others
REPEATS = 16  # of a texture across one face, at most
Maps = dict[str, UInt8[ndarray, "_ _ 3"]]


def joined(pieces: list[Piece], pictures: Pictures) -> Mesh:
    """One mesh. Where any piece has a texture all get one, else colours of vertices; uv of a single texture stay as they are."""
    offsets = np.cumsum([0, *(len(p.vertices) for p in pieces)])
    with np.errstate(over="ignore"):  # what is infinite then is refused
        vertices = np.concatenate([p.vertices for p in pieces]).astype(np.float32, copy=False)
    faces = np.concatenate([p.faces + start for p, start in zip(pieces, offsets, strict=False)])
    uv, maps, rgb = None, {}, None
    pictures.said += [NO_UV] * any(p.uv is None and p.material.maps for p in pieces)
    if any(p.uv is not None and p.material.maps for p in pieces):
        pictures.said += [BESIDE] * any(p.rgb is not None and (p.uv is not None or bool(np.ptp(p.rgb, 0).any())) for p in pieces)
        uv, maps = _textured(pieces, pictures)
    elif any(p.rgb is not None or p.material.rgb is not None for p in pieces):
        rgb = np.concatenate([np.broadcast_to(_colour(p), p.vertices.shape) for p in pieces]).astype(np.float32)
    first, index = _equal(vertices if rgb is None else np.concatenate([vertices, rgb], 1))
    texture, orm = (None if name not in maps else torch.from_numpy(maps[name].astype(np.float32) / 255) for name in ("colour", "orm"))
    bump = None if "bump" not in maps else torch.from_numpy(maps["bump"].astype(np.float32) / 127.5 - 1)
    return Mesh(torch.from_numpy(vertices[first]), torch.from_numpy(index[faces]), None if rgb is None else torch.from_numpy(rgb[first]),
                None if uv is None else torch.from_numpy(uv), texture, orm=orm, bump=bump)  # fmt: skip


def _colour(piece: Piece) -> Float[ndarray, "..."]:
    return np.array(piece.material.rgb or GREY) if piece.rgb is None else piece.rgb


def _equal(rows: Float[ndarray, "V K"]) -> tuple[Int[ndarray, " U"], Int[ndarray, " V"]]:
    """The first of each set of equal rows, in their order, and for every row which of these it is."""
    order = np.lexsort(rows.T[::-1])
    new = np.ones(len(rows), bool)
    new[1:] = (rows[order][1:] != rows[order][:-1]).any(1)
    first = np.minimum.reduceat(order, np.flatnonzero(new)) if len(rows) else order
    rank = np.argsort(first, kind="stable")
    index = np.empty(len(rows), np.int64)
    index[order] = np.argsort(rank, kind="stable")[np.cumsum(new) - 1]
    return first[rank], index


# --- textures ------------------------------------------------------------------------------------------------------------------


def _textured(pieces: list[Piece], pictures: Pictures) -> tuple[Float[ndarray, "F 3 2"], Maps]:
    """uv of all faces and the maps. A piece without a texture has one small tile of its colour."""
    sorts: dict[object, list[int]] = {}
    for i, piece in enumerate(pieces):
        mapped = piece.uv is not None and piece.material.maps
        sorts.setdefault(id(piece.material) if mapped else tuple(np.round(np.mean(_colour(piece).reshape(-1, 3), 0), 3)), []).append(i)
    uvs, tiles = [None] * len(pieces), []
    names = {name for p in pieces if p.uv is not None for name in _names(p.material)}
    for members in sorts.values():
        mine, material = [pieces[i] for i in members], pieces[members[0]].material
        if mine[0].uv is None or not material.maps:
            tiles.append(_solid(material, np.mean(_colour(mine[0]).reshape(-1, 3), 0), names))
            uv = np.full((sum(len(p.faces) for p in mine), 3, 2), 0.5, np.float32)
        else:
            uv, repeats = _spans(np.concatenate([p.uv for p in mine]), material.repeat, pictures.said)
            tiles.append(_tile(material, names, repeats, pictures, _side(len(sorts))))
        for i, part in zip(members, np.split(uv, np.cumsum([len(p.faces) for p in mine])[:-1]), strict=True):
            uvs[i] = part
    if len(tiles) == 1:
        return np.concatenate(uvs), tiles[0]
    pictures.said.append(f"{len(tiles)} materials share one texture: uv lead to their parts of it")
    maps, places = _packed(tiles, [pieces[m[0]].material.repeat for m in sorts.values()], pictures.said)
    for members, (scale, shift) in zip(sorts.values(), places, strict=True):
        for i in members:
            uvs[i] = (uvs[i] * scale + shift).astype(np.float32)
    return np.concatenate(uvs), maps


def _names(material: Material) -> set[str]:
    """The maps of a mesh that a material has a say in."""
    orm = material.surface is not None or material.occlusion is not None
    return {"colour", *(["orm"] if orm else []), *(["bump"] if material.bump is not None else [])}


def _spans(uv: Float[ndarray, "F 3 2"], repeat: tuple[bool, bool], said: list[str]) -> tuple[Float[ndarray, "F 3 2"], tuple[int, int]]:
    """uv in [0, 1] of a tile that holds the texture so many times as a face crosses it."""
    bad = ~np.isfinite(uv).all((1, 2))
    if bad.any():
        said.append(f"uv of {int(bad.sum())} faces are not finite: set to 0")
        uv = np.where(bad[:, None, None], 0, uv)
    if uv.min() >= 0 and uv.max() <= 1:
        return uv, (1, 1)
    out, repeats = uv.astype(np.float64), [1, 1]
    for k in range(2):
        along = out[..., k]
        if not repeat[k]:
            out[..., k] = along.clip(0, 1)
            continue
        outside = (along.min(1) < 0) | (along.max(1) > 1)
        along -= np.where(outside, np.floor(along.min(1)), 0)[:, None]
        wide = along.max(1)
        if (wide > REPEATS).any():
            said.append(f"{int((wide > REPEATS).sum())} faces repeat a texture more than {REPEATS} times: so often now")
            along *= np.minimum(1, REPEATS / np.maximum(wide, 1))[:, None]
        repeats[k] = max(1, math.ceil(along.max()))
        along /= repeats[k]
    if max(repeats) > 1:
        said.append(f"uv go on beyond the texture: it is laid {repeats[0]} x {repeats[1]} times into a larger one")
    return out.astype(np.float32), (repeats[0], repeats[1])


def _solid(material: Material, rgb: Float[ndarray, " 3"], names: set[str]) -> Maps:
    known = {"colour": rgb, "orm": (1, material.rough, material.metal), "bump": (0.5, 0.5, 1)}
    return {name: np.full((SOLID, SOLID, 3), np.round(255 * np.array(known[name])), np.uint8) for name in names}


def _side(count: int) -> int:
    """The largest side of one of so many tiles: all of them are at most four times what fits."""
    return LARGEST if count == 1 else min(LARGEST, max(16, 2 * LARGEST // (math.isqrt(count - 1) + 1)))


def _tile(material: Material, names: set[str], repeats: tuple[int, int], pictures: Pictures, side: int) -> Maps:
    """The maps of one material, of one size, at most `side`."""
    found: Maps = {}
    if material.colour is not None:
        found["colour"] = pictures.pixels(material.colour)
        if material.tint != (1.0, 1.0, 1.0):
            table = to_display(to_linear(np.arange(256) / 255)[:, None] * np.array(material.tint))
            found["colour"] = np.stack([np.round(255 * table).astype(np.uint8)[found["colour"][..., i], i] for i in range(3)], -1)
    surface = None if material.surface is None else pictures.pixels(material.surface)
    occlusion = None if material.occlusion is None else pictures.pixels(material.occlusion)
    if material.bump is not None:
        found["bump"] = pictures.pixels(material.bump)
    first = next(m for m in (found.get("colour"), surface, occlusion, found.get("bump")) if m is not None)
    height, width = first.shape[:2]
    width, height = min(width, max(1, side // repeats[0])), min(height, max(1, side // repeats[1]))
    if "orm" in names:
        found["orm"] = _orm(material, surface, occlusion, width, height)
    solid = _solid(material, np.array(material.rgb or GREY), names)
    return {name: np.tile(resized(found.get(name, solid[name]), width, height), (repeats[1], repeats[0], 1)) for name in names}


def _orm(material: Material, surface: UInt8[ndarray, "_ _ 3"] | None, occlusion: UInt8[ndarray, "_ _ 3"] | None, width: int, height: int):
    out = np.empty((height, width, 3), np.uint8)
    out[..., 0] = 255 if occlusion is None else resized(occlusion, width, height)[..., 0]
    for i, factor in ((1, material.rough), (2, material.metal)):
        out[..., i] = np.round((255 if surface is None else resized(surface, width, height)[..., i]) * factor)
    return out


def _packed(tiles: list[Maps], repeat: list[tuple[bool, bool]], said: list[str]) -> tuple[Maps, list[tuple[ndarray, ndarray]]]:
    """Tiles on shelves in one square at most LARGEST a side, all made smaller until they fit; scale and shift of the uv of each."""
    names, shrink = list(tiles[0]), 1.0
    while True:
        sizes = [[max(1, round(side * shrink)) for side in tile[names[0]].shape[1::-1]] for tile in tiles]
        width, height, corners = _shelves([(w + 2 * EDGE, h + 2 * EDGE) for w, h in sizes])
        if max(width, height) <= LARGEST:
            break
        shrink *= 0.84
    if shrink < 1:
        said.append(f"textures made smaller, to {100 * shrink:.0f} % of their sides, so that {len(tiles)} fit into one")
    maps = {name: np.zeros((height, width, 3), np.uint8) for name in names}
    places = []
    for tile, (w, h), (x, y), turns in zip(tiles, sizes, corners, repeat, strict=True):
        for name in names:
            around = np.pad(resized(tile[name], w, h), ((0, 0), (EDGE, EDGE), (0, 0)), mode="wrap" if turns[0] else "edge")
            around = np.pad(around, ((EDGE, EDGE), (0, 0), (0, 0)), mode="wrap" if turns[1] else "edge")
            maps[name][y : y + h + 2 * EDGE, x : x + w + 2 * EDGE] = around
        total = np.array([width, height])
        places.append((np.array([w, h]) / total, np.array([x + EDGE, height - (y + EDGE + h)]) / total))
    return maps, places


def _shelves(sizes: list[tuple[int, int]]) -> tuple[int, int, list[tuple[int, int]]]:
    """The sheet's width and height, and the left upper corner of each rectangle: highest first, in rows."""
    width = max(max(w for w, _ in sizes), math.isqrt(sum(w * h for w, h in sizes)) + 1)
    corners: list[tuple[int, int]] = [(0, 0)] * len(sizes)
    x = y = row = 0
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i][1]):
        if x + sizes[i][0] > width:
            x, y, row = 0, y + row, 0
        corners[i] = x, y
        x, row = x + sizes[i][0], max(row, sizes[i][1])
    return width, y + row, corners
