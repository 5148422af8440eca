"""Trackers: where a run's scalars, previews and mesh also go. A file is a name: `wandb.py` is `track: [wandb]`.

A file has `begin(about) -> Tracker`, and says by the literals PACKAGE what it imports and by EXTRA what to install. TensorBoard's is
always kept. None of them can stop a run or hold it up: each works in a thread of its own, and is left at its first mistake.
"""

import ast
import hashlib
import importlib
import importlib.util
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from dream3d.errors import Mistake, choices, one_line
from dream3d.typed import short

ALWAYS = ("tensorboard",)
ROOM = 10_000  # calls that may wait for a slow tracker; more are dropped
PATIENCE = 30.0  # seconds that a run waits at its end for what its trackers have not sent yet
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)  # in names of environment variables
LOCAL = ("out", "keep")  # settings of this machine alone


@dataclass(frozen=True)
class About:
    """The run in `path`: its folder's name, an id that stays when it is continued, and its complete configuration."""

    path: Path
    name: str
    id: str
    values: dict[str, Any]


class Tracker(Protocol):
    """What a run tells. Steps go back where a run is continued or rolled back; values may be NaN."""

    def scalars(self, step: int, values: dict[str, float]) -> None: ...
    def image(self, step: int, name: str, path: Path) -> None: ...
    def mesh(self, path: Path) -> None: ...
    def close(self, status: str) -> None:
        """The run is "done", "failed" or "interrupted"."""


def available() -> list[str]:
    """All names there are, sorted."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def complete(value: Any, where: str) -> list[str]:
    """The `track` section as a list of names, each once. Raises Mistake for what is none."""
    names = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(names, list):
        raise Mistake(f"track: expected names of trackers, but it is {short(value)}", where=where, near="track=[wandb]")
    for name in names:
        if name not in available():
            raise Mistake(f"there is no tracker {short(name)}", where=where, near=choices(str(name), available()))
    return list(dict.fromkeys(names))


def check(names: list[str], where: str) -> None:
    """Raises Mistake for the first whose package is not installed."""
    for name in names:
        told = said(name)
        if told["PACKAGE"] and importlib.util.find_spec(told["PACKAGE"]) is None:
            raise Mistake(f"track: {name} needs the package {told['PACKAGE']}", where=where,
                          fix=f'pip install "dream3d[{told["EXTRA"]}]"')  # fmt: skip


@cache
def said(name: str) -> dict[str, str]:
    """What a tracker's file says of itself, without importing it: `about`, PACKAGE, EXTRA."""
    tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
    told = {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("PACKAGE", "EXTRA")}  # fmt: skip
    return {"about": (ast.get_docstring(tree) or "").splitlines()[0], "PACKAGE": "", "EXTRA": "", **told}


@contextmanager
def tracking(path: Path, values: dict[str, Any], started: float, tell: Callable[[str], None]) -> Iterator["Trackers"]:
    """The trackers of a run, closed with how the block ends."""
    chosen = list(dict.fromkeys([*ALWAYS, *values["track"]]))
    digest = hashlib.sha256(f"{path.name} {started!r}".encode()).hexdigest()[:12]
    known = {key: value for key, value in values.items() if key not in LOCAL}
    trackers = Trackers(chosen, About(path, path.name, digest, known), tell)
    status = "failed"
    try:
        yield trackers
        status = "done"
    except BaseException as error:
        status = "interrupted" if type(error).__name__ in ("Interrupted", "KeyboardInterrupt") else "failed"
        raise
    finally:
        trackers.close(status)


class Trackers:
    """Several as one. What goes wrong in one of them is told once, without secrets, and that one is left."""

    def __init__(self, names: list[str], about: About, tell: Callable[[str], None]):
        self.tell, self.lines = tell, [_Line(name, about) for name in names]

    def scalars(self, entries: list[dict[str, Any]]) -> None:
        """Entries of metrics.jsonl."""
        for entry in entries:
            numbers = {k: v for k, v in entry.items() if k != "step" and isinstance(v, int | float) and not isinstance(v, bool)}
            self._all("scalars", entry["step"], {name: float(value) for name, value in numbers.items()})

    def image(self, step: int, name: str, path: Path) -> None:
        self._all("image", step, name, path)

    def mesh(self, path: Path) -> None:
        self._all("mesh", path)

    def close(self, status: str) -> None:
        self._all("close", status)
        for line in self.lines:
            line.end()
        self._hear()

    def _all(self, method: str, *arguments: Any) -> None:
        self._hear()
        for line in self.lines:
            line.put(method, *arguments)

    def _hear(self) -> None:
        for line in self.lines:
            if line.trouble and not line.told:
                line.told = True
                with suppress(OSError, Mistake):  # a full disk is for those to tell who need it
                    self.tell(f"{line.name} is not told any more: {line.trouble} (the run goes on; metrics.jsonl has everything)")


class _Line:
    """One tracker at the end of a queue, in a thread of its own: a server that does not answer holds nothing up."""

    def __init__(self, name: str, about: About):
        self.name, self.about, self.trouble, self.told = name, about, "", False
        self.calls: queue.Queue[tuple[str, tuple]] = queue.Queue(ROOM)
        self.thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self.thread.start()

    def put(self, method: str, *arguments: Any) -> None:
        if self.trouble:
            return
        try:
            self.calls.put_nowait((method, arguments))
        except queue.Full:
            self.trouble = f"{ROOM} values wait for it"

    def end(self) -> None:
        """Wait for what was put before, for a while."""
        self.thread.join(0 if self.trouble else PATIENCE)
        if self.thread.is_alive() and not self.trouble:
            self.trouble = f"it did not end within {PATIENCE:g} s"

    def _work(self) -> None:
        try:
            tracker = importlib.import_module(f"{__name__}.{self.name}").begin(self.about)
            method = ""
            while method != "close" and not self.trouble:
                method, arguments = self.calls.get()
                getattr(tracker, method)(*arguments)
        except BaseException as error:  # a stranger's package may raise anything, SystemExit too
            self.trouble = one_line(" ".join(redacted(f"{type(error).__name__}: {error}").split()))


def redacted(text: str) -> str:
    """The same without passwords in addresses and without what environment variables named like secrets hold."""
    text = re.sub(r"(\w+://)[^\s/@]+@", r"\1***@", text)
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value) >= 6:
            text = text.replace(value, "***")
    return text
