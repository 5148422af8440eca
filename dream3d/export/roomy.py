"""Too little memory for an export: the smaller setting that would do."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dream3d import claims, estimate
from dream3d.errors import Mistake
from dream3d.options import Export

WORDS = ("out of memory", "allocate memory", "not enough memory", "bad_alloc")  # torch has no class for it on the CPU
TEXTURES, FACES = {4096: "4k", 2048: "2k", 1024: "1k", 512: "512"}, {50000: "50k", 20000: "20k", 5000: "5k"}


@contextmanager
def roomy(settings: Export, name: str) -> Iterator[None]:
    """Running out of memory while `name` is made becomes a Mistake (code 4) with what would fit."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        text = str(error)
        if isinstance(error, RuntimeError) and not any(words in text.lower() for words in WORDS):
            raise
        said = (text or "MemoryError").splitlines()[0][:80]
        raise Mistake(f"out of memory while making {name}: {said}", fix=smaller(settings), code=4) from error


def smaller(settings: Export, free: float | None = None) -> str:
    """Words for the command line: the largest texture below the present one that fits into `free` bytes (None: what is free now), else
    fewer faces, else smaller pictures."""
    free = available() if free is None else free
    for side, word in TEXTURES.items():
        if side < settings.texture and needed(dataclasses.replace(settings, texture=side)) < free:
            return f"--texture {word}"
    if settings.size > Export.size or settings.resolution > Export.resolution:
        least = f"size={min(settings.size, Export.size)} resolution={min(settings.resolution, Export.resolution)}"
        return f"--texture 512 {least}" if settings.texture > 512 else least
    for count, word in FACES.items():
        if count < settings.faces:
            return f"--texture 512 --faces {word}" if settings.texture > 512 else f"--faces {word}"
    return "--texture 512 size=128 resolution=64" if settings.texture > 512 else "size=128 resolution=64"


def needed(settings: Export) -> float:
    """Bytes, an upper estimate."""
    return float(claims.evaluate(estimate.EXPORT, dataclasses.asdict(settings)))


def check_room(settings: Export) -> None:
    """Raises Mistake (code 4) before any work where an export would need more than there is. On systems that do not say what is free:
    never."""
    need, free = needed(settings), available()
    if need > free:
        said = f"this export takes about {estimate.human(need)}, but {estimate.human(free)} are free"
        raise Mistake(said, fix=smaller(settings, free), code=4)


def available() -> float:
    """Bytes that this process may still take: of the machine, of its group, of its own limit."""
    return min(_machine(), _group(), _own())


def _machine() -> float:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        said = {line.split(":")[0]: 1024.0 * int(line.split()[1]) for line in lines if line.split()[1:]}
        return said["MemAvailable"] + said.get("SwapFree", 0.0)
    except (OSError, ValueError, KeyError):
        return float("inf")


def _group() -> float:
    try:
        most, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current"))
        return float(most) - float(used) if most != "max" else float("inf")
    except (OSError, ValueError):
        return float("inf")


def _own() -> float:
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError, ValueError):
        return float("inf")
    return float("inf") if soft == resource.RLIM_INFINITY else float(soft) - pages * os.sysconf("SC_PAGE_SIZE")
