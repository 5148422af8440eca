"""Runs of a library that was moved: their pictures are named by where they were, and a run goes on with the configuration it began with."""

from pathlib import Path, PurePosixPath, PureWindowsPath

from dream3d import config, files
from dream3d.errors import Mistake
from dream3d.folder import digest, read_status, untouched


def arrived(run: Path, now: config.Config) -> None:
    """Where a run's configuration is `now` but for the folder that its picture lay in, and nobody has touched it, make it so. The picture's
    name is a hash of what is in it."""
    stored, image = run / "config.yaml", now.values["prior"].get("image")
    if not isinstance(image, str) or not stored.is_file() or not untouched(run):
        return
    try:
        before = config.load(str(stored)).values["prior"].get("image")
        here = config.load(str(stored), settings={"prior.image": image, "out": str(run)})
    except Mistake:  # whoever runs it says what is wrong
        return
    if before != image and isinstance(before, str) and _name(before) == _name(image) and here.hash == now.hash:
        files.write_text(stored, now.text())
        files.write_json(run / "status.json", {**read_status(run), "config": now.hash, "file": digest(stored)})


def _name(path: str) -> str:
    return PurePosixPath(PureWindowsPath(path).as_posix()).name
