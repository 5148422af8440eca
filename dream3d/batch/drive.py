"""Who gives jobs to workers, hears what came of them and decides what is tried again, on this machine or on many.

Nothing that only this process knows matters: whoever runs the same command afterwards finds in the folder what is left to do.
"""

import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from dream3d import __version__
from dream3d.batch import disk, failures
from dream3d.batch.library import Library
from dream3d.batch.listed import Listed
from dream3d.batch.plan import Job
from dream3d.errors import Mistake

WAIT, LOOK = 0.5, 5.0  # seconds: for news; between looks at who makes progress
ROUND, APART = 20, 1.0  # how many of the jobs that others are at are asked for; seconds for each, until the next round


@runtime_checkable
class Pool(Protocol):
    """Workers, wherever they are; `name` is in their claims, and each makes up to `together` jobs at once."""

    name: str
    together: int

    def prepare(self, jobs: list[Job], stopping: Callable[[], bool], tell: Callable[[str], None]) -> None: ...
    def free(self) -> list[int]: ...
    def give(self, place: int, *jobs: Job) -> None: ...
    def heard(self, seconds: float) -> list[tuple[Job, dict[str, Any]]]: ...
    def kill(self, job: Job) -> None: ...
    def stop(self) -> None: ...
    def close(self, seconds: float = 60.0) -> None: ...


@dataclass
class Tally:
    """What a command did: records of jobs by id."""

    done: dict[str, dict] = field(default_factory=dict)
    failed: dict[str, dict] = field(default_factory=dict)
    before: int = 0
    stopped: bool = False

    @property
    def code(self) -> int:
        return 6 if self.failed else 0


