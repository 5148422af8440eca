"""A queue of command lines, one process at a time, each of which can be stopped: a run saves itself and is continued by `resume`."""

import os
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dream3d.errors import Mistake, one_line

State = Literal["waiting", "running", "stopping", "done", "stopped", "failed"]
MOST, TAIL, LINE = 50, 40, 1 << 12  # jobs that wait; lines of a job's output that are kept, and bytes of one
ENDED = {0: "done", 130: "stopped", 143: "stopped", -15: "stopped", -2: "stopped"}  # exit codes; any other has failed
OWN = ("DREAM3D_UI_PASSWORD",)  # of the environment, not for other processes
PATIENCE = 60.0  # seconds that a run has to save itself


@dataclass
class Job:
    """`words` follow the program's name; `folder` is the run's."""

    number: int
    title: str
    words: list[str]
    folder: Path
    state: State = "waiting"
    said: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))
    process: subprocess.Popen | None = None

    @property
    def ended(self) -> bool:
        return self.state in ("done", "stopped", "failed")

    @property
    def reason(self) -> str:
        """The problem of one that failed, as its process said it."""
        lines = [line for line in self.said if line.startswith("error: ")]
        return lines[-1] if lines else (self.said[-1] if self.said else "")


class Queue:
    """`program` is what runs `words`; it works in `place`. All methods may be called from any thread."""

    def __init__(self, program: list[str] | None = None, place: Path = Path()):
        launch = "import sys; from dream3d.cli import main; sys.argv[0] = 'launch.py'; sys.exit(main())"
        self.program, self.place = program or [sys.executable, "-c", launch], place
        self.jobs: list[Job] = []
        self.changed = threading.Condition()
        self.closing = False
        self.thread = threading.Thread(target=self._work, name="queue", daemon=True)
        self.thread.start()

    def add(self, title: str, words: list[str], folder: Path) -> Job:
        """Raises Mistake where the same waits already, or too many do."""
        with self.changed:
            waiting = [job for job in self.jobs if not job.ended]
            if any(job.words == words for job in waiting):
                raise Mistake("this waits already, or is being made", where=str(folder))
            if len(waiting) >= MOST:
                raise Mistake(f"{MOST} wait already", where="queue", fix="wait for some of them, or take them out")
            job = Job(self.jobs[-1].number + 1 if self.jobs else 1, title, list(words), folder)
            ended = [old for old in self.jobs if old.ended]
            self.jobs = [old for old in self.jobs if old not in ended[: len(ended) - MOST]] + [job]
            self.changed.notify_all()
        return job

    def stop(self, number: int) -> None:
        """Take one that waits out; have one that runs save and end; asked again, end it at once."""
        with self.changed:
            for job in self.jobs:
                if job.number == number and job.state == "waiting":
                    job.state = "stopped"
                elif job.number == number and job.process is not None and not job.ended:
                    job.process.kill() if job.state == "stopping" else job.process.terminate()
                    job.state = "stopping"

    def current(self) -> Job | None:
        """What runs; else what ended last."""
        with self.changed:
            running = [job for job in self.jobs if job.state in ("running", "stopping")]
            return (running or [job for job in self.jobs if job.ended] or [None])[-1]

    def listed(self) -> list[Job]:
        with self.changed:
            return list(self.jobs)

    def close(self) -> None:
        """Take out what waits, stop what runs, and wait until it has saved itself."""
        with self.changed:
            self.closing = True
            numbers = [job.number for job in self.jobs if job.state in ("waiting", "running")]
            self.changed.notify_all()
        for number in numbers:
            self.stop(number)
        self.thread.join(PATIENCE)

    def _next(self) -> Job | None:
        with self.changed:
            while True:
                waiting = [job for job in self.jobs if job.state == "waiting"]
                if waiting or self.closing:
                    break
                self.changed.wait()
            if self.closing:
                return None
            job = waiting[0]
            try:
                self._start(job)
            except (OSError, ValueError) as error:
                job.state = "failed"
                job.said.append(f"error: it cannot be started: {error}")
            return job

    def _start(self, job: Job) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in OWN}
        job.process = subprocess.Popen([*self.program, *job.words], cwd=self.place, env=environment, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        job.state = "running"

    def _work(self) -> None:
        while (job := self._next()) is not None:
            if job.process is None:
                continue
            while line := job.process.stdout.readline(LINE):
                job.said.append(one_line(line.decode(errors="replace").rstrip()))
            code = job.process.wait()
            job.process.stdout.close()
            with self.changed:
                ended = ENDED.get(code, "failed")
                job.state = "stopped" if job.state == "stopping" and ended == "failed" and code < 0 else ended
