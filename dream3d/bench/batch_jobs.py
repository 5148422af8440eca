"""Real jobs: by the batch layer against the same runs called directly, by one worker against two, K in one process against K of them."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dream3d.batch import local, work
from dream3d.batch.failures import Policy
from dream3d.batch.lease import PATIENCE, Watch
from dream3d.batch.library import Library
from dream3d.batch.manifest import Row
from dream3d.batch.plan import Asked, Job, plan
from dream3d.bench.batch_pool import Held
from dream3d.errors import Mistake

SHORT = ("steps=4", "export.mesh=false", "export.frames=2", "keep.preview=0", "prior.renders=60", "prior.size=16")  # the shortest
NETWORK = ("prior={type: toybox}", "steps=40", "cameras.batch=4", "export.mesh=false", "export.frames=2", "keep.preview=0")  # one to share
PROMPTS = ("a red car", "a blue duck", "a green bus", "a cat")
WORKERS_JOBS = 4  # of each worker, of a round


class Jobs:
    """Libraries of short jobs, as many as are asked for."""

    def __init__(self, folder: Path, recipe: str, overrides: list[str], short: tuple[str, ...] = SHORT):
        self.folder, self.recipe, self.overrides, self.count = folder, recipe, (*short, *overrides), 0

    def library(self, count: int) -> tuple[Library, list[Job]]:
        self.count += 1
        library = Library(self.folder / str(self.count))
        rows = [Row(i + 2, PROMPTS[i % len(PROMPTS)], seed=i // len(PROMPTS)) for i in range(count)]
        found = plan(rows, Asked(self.recipe, overrides=self.overrides), self.folder)
        for _, mistake in found.wrong:
            raise mistake
        library.begin(found)
        return library, library.jobs()


def overhead(jobs: Jobs, pairs: int) -> dict[str, Any]:
    """Each job directly and by `work`, in this process, in turns; then by a worker process. layer: seconds that `work` takes beside the run
    of a job, more than are needed to read its configuration, which a direct run needs too; ratio: of whole jobs, the median over pairs;
    executor: seconds beside the record's, of a worker, with the pipe to it."""
    from dream3d import api
    from dream3d.folder import Folder

    library, found = jobs.library(pairs + 1)
    spent: list[float] = []
    real = work._run

    def timed(run: Callable[..., Any]) -> Callable[..., Any]:
        def run_timed(*args: Any, **more: Any) -> Any:
            began = time.perf_counter()
            try:
                return run(*args, **more)
            finally:
                spent.append(time.perf_counter() - began)

        return run_timed

    def direct(job: Job) -> None:
        run = jobs.folder / "direct" / job.name
        timed(lambda config: api.execute(Folder(run, config), quiet=True))(library.config(job, {"out": str(run)}))

    def layered(job: Job) -> None:
        if (record := work.work(library, job, Watch()))["state"] != "done":
            raise Mistake(f"a job of the bench is {record['state']}: {record.get('reason', '')}", where=str(library.path))

    whole: dict[str, list[float]] = {"direct": [], "layered": []}
    beside: dict[str, list[float]] = {"direct": [], "layered": []}
    work._run = timed(real)
    try:
        for number, job in enumerate(found):
            for what in (direct, layered) if number % 2 else (layered, direct):
                whole[what.__name__].append(_seconds(what, job))
                beside[what.__name__].append(whole[what.__name__][-1] - spent.pop())
    finally:
        work._run = real
    shortest, layer = (statistics.median(values[1:]) for values in (whole["direct"], beside["layered"]))  # the first of all compiles
    layer -= statistics.median(beside["direct"][1:])
    ratio = statistics.median(b / a for a, b in zip(whole["direct"][1:], whole["layered"][1:], strict=True))
    return {"job": shortest, "layer": layer, "share": layer / shortest, "ratio": ratio, "executor": _executor(jobs, pairs), "pairs": pairs}


def _executor(jobs: Jobs, count: int) -> float:
    """Seconds from a job's hand-over to a worker until it is heard of that its record does not count."""
    library, found = jobs.library(count + 1)
    pool, more = Held(local.Local(library.path, 1, Policy(), PATIENCE, threads=1)), []
    try:
        pool.make(library, found[:1])
        for job in found[1:]:
            began = time.perf_counter()
            pool.give(0, job)
            while not (heard := pool.heard(5.0)):
                continue
            more.append(time.perf_counter() - began - heard[0][1]["seconds"])
    finally:
        pool.end()
    return statistics.median(more)


def workers(jobs: Jobs, rounds: int) -> dict[str, Any]:
    """Assets an hour of one worker with one thread and of two, in turns, and how many times as many."""
    paces = _paces(jobs, rounds, {str(size): lambda library, size=size: _pool(library, size, 1) for size in (1, 2)}, {"1": 1, "2": 2})
    ratios = [b / a for a, b in zip(paces["1"], paces["2"], strict=True)]
    return {f"{size} (assets an hour)": statistics.median(found) for size, found in paces.items()} | {"ratio": statistics.median(ratios)}


def together(jobs: Jobs, rounds: int, counts: list[int]) -> dict[str, Any]:
    """By K: assets an hour and GB of memory at most, of K jobs at once in one process, and of K processes that share the cores."""
    cores, rows = os.cpu_count() or 1, []
    for count in counts:
        pools = {"one process": lambda library, count=count: _pool(library, 1, cores, count),
                 "processes": lambda library, count=count: _pool(library, count, max(1, cores // count))}  # fmt: skip
        held: dict[str, list[float]] = {}
        paces = _paces(jobs, rounds, pools, dict.fromkeys(pools, count), held)
        rows.append({"K": count, **{f"{name}: assets an hour": statistics.median(found) for name, found in paces.items()},
                     **{f"{name}: GB": max(found) / 1e9 for name, found in held.items()},
                     "ratio": statistics.median(a / b for a, b in zip(paces["one process"], paces["processes"], strict=True))})  # fmt: skip
    return {"by K": rows}


def _pool(library: Library, size: int, threads: int, count: int = 1) -> Held:
    return Held(local.Local(library.path, size, Policy(), PATIENCE, threads=threads, together=count))


def _paces(
    jobs: Jobs, rounds: int, pools: dict[str, Callable], sizes: dict[str, int], held: dict[str, list[float]] | None = None
) -> dict[str, list[float]]:
    """Assets an hour of pools, round by round in turns, each warm; held: bytes their processes had at most."""
    made, left, paces = {}, {}, {name: [] for name in pools}
    try:
        for name, begin in pools.items():
            library, found = jobs.library(sizes[name] * (1 + WORKERS_JOBS * rounds))
            made[name], left[name] = (begin(library), library), found
            made[name][0].make(library, _taken(found, sizes[name]))
        for _ in range(rounds):
            for name, (pool, library) in made.items():
                count = sizes[name] * WORKERS_JOBS
                seconds = _seconds(lambda part, pool=pool, library=library: pool.make(library, part), _taken(left[name], count))
                paces[name].append(3600 * count / seconds)
        if held is not None:
            for name, (pool, _) in made.items():
                held[name] = [float(sum(_peak(worker.process.pid) for worker in pool.pool.workers if worker))]
    finally:
        for pool, _ in made.values():
            pool.end()
    return paces


def _taken(jobs: list[Job], count: int) -> list[Job]:
    part = jobs[:count]
    del jobs[:count]
    return part


def _peak(pid: int) -> int:
    """Bytes a process had in memory at most; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as lines:
            return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)
    except OSError:
        return 0


def _seconds(what: Callable, *args: Any) -> float:
    began = time.perf_counter()
    what(*args)
    return time.perf_counter() - began