class Drive:
    """`hang`: seconds without a step after which a worker is killed. `tell` hears a line for every job that ended."""

    def __init__(
        self, library: Library, pool: Pool, policy: failures.Policy, *, hang: float = 600.0, tell: Callable[[str], None] = print,
        stopping: Callable[[], bool] = lambda: False,
    ):  # fmt: skip
        self.library, self.pool, self.policy, self.hang, self.tell, self.stopping = library, pool, policy, hang, tell, stopping
        self.at: dict[str, Job] = {}  # jobs that a worker has
        self.seen: dict[str, tuple[Any, float]] = {}  # what was seen of a job's progress, and when
        self.hung: set[str] = set()
        self.early: Counter[str] = Counter()  # how often a job's worker ended before it had a claim
        self.met: Counter[str] = Counter()  # how often a job's worker found no disk
        self.listed, self.wrong = Listed(library.path), set()
        self.read = self.round = -math.inf  # when the catalogue was; when others' jobs are asked for again
        self.looked, self.full = 0.0, ("", "")  # what is wrong with the disk, and what to do about it

    def go(self, jobs: Iterable[Job], others: Iterable[Job] = ()) -> Tally:
        """Make what is missing; jobs of other launchers are waited for, and so are `others`, of which they may make most: what of these the
        catalogue lists is not asked for. Ends when all are done or failed, or it is stopped.
        Raises Mistake where the disk is full, or does not answer."""
        tally, todo, elsewhere = Tally(), deque(), {job.id: job for job in others}
        for job in jobs:
            if self.library.done(job):
                tally.before += 1
            else:
                todo.append(job)
        self.count = len(todo) + len(elsewhere)
        self.wrong = self.listed.ids() & {job.id for job in todo}  # their records are not there
        try:
            self.pool.prepare(list(todo), self.stopping, self.tell)
            while (todo or self.at or elsewhere) and not self.stopping() and not self.full[0]:
                self._pass_over(tally, todo, elsewhere)
                self._hand_out(todo)
                if not todo and not self.at and time.monotonic() >= self.round:  # the rest is at work elsewhere, or left
                    todo.extend(elsewhere.pop(job_id) for job_id in list(elsewhere)[:ROUND])
                    self.round = time.monotonic() + APART * len(todo)
                for job, record in self.pool.heard(WAIT):
                    self._take(job, record, tally, todo, elsewhere)
                self._look()
            tally.stopped = self.stopping()
        finally:
            self._end(tally, todo, elsewhere)
        if self.full[0]:
            raise Mistake(self.full[0], where=str(self.library.path), fix=self.full[1])
        return tally

    def _pass_over(self, tally: Tally, todo: deque, elsewhere: dict) -> None:
        """Leave out what other launchers have made meanwhile."""
        now = time.monotonic()
        if now - self.read < LOOK:
            return
        self.read, made = now, self.listed.ids() - self.wrong
        kept = [job for job in todo if job.id not in made]
        for job_id in made & elsewhere.keys():
            del elsewhere[job_id]
            tally.before += 1
        tally.before += len(todo) - len(kept)
        todo.clear()
        todo.extend(kept)

    def _hand_out(self, todo: deque) -> None:
        for place in self.pool.free():
            if todo:
                jobs = self._next(todo)
                for job in jobs:
                    self.at[job.id] = job
                    self.seen.pop(job.id, None)
                self.pool.give(place, *jobs)

    def _next(self, todo: deque) -> list[Job]:
        """Jobs for one worker: alike in all but prompt and seed, and none that failed before, which might take the others with it."""
        jobs = [todo.popleft()]
        while self._joins(jobs, todo):
            jobs.append(todo.popleft())
        return jobs

    def _joins(self, jobs: list[Job], todo: deque) -> bool:
        if not todo or len(jobs) >= self.pool.together:
            return False
        one, other = jobs[0], todo[0]
        return (one.recipe, one.image) == (other.recipe, other.image) and not any(map(self.library.tries, (one, other)))

    def _take(self, job: Job, record: dict, tally: Tally, todo: deque, elsewhere: dict) -> None:
        self.at.pop(job.id, None)
        if record["state"] == "away":
            record = self._away(job, record)
        if record["state"] == "lost":
            record = self._lost(job, record)
        match record["state"]:
            case "done":
                tally.done[job.id] = record
            case "failed":
                tally.failed[job.id] = record
            case "busy":
                elsewhere[job.id] = job
                return
            case "retry":
                todo.append(job)
            case "interrupted":
                todo.appendleft(job)
            case "away":
                todo.append(job)
            case "full" | "gone":
                self.full = record["reason"], disk.FIXES[record["state"]]
        self._say(job, record, tally)

    def _away(self, job: Job, record: dict) -> dict:
        """A disk that does not answer is no try of the job it met, unless it is always that job: then a part of the disk is broken."""
        if disk.state(self.library.path):
            return {**record, "state": "gone"}
        self.met[job.id] += 1
        return record if self.met[job.id] <= self.policy.lost else {**record, "state": "lost"}

    def _lost(self, job: Job, record: dict) -> dict:
        """A worker's end is a try that failed, unless the job was made just before it."""
        if done := self.library.done(job):
            return done
        if self.library.launcher(job) != self.pool.name:  # it was another's, or nobody's yet
            self.early[job.id] += not self.library.claimed(job)
            if self.early[job.id] <= self.policy.lost:  # workers that cannot begin would be replaced for ever
                return {"id": job.id, "state": "busy"}
        failure, reason = record["failure"], record["reason"]
        if job.id in self.hung:
            self.hung.discard(job.id)
            failure, reason = "timeout", f"no step in {self.hang * self.pool.together:.0f} s"
        self.library.open(job)
        self.library.tried(job, {"failure": failure, "reason": reason, "version": __version__})
        again = failures.again(self.library.tries(job), self.policy)
        return {"id": job.id, "state": "retry" if again else "failed", "failure": failure, "reason": reason}

    def _look(self) -> None:
        """Kill workers whose run has not moved for too long."""
        now = time.monotonic()
        if now - self.looked < LOOK:
            return
        self.looked = now
        for job in list(self.at.values()):
            seen = _progress(self.library.folder(job))
            before, since = self.seen.get(job.id, (None, now))
            self.seen[job.id] = (seen, since if before == seen else now)
            if now - self.seen[job.id][1] > self.hang * self.pool.together:  # of several one computes at a time
                self.hung.add(job.id)
                self.pool.kill(job)

    def _say(self, job: Job, record: dict, tally: Tally) -> None:
        ended = len(tally.done) + len(tally.failed)
        what = record["state"] + (f" ({record['failure']}: {record['reason']})" if "failure" in record else "")
        took = f" in {record['seconds']:.0f} s" if record.get("seconds") else ""
        self.tell(f"[{ended}/{self.count}] {job.name}: {what}{took}")

    def _end(self, tally: Tally, todo: deque, elsewhere: dict) -> None:
        self.pool.stop()
        until = time.monotonic() + 60
        while self.at and time.monotonic() < until:
            for job, record in self.pool.heard(WAIT):
                self.at.pop(job.id, None)
                if record["state"] == "done":
                    tally.done[job.id] = record
        self.pool.close()


def _progress(folder: Path) -> tuple:
    """What changes while a job is at work."""
    found = []
    for run in sorted(folder.glob("run*")):
        for name in ("metrics.jsonl", "log.txt", "status.json"):
            try:
                found.append(os.stat(run / name).st_mtime_ns)
            except OSError:
                continue
        found += sorted(path.name for path in (run / "export").glob("*"))
    return tuple(found)
