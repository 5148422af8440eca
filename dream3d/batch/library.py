"""The folder of a library: jobs, who is at work on them, what came of them. The truth about a job is what lies in its folder.

    images/<hash>.png                 pictures that jobs start from
    recipes/<hash>.yaml               complete configurations, one for all jobs that differ in prompt, seed, negative or picture
    jobs.jsonl                        what was ever asked for, a line a job
    jobs/<2 digits>/<name>/job.json   what is to be made        run/         an ordinary run folder
                            lease.N.json, beat.N.json           done.json    its record, there or not there, made once
                            tries.jsonl                         a line for every try that failed
    catalog.jsonl                     the records of finished jobs, a line each, appended
"""

import errno
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from dream3d import config, files
from dream3d.batch import lease, moved
from dream3d.batch.plan import Job, Plan
from dream3d.errors import Mistake

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
TEXTS = ("prompt", "negative", "image", "category", "recipe", "id")


class Library:
    """A folder of jobs. Making one writes nothing."""

    def __init__(self, path: Path):
        self.path = Path(path)

    def begin(self, plan: Plan) -> None:
        """Write what a plan asks for beside what earlier ones did. Raises Mistake for a folder that is something else, or cannot be
        written."""
        self.refuse_foreign()
        self._check_links()
        for name, text in plan.recipes.items():
            if not (place := self.path / "recipes" / f"{name}.yaml").is_file():
                files.write_text(place, text)
        for name, source in plan.images.items():
            if not (place := self.path / "images" / name).is_file():
                files.write_bytes(place, source.read_bytes())
        if self._new(plan):  # hundreds of launchers that have nothing to add need not wait for each other
            self.ask(_told(job) for job in plan.jobs)

    def ask(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add to jobs.jsonl what was never asked for."""
        with self._lock():
            known = {job.id for job in self.jobs()}
            new = [row for row in rows if _job(row) is not None and row["id"] not in known]
            self._grow("jobs.jsonl", [json.dumps(row, ensure_ascii=False) + "\n" for row in new])

    def _new(self, plan: Plan) -> list[Job]:
        """What was never asked for."""
        known = {job.id for job in self.jobs()}
        return [job for job in plan.jobs if job.id not in known]

    def refuse_foreign(self) -> None:
        there = sorted(os.listdir(self.path)) if self.path.is_dir() else []
        if there and "jobs.jsonl" not in there and set(there) - {".lock", "recipes", "images", "log.txt"}:
            raise Mistake(f"this folder is not empty and not a library (it holds {there[0]!r})", where=str(self.path), fix="another --out")

    def _check_links(self) -> None:
        """Raises Mistake for a disk (exFAT, some shares) on which every job would fail."""
        one, two = (self.path / f".probe.{uuid.uuid4().hex}" for _ in range(2))
        try:
            with files.writing(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                one.write_bytes(b"")
                os.link(one, two)
        except Mistake as mistake:
            if getattr(mistake.__cause__, "errno", None) not in NO_LINKS or not one.is_file():
                raise
            raise Mistake("this disk has no hard links, by which workers claim jobs", where=str(self.path),
                          fix="--out on another disk; batch push copies what was made") from None  # fmt: skip
        finally:
            for path in (one, two):
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def _lock(self) -> AbstractContextManager[None]:
        return locked(self.path / ".lock")

    def _grow(self, name: str, lines: list[str]) -> None:
        """Append whole lines, behind a line that a power cut tore."""
        if lines:
            torn = _torn(self.path / name)
            files.append(self.path / name, ("\n" if torn else "") + "".join(lines))

    def jobs(self) -> list[Job]:
        """Whatever was asked for, once each, in that order."""
        rows = {row["id"]: row for row in _lines(self.path / "jobs.jsonl") if "id" in row}
        return [job for row in rows.values() if (job := _job(row)) is not None]

    def folder(self, job: Job) -> Path:
        return self.path / "jobs" / job.id[:2] / job.name

    def run(self, job: Job) -> Path:
        """Of the job's run."""
        return self.folder(job) / "run"

    def open(self, job: Job) -> Path:
        """The job's folder, made."""
        folder = self.folder(job)
        if not (folder / "job.json").is_file():
            files.write_json(folder / "job.json", _told(job))
        return folder

    def config(self, job: Job, changes: dict[str, Any] | None = None) -> config.Config:
        """Of the job's run: its recipe, what is its own, and `changes` (path -> value) that another try needs."""
        own = {"prompt": job.prompt, "negative": job.negative, "seed": job.seed, "out": str(self.run(job))}
        own |= {"prior.image": str(self.path / "images" / job.image)} if job.image else {}
        found = config.load(str(self.path / "recipes" / f"{job.recipe}.yaml"), settings=own | (changes or {}))
        if job.image:
            moved.arrived(Path(found.values["out"]), found)
        return found

    # --- what came of a job -----------------------------------------------------------------------------------------------

    def done(self, job: Job) -> dict[str, Any] | None:
        """The record of a finished job; None also for what is no record of this job."""
        found = _json(self.folder(job) / "done.json")
        return found if found and found.get("id") == job.id else None

    def finish(self, job: Job, record: dict[str, Any]) -> bool:
        """Make the record, unless somebody else has: whether this one is the job's. Then a line in the catalogue."""
        if made := self.record(job, record):
            self.enlist(record)
        return made

    def record(self, job: Job, record: dict[str, Any]) -> bool:
        """The record alone, as `finish`."""
        folder = self.folder(job)
        own = folder / f".done.{uuid.uuid4().hex}"
        files.write_json(own, record)
        try:
            os.link(own, folder / "done.json")
        except FileExistsError:
            if self.done(job) is not None:
                return False
            os.replace(own, folder / "done.json")  # damaged: nobody's record
        finally:
            own.unlink(missing_ok=True)
        files.flush(folder)
        return True

    def enlist(self, record: dict[str, Any]) -> None:
        """A line in the catalogue."""
        with self._lock():
            self._grow("catalog.jsonl", [json.dumps(record, ensure_ascii=False) + "\n"])

    def tried(self, job: Job, what: dict[str, Any]) -> None:
        """A line for a try that failed."""
        path = self.folder(job) / "tries.jsonl"
        files.append(path, "\n" * _torn(path) + json.dumps(what, ensure_ascii=False) + "\n")

    def tries(self, job: Job) -> list[dict[str, Any]]:
        return list(_lines(self.folder(job) / "tries.jsonl"))

    def claimed(self, job: Job) -> bool:
        """Whether somebody has a claim that was not given back; its process may be gone all the same."""
        return lease.open_claim(self.folder(job))

    def launcher(self, job: Job) -> str | None:
        """Whose worker claimed it last."""
        return lease.launcher(self.folder(job))

    def again(self, job: Job, *, done: bool = False) -> bool:
        """Forget the tries that failed; with `done`, what was made too. False, and nothing is, while somebody else is at work on it."""
        folder = self.folder(job)
        if not folder.is_dir():
            return True
        held = lease.Watch(math.inf).take(folder)
        if held is None and self.done(job) is None:
            return False
        try:
            with files.writing(folder):
                self._forget(job, done)
        finally:
            if held is not None:
                held.release()
        return True

    def _forget(self, job: Job, done: bool) -> None:
        folder = self.folder(job)
        (folder / "tries.jsonl").unlink(missing_ok=True)
        if done and (folder / "done.json").is_file():
            self.enlist({"id": job.id, "state": "again"})  # for who reads the catalogue meanwhile; `mend` takes it out
            (folder / "done.json").unlink(missing_ok=True)
        for run in folder.glob("run*") if done else ():
            shutil.rmtree(run)

    def catalogue(self) -> list[dict[str, Any]]:
        """The records, once each, as their jobs were asked for and as the folders say: a line of catalog.jsonl may be of a run that was
        there before --force."""
        return [self._scored(job, record) for job in self.jobs() if (record := self.done(job))]

    def _scored(self, job: Job, record: dict[str, Any]) -> dict[str, Any]:
        """The record with what `eval` found of its run, where it did."""
        run = self.folder(job) / PurePosixPath(str(record.get("run"))).name  # wherever else the record says that it lies
        scores = (_json(run / "eval.json") or {}).get("scores")
        known = record["metrics"] if isinstance(record.get("metrics"), dict) else {}
        return record | {"metrics": {**known, **scores}} if isinstance(scores, dict) else record

    def mend(self) -> list[dict[str, Any]]:
        """Write the catalogue anew where it is not what the folders say: after a power cut, or a job that was removed."""
        with self._lock():
            right, listed = self.catalogue(), list(_lines(self.path / "catalog.jsonl"))
            if sorted(right, key=_id) != sorted(listed, key=_id):
                files.write_text(self.path / "catalog.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in right))
        return right


@contextmanager
def locked(path: Path, poll: float = 0.05) -> Iterator[None]:
    """Nobody else meanwhile. poll: seconds between two tries. Raises Mistake where the disk takes no lock."""
    with files.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire(poll_interval=poll)
    try:
        yield
    finally:
        lock.release()


def _told(job: Job) -> dict[str, Any]:
    return {key: value for key, value in asdict(job).items() if value not in (None, "", ())} | {"prompt": job.prompt}


def _job(row: dict[str, Any]) -> Job | None:
    """A job as it was written; None for what is none: the file may have been touched."""
    texts = {key: row[key] for key in TEXTS if key in row}
    try:
        job = Job(**{"negative": "", **texts}, seed=int(row["seed"]), tags=tuple(row.get("tags", ())), lines=tuple(row.get("lines", ())))
        names = job.id, job.recipe, (job.image or "x").replace(".", "")
        return job if all(isinstance(text, str) for text in texts.values()) and all(map(_plain, names)) else None
    except (KeyError, TypeError, ValueError):
        return None


def _id(row: dict[str, Any]) -> str:
    return str(row.get("id"))


def _plain(name: str) -> bool:
    return name.isalnum() and name.isascii()


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines; torn and foreign lines are passed over."""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(row, dict):
                    yield row
    except OSError:
        return


def _torn(path: Path) -> bool:
    """Whether a file ends within a line."""
    try:
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # not there, or empty
        return False
