"""What a run shows while it works: a live bar on a terminal, plain lines elsewhere."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_EVERY = 10.0  # seconds between lines where there is no terminal


class _Quietly(Console):
    """A reader that goes away (| head) silences the run and does not end it."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Display:
    """`with Display(...) as show:` then show.line(text) and show.step(...)."""

    def __init__(self, *, quiet: bool = False, stream=None):
        self.console = _Quietly(file=stream or sys.stderr, quiet=quiet, highlight=False)
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
                   TimeRemainingColumn(), TextColumn("{task.fields[detail]}")]  # fmt: skip
        self.live = Progress(*columns, console=self.console, transient=True) if self.console.is_terminal else None
        self.task = None
        self._told = 0.0

    def __enter__(self) -> "Display":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *error) -> None:
        if self.live:
            self.live.stop()

    def line(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """A new phase of `total` steps."""
        self.title, self.total, self._start, self._first = title, total, None, done
        if self.live:
            if self.task is not None:
                self.live.remove_task(self.task)
            self.task = self.live.add_task(title, total=total, completed=done, rate="", detail="")

    def step(self, done: int, detail: str = "") -> None:
        """`done` steps of the phase are behind us."""
        if self._start is None:  # the first step also compiles kernels and prepares the prior: not a rate to judge by
            self._start, self._first = time.monotonic(), done
        rate = (done - self._first) / max(time.monotonic() - self._start, 1e-9)
        if self.live:
            self.live.update(self.task, completed=done, rate=f"{rate:.1f} it/s", detail=detail)
        elif time.monotonic() - self._told > PLAIN_EVERY or done == self.total:
            self._told = time.monotonic()
            pace = f"{rate:.1f} it/s  {(self.total - done) / rate:.0f} s left  " if rate > 0 else ""
            self.line(f"{self.title} {done}/{self.total}  {pace}{detail}")


def shares(seconds: dict[str, float]) -> str:
    """prior 61% renderer 31% rest 8%"""
    total = sum(seconds.values()) or 1.0
    return " ".join(f"{part} {100 * s / total:.0f}%" for part, s in seconds.items())
