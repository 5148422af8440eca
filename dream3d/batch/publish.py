"""A library's results at another place: a folder, or an address that fsspec knows (s3://, gs://, memory://).

Work needs a disk: claims and records are hard links, which object stores do not have. What is published is finished, and needs none: files
are put first, those of the catalogue last, so that whoever reads while it is written finds the older catalogue whole. An object is put
whole or not at all; in a folder it is renamed into place. Files are told apart by size and digest, which a list beside them keeps.
"""

import hashlib
import json
import posixpath
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dream3d import files
from dream3d.batch.library import Library
from dream3d.batch.page import inside
from dream3d.errors import Mistake

LIST = "published.json"  # file -> size and digest, of what is there
LAST = ("jobs.jsonl", "failures.csv", "best.csv", "catalog.parquet", "gallery.html", "catalog.jsonl")  # in this order
FIX = 'pip install fsspec, and what the address needs (s3fs for s3://, gcsfs for gs://)'
LARGEST = 1 << 28  # bytes of the list that are read
ERRORS = (OSError, ValueError, RuntimeError, ImportError)  # of fsspec's file systems; others are bugs, of theirs or ours


def push(library: Library, address: str, *, runs: bool = False) -> Iterator[tuple[str, bool]]:
    """Put what the catalogue names, and what tells of jobs (with `runs`, whole run folders), at an address. Yields every file and whether
    it was put now. Raises Mistake where it cannot be written."""
    library.mend()
    names = [*_named(library, runs), *(name for name in LAST if (library.path / name).is_file())]
    if not names:
        raise Mistake("nothing is done in this library yet", where=str(library.path))
    place, fresh = _Place(address), False
    known = place.listed()
    told = dict(known)
    for name in names:
        path = library.path / name
        if name in LAST and name == next(part for part in LAST if part in names) and told != known:
            place.put(LIST, _text(told))  # an interrupted push goes on from here
        key = [path.stat().st_size, _digest(path)]
        fresh = known.get(name) != key
        if fresh:
            place.put(name, path)
            told[name] = key
        yield name, fresh
    if told != known:
        place.put(LIST, _text(told))


def pull(address: str, folder: Path) -> Iterator[tuple[str, bool]]:
    """Fetch what was put at an address. Yields every file and whether it was fetched now. Raises Mistake where nothing was, a file is not
    what the list says, or the folder is something else."""
    place, library = _Place(address), Library(folder)
    known = place.listed()
    if not known:
        raise Mistake("nothing was published here", where=address, fix="batch push LIBRARY URL")
    library._refuse_foreign()
    for name in sorted(known, key=lambda name: (LAST.index(name) if name in LAST[1:] else -1, name != LAST[0], name)):
        path, key = folder / name, known[name]
        fresh = not path.is_file() or [path.stat().st_size, _digest(path)] != key
        if fresh:
            with files.replacing(path) as temporary:
                place.get(name, temporary)
                if [temporary.stat().st_size, _digest(temporary)] != key:
                    raise Mistake(f"{name} is not what was published", where=address, fix="push it again")
        yield name, fresh


def _named(library: Library, runs: bool) -> Iterator[str]:
    """Files of finished jobs, then of what they were made by."""
    for record in library.catalogue():
        made = record.get("files") if isinstance(record.get("files"), dict) else {}
        found = {path for path in made.values() if inside(path) and (library.path / path).is_file()}
        if inside(run := record.get("run")):
            found |= _below(library.path, library.path / run / ("" if runs else "export"))
            found |= _below(library.path, (library.path / run).parent, deep=False)
        yield from sorted(found)
    yield from sorted(_below(library.path, library.path / "recipes") | _below(library.path, library.path / "images"))


def _below(root: Path, folder: Path, *, deep: bool = True) -> set[str]:
    """Files in a folder, but for temporary ones and links that lead elsewhere."""
    found = folder.rglob("*") if deep else folder.glob("*")
    own = [path for path in found if path.is_file() and not path.is_symlink() and not path.name.startswith((".", "lease.", "beat."))]
    return {path.relative_to(root).as_posix() for path in own}


class _Place:
    """A folder at an address. Raises Mistake for what fsspec says is wrong."""

    def __init__(self, address: str):
        try:
            import fsspec
        except ModuleNotFoundError:
            raise Mistake("addresses need fsspec", where=address, fix=FIX) from None
        self.address = address
        self.system, root = self._try(lambda: fsspec.core.url_to_fs(address))
        self.root = root.rstrip("/")
        self.local = type(self.system).__name__ == "LocalFileSystem"

    def listed(self) -> dict[str, Any]:
        """What is there, by the list; empty where there is none. Raises Mistake for a list that is none."""
        path = self._path(LIST)
        if not self._try(lambda: self.system.exists(path)):
            return {}
        try:
            found = json.loads(self._try(lambda: self.system.cat_file(path, 0, LARGEST)))
            good = isinstance(found, dict) and all(inside(name) and name.strip("/") == name and _is(key) for name, key in found.items())
        except (ValueError, RecursionError):
            good = False
        if not good:
            raise Mistake(f"{LIST} there is no list of a library", where=self.address, fix="another address")
        return found

    def put(self, name: str, what: Path | bytes) -> None:
        """Whole or not at all."""
        if self.local:
            with files.replacing(Path(self._path(name))) as temporary:
                temporary.write_bytes(what) if isinstance(what, bytes) else shutil.copyfile(what, temporary)
        elif isinstance(what, bytes):
            self._try(lambda: self.system.pipe_file(self._path(name), what))
        else:
            self._try(lambda: self.system.put_file(str(what), self._path(name)))

    def get(self, name: str, to: Path) -> None:
        self._try(lambda: self.system.get_file(self._path(name), str(to)))

    def _path(self, name: str) -> str:
        return posixpath.join(self.root, name)

    def _try(self, what):
        try:
            return what()
        except Mistake:
            raise
        except ERRORS as error:
            said = " ".join(str(error).split())[:160] or type(error).__name__
            missing = isinstance(error, ImportError) or "rotocol" in said
            raise Mistake(f"this address does not do: {said}", where=self.address, fix=FIX if missing else "") from None


def _is(key: Any) -> bool:
    return isinstance(key, list) and len(key) == 2 and isinstance(key[0], int) and isinstance(key[1], str)


def _text(told: dict[str, Any]) -> bytes:
    return (json.dumps(told, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:24]
