"""`python launch.py bench batch`: what the batch layer costs, what more workers bring, and how many a library's disk can bear."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import dream3d
from dream3d import files
from dream3d.commands.parser import Parser
from dream3d.errors import Mistake, choices

PARTS = ("overhead", "workers", "together", "ray", "world")


def main(words: list[str] | None = None) -> int:
    """Measure the parts asked for, print them, and write them with `--out`."""
    options = _parser().parse_args(sys.argv[1:] if words is None else words)
    asked = options.parts.split(",")
    if wrong := next((part for part in asked if part not in PARTS), None):
        raise Mistake(f"no part of this bench is called {wrong!r}", where="--parts", near=choices(wrong, PARTS))
    _check(options)
    found: dict[str, Any] = {"version": dream3d.__version__, "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    with files.writing(options.disk):
        options.disk.mkdir(parents=True, exist_ok=True)
    for part in asked:
        with tempfile.TemporaryDirectory(prefix="bench-batch-", dir=options.disk) as folder:
            found[part] = globals()[f"_{part}"](options, Path(folder))
        print(f"\n{part}", *_lines(found[part]), sep="\n", flush=True)
        if options.out:
            files.write_json(options.out, found)
    return 0


def _check(options) -> None:
    """Raises Mistake for numbers of nothing, and for a world in which every try is lost, which never ends."""
    for name in ("pairs", "rounds", "most", "jobs", "workers"):
        if getattr(options, name) < 1:
            raise Mistake(f"{getattr(options, name)} of them measure nothing", where=f"--{name}", fix=f"--{name} 1, or more")
    if not 0 <= options.lost <= 0.9:
        raise Mistake(f"a world with {options.lost:g} of its tries lost", where="--lost", near="--lost 0.02", fix="0 to 0.9")


def _parser() -> Parser:
    made = Parser("bench batch", "What the batch layer costs a job, what a second worker brings, K jobs in one process against K "
                  "processes, Ray with jobs that only wait, and a world of many jobs and workers, by what its disk has to bear.",
                  ["bench batch --out batch.json", "bench batch --parts world --disk /shared/scratch --workers 500"])  # fmt: skip
    made.add_argument("--parts", default=",".join(PARTS), metavar="A,B", help=f"which ({','.join(PARTS)})")
    made.add_argument("--out", type=Path, metavar="FILE", help="the numbers as JSON")
    made.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()), metavar="FOLDER", help="where libraries would lie")
    made.add_argument("--pairs", type=int, default=5, metavar="N", help="of jobs: one by the batch layer, one directly (5)")
    made.add_argument("--rounds", type=int, default=3, metavar="N", help="of one worker against two, of K against K (3)")
    made.add_argument("--most", type=int, default=8, metavar="K", help="the largest K, of 1, 2, 4, 8 (8)")
    made.add_argument("--config", default="sds-plane", metavar="NAME", help="the jobs' recipe (sds-plane)")
    made.add_argument("--set", action="append", default=[], nargs="+", metavar="key=value", help="of the jobs")
    made.add_argument("--jobs", type=int, default=100_000, metavar="N", help="of the world (100000)")
    made.add_argument("--workers", type=int, default=500, metavar="N", help="of the world (500)")
    made.add_argument("--lost", type=float, default=0.02, metavar="P", help="the part of tries whose worker is lost, in the world (0.02)")
    return made


def _overhead(options, folder: Path) -> dict[str, Any]:
    from dream3d.bench.batch_jobs import Jobs, overhead

    return overhead(Jobs(folder, options.config, sum(options.set, [])), options.pairs)


def _workers(options, folder: Path) -> dict[str, Any]:
    from dream3d.bench.batch_jobs import Jobs, workers

    return workers(Jobs(folder, options.config, sum(options.set, [])), options.rounds)


def _together(options, folder: Path) -> dict[str, Any]:
    from dream3d.bench.batch_jobs import NETWORK, Jobs, together

    jobs = Jobs(folder, options.config, sum(options.set, []), NETWORK)
    return together(jobs, options.rounds, [k for k in (1, 2, 4, 8) if k <= options.most])


def _ray(options, folder: Path) -> dict[str, Any]:
    from dream3d.bench.batch_ray import efficiency

    return efficiency(folder)


def _world(options, folder: Path) -> dict[str, Any]:
    from dream3d.bench.batch_disk import measured
    from dream3d.bench.batch_world import EACH, MANY, ONE, Work, told

    alone, crowd = measured(folder)
    rows = []
    for seconds in (3.0, 30.0, 300.0):
        for layout in (ONE, MANY, EACH):
            rows.append(told(crowd, layout, Work(options.jobs, options.workers, seconds, options.lost)))
    costs = {name: [round(1e3 * getattr(part, name), 3) for part in (alone, crowd)] for name in vars(alone)}
    return {"milliseconds alone, and of the disk": costs, "worlds": rows}


def _lines(found: dict[str, Any]) -> list[str]:
    """Numbers by name; rows of a table each on a line."""
    lines = []
    for name, value in found.items():
        if isinstance(value, dict):
            lines += [f"  {name}", *(f"    {key:12} {_short(part)}" for key, part in value.items())]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines += [f"  {name}", *("    " + ", ".join(f"{key} {_short(part)}" for key, part in row.items()) for row in value)]
        else:
            lines.append(f"  {name}: {_short(value)}")
    return lines


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value) if isinstance(value, list | dict) else str(value)


if __name__ == "__main__":
    sys.exit(main())
