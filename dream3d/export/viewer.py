"""viewer.html: one file that shows an asset in any browser, offline, from file://. Same files and title, same bytes."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

import dream3d
from dream3d.errors import Mistake
from dream3d.export import page

MOST = 96 << 20  # bytes of moments inside a page; of longer clips every second, third, ... is there


def write_viewer(
    path: Path, *, splats: Path | None, mesh: Path | None, title: str, frames: Sequence[Path] = (), times: Sequence[float | int] = ()
) -> Path:
    """A page to orbit splats.ply and mesh.glb, switchable, in the pose and colours of our own pictures; it holds copies of
    both files. What a .glb animates is played. `frames` are splats.ply at each of `times` (seconds), the same Gaussians in the same order,
    and take the place of `splats`. Without any it says so. Raises Mistake where the disk is full, and for frames that do not fit."""
    if len(frames) != len(times) or list(times) != sorted(set(times)):
        raise Mistake(f"{len(frames)} frames need as many times that grow, not {len(times)}", where=str(path))
    splats = frames[0] if frames else splats
    bundle, boot = page.script("viewer.js"), page.script("viewer-boot.js")
    files = {name: file for name, file in (("splats", splats), ("mesh", mesh)) if file is not None}
    parts = {
        "policy": page.text(page.policy(bundle, boot)),
        "version": dream3d.__version__,
        "title": page.text(title if len(title) <= 300 else title[:299] + "\u2026"),
        "style": page.web("viewer.css"),
        "licences": page.text(page.web("LICENSES.txt")),
        "data": chain(page.blocks(files), _moments(frames, times) if len(frames) > 1 else ()),
        "bundle": bundle,
        "boot": boot,
    }
    return page.write(Path(path), page.web("viewer.html"), parts)


def _moments(frames: Sequence[Path], times: Sequence[float | int]) -> Iterator[str]:
    """The data block "moments": a line of JSON, then of every moment the columns that are not always the same, before activation."""
    first = _table(frames[0])
    still = set(first)
    for path in frames[1:]:
        other = _table(path, first)
        still = {name for name in still if np.array_equal(other[name], first[name])}
    moving = [name for name in first if name not in still]
    count = len(first["x"])
    every = max(1, -(-4 * count * len(moving) * len(frames) // MOST))
    kept = sorted({*range(0, len(frames), every), len(frames) - 1})
    said = {"columns": moving, "times": [float(times[i]) for i in kept], "count": count}
    head = json.dumps(said, separators=(",", ":")).encode()
    head += b" " * (-(len(head) + 1) % 4) + b"\n"
    pieces = (table[name].tobytes() for table in _steady(frames[i] for i in kept) for name in moving)
    yield from page.block("moments", "moments", chain([head], pieces))


def _table(path: Path, like: dict | None = None) -> dict[str, Float[ndarray, " N"]]:
    """The columns of a .ply that may move, by name, before activation."""
    import torch

    from dream3d.export.splat import read_ply

    points = read_ply(path)
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


def _steady(frames: Iterator[Path]) -> Iterator[dict[str, Float[ndarray, " N"]]]:
    """Tables whose rotations go on from one to the next: of q and -q the nearer one."""
    before = None
    for path in frames:
        table = _table(path)
        turn = np.stack([table[f"rot_{i}"] for i in range(4)])
        if before is not None:
            turn = np.where((turn * before).sum(0) < 0, -turn, turn)
        before = turn
        yield table | {f"rot_{i}": turn[i] for i in range(4)}
