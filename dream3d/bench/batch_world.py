"""A library of many jobs on many workers that fail, event by event, from measured seconds: what of it the disk has to bear, and when it no
longer can. The disk does one thing after another; so does whoever holds the lock of the catalogue.
"""

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass

from dream3d.batch.drive import APART, LOOK, ROUND
from dream3d.batch.lease import BEAT, PATIENCE
from dream3d.bench.batch_disk import Costs

RESTART = 20.0  # seconds until a lost worker is replaced


@dataclass(frozen=True)
class Layout:
    """How a library is worked on. many: a launcher for each worker (SLURM), else one for all (local, Ray). Of many, `own`: whether each
    begins with its part of the list, and passes over what the catalogue has; pause: seconds, for each job that others are at, between two
    rounds of asking for some of them; closing: how many write failures.csv, the table and the page at the end."""

    name: str
    many: bool
    own: bool = True
    pause: float = APART
    closing: int = 1
    beat: float = BEAT
    patience: float = PATIENCE


@dataclass(frozen=True)
class Work:
    """So many jobs of so many seconds (each twice as long or half at most), and the share of tries whose worker is lost on the way."""

    jobs: int = 100_000
    workers: int = 500
    seconds: float = 30.0
    lost: float = 0.02


ONE, MANY = Layout("one launcher", many=False), Layout("a launcher each", many=True)
EACH = Layout("a launcher each, all from the list's beginning", many=True, own=False, pause=0.0, closing=1 << 30)  # as it was once


def shares(costs: Costs, layout: Layout, work: Work) -> dict[str, float]:
    """What part of the disk's time each dealing wants while the library is worked on: 1 and more is more than it has. The catalogue is a
    lock of its own."""
    rate = work.workers / work.seconds * (1 + work.lost / 2)  # jobs begun a second
    seen = work.workers * layout.many * (1 if not layout.own else 0)  # visits to others' jobs for each job made
    return {"jobs": rate * (costs.claim + costs.record + costs.release + 2 * costs.beat), "beats": work.workers / layout.beat * costs.beat,
            "looks": work.workers / LOOK * costs.look, "visits": rate * seen * costs.visit, "catalogue": rate * costs.append}  # fmt: skip


def begins(costs: Costs, layout: Layout, work: Work) -> float:
    """Seconds of the disk until all launchers know what is done: each asks for every job's record, or for those of its own part."""
    asked = work.workers if layout.many and not layout.own else 1
    return asked * work.jobs * costs.missing


def ends(costs: Costs, layout: Layout, work: Work) -> float:
    """Seconds of the disk for failures.csv, the mended catalogue and the page, which ask for every record three times."""
    return min(layout.closing, work.workers if layout.many else 1) * 3 * work.jobs * costs.done


def most(costs: Costs, layout: Layout, work: Work) -> int:
    """The number of workers at which the disk, or the catalogue's lock, has no time left."""

    def full(workers: int) -> bool:
        found = shares(costs, layout, Work(work.jobs, workers, work.seconds, work.lost))
        return found["catalogue"] >= 1 or sum(found.values()) - found["catalogue"] >= 1

    low, high = 1, 1
    while not full(high) and high < 1 << 20:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if full(middle) else (middle, high)
    return high


