"""Moments of Gaussians that move, as `sequence/` holds them: read without trust, for the pages that play them."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dream3d.errors import Mistake

LIMIT = 1 << 22  # bytes of a sequence.json
MOST = 10_000


@dataclass(frozen=True)
class Moments:
    """splats.ply at each of `times` (seconds, growing): the same Gaussians in the same order, with `up` (y or z) up."""

    frames: Sequence[Path] = ()
    times: Sequence[float | int] = ()
    up: str = "z"


def sequence(path: Path) -> Moments:
    """Of a sequence.json of Gaussians beside its frames. Raises Mistake where it is none."""

    def broken(why: str) -> Mistake:
        fix = "python launch.py export RUN --format sequence"
        return Mistake(f"{path.name} is no sequence of Gaussians: {why}", where=str(path), fix=fix)

    try:
        if path.stat().st_size > LIMIT:
            raise broken(f"it is larger than {LIMIT >> 20} MiB")
        told = json.loads(path.read_text(encoding="utf-8"))
        entries = [(entry["file"], entry["time"]) for entry in told["frames"]]
        kind, up = told["kind"], told.get("up", "z")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise broken(f"{type(error).__name__}") from None
    if kind != "splats":
        raise broken(f"it holds {str(kind)[:20]}; its mesh as a .glb is played")
    if up not in ("y", "z"):
        raise broken("neither y nor z points up in it")
    if not 0 < len(entries) <= MOST or not all(isinstance(name, str) and re.fullmatch(r"\w+\.ply", name) for name, _ in entries):
        raise broken("its frames are no .ply files beside it")
    if not all(type(time) in (int, float) and 0 <= time < 1e6 for _, time in entries):
        raise broken("its times are no seconds")
    frames = [path.with_name(name) for name, _ in entries]
    if missing := [frame.name for frame in frames if not frame.is_file()]:
        raise broken(f"{missing[0]} is not there")
    return Moments(frames, [float(time) for _, time in entries], up)


def moving(clip: Path | None, splats: Path | None = None) -> Moments:
    """The same, for a page of `splats`. None where there is no sequence, it is of meshes, which their .glb plays, or it is not whole; and
    where the splats are newer than it and others: then it is what an earlier export left."""
    try:
        found = sequence(clip) if clip is not None and clip.is_file() else Moments()
    except Mistake:
        return Moments()
    if not found.frames or len({frame.stat().st_size for frame in found.frames}) > 1:
        return Moments()
    old = splats is not None and splats.is_file() and splats.stat().st_mtime_ns > clip.stat().st_mtime_ns
    return Moments() if old and not _same(splats, found.frames[0]) else found


def _same(a: Path, b: Path) -> bool:
    return a.stat().st_size == b.stat().st_size and a.read_bytes() == b.read_bytes()
