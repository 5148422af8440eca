"""One job from its claim to its record, in the process that has it. This is where torch comes in."""

import contextlib
import errno
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dream3d import __version__
from dream3d.batch import disk, failures
from dream3d.batch.lease import Lease, Watch
from dream3d.batch.library import Library
from dream3d.batch.plan import Job
from dream3d.errors import Mistake
from dream3d.host import Host, Lost

Record = dict[str, Any]


def work(
    library: Library, job: Job, watch: Watch, policy: failures.Policy = failures.Policy(), host: Host | None = None
) -> Record:
    """Make a job unless it is made, failed for good or somebody else's. state: done, failed, busy (another process has it),
    interrupted (a signal came; it is saved), retry (it failed and will be tried again), full, away (the disk is: that is no try).
    `host`: of this process, with the prior that the last job left in memory."""
    host = host or Host()
    try:
        if disk.gone(library.path):
            raise OSError(errno.ENOTCONN, "the library is not where it was")
        lease = watch.take(library.open(job))
        if lease is None:
            return {"id": job.id, "state": "done", "before": True} if library.done(job) else {"id": job.id, "state": "busy"}
        lease.keep()
        try:
            return library.done(job) or _tried(library, job, lease, policy, replace(host, lost=lease.lost.is_set))
        finally:
            with contextlib.suppress(OSError, Mistake):  # what came of the job matters more; others take it after their patience
                lease.release()
    except (OSError, Mistake) as error:
        state = disk.trouble(error) or "lost"
        if state == "away":
            disk.wait(library.path)
        return {"id": job.id, "state": state, "failure": "lost", "reason": _said(error)}


def _said(error: Exception) -> str:
    """What an error says, in text that can be written."""
    text = error.lines[0] if isinstance(error, Mistake) else f"{type(error).__name__}: {error}"[:300]
    return text.encode("utf-8", "replace").decode()


def _tried(library: Library, job: Job, lease: Lease, policy: failures.Policy, host: Host) -> Record:
    """The next try of a job, by what failed before."""
    tries = library.tries(job)
    if not failures.again(tries, policy):
        return {"id": job.id, "state": "failed", **tries[-1]}
    try:
        changed = failures.changes(library.config(job).values, tries) if tries else {}
        return _made(library, job, lease, changed, len(tries) + 1, host)
    except Exception as error:  # a user's mistake, or a bug, of ours or of a plugged-in formula: one job fails, the library goes on
        host.loaded.clear()  # whatever it was left in
        if done := library.done(job):  # its line in the catalogue could not be written, which `mend` does later
            return done
        if not lease.holds():  # whoever has it now tells what comes of it
            return {"id": job.id, "state": "busy"}
        if disk.trouble(error):
            raise
        return _failed(library, job, failures.kind(error.code) if isinstance(error, Mistake) else "error", _said(error), policy)


def _failed(library: Library, job: Job, failure: str, reason: str, policy: failures.Policy) -> Record:
    """Note a failed try; whether there will be another."""
    what = {"failure": failure, "reason": reason, "version": __version__}
    library.tried(job, what)
    again = failures.again(library.tries(job), policy)
    return {"id": job.id, "state": "retry" if again else "failed", **what}


def _made(library: Library, job: Job, lease: Lease, changed: dict[str, Any], number: int, host: Host) -> Record:
    from dream3d.run import Interrupted

    run = library.folder(job) / failures.marked(changed)
    if _going_on(run):  # of a process that stands still, whose claim was taken over: it may wake up
        return {"id": job.id, "state": "busy"}
    config = library.config(job, changed | {"out": str(run)})
    began = host.clock()
    try:
        result = _run(run, config, host)
    except Interrupted:
        return {"id": job.id, "state": "interrupted"}
    except Lost:
        return {"id": job.id, "state": "busy"}
    if not lease.beat():
        return {"id": job.id, "state": "busy"}
    record = recorded(library, job, config.values["name"], run, result, host.clock() - began)
    record |= {"tries": number, "changed": changed, "together": host.together()}
    return record if library.finish(job, record) else library.done(job)


def _going_on(run: Path) -> bool:
    """Whether another process has a run's lock."""
    lock = FileLock(run / ".lock")
    try:
        if (run / "config.yaml").is_file():
            lock.acquire(timeout=0)
            lock.release()
    except Timeout:
        return True
    return False


def _run(run: Path, config, host: Host):
    from dream3d.api import execute, load
    from dream3d.folder import Folder

    folder = Folder(run, config)
    if folder.status().get("state") == "done":  # a process was killed between the run's end and its record
        folder.close()
        return load(run)
    return execute(folder, quiet=True, host=host)


def recorded(library: Library, job: Job, name: str, run: Path, result, seconds: float) -> Record:
    """What the catalogue says of a finished job. name: its recipe's. Paths are relative to the library, with /."""
    from dream3d.bench.compare_run import _card, _memory

    made = {name: path.relative_to(library.path).as_posix() for name, path in sorted(result.exports.items())}
    return {"id": job.id, "name": job.name, "state": "done", "prompt": job.prompt, "negative": job.negative, "seed": job.seed,
            "tags": list(job.tags), "category": job.category, "recipe": name, "seconds": round(seconds, 2),
            "memory": _memory(), "card": _card(), "device": _device(result), "metrics": _finite(result.metrics), "files": made,
            "run": run.relative_to(library.path).as_posix(), "version": __version__}  # fmt: skip


def _finite(metrics: dict[str, Any]) -> dict[str, Any]:
    """None for what is no number: the last step may have been one that was skipped, and JSON has no word for it."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in metrics.items()}


def _device(result) -> str:
    return next((str(tensor.device) for tensor in result.scene.state().values() if hasattr(tensor, "device")), "cpu")