class World:
    """One run of it. `disk`, `lock`: until when they are taken."""

    def __init__(self, costs: Costs, layout: Layout, work: Work, seed: int = 0):
        self.costs, self.layout, self.work, self.dice = costs, layout, work, random.Random(seed)
        self.disk = self.lock = self.busy = self.now = 0.0
        self.late = self.waited = 0.0  # the longest that a beat, and a line of the catalogue, had to wait
        self.events: list[tuple[float, int, str, int]] = []
        self.count = self.made = self.tries = self.begun = self.working = 0
        self.again: deque[int] = deque()  # jobs whose worker is gone
        self.left = [1.0] * work.jobs  # the part of each that is to be made
        self.at = [-1] * work.workers  # whose job
        self.ends = [math.inf] * work.workers
        self._walks = layout.many and not layout.own
        size = -(-work.jobs // work.workers) if layout.many and layout.own else work.jobs
        self.parts = [[low, min(low + size, work.jobs)] for low in range(0, work.jobs, size)]
        self.walked = [0] * work.workers  # by launchers that begin at the beginning
        self.passed = [0] * work.workers  # parts, by the others

    def run(self) -> dict[str, float]:
        """hours, efficiency (seconds of jobs over those of workers), disk (its busy share), late and waited (seconds), tries."""
        begin = begins(self.costs, self.layout, self.work)
        self.now = self.disk = self.busy = begin
        for worker in range(self.work.workers):
            self._at(begin + self.dice.random(), "take", worker)
        while self.made < self.work.jobs:
            self.now, _, what, worker = heapq.heappop(self.events)
            getattr(self, f"_{what}")(worker)
        working = self.disk_time(ends(self.costs, self.layout, self.work))
        return {"hours": working / 3600, "efficiency": self.work.jobs * self.work.seconds / (working * self.work.workers),
                "disk": self.busy / working, "late": self.late, "waited": self.waited, "tries": float(self.tries)}  # fmt: skip

    def disk_time(self, seconds: float) -> float:
        """When the disk will have done so much more."""
        self.disk = max(self.disk, self.now) + seconds
        self.busy += seconds
        return self.disk

    def _at(self, when: float, what: str, worker: int) -> None:
        self.count += 1
        heapq.heappush(self.events, (when, self.count, what, worker))

    def _take(self, worker: int) -> None:
        job, visits = self._next(worker)
        ready = self.disk_time(visits * self.costs.visit + (job >= 0) * (self.costs.claim + self.costs.beat))
        if job < 0:
            self.walked[worker] = self.work.jobs
            self._at(ready + max(self.layout.pause * visits, 0.01 if self._walks else 1.0), "take", worker)
            return
        self.at[worker], self.tries, self.working = job, self.tries + 1, self.working + 1
        long = self.work.seconds * self.dice.uniform(0.5, 1.5) * self.left[job]
        gone = self.dice.random() < self.work.lost
        self.ends[worker] = ready + long * (self.dice.random() if gone else 1.0)
        if gone:
            self.left[job] *= 1 - 0.9 * (self.ends[worker] - ready) / max(long, 1e-9)  # a tenth is behind the last checkpoint
        self._at(self.ends[worker], "lose" if gone else "finish", worker)
        if ready + self.layout.beat < self.ends[worker]:
            self._at(ready + self.layout.beat, "beat", worker)

    def _next(self, worker: int) -> tuple[int, int]:
        """A job that is free, or -1, and how many others were visited on the way."""
        if self.again:
            return self.again.popleft(), 0
        if self.begun == self.work.jobs and not self._walks:
            return -1, min(self.working, ROUND) if self.layout.many else 0
        if self._walks:
            if self.begun == self.work.jobs:
                return -1, max(self.working, self.work.jobs - self.walked[worker])
            visits, self.walked[worker] = self.begun - self.walked[worker], self.begun + 1
            self.begun += 1
            return self.begun - 1, visits
        for step in range(ROUND):
            part = self.parts[(worker + self.passed[worker] + step) % len(self.parts)]
            if part[0] < part[1]:
                part[0] += 1
                self.begun += 1
                return part[0] - 1, step  # of every part that was passed its worker's job
        self.passed[worker] += ROUND
        return -1, ROUND

    def _beat(self, worker: int) -> None:
        if self.at[worker] < 0 or self.now >= self.ends[worker]:
            return
        done = self.disk_time(self.costs.beat + self.costs.look * self.layout.beat / LOOK)
        self.late = max(self.late, done - self.now)
        if (after := done + self.layout.beat) < self.ends[worker]:
            self._at(after, "beat", worker)

    def _finish(self, worker: int) -> None:
        recorded = self.disk_time(self.costs.beat + self.costs.record + self.costs.release)
        self.lock = max(self.lock, recorded) + self.costs.append
        self.waited = max(self.waited, self.lock - recorded)
        self.at[worker], self.made, self.working = -1, self.made + 1, self.working - 1
        self._at(self.lock, "take", worker)

    def _lose(self, worker: int) -> None:
        """Others wait for their patience until they take its job over; another worker comes meanwhile."""
        self._at(self.now + self.layout.patience, "free", self.at[worker])
        self.at[worker], self.working = -1, self.working - 1
        self._at(self.now + RESTART, "take", worker)

    def _free(self, job: int) -> None:
        self.again.append(job)


def told(costs: Costs, layout: Layout, work: Work) -> dict[str, object]:
    """A row of the bench: the disk's shares by what wants them, at how many workers they are all of it, and how the world went. A world
    that the disk cannot bear is not played: its queue has no end."""
    found = shares(costs, layout, work)
    row = {"layout": layout.name, "seconds": work.seconds, **{name: round(share, 3) for name, share in found.items()},
           "begins": begins(costs, layout, work), "ends": ends(costs, layout, work), "most": most(costs, layout, work)}  # fmt: skip
    bearable = work.workers < row["most"]
    return row | ({key: round(value, 4) for key, value in World(costs, layout, work).run().items()} if bearable else {"hours": None})
