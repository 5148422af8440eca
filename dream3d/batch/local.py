"""Worker processes on this machine. Each makes one job at a time and hears of the next through a pipe; none outlives who began it."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from dream3d.batch.failures import Policy
from dream3d.batch.library import Library
from dream3d.batch.plan import Job
from dream3d.batch.texts import embed, texts, wanted
from dream3d.errors import Mistake

GRACE = 60.0  # seconds to save in


@dataclass
class Worker:
    """A process, the pipe to it, and what it is at: jobs by id."""

    process: Any
    pipe: Connection
    ooms: int
    jobs: dict[str, Job] = field(default_factory=dict)


class Local:
    """`size` workers, each with its share of the cores, that make up to `together` jobs at once. A worker that is gone is replaced when it
    is next needed."""

    def __init__(
        self, library: Path, size: int, policy: Policy, patience: float, plugins: tuple[str, ...] = (), threads: int | None = None,
        together: int = 1,
    ):  # fmt: skip
        self.name, self.together = uuid.uuid4().hex, together
        self.told = (str(library), policy, patience, self.name, plugins, threads or max(1, (os.cpu_count() or 1) // size))
        self.workers: list[Worker | None] = [None] * size

    def prepare(self, jobs: list[Job], stopping: Callable[[], bool], tell: Callable[[str], None]) -> None:
        """Embed the jobs' texts in a process of its own, so that its memory is free again. What fails there fails again where it can be
        told: in a job."""
        library, _, _, _, plugins, threads = self.told
        if not wanted(Library(Path(library)), jobs):
            return
        tell("embedding texts")
        process = multiprocessing.get_context("spawn").Process(target=_embed, args=(library, jobs, plugins, threads), daemon=True)
        process.start()
        while process.is_alive() and not stopping():
            process.join(0.5)
        process.terminate()
        process.join()

    def free(self) -> list[int]:
        """The places that have no job."""
        return [i for i, worker in enumerate(self.workers) if worker is None or not worker.jobs]

    def give(self, place: int, *jobs: Job) -> None:
        worker = self.workers[place]
        if worker is None or not worker.process.is_alive():
            worker = self.workers[place] = self._begun()
        worker.jobs = {job.id: job for job in jobs}
        with contextlib.suppress(OSError):  # it ended a moment ago, which is heard of
            worker.pipe.send(jobs)

    def _begun(self) -> Worker:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, *self.told), daemon=True)
        process.start()
        there.close()
        return Worker(process, here, _ooms())

    def heard(self, seconds: float) -> list[tuple[Job, dict[str, Any]]]:
        """What came of jobs within so many seconds; a worker that is gone has lost its job."""
        busy = {worker.pipe: i for i, worker in enumerate(self.workers) if worker is not None and worker.jobs}
        if not busy:
            time.sleep(seconds)
        return [told for pipe in wait(list(busy), seconds) for told in self._heard(busy[pipe])] if busy else []

    def _heard(self, place: int) -> list[tuple[Job, dict[str, Any]]]:
        worker = self.workers[place]
        try:
            record = worker.pipe.recv()
            return [(worker.jobs.pop(record["id"]), record)]
        except (EOFError, OSError):
            self.workers[place] = None
            worker.process.join(10)
            memory = worker.process.exitcode == -signal.SIGKILL and _ooms() > worker.ooms
            end = {"state": "lost", "failure": "memory" if memory else "lost", "reason": _end(worker.process.exitcode)}
            return [(job, {"id": job.id, **end}) for job in worker.jobs.values()]

    def kill(self, job: Job) -> None:
        """End the worker that is at a job; it is then heard of as lost."""
        for worker in self.workers:
            if worker is not None and job.id in worker.jobs:
                worker.process.kill()

    def stop(self) -> None:
        """Let every worker save and end."""
        for worker in [w for w in self.workers if w is not None]:
            if worker.jobs:
                worker.process.terminate()
            with contextlib.suppress(OSError):  # it is gone
                worker.pipe.send(None)

    def close(self, seconds: float = GRACE) -> None:
        """Wait for their end; who has not saved by then is killed."""
        until = time.monotonic() + seconds
        for worker in [w for w in self.workers if w is not None]:
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self.workers = [None] * len(self.workers)


def _end(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code}"


def _ooms() -> int:
    """How many processes this machine has killed for memory; 0 where it does not tell."""
    try:
        rows = (line.split() for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines())
        return next((int(row[1]) for row in rows if row[0] == "oom_kill"), 0)
    except OSError:
        return 0


def _embed(library: str, jobs: list[Job], plugins: tuple[str, ...], threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    _set_up(threads, plugins)
    with contextlib.suppress(Mistake, OSError):
        embed(Library(Path(library)), jobs)


def _set_up(threads: int, plugins: tuple[str, ...]) -> None:
    """A process's share of the cores: texts and jobs with as many threads have the same bits."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    import torch

    from dream3d.commands.parser import plug

    torch.set_num_threads(threads)
    plug(list(plugins))


def _serve(
    pipe: Connection, library: str, policy: Policy, patience: float, launcher: str, plugins: tuple[str, ...], threads: int
) -> None:
    """A worker: jobs until None comes or who gives them is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for who began it, who then asks by SIGTERM
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    _set_up(threads, plugins)
    from dream3d.batch.lease import Watch
    from dream3d.batch.work import work
    from dream3d.host import Host, Loaded

    place, watch, host = Library(Path(library)), Watch(patience, launcher), Host(Loaded(texts(Path(library))))
    while (jobs := _next(pipe)) is not None:
        if len(jobs) > 1:
            from dream3d.batch.together import together

            together(place, jobs, watch, policy, host, pipe.send)
        else:
            pipe.send(work(place, jobs[0], watch, policy, host))


def _next(pipe: Connection) -> tuple[Job, ...] | None:
    try:
        return pipe.recv()
    except EOFError:
        return None


def _with(parent: Any) -> None:
    """Saves and ends when the parent does, however that was; a run that hangs cannot save, and ends all the same."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
