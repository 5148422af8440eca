"""A training's folder on disk: one process at a time, checkpoints that are there or not there, pipeline folders that take the place of
older ones whole."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dream3d import files, models
from dream3d.errors import Mistake

LARGEST = 15 << 20  # bytes of a checkpoint's file, with its header: below 16 MB by any reading
HEADER = 128  # bytes of a tensor's line in it, beside its name
KEEP = 2  # checkpoints


@contextmanager
def claimed(work: Path) -> Iterator[None]:
    """The work folder, made, and for this process alone; what killed ones left half written is removed. Raises Mistake where another
    process has it."""
    with files.writing(work / ".lock"):
        work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(work / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise Mistake("another process trains or measures here", where=str(work), fix="wait for it, or another --work") from None
    try:
        for left in [*work.glob("*.part"), *work.glob(".*.part")]:
            shutil.rmtree(left, ignore_errors=True)
        files.sweep(work)
        yield
    finally:
        lock.release()


def checkpoints(work: Path) -> list[Path]:
    """Those that were written whole, oldest first."""
    return sorted(p for p in work.glob("step_*") if p.suffix == "" and (p / "state.json").is_file())


def write(work: Path, step: int, tensors: dict[str, Tensor], about: dict) -> None:
    """A checkpoint of files of at most 16 MB, written beside and renamed; the newest KEEP stay. A whole one of the same content is left as
    it is, so that there is no moment without one. Raises Mistake where the disk is full; those there were stay."""
    folder = work / f"step_{step:06d}"
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    digests = {}
    for i, group in enumerate(shards(tensors, LARGEST)):
        data = save(group)
        files.write_bytes(part / f"{i:02d}.safetensors", data)
        digests[f"{i:02d}.safetensors"] = hashlib.sha256(data).hexdigest()
    files.write_json(part / "state.json", about | {"step": step, "files": digests})
    with files.writing(folder):
        if _same(folder, digests):
            shutil.rmtree(part)
        else:
            _replaced(folder, part)
        for old in checkpoints(work)[:-KEEP]:
            shutil.rmtree(old.rename(old.with_suffix(".part")))


def newest(work: Path) -> tuple[Path, dict, dict[str, Tensor]] | None:
    """The newest checkpoint that can be read: where, what it tells, its tensors. One that cannot is said so. Raises Mistake where none can;
    None where there is none."""
    found = checkpoints(work)
    for folder in reversed(found):
        try:
            return folder, *_read(folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            print(f"{folder.name} is damaged ({' '.join(str(error).split())[:120]}) and is passed over", flush=True)
    if found:
        raise Mistake("no checkpoint here can be read", where=str(work), near=", ".join(p.name for p in found),
                      fix="delete them to begin anew, or another --work")  # fmt: skip
    return None


def shards(tensors: dict[str, Tensor], most: int) -> list[dict[str, Tensor]]:
    """The same tensors, in their order, in groups whose files have at most `most` bytes."""
    out: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, value in tensors.items():
        own = value.nbytes + len(name) + HEADER
        size += own
        if size > most and out[-1]:
            out.append({})
            size = own
        out[-1][name] = value
    return out


@contextmanager
def anew(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` when the block ends well; what was there before then goes, files that the new one
    does not have too. Raises Mistake where the disk is full; what was there then stays."""
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    with files.writing(folder):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            yield part
            for path in part.rglob("*"):
                files.flush(path)
            _replaced(folder, part)
        except SafetensorError as error:  # its own name for what the disk refused
            raise Mistake(f"cannot write {folder.name}: {error}", where=str(folder.parent), fix="free some space") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)


def free(folder: Path) -> None:
    """Raises Mistake unless a published folder may come here: nothing is there, or one that a training wrote."""
    if folder.is_dir() and (not any(folder.iterdir()) or _ours(folder)):
        return
    if os.path.lexists(folder):
        raise Mistake("something else is here, which would be lost", where=str(folder), fix="another --out, or move it away")


def _ours(folder: Path) -> bool:
    try:
        return models.TRAINED in (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _read(folder: Path) -> tuple[dict, dict[str, Tensor]]:
    about = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    digests = about.get("files") or dict.fromkeys(sorted(p.name for p in folder.glob("*.safetensors")))
    tensors: dict[str, Tensor] = {}
    for name, digest in digests.items():
        data = (folder / name).read_bytes()
        if digest and hashlib.sha256(data).hexdigest() != digest:
            raise ValueError(f"{name} is not what was written")
        tensors |= load(data)
    return about, tensors


def _same(folder: Path, digests: dict[str, str]) -> bool:
    try:
        told = json.loads((folder / "state.json").read_text(encoding="utf-8"))["files"]
        return told == digests == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in digests}
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _replaced(folder: Path, by: Path) -> None:
    """`by` under the name of `folder`. What was there is away for the moment between two renames only."""
    old = folder.with_name(f".{folder.name}.old.part")
    shutil.rmtree(old, ignore_errors=True)
    if os.path.lexists(folder):
        folder.rename(old)
    by.rename(folder)
    files.flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
