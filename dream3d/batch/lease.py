"""Who works on a job: a file per claim in the job's folder, each made where none of its number was, so that one alone can have it.

A claim lives as long as its count of beats goes on. Others watch it by a clock of their own that only measures how long they have been
watching, so clocks that disagree do not matter. A claim of this machine whose process is gone is given up at once.
"""

import json
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BEAT, PATIENCE = 5.0, 60.0  # seconds: between two beats; without one until others take the job


@dataclass
class Lease:
    """A job's folder, claimed by this process for the `number`th time that anybody did. `lost` tells that somebody else took it over."""

    folder: Path
    number: int
    lost: threading.Event = field(default_factory=threading.Event)
    beats: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)
    _one: threading.RLock = field(default_factory=threading.RLock)  # a beat that comes after the release would take it back

    def beat(self) -> bool:
        """One more, unless it was given back; whether the claim still holds."""
        with self._one:
            if self.holds() and not self._ended.is_set():
                self.beats += 1
                _put(self.folder / f"beat.{self.number}.json", {"beats": self.beats})
        return not self.lost.is_set()

    def holds(self) -> bool:
        """Whether nobody has taken it over."""
        if _newest(self.folder) != self.number:
            self.lost.set()
        return not self.lost.is_set()

    def keep(self, every: float = BEAT) -> None:
        """Beat in a thread of its own until the claim is given back or lost."""

        def on() -> None:
            while not self._ended.wait(every) and not self.lost.is_set():
                try:
                    self.beat()
                except Exception:  # a full disk, a folder that is away for a moment: the next beat may come through
                    continue

        threading.Thread(target=on, daemon=True, name=f"beat of {self.folder.name}").start()

    def release(self) -> None:
        """Others may take it at once."""
        self._ended.set()
        with self._one:
            if self.holds():
                _put(self.folder / f"beat.{self.number}.json", {"beats": self.beats, "released": True})


@dataclass
class Watch:
    """What was seen of other processes' claims, and since when, by this process's own clock. launcher: for whom it works, written into its
    claims."""

    patience: float = PATIENCE
    launcher: str = ""
    _seen: dict[Path, tuple[tuple[int, Any], float]] = field(default_factory=dict)

    def take(self, folder: Path) -> Lease | None:
        """The claim on a job, where nobody has it or whoever had it is gone. None: not now."""
        number = _newest(folder)
        if number and not self._free(folder, number):
            return None
        lease = Lease(folder, number + 1)
        return lease if _made(folder, lease.number, self.launcher) and lease.beat() else None

    def _free(self, folder: Path, number: int) -> bool:
        beat = _read(folder / f"beat.{number}.json")
        if beat.get("released") or _gone(_read(folder / f"lease.{number}.json")):
            return True
        seen, now = (number, beat.get("beats")), time.monotonic()
        before, since = self._seen.get(folder, (None, now))
        self._seen[folder] = (seen, since if before == seen else now)
        return now - self._seen[folder][1] >= self.patience


def open_claim(folder: Path) -> bool:
    """Whether the newest claim on a job was not given back, and its process, where that can be told, is there."""
    number = _newest(folder)
    return bool(number) and not _read(folder / f"beat.{number}.json").get("released") and not _gone(_read(folder / f"lease.{number}.json"))


def launcher(folder: Path) -> str | None:
    """For whom the process works that made the newest claim."""
    number = _newest(folder)
    return _read(folder / f"lease.{number}.json").get("launcher") if number else None


def _newest(folder: Path) -> int:
    """The number of the newest claim; 0 where there never was one. Raises OSError where the disk does not answer: that tells nothing."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return 0
    numbers = [name.split(".")[1] for name in names if name.startswith("lease.") and name.endswith(".json") and name.count(".") == 2]
    return max((int(number) for number in numbers if number.isdigit()), default=0)


def _made(folder: Path, number: int, launcher: str) -> bool:
    """Whether this process made the claim of that number. A link is made by one alone, on shared disks too."""
    own = folder / f".lease.{uuid.uuid4().hex}"
    own.write_bytes(json.dumps(_me() | {"launcher": launcher}).encode())
    try:
        os.link(own, folder / f"lease.{number}.json")
    except FileExistsError:
        if not _same(own, folder / f"lease.{number}.json"):
            return False
    finally:
        own.unlink(missing_ok=True)
    for old in range(max(1, number - 3), number - 1):  # of the one before something may still be wanted
        for name in ("lease", "beat"):
            (folder / f"{name}.{old}.json").unlink(missing_ok=True)
    return True


def _put(path: Path, value: dict[str, Any]) -> None:
    """Whole or not at all, but not onto the disk at once: after a power cut its process is gone too, and hundreds beat every second."""
    own = path.with_name(f".lease.{uuid.uuid4().hex}")
    try:
        own.write_bytes(json.dumps(value).encode())
        os.replace(own, path)
    finally:
        own.unlink(missing_ok=True)


def _same(own: Path, made: Path) -> bool:
    """Whether a link that is there already is our own: a shared disk's answer was lost, and it was asked once more."""
    try:
        return os.path.samefile(own, made)
    except OSError:
        return False


def _me() -> dict[str, Any]:
    return {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "began": _began(os.getpid())}


def _gone(owner: dict[str, Any]) -> bool:
    """Whether a claim's process was one of this machine and is no more. Never told of other machines' processes."""
    if not owner or owner.get("host") != socket.gethostname() or not owner.get("boot") or not isinstance(owner.get("pid"), int):
        return False
    return owner["boot"] != _boot() or _began(owner["pid"]) != owner.get("began")


def _boot() -> str | None:
    """What differs after the machine was started anew, and between containers, which count processes on their own; None where the system
    does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _began(pid: int) -> str | None:
    """When a process began, in ticks of the system: numbers of processes come again. None where there is none, or its end waits to be
    noticed."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if told[0] in "ZX" else told[19]
    except (OSError, IndexError):
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
