"""What the batch layer's dealings with the disk take, where a library would lie: alone, and where several do the same at once."""

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dream3d import files
from dream3d.batch import drive, plan
from dream3d.batch.lease import Watch
from dream3d.batch.library import Library
from dream3d.batch.manifest import Row

ROWS = 2000  # that are planned


@dataclass(frozen=True)
class Costs:
    """Seconds of the disk for each thing that is done: a claim, a beat of it, its end; a record; a line of the catalogue under its lock;
    a visit to a job that is another's; whether a job is done, if it is not and if it is; a look at a run's progress; and of the processor
    for a line of jobs.jsonl read, and for a row planned."""

    claim: float
    beat: float
    release: float
    record: float
    append: float
    visit: float
    missing: float
    done: float
    look: float
    read: float
    row: float


def measured(folder: Path, count: int = 100, at_once: int = 8) -> tuple[Costs, Costs]:
    """What each takes alone (the median), and what it takes of the disk where `at_once` threads do it, on jobs of their own: the time of
    all divided by their number, which is less where a disk does several at once, and at most what one takes alone."""
    alone, crowd = _measured(Library(folder / "alone"), count, 1), _measured(Library(folder / "crowd"), count, at_once)
    return alone, Costs(**{name: min(value, getattr(crowd, name)) for name, value in vars(alone).items()})


def _measured(library: Library, count: int, at_once: int) -> Costs:
    began = time.perf_counter()
    found = plan.plan([Row(i + 2, "a red car", seed=i) for i in range(ROWS)], plan.Asked(), library.path)
    row = (time.perf_counter() - began) / ROWS
    library.begin(found)
    began = time.perf_counter()
    jobs = library.jobs()
    read, jobs, leases = (time.perf_counter() - began) / ROWS, jobs[:count], {}
    mine, others = Watch(), Watch()

    def claim(job) -> None:
        leases[job] = mine.take(library.open(job))

    def visit(job) -> None:
        assert others.take(library.open(job)) is None and library.done(job) is None

    def put(job) -> None:
        library.record(job, {"id": job.id, "state": "done", "prompt": job.prompt, "reason": "x" * 900})

    def over(what: Callable) -> float:
        return _over(what, jobs, at_once)

    missing = over(library.done)
    costs = {"claim": over(claim), "visit": over(visit), "beat": over(lambda job: leases[job].beat())}
    for job in jobs:
        for name in ("metrics.jsonl", "log.txt", "status.json"):
            files.append(_there(library.run(job)) / name, "x\n")
    costs |= {"look": over(lambda job: drive._progress(library.folder(job))), "record": over(put), "done": over(library.done)}
    listing = over(lambda job: library.enlist(library.done(job)))
    costs |= {"append": max(0.0, listing - costs["done"]), "release": over(lambda job: leases[job].release())}
    return Costs(**costs, missing=missing, read=read, row=row)


def _there(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _over(what: Callable, jobs: list, at_once: int) -> float:
    if at_once == 1:
        return statistics.median(_timed(what, job) for job in jobs)
    wrong: list[Exception] = []

    def part(k: int) -> None:
        try:
            for job in jobs[k::at_once]:
                what(job)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=part, args=(k,)) for k in range(at_once)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise wrong[0]
    return (time.perf_counter() - began) / len(jobs)


def _timed(what: Callable, job) -> float:
    began = time.perf_counter()
    what(job)
    return time.perf_counter() - began
