"""`python launch.py bench main-job [--runs 3] [key=value ...]`: the README's command as a whole process: wall-clock seconds to the
last file and peak memory of the process, printed and written to main_job.json. The first run of a new checkout also compiles kernels."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dream3d.commands.parser import Parser


def measure(overrides: list[str], out: Path) -> tuple[float, float]:
    """Seconds and peak GB (Linux counts kilobytes) of one run of the default recipe in its own process."""
    words = ["--config", "sds-gaussian.yaml", "prompt=a red car", *overrides, f"out={out}", "--quiet"]
    code = f"import sys; from dream3d.cli import main; sys.exit(main({words!r}))"
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the run failed with status {status}; see {out}")
    return time.perf_counter() - start, usage.ru_maxrss / 1e6


def main(words: list[str] | None = None) -> int:
    """Run the job a few times; `words` are the arguments (None: of this process)."""
    parser = Parser("bench main-job", "The README's command as a whole process: wall-clock seconds to the last file and peak "
                    "memory, printed and written to main_job.json.", ["bench main-job", "bench main-job --runs 1 steps=100"])  # fmt: skip
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args(words)
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(options.overrides, Path(folder) / str(i)) for i in range(options.runs)]
    seconds, peak = zip(*rows, strict=True)
    print(f"{'run':>4} {'seconds':>8} {'peak GB':>8}")
    for i, (s, gb) in enumerate(rows):
        print(f"{i:>4} {s:8.1f} {gb:8.2f}")
    print(f"median {statistics.median(seconds):.1f} s, peak {max(peak):.2f} GB")
    Path("main_job.json").write_text(json.dumps({"seconds": seconds, "peak_gb": peak, "cores": os.cpu_count()}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
