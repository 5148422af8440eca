"""How much of their time workers on Ray work: actors that claim, wait instead of a run, and make their record, as the real ones do."""

import importlib.util
import time
from pathlib import Path
from typing import Any

from dream3d.batch.cluster import Cluster
from dream3d.batch.failures import Policy
from dream3d.batch.lease import PATIENCE, Watch
from dream3d.batch.library import Library
from dream3d.batch.manifest import Row
from dream3d.batch.plan import Asked, Job, plan
from dream3d.bench.batch_pool import Held

SECONDS, EACH = 3.0, 10  # of a job; jobs of a worker
SIZES = (1, 2, 4)


class Waiter:
    """In the actor's process: the layer's dealings with the folder are real, the run is not."""

    def __init__(self, library: str, policy: Policy, patience: float, launcher: str, *rest: Any):
        self.library, self.watch = Library(Path(library)), Watch(patience, launcher)

    def work(self, job: Job) -> list[dict[str, Any]]:
        """A claim, SECONDS, a record."""
        lease = self.watch.take(self.library.open(job))
        lease.keep()
        time.sleep(SECONDS)
        record = {"id": job.id, "name": job.name, "state": "done", "prompt": job.prompt, "seed": job.seed, "seconds": SECONDS}
        self.library.finish(job, record)
        lease.release()
        return [record]


def efficiency(folder: Path) -> dict[str, Any]:
    """By number of workers: seconds of jobs over seconds of workers, and assets an hour; or what is not installed."""
    if importlib.util.find_spec("ray") is None:
        return {"missing": 'Ray is not installed: pip install "dream3d[ray]"'}
    return {str(size): _efficiency(folder / str(size), size) for size in SIZES}


def _efficiency(folder: Path, size: int) -> dict[str, float]:
    library = Library(folder)
    library.begin(plan([Row(i + 2, "a red car", seed=i) for i in range(size + size * EACH)], Asked(), folder))
    jobs = library.jobs()
    pool = Held(Cluster(folder.absolute(), size, Policy(), PATIENCE, cpus=0.1, worker=Waiter))
    try:
        pool.make(library, jobs[:size])  # the actors have begun
        began = time.perf_counter()
        pool.make(library, jobs[size:])
        passed = time.perf_counter() - began
    finally:
        pool.end()
    assert len(library.catalogue()) == len(jobs)
    return {"efficiency": (len(jobs) - size) * SECONDS / (size * passed), "assets an hour": 3600 * (len(jobs) - size) / passed}


