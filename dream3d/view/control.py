"""control.json, beside config.yaml: what somebody who watches a run asks of it. The run reads it between steps.

    {"pause": true,                    wait before the next step until it is false
     "guidance": {"scale": 20.0},      of every formula that has one; null: as configured
     "watch": 2.0, "until": 1.8e9}     write the scene to live/ that often (seconds), until that time (the clock's)

The file outlives both processes: a run that was killed continues as it was asked to, and one without the file is as if there were none.
A changed scale is told in log.txt and kept in status.json under "changed", since the run then is not what its configuration says.
Only "watch" ends by itself, with `until`, which a viewer that is there puts off.
"""

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dream3d import files
from dream3d.schedule import Ramp

NAME, LIVE = "control.json", "live"
LIMIT = 1 << 16  # bytes of the file
GREATEST = 1e6  # of a scale
SHARE = 0.1  # of a run's time that writing to live/ may take
NAP, BEAT = 0.05, 2.0  # seconds between looks at the file while a run waits, and between its signs of life


def read(run: Path) -> dict[str, Any]:
    """What is asked; {} where nothing is. Raises ValueError for what is no request."""
    path = Path(run) / NAME
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
    except FileNotFoundError:
        return {}
    if len(data) > LIMIT:
        raise ValueError(f"it is larger than {LIMIT} bytes")
    try:
        asked = json.loads(data)
    except RecursionError:
        raise ValueError("it is too deep") from None
    return _checked(asked)


def _checked(asked: Any) -> dict[str, Any]:
    if not isinstance(asked, dict):
        raise ValueError("it is no mapping")
    pause, guidance = asked.get("pause", False), asked.get("guidance") or {}
    if not isinstance(pause, bool):
        raise ValueError("pause is neither true nor false")
    if not isinstance(guidance, dict) or set(guidance) - {"scale"}:
        raise ValueError("of guidance only the scale can be changed")
    found = {"pause": pause, "scale": guidance.get("scale"), "watch": asked.get("watch"), "until": asked.get("until", 0)}
    for key, most in (("scale", GREATEST), ("watch", math.inf), ("until", math.inf)):
        value = found[key]
        if value is not None and not (type(value) in (int, float) and math.isfinite(value) and 0 <= value <= most):
            raise ValueError(f"{key} is no number from 0 on" if most == math.inf else f"{key} is no number from 0 to {most:g}")
        found[key] = None if value is None else float(value)
    return found


def ask(run: Path, **changes: Any) -> None:
    """Change what is asked: pause, scale, watch, until; what is not named stays."""
    try:
        now = read(run)
    except ValueError:
        now = {}
    now |= changes
    text = {"pause": now.get("pause", False), "guidance": {"scale": now.get("scale")}}
    text |= {"watch": now.get("watch"), "until": now.get("until", 0)}
    _checked(text)
    files.write_json(Path(run) / NAME, text)


def leave(run: Path) -> None:
    """Nobody watches any more; a file that then asks for nothing is removed."""
    try:
        now = read(run)
    except ValueError:
        return
    if now.get("pause") or now.get("scale") is not None:
        ask(run, watch=None, until=0)
    else:
        (Path(run) / NAME).unlink(missing_ok=True)


class Control:
    """What a run does about control.json. `tell` hears one line of every change."""

    def __init__(self, run: Path, tell: Callable[[str], None]):
        self.run, self.tell = Path(run), tell
        self.mark: tuple | None = None  # of the file as it was read last
        self.asked: dict[str, Any] = {}
        self.scale: float | None = None
        self.own: list[tuple[Any, Any]] = []  # formulas and the scales that they were configured with
        self.next = 0.0

    def heed(self, job, system) -> bool:
        """Before a step; whether to wait. `job` is the Run."""
        self._look()
        if not self.asked:
            return False
        self._guide(job, system)
        self._show(job, system)
        return self.asked["pause"]

    def _look(self) -> None:
        """Read the file if it is another one than before."""
        try:
            about = (self.run / NAME).stat()
            mark = (about.st_mtime_ns, about.st_size, about.st_ino)
        except OSError:
            mark = None
        if mark == self.mark:
            return
        self.mark = mark
        try:
            self.asked = read(self.run) or ({"pause": False, "scale": None, "watch": None, "until": 0} if self.own else {})
        except (OSError, ValueError) as error:
            self.tell(f"{NAME} is ignored: {error}")

    def _guide(self, job, system) -> None:
        """The scale that is asked for, in this system's formulas: a stage and a rolled back run have new ones."""
        formulas = [term.guidance for term in system.terms if isinstance(getattr(term.guidance, "scale", None), Ramp)]
        scale = self.asked["scale"]
        same = len(self.own) == len(formulas) and all(a is b for (a, _), b in zip(self.own, formulas, strict=True))
        if scale == self.scale and (same or scale is None):
            return
        if not same:
            self.own = [(formula, formula.scale) for formula in formulas]
        for formula, configured in self.own:
            formula.scale = configured if scale is None else Ramp(float(scale))
        self.scale = scale
        self._record(job, scale if formulas else None, bool(formulas))

    def _record(self, job, scale: float | None, there: bool) -> None:
        if not there:
            self.tell(f"{NAME}: no formula of this stage has a guidance.scale")
            return
        words = "is what config.yaml says again" if scale is None else f"is {scale:g} now, whatever config.yaml says"
        self.tell(f"{NAME}, before step {job.step}: guidance.scale {words}")
        before = job.folder.status().get("changed") or []
        entry = {"step": job.step, "guidance.scale": scale}
        if not before or before[-1].get("guidance.scale") != scale:
            job.folder.report("running", job.step, total=job.offsets[-1], changed=[*before, entry])

    def _show(self, job, system) -> None:
        """The scene for who watches: never more than a tenth of the time is spent on it."""
        now = time.time()
        if self.asked["watch"] is None or now >= self.asked["until"] or time.monotonic() < self.next:
            return
        self._write(job, system)

    def _write(self, job, system) -> None:
        from dream3d import checkpoint

        began = time.monotonic()
        about = {"stage": job.stage, "index": job.index, "attempt": job.attempt}
        checkpoint.save(self.run / LIVE, job.step, {"scene": system.scene.state()}, about, keep=1)
        took = time.monotonic() - began
        self.next = time.monotonic() + max(self.asked["watch"] or 0, took * (1 - SHARE) / SHARE)

    def wait(self, job, system) -> None:
        """Saved, until it may go on. Raises Interrupted where the run shall stop."""
        job._save(system)
        self.tell(f'{NAME}: paused before step {job.step}; "pause": false goes on')
        told = -math.inf
        while self.asked.get("pause"):
            job._check_stop()
            if time.monotonic() - told > BEAT:
                told = time.monotonic()
                job.folder.report("running", job.step, "paused", total=job.offsets[-1])
            time.sleep(NAP)
            self._look()
            if self.asked:
                self._guide(job, system)
                self._show(job, system)
        self.tell(f"goes on from step {job.step}")
        job.folder.report("running", job.step, total=job.offsets[-1])

    def end(self) -> None:
        """The steps are over: nobody needs live/ any more."""
        shutil.rmtree(self.run / LIVE, ignore_errors=True)
