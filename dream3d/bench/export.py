"""What an export costs, as a process of its own: python launch.py bench export RUN [faces=20000 texture=2048 ...]

Seconds of the processor (so that a busy machine counts less) and of the clock, of every step; peak memory of the process. `loading` is
Python, torch and the checkpoint. The first time on a machine also compiles kernels.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dream3d.commands.export import settings
from dream3d.commands.parser import Parser, stored

SECONDS, MEMORY = 40.0, 2.0  # goals of the default run with 20 000 faces and 2048 texels, on two cores; GB
CHILD = "import sys; from dream3d.bench.export import child; child(*sys.argv[1:])"


def child(run: str, out: str, given: str) -> None:
    """Export `run` into `out` with a list of settings, and print the steps as JSON."""
    started = time.perf_counter()
    import torch

    from dream3d.export import opened
    from dream3d.export.asset import export

    steps = [("loading", time.process_time(), time.perf_counter())]

    def tell(what: str, share: float) -> None:
        steps.append((what, time.process_time(), time.perf_counter()))

    chosen = settings(str(Path(run) / "config.yaml"), json.loads(given))
    found = opened.of_run(Path(run), stored(Path(run)))
    with torch.no_grad():
        export(found.scene, Path(out), chosen, extras=found.facts, progress=tell)
    ends = [*steps[1:], ("end", time.process_time(), time.perf_counter())]
    begun = [("loading", 0.0, started), *steps[1:]]
    rows = [(what, after[1] - cpu, after[2] - wall) for (what, cpu, wall), after in zip(begun, ends, strict=True)]
    print(json.dumps(rows))


def measure(run: Path, given: list[str], out: Path) -> tuple[list[tuple[str, float, float]], float, float, float]:
    """Rows of (step, processor seconds, seconds), then of the process: processor seconds, seconds, peak GB (Linux counts kilobytes)."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(run), str(out), json.dumps(given)], stdout=subprocess.PIPE)
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the export failed with status {status}")
    rows = json.loads(told.splitlines()[-1])
    return rows, usage.ru_utime + usage.ru_stime, time.perf_counter() - begun, usage.ru_maxrss / 1e6


def main(words: list[str] | None = None) -> int:
    """Export one run and print a table; `words` are the arguments (None: of this process)."""
    parser = Parser("bench export", "What the export of a run costs: seconds of every step, and memory, in a process of its own.",
                    ["bench export duck", "bench export duck faces=5000 texture=1024 lods=3"])  # fmt: skip
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the export section (faces=20000 texture=2048)")
    options = parser.parse_intermixed_args(sys.argv[1:] if words is None else words)
    given = ["export.faces=20000", "export.texture=2048", *(f"export.{text}" for text in options.overrides)]
    stored(options.run)
    with tempfile.TemporaryDirectory() as folder:
        rows, cpu, wall, peak = measure(options.run, given, Path(folder))
    width = max(len(what) for what, *_ in rows)
    print(f"{'':{width}}  processor    clock, seconds")
    for what, used, passed in rows:
        print(f"{what:{width}}  {used:9.1f} {passed:8.1f}")
    cores = os.cpu_count() or 1
    print(f"whole process: {cpu:.1f} s of the processor, {wall:.1f} s; peak {peak:.2f} GB "
          f"(goals on two cores: {SECONDS:g} s, {MEMORY:g} GB; here {cores} cores, load {os.getloadavg()[0]:.0f})")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
