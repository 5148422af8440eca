"""Workers on a Ray cluster: an actor each. Ray places them and tells of their end; what is done and what is not, the folder says. It
has to be a disk that every machine sees under the same path."""

import os
import re
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dream3d.batch.failures import Policy
from dream3d.batch.plan import Job
from dream3d.errors import Mistake


class Cluster:
    """`size` actors, each with so many `gpus` (a half: two share one) and `cpus`, that make up to `together` jobs at once. address: of a
    cluster ("auto": the one this machine is part of); None begins one here, which nobody else reaches. Raises Mistake where no cluster has
    as much."""

    def __init__(
        self, library: Path, size: int, policy: Policy, patience: float, plugins: tuple[str, ...] = (), *, address: str | None = None,
        gpus: float = 0.0, cpus: float = 1.0, together: int = 1, worker: type | None = None,
    ):  # fmt: skip
        """`worker`: what an actor is, if no Worker (the bench has one whose jobs are waits)."""
        if address is None and "ray" not in sys.modules:  # which reads it once, when it is imported
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        import ray

        self.ray, self.name, self.together = ray, uuid.uuid4().hex, together
        self.told = (str(library), policy, patience, self.name, plugins, max(1, int(cpus)))
        _begin(ray, address, size)
        try:
            _check(ray.cluster_resources(), size, gpus, cpus)
        except Mistake:
            ray.shutdown()
            raise
        self.made = ray.remote(num_gpus=gpus, num_cpus=cpus, max_restarts=0)(worker or Worker)
        self.actors: list[Any] = [None] * size
        self.at: dict[Any, tuple[int, tuple[Job, ...]]] = {}  # what will be answered -> who answers, and about what

    def prepare(self, jobs: list[Job], stopping: Callable[[], bool], tell: Callable[[str], None]) -> None:
        """Nothing: each actor embeds the texts of its jobs, and finds those of others."""

    def free(self) -> list[int]:
        busy = {place for place, _ in self.at.values()}
        return [i for i in range(len(self.actors)) if i not in busy]

    def give(self, place: int, *jobs: Job) -> None:
        if self.actors[place] is None:
            self.actors[place] = self.made.remote(*self.told)
        self.at[self.actors[place].work.remote(*jobs)] = (place, jobs)

    def heard(self, seconds: float) -> list[tuple[Job, dict[str, Any]]]:
        if not self.at:
            time.sleep(seconds)
            return []
        ready, _ = self.ray.wait(list(self.at), timeout=seconds)
        return [told for answer in ready for told in self._heard(answer)]

    def _heard(self, answer: Any) -> list[tuple[Job, dict[str, Any]]]:
        place, jobs = self.at.pop(answer)
        try:
            return [*zip(jobs, self.ray.get(answer), strict=True)]
        except self.ray.exceptions.OutOfMemoryError as error:  # Ray's own watch; what it says of any other end names the memory too
            self.actors[place] = None
            return _lost(jobs, error, "memory")
        except self.ray.exceptions.RayActorError as error:
            self.actors[place] = None
            return _lost(jobs, error, "lost")
        except self.ray.exceptions.RayError as error:  # what was raised there, which nothing should be
            return _lost(jobs, error, "lost")

    def kill(self, job: Job) -> None:
        for place, jobs in self.at.values():
            if job in jobs and self.actors[place] is not None:
                self.ray.kill(self.actors[place])

    def stop(self) -> None:
        """Actors end at once, as in a power cut: what is lost is what was done since the last checkpoint."""
        for actor in [actor for actor in self.actors if actor is not None]:
            self.ray.kill(actor)

    def close(self, seconds: float = 60.0) -> None:
        self.ray.shutdown()


def _lost(jobs: tuple[Job, ...], error: Exception, failure: str) -> list[tuple[Job, dict[str, Any]]]:
    """What a job becomes that had no end of its own."""
    said = re.sub(r"^\s*(class_name|actor_id|pid|name|namespace|ip): .*$", "", str(error), flags=re.MULTILINE)
    end = {"state": "lost", "failure": failure, "reason": " ".join(said.split())[:200]}
    return [(job, {"id": job.id, **end}) for job in jobs]


class Worker:
    """In the actor's process."""

    def __init__(self, library: str, policy: Policy, patience: float, launcher: str, plugins: tuple[str, ...], threads: int):
        os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        import torch

        from dream3d.batch.lease import Watch
        from dream3d.batch.library import Library
        from dream3d.batch.texts import texts
        from dream3d.commands.parser import plug
        from dream3d.host import Host, Loaded

        torch.set_num_threads(threads)
        plug(list(plugins))
        self.library, self.watch, self.policy = Library(Path(library)), Watch(patience, launcher), policy
        self.host = Host(Loaded(texts(Path(library))))

    def work(self, *jobs: Job) -> list[dict[str, Any]]:
        """Records, in the order of the jobs, when all of them have ended."""
        from dream3d.batch.together import together
        from dream3d.batch.work import work

        if len(jobs) > 1:
            return together(self.library, jobs, self.watch, self.policy, self.host)
        return [work(self.library, job, self.watch, self.policy, self.host) for job in jobs]


def _begin(ray, address: str | None, size: int) -> None:
    """Join the cluster at `address`, or begin one here: without a dashboard, on loopback, with a token (of Ray 2.52 and newer)."""
    own = {"include_dashboard": False, "num_cpus": max(os.cpu_count() or 1, size), "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=False, **({} if address else own))
    except (OSError, RuntimeError, ValueError, AssertionError, ray.exceptions.RayError) as error:  # which of them, depends on its version
        said = " ".join(str(error).split())[:160]
        if address is None:
            raise Mistake(f"Ray cannot begin here: {said}", where="--executor ray",
                          fix="--executor local, or a cluster: --address HOST:PORT") from None  # fmt: skip
        fix = "ray start --head on its first machine, or no --address: then one is begun here"
        if "uth" in said and "token" in said.lower():
            fix = "RAY_AUTH_TOKEN, or the file it is in as RAY_AUTH_TOKEN_PATH"
        raise Mistake(f"no Ray cluster can be joined: {said}", where=f"--address {address}", fix=fix) from None


def _check(there: dict[str, float], size: int, gpus: float, cpus: float) -> None:
    """Ray would wait for ever for what a cluster does not have."""
    for name, asked, option in (("GPU", gpus, "--gpus"), ("CPU", cpus, "--cpus")):
        has = there.get(name, 0.0)
        if asked * size > has:
            most = f"--workers {int(has / asked)}" if has >= asked else ""
            raise Mistake(f"{size} workers with {asked:g} {name}s each are more than the cluster has: {has:g}", where=option, near=most,
                          fix="fewer workers, or a larger cluster")  # fmt: skip

