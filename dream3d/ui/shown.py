"""What the page shows of runs: read without trust, found only below the folder of runs, escaped where it becomes HTML."""

import base64
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dream3d.errors import Mistake
from dream3d.export.page import Markup, tag
from dream3d.folder import read_status
from dream3d.recipe import read
from dream3d.typed import short
from dream3d.ui.jobs import Job

MOST, PICTURE, LOG, TAIL = 200, 8 << 20, 12, 1 << 13  # runs, bytes of a picture, lines of a log, bytes of its end
STATES = ("done", "failed", "interrupted", "running")
KINDS = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


@dataclass(frozen=True)
class Shown:
    """One run: its name is `recipe/folder`, its files those of its export folder."""

    name: str
    path: Path
    prompt: str
    state: str
    step: int
    files: tuple[Path, ...]

    @property
    def thumbnail(self) -> Path | None:
        return next((path for path in self.files if path.name == "thumbnail.png"), None)

    @property
    def model(self) -> Path | None:
        """What a viewer shows: the mesh, else the splats."""
        names = {path.name: path for path in self.files}
        return next((names[name] for name in ("mesh.glb", "splats.ply") if name in names), None)


def runs(base: Path) -> list[Shown]:
    """The newest runs below `base`, newest first. What lies elsewhere and is only linked to is left out."""
    found = [path.parent for path in base.glob("*/*/config.yaml") if inside(path, base) and path.is_file()]
    newest = sorted(found, key=lambda path: (path / "config.yaml").stat().st_mtime, reverse=True)
    return [_shown(path, base) for path in newest[:MOST]]


def _shown(path: Path, base: Path) -> Shown:
    status = read_status(path)
    state, step = status.get("state"), status.get("step")
    prompt = _prompt(path / "config.yaml", (path / "config.yaml").stat().st_mtime_ns)
    folder = path / "export"
    there = folder.iterdir() if folder.is_dir() else ()
    files = sorted(p for p in there if p.is_file() and inside(p, path) and not p.name.startswith("."))
    return Shown(path.relative_to(base).as_posix(), path, prompt, state if state in STATES else "unknown",
                 step if isinstance(step, int) and not isinstance(step, bool) else 0, tuple(files))  # fmt: skip


@lru_cache(maxsize=4 * MOST)
def _prompt(path: Path, changed: int) -> str:
    """The prompt, or all of them; read again when the file changes."""
    try:
        prompt = read(path)[0].get("prompt") or ""
    except Mistake:
        return ""
    return " / ".join(map(str, prompt)) if isinstance(prompt, list) else str(prompt)


def find(base: Path, name: Any) -> Shown:
    """The run of that name. Raises Mistake where the list has none: a name is never a path."""
    for shown in runs(base):
        if shown.name == name:
            return shown
    raise Mistake(f"there is no run {short(name)}", where="page", fix="choose one of the gallery")


def inside(path: Path, base: Path) -> bool:
    """Whether a path, links followed, lies below a folder."""
    return path.resolve().is_relative_to(base.resolve())


# --- as HTML ------------------------------------------------------------------------------------------------------------------------


def progress(job: Job | None) -> Markup:
    """The run that goes on, or ended last: prompt, step, newest preview, the end of its log."""
    if job is None:
        return tag("p", "Nothing has been made yet.")
    status = read_status(job.folder)
    step, total = status.get("step"), status.get("total")
    known = isinstance(step, int) and isinstance(total, int) and total > 0
    share = tag("progress", value=min(step, total), max=total) if known and not job.ended else None
    words = f"{job.state}, {step:,} of {total:,} steps" if known else job.state
    picture = picture_of(job.folder / "previews" / "latest.png", "The newest preview")
    lines = list(job.said)[-LOG:] if job.state == "failed" else log(job.folder)
    return tag("div", tag("h3", job.title), tag("p", words), share, picture, tag("pre", "\n".join(lines)), class_="going")


def log(run: Path) -> list[str]:
    """The last lines of a run's log."""
    try:
        with (run / "log.txt").open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            return file.read(TAIL).decode(errors="replace").splitlines()[-LOG:]
    except OSError:
        return []


def picture_of(path: Path, words: str) -> Markup | None:
    """A PNG or JPEG inside the page; None where it is none, or too large."""
    try:
        if path.stat().st_size > PICTURE:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    kind = next((kind for start, kind in KINDS.items() if data.startswith(start)), None)
    return tag("img", src=f"data:{kind};base64,{base64.b64encode(data).decode()}", alt=words) if kind else None


def queue(jobs: list[Job]) -> Markup:
    """What waits, runs and has ended, the newest first."""
    if not jobs:
        return tag("p", "The queue is empty.")
    told = [(job.number, job.title, job.state, job.reason if job.state == "failed" else "") for job in reversed(jobs)]
    rows = [tag("tr", *(tag("td", cell) for cell in row)) for row in told]
    return tag("table", tag("tr", *(tag("th", word) for word in ("", "what", "state", ""))), *rows)


def facts(shown: Shown) -> Markup:
    """A chosen run."""
    return tag("div", tag("h3", shown.prompt or "(no prompt)"), tag("p", f"{shown.name}: {shown.state}, {shown.step:,} steps"))


def trouble(mistake: Mistake) -> Markup:
    return tag("pre", str(mistake), class_="trouble")


def caption(shown: Shown) -> str:
    """Plain text below a picture: one line, without what turns the direction of writing."""
    text = "".join(c for c in shown.prompt if c.isprintable())
    return f"{text[:80]} ({shown.state})"

