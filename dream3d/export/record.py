"""What a run folder says about itself, for the report: read without trust, bounded in memory, whatever state it is in.

What is missing or damaged is empty here; nothing raises for the content of a file.
"""

import json
import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dream3d.errors import Mistake
from dream3d.recipe import read as read_yaml

POINTS = 480  # of a curve; longer ones are thinned to between half of this and this
CURVES, LINE, TAIL = 48, 1 << 16, 1 << 15  # curves; bytes of a line of metrics; bytes of the end of the log
EXPORTS = {"mesh": "mesh.glb", "splats": "splats.ply", "turntable": "turntable.mp4", "thumbnail": "thumbnail.png",
           "contact": "contact.png", "viewer": "viewer.html"}  # fmt: skip


class Series:
    """One scalar over steps, thinned as it grows: each point stands for `each` measurements in a row (the last maybe for
    fewer), and up to POINTS measurements each is its own point."""

    def __init__(self):
        self.each, self.last = 1, math.nan
        self.groups: list[tuple[float, ...]] = []  # count, sum of steps, sum of values, lowest, highest

    def add(self, step: float, value: float) -> None:
        self.last, fresh = value, (1.0, step, value, value, value)
        if self.groups and self.groups[-1][0] < self.each:
            self.groups[-1] = _merged(self.groups[-1], fresh)
        else:
            self.groups.append(fresh)
        if len(self.groups) > POINTS:
            self.each *= 2
            self.groups = [_merged(*self.groups[i : i + 2]) for i in range(0, len(self.groups), 2)]

    @property
    def points(self) -> list[tuple[float, float, float, float]]:
        """(step, mean, lowest, highest)."""
        return [(steps / n, total / n, low, high) for n, steps, total, low, high in self.groups]


def _merged(a: tuple, b: tuple | None = None) -> tuple[float, ...]:
    if b is None:
        return a
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], min(a[3], b[3]), max(a[4], b[4])


@dataclass(frozen=True)
class Record:
    """`values` is config.yaml, `stages` the steps at which a later stage begins, `previews` (step, path) in order,
    `exports` the files that are there by kind."""

    path: Path
    status: dict[str, Any]
    values: dict[str, Any]
    command: list[str]
    environment: dict[str, Any]
    log: str
    curves: dict[str, Series]
    stages: list[float]
    previews: list[tuple[int, Path]]
    exports: dict[str, Path]

    @property
    def prompt(self) -> str:
        """The prompt, or all of them."""
        prompt = self.values.get("prompt") or ""
        return " / ".join(map(str, prompt)) if isinstance(prompt, list) else str(prompt)


def read(run: Path) -> Record:
    """Raises Mistake only where `run` is no run folder."""
    run = Path(run)
    if not (run / "config.yaml").is_file():
        raise Mistake("this is not a run folder: it has no config.yaml", where=str(run))
    curves, stages = _metrics(run / "metrics.jsonl")
    pictures = (re.fullmatch(r"step_(\d{1,12})\.png", p.name) for p in (run / "previews").glob("step_*.png"))
    return Record(
        path=run,
        status=_json(run / "status.json"),
        values=_values(run / "config.yaml"),
        command=_words(run / "command.txt"),
        environment=_json(run / "environment.json"),
        log=_tail(run / "log.txt"),
        curves=curves,
        stages=stages,
        previews=sorted((int(m[1]), run / "previews" / m[0]) for m in pictures if m),
        exports={kind: run / "export" / name for kind, name in EXPORTS.items() if (run / "export" / name).is_file()},
    )


def _values(path: Path) -> dict[str, Any]:
    try:
        return read_yaml(path)[0]
    except Mistake:
        return {}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes()[: 1 << 20])
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _words(path: Path) -> list[str]:
    try:
        return shlex.split(path.read_bytes()[: 1 << 16].decode(errors="replace"))
    except (OSError, ValueError):
        return []


def _tail(path: Path) -> str:
    """The end of a text file, from the beginning of a line."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return text if size <= TAIL else text.partition("\n")[2]


def _metrics(path: Path) -> tuple[dict[str, Series], list[float]]:
    """Every scalar's curve, and the steps at which `stage` grew."""
    curves: dict[str, Series] = {}
    stages, stage = [], None
    for entry in _entries(path):
        step = entry.pop("step")
        now = entry.pop("stage", stage)
        if stage is not None and now != stage and len(stages) < CURVES:
            stages.append(float(step))
        stage = now
        for name, value in entry.items():
            if is_number(value) and (name in curves or len(curves) < CURVES):
                curves.setdefault(name, Series()).add(float(step), float(value))
    return curves, stages


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines with a step; torn and foreign ones are left out."""
    try:
        with path.open("rb") as file:
            while line := file.readline(LINE):
                try:
                    entry = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(entry, dict) and is_number(entry.get("step")):
                    yield entry
    except OSError:
        return


def is_number(value: object) -> bool:
    """Whether a value read from a file is a number that can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
