"""What a disk does to a library besides holding it: it is full, or does not answer. Neither is any job's fault."""

import errno
import time
import uuid
from pathlib import Path

from dream3d import files
from dream3d.errors import Mistake

FULL = (*files.FULL, errno.EROFS)
ANSWERS = ("EIO", "ESTALE", "ENOTCONN", "ENODEV", "ENXIO", "ETIMEDOUT", "EHOSTDOWN", "EREMOTEIO", "ENOMEDIUM")
AWAY = tuple(getattr(errno, name) for name in ANSWERS if hasattr(errno, name))  # what broken and disconnected disks say
WAIT, LOOK = 300.0, 5.0  # seconds: for a disk to come back; between two looks
FIXES = {"full": "free some space, or make it writable, and run the same command again",
         "gone": "once the disk answers again, run the same command again"}  # fmt: skip


def trouble(error: BaseException | None) -> str | None:
    """"full" where a disk that takes nothing more is behind an error, "away" for one that does not answer. A model that could not be
    fetched says the same of a network, which is not meant."""
    while error is not None:
        if isinstance(error, Mistake) and error.code == 3:
            return None
        if isinstance(error, OSError) and error.errno in FULL + AWAY:
            return "full" if error.errno in FULL else "away"
        error = error.__cause__ or error.__context__
    return None


def gone(library: Path) -> bool:
    """Whether nothing of a library is where it was: under a mount that is lost lies an empty folder, in which nothing must be made."""
    return not (library / "jobs.jsonl").is_file()


def state(library: Path) -> str | None:
    """What is wrong with a library's disk, tried by writing; None where nothing is."""
    probe = library / f".probe.{uuid.uuid4().hex}"
    try:
        if gone(library):
            return "away"
        probe.write_bytes(b"there")
        probe.unlink()
    except OSError as error:
        return trouble(error) or "away"
    return None


def wait(library: Path) -> None:
    """Until a disk answers, but no longer than WAIT: so a machine that has lost it does not take job after job."""
    until = time.monotonic() + WAIT
    while state(library) == "away" and time.monotonic() < until:
        time.sleep(LOOK)
