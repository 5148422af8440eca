"""One run of a comparison in a process of its own, so that its peak memory is its own and its end, whatever it is, ends nothing else.

The run's folder then also holds cost.json: what each process that worked on it took, and how it ended.
"""

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from dream3d import files
from dream3d.bench.compare_grid import Job, python
from dream3d.errors import Mistake

CHILD = "from dream3d.bench.compare_run import child; sys.exit(child(sys.argv[1:]))"
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def alone(job: Job, plugins: list[str] = ()) -> None:
    """Run a job to its end, from wherever it stopped. A finished one is left alone. Raises Mistake (code 6) with the reason where it
    failed, Interrupted where a signal came: the run has then saved."""
    from dream3d.folder import Folder
    from dream3d.run import Interrupted

    try:
        folder = Folder(job.run, job.config)
    except Mistake as mistake:
        fix = mistake.fix if "going on" in mistake.problem else "give another --out, or the settings this one began with"
        raise Mistake(mistake.problem, where=mistake.where, fix=fix) from None
    state = folder.status().get("state")
    folder.close()
    if state == "done":
        return
    before = len(costs(job.run))
    process = subprocess.Popen(python(CHILD, str(job.run), *plugins), start_new_session=True)  # a terminal's Ctrl-C comes by us, once
    with _relayed(process) as heard:
        code = process.wait()
    ended = (costs(job.run)[before:] or [{}])[-1]  # what an earlier process said is not why this one ended
    if heard:
        raise Interrupted(heard[0])
    if ended.get("state") != "done":
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise Mistake(ended.get("reason") or f"its process ended with {how} (9: killed, mostly for memory)", where=str(job.run), code=6)


@contextmanager
def _relayed(process):
    """The numbers of signals that asked this process to stop; the run is asked to in its place."""
    heard = []

    def relay(number, frame):
        heard.append(number)
        process.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, relay) for number in STOPPING}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def child(words: list[str]) -> int:
    """`main`, and what it cannot write into the run's folder (another process has it, the disk is full) said on the terminal."""
    try:
        return main(words)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return mistake.code


def main(words: list[str]) -> int:
    """In the process of the run: its folder, then the modules to plug in."""
    from dream3d import api  # noqa: F401  (what takes long comes before the clock starts)
    from dream3d.commands.parser import plug, stored
    from dream3d.folder import Folder

    plug(words[1:])
    run = Path(words[0])
    folder, before = Folder(run, stored(run), resume=True), costs(run)
    files.write_json(run / "cost.json", [*before, {"state": "unknown", "seconds": None, "memory": None, "card": None}])
    began = time.monotonic()
    ended = _execute(folder)
    took = {"seconds": round(time.monotonic() - began, 2), "memory": _memory(), "card": _card()}
    files.write_json(run / "cost.json", [*before, {**ended, **took}])
    return 0 if ended["state"] == "done" else 6


def _execute(folder) -> dict:
    from dream3d.api import execute
    from dream3d.run import Interrupted

    try:
        execute(folder, quiet=not sys.stderr.isatty())
    except Interrupted:
        return {"state": "interrupted"}
    except Mistake as mistake:
        return {"state": "failed", "reason": mistake.lines[0]}
    except Exception as error:  # of a formula that is tried out: a failed cell, not the end of the grid
        return {"state": "failed", "reason": f"{type(error).__name__}: {error}"[:300]}
    return {"state": "done"}


def _memory() -> float | None:
    """Peak resident GB of this process; None where the system counts that of its parent in, or does not tell. (Linux: VmHWM, which
    begins anew with the program; ru_maxrss would not.)"""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return round(found[0] / 2**20, 3) if found else None


def _card() -> float | None:
    """Peak GB that torch had on a CUDA device; None where none was used."""
    import torch

    used = torch.cuda.is_available() and torch.cuda.is_initialized()
    return round(torch.cuda.max_memory_allocated() / 2**30, 3) if used else None


def costs(run: Path) -> list[dict]:
    """What each process that worked on a run took: state, seconds, memory, card; empty where none did."""
    try:
        found = json.loads((run / "cost.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def total(run: Path) -> dict[str, float | None]:
    """Seconds of all processes that worked on a run, and the highest peaks; None where one of them was killed before it could tell."""
    rows = costs(run)
    seconds, memory, card = ([row.get(key) for row in rows] for key in ("seconds", "memory", "card"))
    whole = bool(rows) and None not in seconds
    return {"seconds": round(sum(seconds), 2) if whole else None,
            "memory": max(memory) if whole and None not in memory else None,
            "card": max(card) if whole and None not in card else None}  # fmt: skip
