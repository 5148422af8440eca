"""Every file is written whole or not at all: a temporary file beside it, flushed to the disk, then renamed over it."""

import errno
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dream3d.errors import Mistake

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path with the same suffix, for writers that need a path; it takes the place of `path` when the block
    ends well and is removed when it does not. Makes the folder. Raises Mistake where the disk is full or cannot be
    written; what was there before is then untouched."""
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{threading.get_ident()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    except OSError as error:
        raise _mistake(error, path) from error
    finally:
        _remove(temporary)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """UTF-8, newlines as given."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Indented, keys in the order given, not a number refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_folder(folder: Path, names: Iterable[str] = ()) -> None:
    """Makes the folder. Raises Mistake where it cannot be written, or something that is no file has one of the names."""
    with writing(folder / "files"):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    for name in names:
        if (folder / name).is_dir():
            raise Mistake(f"{name} is a folder there", where=str(folder), fix="move it away, or --out ANOTHER")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """OSError while `path` is being written becomes a Mistake that says what is wrong with the disk."""
    try:
        yield
    except OSError as error:
        raise _mistake(error, path) from error


def append(path: Path, text: str) -> None:
    """Add UTF-8 text to a file that only grows. Raises Mistake where the disk is full."""
    with writing(path), open(path, "a", encoding="utf-8") as out:
        out.write(text)


def is_temporary(path: Path) -> bool:
    """Whether a name is one that `replacing` gives, left by a process that was killed."""
    return re.fullmatch(r"\..+\.\d+-\d+(\.\w+)?|\.step_\d+\.part", path.name) is not None


def sweep(folder: Path) -> None:
    """Remove what killed processes left behind. Only for a folder that nobody else writes to."""
    for path in [p for p in folder.rglob(".*") if is_temporary(p)]:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Onto the disk: a rename may otherwise survive a power cut that the data does not."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        pass  # the folder is gone or read-only: the error that matters is already on its way


def _mistake(error: OSError, path: Path) -> Mistake:
    if error.errno in FULL:
        again = "free some space and run the same command again"
        return Mistake(f"no space left to write {path.name}", where=str(path.parent), fix=again)
    return Mistake(f"cannot write {path.name}: {error.strerror or error}", where=str(path.parent))
