"""A library's results at another place: a folder, or an address that fsspec knows (s3://, gs://, memory://).

Work needs a disk: claims and records are hard links, which object stores do not have. What is published is finished, and needs none: files
are put first, those of the catalogue last and as they were when it began, so that whoever reads while it is written finds the older
catalogue whole. An object is put whole or not at all; in a folder it is renamed into place. Files are told apart by size and digest, which
a list beside them keeps. Neither way is anything lost: jobs and records that only the other side has stay.
"""

import contextlib
import hashlib
import json
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from dream3d import files
from dream3d.batch.closing import closed
from dream3d.batch.lease import open_claim
from dream3d.batch.library import Library
from dream3d.batch.page import inside
from dream3d.batch.place import LAST, LIST, Key, Place, public
from dream3d.batch.plan import Job
from dream3d.errors import Mistake

EVERY = 30.0  # seconds between two lists, from which an interrupted push goes on
WORKERS = 8
AGAIN = 3  # times that a file is put which changes meanwhile
READ = ".read.json"  # file -> when it was written, size and digest
SETTLED = 2 * 10**9  # nanoseconds, after which a file that changes has another time
PULLED = ".pulled.json"  # done.json of a job -> size and digest, as it was fetched
CATALOGUE = LAST[-1]
Result = TypeVar("Result")


class Keys:
    """Sizes and digests of a library's files, which are read once: a file that is as large and as old as then is taken to be the same,
    unless it was but just written."""

    def __init__(self, folder: Path):
        self.folder, self.rows = folder, _read(folder / READ)

    def of(self, name: str) -> Key:
        """Raises Mistake where the file is gone, or cannot be read."""
        path = self.folder / name
        if (row := self.rows.get(name)) and isinstance(row, list) and row[:2] == [_time(path), _size(path)]:
            return row[1:]
        before, key = _time(path), _key(path)
        if time.time_ns() - before > SETTLED:
            self.rows[name] = [before, *key]
        return key

    def keep(self) -> None:
        with contextlib.suppress(Mistake):  # a library that can only be read is pushed too, and read again next time
            files.write_json(self.folder / READ, self.rows)


def push(library: Library, address: str, *, runs: bool = False) -> Iterator[tuple[str, bool]]:
    """Put what the catalogue names, and what tells of jobs (with `runs`, whole run folders), at an address. Yields every file and whether
    it was put now. Raises Mistake where it cannot be written, or where jobs lie that this library does not have."""
    early = {name: _bytes(library.path / name) for name in LAST[1:-1] if (library.path / name).is_file()}  # naming no more than:
    records, place = library.catalogue(), Place(address)
    last = {LAST[0]: _bytes(library.path / LAST[0]), **early}
    known, keys = _known(place, library), Keys(library.path)
    fresh, told = {}, time.monotonic()
    for name, key in _eight(_named(library, records, runs), lambda name: _put(place, name, keys, known.get(name))):
        if now := key != known.get(name):
            fresh[name] = key
        if fresh and time.monotonic() - told > EVERY:
            fresh, told = _tell(place, fresh), time.monotonic()
        yield name, now
    fresh = _tell(place, fresh)
    keys.keep()
    last[CATALOGUE] = _lines([*records, *_theirs(place, records)])
    for name, data in last.items():
        if now := known.get(name) != _of(data):
            place.put(name, data)
            fresh[name] = _of(data)
        yield name, now
    _tell(place, fresh)


def _known(place: Place, library: Library) -> dict[str, Key]:
    """What is there. Raises Mistake where it is the library itself, or other jobs than this library's would be forgotten."""
    if place.local and os.path.realpath(place.root) == os.path.realpath(library.path):
        raise Mistake("this is the library itself", where=place.address, fix="another address")
    known = place.listed()
    if not known and not place.has("jobs.jsonl") and (own := next(filter(place.has, LAST), None)):
        raise Mistake(f"{own} lies there, and is not of a library", where=place.address, fix="another address")
    ours = {job.id for job in library.jobs()}
    others = [row for row in place.rows("jobs.jsonl") if row["id"] not in ours]
    if others:
        raise Mistake(f"{len(others)} jobs lie there that this library does not have", where=place.address,
                      near=f"batch pull {library.path} {place.address} brings them here first", fix="another address")  # fmt: skip
    return known


def _tell(place: Place, fresh: dict[str, Key]) -> dict[str, Key]:
    """Add to the list, which others may have added to."""
    if fresh:
        place.put(LIST, _text(place.listed() | fresh))
    return {}


def _put(place: Place, name: str, keys: Keys, known: Key | None) -> Key:
    """Put a file, if it is another than is there, that may be written meanwhile; what was put. Raises Mistake where it never stands still
    for as long as that takes."""
    path = keys.folder / name
    for _ in range(AGAIN):
        before, key = _time(path), keys.of(name)
        if key == known:
            return key
        place.put(name, path)
        if _time(path) == before:
            return key
    raise Mistake(f"{name} changes while it is pushed", where=str(path), fix="push again once nobody writes to it")


