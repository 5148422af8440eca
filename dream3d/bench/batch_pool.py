"""Workers that stay for the next part of a measurement."""

from typing import Any

from dream3d.batch.drive import Drive
from dream3d.batch.failures import Policy
from dream3d.batch.library import Library
from dream3d.batch.plan import Job
from dream3d.errors import Mistake


class Held:
    """A pool that drives cannot end."""

    def __init__(self, pool: Any):
        self.pool, self.name, self.together = pool, pool.name, pool.together
        self.free, self.give, self.heard, self.kill, self.prepare = pool.free, pool.give, pool.heard, pool.kill, pool.prepare

    def stop(self) -> None: ...

    def close(self, seconds: float = 60.0) -> None: ...

    def make(self, library: Library, jobs: list[Job]) -> dict[str, dict]:
        """Records by id. Raises Mistake where a job failed: what did not work measures nothing."""
        tally = Drive(library, self, Policy(), tell=lambda line: None).go(jobs)
        if tally.failed:
            reason = next(iter(tally.failed.values())).get("reason", "")
            raise Mistake(f"a job of the bench failed: {reason}", where=str(library.path))
        return tally.done

    def end(self) -> None:
        """Of the pool itself."""
        self.pool.stop()
        self.pool.close()
