"""What a page holds of an asset: Gaussians with z up, a .glb with y up, the moments of what moves. Files that lie so are held byte for
byte; others are stood up on the way, so that no page shows an asset on its back."""

import json
import struct
from collections.abc import Iterator
from itertools import chain
from math import sqrt
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dream3d.errors import Mistake
from dream3d.export import page
from dream3d.export.moments import Moments
from dream3d.foreign.upright import JSON, axis, chunk, told

MOST = 96 << 20  # bytes of moments inside a page; of longer clips every second, third, ... is there
UPRIGHT = {"name": "upright", "rotation": [-sqrt(0.5), 0.0, 0.0, sqrt(0.5)]}  # z up -> y up


def held(splats: Path | None, mesh: Path | None, moving: Moments = Moments(), most: int | None = None) -> Iterator[str]:
    """Data blocks "splats", "mesh" and "moments" of about that many bytes (None: MOST), the first and the last at least; the first moment
    takes the place of `splats`. Raises Mistake, before the first block, for moments that are no clip."""
    count, times = len(moving.frames), list(moving.times)
    if count != len(times) or times != sorted(set(times)):
        raise Mistake(f"{count} frames need as many times that grow, not {len(times)}")
    splats = moving.frames[0] if count else splats
    up = moving.up if count else None
    blocks = [page.block("splats", splats.name, _splats(splats, up))] if splats else []
    blocks += [page.block("mesh", mesh.name, _mesh(mesh))] if mesh else []
    return chain(*blocks, _moments(moving, MOST if most is None else most) if count > 1 else ())


def _splats(path: Path, up: str | None) -> Iterator[bytes]:
    up = up or told(path) or "z"
    if up == "z":
        return page.bytes_of(path)
    from dream3d.export import splat

    return map(bytes, splat.pieces(splat.settled(splat.read_ply(path, up=up))))


def _mesh(path: Path) -> Iterator[bytes]:
    """The file; one of ours with z up with a node above its scene that stands it up."""
    found = chunk(path)
    if found is None or axis(found) != "z" or not isinstance(found.get("nodes"), list) or not isinstance(found.get("scenes"), list):
        return page.bytes_of(path)
    with path.open("rb") as file:
        old = struct.unpack_from("<I", file.read(16), 12)[0]
    text = json.dumps(_stood(found), separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    whole = path.stat().st_size - old + len(text)
    head = struct.pack("<4sIIII", b"glTF", 2, whole, len(text), JSON)
    return chain([head + text], page.bytes_of(path, 20 + old))


def _stood(document: dict) -> dict:
    nodes, scenes = list(document["nodes"]), []
    for scene in document["scenes"]:
        nodes.append({**UPRIGHT, "children": scene["nodes"]} if scene.get("nodes") else UPRIGHT)
        scenes.append({**scene, "nodes": [len(nodes) - 1]})
    return {**document, "nodes": nodes, "scenes": scenes}


def _moments(moving: Moments, most: int) -> Iterator[str]:
    """The data block "moments": a line of JSON, then of every moment the columns that are not always the same, before activation."""
    frames, up = moving.frames, moving.up
    first = _table(frames[0], up)
    still = set(first)
    for path in frames[1:]:
        other = _table(path, up, first)
        still = {name for name in still if np.array_equal(other[name], first[name])}
    columns = [name for name in first if name not in still]
    count = len(first["x"])
    every = max(1, -(-4 * count * len(columns) * len(frames) // most))
    kept = sorted({*range(0, len(frames), every), len(frames) - 1})
    said = {"columns": columns, "times": [float(moving.times[i]) for i in kept], "count": count}
    head = json.dumps(said, separators=(",", ":")).encode()
    head += b" " * (-(len(head) + 1) % 4) + b"\n"
    pieces = (table[name].tobytes() for table in _steady(_table(frames[i], up) for i in kept) for name in columns)
    return page.block("moments", "moments", chain([head], pieces))


def _table(path: Path, up: str, like: dict | None = None) -> dict[str, Float[ndarray, " N"]]:
    """The columns of a .ply that may move, by name, before activation, with z up."""
    import torch

    from dream3d.export.splat import read_ply

    points = read_ply(path, up=up)
    if points.scale is None:
        raise Mistake(f"{path.name} holds points, not Gaussians", where=str(path))
    if like is not None and len(points.position) != len(like["x"]):
        raise Mistake(f"{path.name} has {len(points.position)} Gaussians, the first frame {len(like['x'])}", where=str(path))
    blocks = {
        "xyz": points.position,
        "f_dc_": points.sh[:, 0],
        "opacity": torch.logit(points.opacity.double(), eps=1e-7)[:, None],
        "scale_": points.scale.log(),
        "rot_": points.rotation,
    }
    named = {"xyz": "xyz", "opacity": ("opacity",)}
    return {name: block[:, i].numpy().astype("<f4") for key, block in blocks.items()
            for i, name in enumerate(named.get(key) or [f"{key}{k}" for k in range(block.shape[1])])}  # fmt: skip


def _steady(tables: Iterator[dict[str, Float[ndarray, " N"]]]) -> Iterator[dict[str, Float[ndarray, " N"]]]:
    """Tables whose rotations go on from one to the next: of q and -q the nearer one."""
    before = None
    for table in tables:
        turn = np.stack([table[f"rot_{i}"] for i in range(4)])
        if before is not None:
            turn = np.where((turn * before).sum(0) < 0, -turn, turn)
        before = turn
        yield table | {f"rot_{i}": turn[i] for i in range(4)}
