"""Workers on a Ray cluster: an actor each. Ray places them and tells of their end; what is done and what is not, the folder says. It
has to be a disk that every machine sees under the same path."""

import os
import time
import uuid
from pathlib import Path
from typing import Any

from dream3d.batch.failures import Policy
from dream3d.batch.plan import Job
from dream3d.errors import Mistake


class Cluster:
    """`size` actors, each with so many `gpus` (a half: two share one) and `cpus`. address: of a cluster ("auto": the one this machine is
    part of); None begins one here, which nobody else reaches. Raises Mistake where no cluster has as much."""

    def __init__(
        self, library: Path, size: int, policy: Policy, patience: float, plugins: tuple[str, ...] = (), *, address: str | None = None,
        gpus: float = 0.0, cpus: float = 1.0,
    ):  # fmt: skip
        import ray

        self.ray, self.name = ray, uuid.uuid4().hex
        self.told = (str(library), policy, patience, self.name, plugins, max(1, int(cpus)))
        own = {} if address else {"include_dashboard": False, "num_cpus": max(os.cpu_count() or 1, size), "_node_ip_address": "127.0.0.1"}
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=False, **own)
        _check(ray.cluster_resources(), size, gpus, cpus)
        self.made = ray.remote(num_gpus=gpus, num_cpus=cpus, max_restarts=0)(Worker)
        self.actors: list[Any] = [None] * size
        self.at: dict[Any, tuple[int, Job]] = {}  # what will be answered -> who answers, and about what

    def free(self) -> list[int]:
        busy = {place for place, _ in self.at.values()}
        return [i for i in range(len(self.actors)) if i not in busy]

    def give(self, place: int, job: Job) -> None:
        if self.actors[place] is None:
            self.actors[place] = self.made.remote(*self.told)
        self.at[self.actors[place].work.remote(job)] = (place, job)

    def heard(self, seconds: float) -> list[tuple[Job, dict[str, Any]]]:
        if not self.at:
            time.sleep(seconds)
            return []
        ready, _ = self.ray.wait(list(self.at), timeout=seconds)
        return [self._heard(answer) for answer in ready]

    def _heard(self, answer: Any) -> tuple[Job, dict[str, Any]]:
        place, job = self.at.pop(answer)
        try:
            return job, self.ray.get(answer)
        except self.ray.exceptions.RayActorError as error:
            self.actors[place] = None
            memory = "memory" in str(error).lower() and "oom" in str(error).lower()
            reason = " ".join(str(error).split())[:200]
            return job, {"id": job.id, "state": "lost", "failure": "memory" if memory else "lost", "reason": reason}
        except self.ray.exceptions.RayError as error:  # what was raised there, which nothing should be
            return job, {"id": job.id, "state": "lost", "failure": "lost", "reason": " ".join(str(error).split())[:200]}

    def kill(self, job: Job) -> None:
        for place, other in self.at.values():
            if other is job and self.actors[place] is not None:
                self.ray.kill(self.actors[place])

    def stop(self) -> None:
        """Actors end at once, as in a power cut: what is lost is what was done since the last checkpoint."""
        for actor in [actor for actor in self.actors if actor is not None]:
            self.ray.kill(actor)

    def close(self, seconds: float = 60.0) -> None:
        self.ray.shutdown()


class Worker:
    """In the actor's process."""

    def __init__(self, library: str, policy: Policy, patience: float, launcher: str, plugins: tuple[str, ...], threads: int):
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        import torch

        from dream3d.batch.lease import Watch
        from dream3d.batch.library import Library
        from dream3d.commands.parser import plug

        torch.set_num_threads(threads)
        plug(list(plugins))
        self.library, self.watch, self.policy = Library(Path(library)), Watch(patience, launcher), policy

    def work(self, job: Job) -> dict[str, Any]:
        from dream3d.batch.work import work

        return work(self.library, job, self.watch, self.policy)


def _check(there: dict[str, float], size: int, gpus: float, cpus: float) -> None:
    """Ray would wait for ever for what a cluster does not have."""
    for name, asked, option in (("GPU", gpus, "--gpus"), ("CPU", cpus, "--cpus")):
        has = there.get(name, 0.0)
        if asked * size > has:
            most = f"--workers {int(has / asked)}" if has >= asked else ""
            raise Mistake(f"{size} workers with {asked:g} {name}s each are more than the cluster has: {has:g}", where=option, near=most,
                          fix="fewer workers, or a larger cluster")  # fmt: skip

