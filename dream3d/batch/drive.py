"""Who gives jobs to workers, hears what came of them and decides what is tried again, on this machine or on many.

Nothing that only this process knows matters: whoever runs the same command afterwards finds in the folder what is left to do.
"""

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from dream3d import __version__
from dream3d.batch import failures
from dream3d.batch.library import Library
from dream3d.batch.plan import Job
from dream3d.errors import Mistake

WAIT, LOOK = 0.5, 5.0  # seconds: for news; between looks at who makes progress


@runtime_checkable
class Pool(Protocol):
    """Workers, wherever they are; `name` is in their claims."""

    name: str

    def free(self) -> list[int]: ...
    def give(self, place: int, job: Job) -> None: ...
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
        self.looked, self.full = 0.0, ""

    def go(self, jobs: Iterable[Job]) -> Tally:
        """Make what is missing; jobs of other launchers are waited for. Ends when all are done or failed, or it is stopped.
        Raises Mistake where the disk is full."""
        tally, todo, elsewhere = Tally(), deque(), {}
        for job in jobs:
            if self.library.done(job):
                tally.before += 1
            else:
                todo.append(job)
        self.count = len(todo)
        try:
            while (todo or self.at or elsewhere) and not self.stopping() and not self.full:
                self._hand_out(todo)
                if not todo and not self.at:  # what is left is at work elsewhere: look again, and take over whoever is gone
                    todo.extend(elsewhere.values())
                    elsewhere.clear()
                for job, record in self.pool.heard(WAIT):
                    self._take(job, record, tally, todo, elsewhere)
                self._look()
            tally.stopped = self.stopping()
        finally:
            self._end(tally, todo, elsewhere)
        if self.full:
            raise Mistake(self.full, where=str(self.library.path), fix="free some space and run the same command again")
        return tally

    def _hand_out(self, todo: deque) -> None:
        for place in self.pool.free():
            if todo:
                job = todo.popleft()
                self.at[job.id] = job
                self.seen.pop(job.id, None)
                self.pool.give(place, job)

    def _take(self, job: Job, record: dict, tally: Tally, todo: deque, elsewhere: dict) -> None:
        self.at.pop(job.id, None)
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
            case "full":
                self.full = record["reason"]
        self._say(job, record, tally)

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
            failure, reason = "timeout", f"no step in {self.hang:.0f} s"
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
            if now - self.seen[job.id][1] > self.hang:
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