def _theirs(place: Place, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records there of jobs that are not done here (another machine made them, or they are begun again): nothing is taken back."""
    ours = {record.get("id") for record in records}
    return [row for row in place.rows(CATALOGUE) if row["id"] not in ours and row.get("state") != "again"]


def _named(library: Library, records: list[dict[str, Any]], runs: bool) -> Iterator[str]:
    """What jobs are made by, then files of finished ones, of each its record last."""
    yield from sorted(_below(library.path, library.path / "recipes") | _below(library.path, library.path / "images"))
    for record in records:
        made = record.get("files") if isinstance(record.get("files"), dict) else {}
        found = {path for path in made.values() if inside(path) and public(path) and (library.path / path).is_file()}
        if isinstance(run := record.get("run"), str) and inside(run) and re.fullmatch(r"jobs/[^/]+/[^/]+/run[^/\0]*", run):
            found |= _below(library.path, library.path / run / ("" if runs else "export"))
            found |= {f"{run}/eval.json"} if (library.path / run / "eval.json").is_file() else set()  # scores go on being the job's
            found |= _below(library.path, (library.path / run).parent, deep=False)
        yield from sorted(found, key=_order)


def _eight(names: Iterable[str], act: Callable[[str], Result]) -> Iterator[tuple[str, Result]]:
    """Every name and what came of it, in their order: a job's files one after the other, so that its record is last, eight jobs at a time,
    since stores take their time to answer. Files of no job one by one, when all before them are there."""
    groups = [(job, [*group]) for job, group in groupby(names, _job)]

    def done(names: list[str]) -> list[tuple[str, Result]]:
        return [(name, act(name)) for name in names]

    with ThreadPoolExecutor(WORKERS) as pool:
        waiting: deque[Future] = deque()
        try:
            for job, group in [*groups, ("", [])]:
                while waiting and (not job or len(waiting) > 2 * WORKERS):
                    yield from waiting.popleft().result()
                if job:
                    waiting.append(pool.submit(done, group))
                else:
                    yield from ((name, act(name)) for name in group)
        finally:
            pool.shutdown(cancel_futures=True)


def _order(name: str) -> tuple:
    """jobs.jsonl, then job by job, of each its record last; then the others of LAST."""
    parts = name.split("/")
    return LAST.index(name) if name in LAST[1:] else -1, name != LAST[0], parts[:3], name.endswith("/done.json"), name


def _below(root: Path, folder: Path, *, deep: bool = True) -> set[str]:
    """Files in a folder that can be published, but for links, which may lead elsewhere."""
    found = folder.rglob("*") if deep else folder.glob("*")
    names = [path.relative_to(root).as_posix() for path in found if path.is_file() and not path.is_symlink()]
    return {name for name in names if public(name)}


# --- back --------------------------------------------------------------------------------------------------------------------------------


def pull(address: str, folder: Path) -> Iterator[tuple[str, bool | None]]:
    """Fetch what was put at an address. Yields every file and whether it was fetched now; None: it is of a job that was made here, or is
    being made, and stays. Raises Mistake where nothing was, a file is not what the list says, or the folder is something else."""
    place, library = Place(address), Library(folder)
    known = place.listed()
    if "jobs.jsonl" not in known:
        raise Mistake("nothing was published here" + " to its end" * bool(known), where=place.address, fix="batch push LIBRARY URL")
    library.refuse_foreign()
    yield "jobs.jsonl", _jobs(place, library, known)
    records, before = {name: key for name, key in known.items() if name.endswith("/done.json")}, _read(folder / PULLED)
    own = {name for name, key in records.items() if _own(folder / name, key, before.get(name))}
    kept = {name.removesuffix("done.json") for name in own}
    more = bool(kept) or any(library.done(job) and _done(library, job) not in known for job in library.jobs())
    names = sorted(known.keys() - {"jobs.jsonl"}, key=_order)
    stay = {name for name in names if _job(name) in kept or more and name in LAST}
    yield from _eight(names, lambda name: None if name in stay else _fetched(place, name, folder / name, known[name]))
    files.write_json(folder / PULLED, {name: key for name, key in records.items() if name not in own})
    if more:
        closed(library, ())  # tables and the page of all, there and here


def _jobs(place: Place, library: Library, known: dict[str, Key]) -> bool:
    """What was asked for there, beside what was asked for here."""
    path = library.path / "jobs.jsonl"
    ours = {job.id for job in library.jobs()}
    if not ours:
        return _fetched(place, path.name, path, known[path.name])
    rows = [row for row in place.rows(path.name) if row["id"] not in ours]
    library.ask(rows)
    return bool(rows)


def _done(library: Library, job: Job) -> str:
    return (library.folder(job) / "done.json").relative_to(library.path).as_posix()


def _own(done: Path, there: Key, fetched: Key | None) -> bool:
    """Whether a job's record was made here, or is about to be."""
    if done.is_file():
        return _key(done) not in (there, fetched)
    return done.parent.is_dir() and open_claim(done.parent)


def _job(name: str) -> str:
    """The folder of the job that a file belongs to, with a / at its end."""
    return "".join(f"{part}/" for part in name.split("/")[:3]) if name.startswith("jobs/") else ""


def _fetched(place: Place, name: str, path: Path, key: Key) -> bool:
    """Whether a file had to be fetched: it was not here, or another."""
    if path.is_file() and _key(path) == key:
        return False
    with files.replacing(path) as temporary:
        place.get(name, temporary)
        if _key(temporary) != key:
            raise Mistake(f"{name} is not what was published", where=place.address, fix="push it again")
    return True


def _read(path: Path) -> dict[str, Any]:
    """A list of ours; empty where there is none, or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


# --- files -------------------------------------------------------------------------------------------------------------------------------


def _key(path: Path) -> Key:
    """Raises Mistake where it is gone, or cannot be read."""
    try:
        with open(path, "rb") as file:
            return [os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()[:24]]
    except OSError as error:
        raise _unread(path, error) from None


def _unread(path: Path, error: OSError) -> Mistake:
    return Mistake(f"cannot read {path.name}: {error.strerror or error}", where=str(path), fix="the same command once it can be read")


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _of(data: bytes) -> Key:
    return [len(data), hashlib.sha256(data).hexdigest()[:24]]


def _bytes(path: Path) -> bytes:
    """Raises Mistake."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unread(path, error) from None


def _text(told: dict[str, Any]) -> bytes:
    return (json.dumps(told, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
