"""A folder at an address: another one here, or what fsspec knows (s3://, gs://, memory://). What lies there is told by a list."""

import json
import posixpath
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dream3d import files
from dream3d.batch.page import inside
from dream3d.errors import Mistake

LIST = "published.json"  # file -> size and digest, of what is there
LAST = ("jobs.jsonl", "failures.csv", "best.csv", "catalog.parquet", "gallery.html", "catalog.jsonl")  # in this order
FOLDERS = ("jobs", "recipes", "images")
FIX = "pip install fsspec, and what the address needs (s3fs for s3://, gcsfs for gs://)"
LARGEST = 1 << 28  # bytes of the list that are read
LONGEST, DEEPEST = 240, 32  # bytes of a name; folders within folders
Key = list  # size in bytes, digest


class Place:
    """Raises Mistake for what fsspec says is wrong."""

    def __init__(self, address: str):
        if not address.strip():  # a variable that is not set would be the folder one is in
            raise Mistake("an address is empty", where="URL", near="s3://bucket/cars, /mnt/share/cars")
        try:
            import fsspec
        except ModuleNotFoundError:
            raise Mistake("addresses need fsspec", where=shown(address), fix=FIX) from None
        self.address = shown(address)
        self.system, root = self._try(lambda: fsspec.core.url_to_fs(address))
        self.root = root.rstrip("/")
        self.local = type(self.system).__name__ == "LocalFileSystem"

    def listed(self) -> dict[str, Key]:
        """What is there, by the list; empty where there is none. Raises Mistake for a list that is none, or names what no library has."""
        data = self.read(LIST, LARGEST)
        if data is None:
            return {}
        try:
            found = json.loads(data)
            good = isinstance(found, dict) and all(public(name) and _is(key) for name, key in found.items())
        except (ValueError, RecursionError):
            good = False
        if not good:
            raise Mistake(f"{LIST} there is no list of a library", where=self.address, fix="another address")
        return found

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        """The objects with an id of a file of JSON lines there; none where it is not."""
        for line in (self.read(name) or b"").splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and isinstance(row.get("id"), str):
                yield row

    def read(self, name: str, most: int | None = None) -> bytes | None:
        """At most so many bytes of a file there; None where it is not."""
        return self._try(lambda: self.system.cat_file(self._path(name), 0, most)) if self.has(name) else None

    def has(self, name: str) -> bool:
        return self._try(lambda: self.system.exists(self._path(name)))

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
        """Each store has errors of its own, which nobody can list."""
        try:
            return what()
        except Mistake:
            raise
        except Exception as error:
            said = " ".join(str(error).split())[:160] or type(error).__name__
            missing = isinstance(error, ImportError) or "rotocol" in said
            raise Mistake(f"this address does not do: {shown(said)}", where=self.address,
                          fix=FIX if missing else "the same command goes on once it does") from None  # fmt: skip


def public(name: str) -> bool:
    """Whether a file of that name can be published, and fetched: one of a library, below its folder on any system, and none by which its
    processes know of each other."""
    parts = name.split("/")
    if not (name in LAST or parts[0] in FOLDERS and 1 < len(parts) <= DEEPEST) or inside(name) is None or not name.isprintable():
        return False  # lone surrogates are not printable either
    hidden = (".", "lease.", "beat.")
    return "\\" not in name and all(part and not part.startswith(hidden) and len(part.encode()) <= LONGEST for part in parts)


def shown(address: str) -> str:
    """An address without the password in it."""
    return re.sub(r"//[^/@\s]*@", "//...@", address)


def _is(key: Any) -> bool:
    return isinstance(key, list) and len(key) == 2 and isinstance(key[0], int) and isinstance(key[1], str)
