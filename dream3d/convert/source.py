"""What a scene can be taken from: a run's folder or a file; found and told apart by content before torch is imported."""

import json
from pathlib import Path
from typing import Any

from dream3d import config
from dream3d.errors import Mistake, nearest
from dream3d.foreign import files, start

FIX = "a run's folder, or a GLB, glTF, OBJ or PLY file"


def place(name: str) -> Path:
    """The run folder or file of this name. Raises Mistake for what is neither."""
    path = start.place(name)
    if is_run(path):
        return path
    if not config.there(path, "is_file"):
        what = "holds no run: it has no config.yaml" if config.there(path, "is_dir") else "is neither a run nor a file"
        raise Mistake(f"{name!r} {what}", where=name, near=_near(name), fix=FIX)
    files.kind(path)
    return path


def is_run(path: Path) -> bool:
    return config.there(path / "config.yaml")


def digest(name: str) -> str:
    """What tells this state of it from any other: of a run the checksum in its newest checkpoint, of a file that of its content."""
    path = place(name)
    if not is_run(path):
        return files.digest(path)
    return newest(path)[1]


def newest(run: Path, wanted: str | None = None) -> tuple[Path, str]:
    """The newest checkpoint of a run and its checksum; the one with the checksum `wanted`."""
    folders = sorted((run / "checkpoints").glob("step_*"), reverse=True)
    found = [(folder, told) for folder in folders if (told := _told(folder)) is not None]
    for folder, told in found:
        if wanted in (None, told):
            return folder, told
    problem = "this run has no checkpoint yet" if not found else "this run is not as it was when the conversion began"
    raise Mistake(problem, where=str(run),
                  fix="wait for it, or resume it" if not found else "put its checkpoint back, or convert anew: --out ANOTHER")  # fmt: skip


def _told(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "state.json").read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def unfinished(run: Path) -> list[str]:
    """That a run may go on, in words, if it may: it keeps its newest checkpoints alone."""
    try:
        state = json.loads((run / "status.json").read_text(encoding="utf-8"))["state"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [] if state == "done" else [f"{run.name} is not finished: once it goes on it forgets the checkpoint that is read here, which "
                                       "this conversion needs until its own end"]  # fmt: skip


def about(name: str) -> dict[str, Any]:
    """prompt: what it shows; renderer: what it is, as far as its configuration says."""
    path = place(name)
    if not is_run(path):
        return {"prompt": path.stem.replace("-", " ").replace("_", " ").strip() or "a file", "renderer": ""}
    stages = config.load(str(path / "config.yaml")).stages
    return {"prompt": stages[-1]["prompt"], "renderer": stages[-1]["renderer"]["type"]}


def _near(name: str) -> str:
    """Runs and files with a similar name, else the newest runs."""
    runs = [path.parent for pattern in ("*/config.yaml", "runs/*/*/config.yaml") for path in Path().glob(pattern)]
    others = [path for path in Path().glob("*") if path.suffix.lower() in files.KINDS]
    newest_first = sorted(runs, key=lambda path: path.stat().st_mtime, reverse=True)
    return ", ".join(nearest(name, [str(path) for path in [*runs, *others]]) or [str(path) for path in newest_first[:2]])
