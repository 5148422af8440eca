"""`compare`: the same prompts, seeds, prior and budget for every method, scored against the truth, on one page."""

import argparse
import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path

from dream3d.commands.parser import Parser, plug, plugin
from dream3d.errors import Mistake

EXAMPLES = [
    "compare --guidance sds,vsd,esd --prompts assets/quality.txt --seeds 3",
    "compare --guidance sds,csd,asd --prompts mine.txt --steps 200 --out small prior.size=32",
    "compare --recipes sds-gaussian,sds-mesh,mine.yaml --prompts mine.txt --seeds 2 --background",
]


def parser() -> Parser:
    from dream3d.bench.compare_grid import options

    made = Parser("compare", "Formulas or recipes over prompts and seeds, scored by the judge, with intervals; one page that needs no "
                  "network. The same command goes on where it was stopped.", EXAMPLES)  # fmt: skip
    made.add_argument("--guidance", default="", metavar="A,B", help="formulas, set as in their own recipes; all else from --config")
    made.add_argument("--recipes", default="", metavar="A,B", help="recipes that are taken whole")
    options(made, "compare")
    made.add_argument("--prior", metavar="NAME", help="of every run")
    made.add_argument("--steps", type=int, metavar="N", help="of every run")
    plugin(made)
    return made


def main(words: list[str]) -> int:
    """Run what is missing, score it, write the page and the tables. Exit code 6 where some runs failed."""
    from dream3d.bench import compare_grid as grid
    from dream3d.bench.compare import rows

    given = parser().parse_intermixed_args(words)
    plug(given.plugin)
    grid.check(given, "grid")
    found, wrong = rows(given)
    jobs = grid.plan([row.method for row in found], given.prompts, given.seeds, given.out, wrong)
    for row in found:
        for note in (*(f"its own recipe has {note} here" for note in row.notes), *row.unlike):
            print(f"{row.method.name}: {note}", flush=True)
    with grid.claimed(given.out):
        if not given.background:
            return _run(given, words, found, jobs)
    return grid.background(["compare"], words, given.out)


def _run(given: argparse.Namespace, words: list[str], rows: list, jobs: list) -> int:
    from dream3d.bench import compare_grid as grid
    from dream3d.bench.compare_run import alone
    from dream3d.bench.compare_score import Cells
    from dream3d.bench.summary import line

    cells = Cells(given.out)
    about = {"plugins": plugged(given.plugin, given.out), "command": words, "base": given.config if given.guidance else None, "rows": rows}
    stopped = grid.fill(jobs, cells, lambda job: alone(job, given.plugin), line, lambda: cells.write(about, jobs))
    failed = cells.write(about, jobs)
    if stopped is not None:
        return 128 + stopped
    print(cells.table())
    print(*(given.out / f"compare.{kind}" for kind in ("html", "json", "csv", "tex")), sep="\n")
    return 6 if failed else 0


def plugged(modules: list[str], out: Path) -> dict[str, str]:
    """A hash of every module of --plugin. Raises Mistake where one has changed since runs were made with it, which would be taken for
    its."""
    found = {name: hashlib.sha256(Path(find_spec(name).origin).read_bytes()).hexdigest()[:12] for name in modules}
    try:
        before = json.loads((out / "compare.json").read_text(encoding="utf-8")).get("plugins", {})
    except (OSError, ValueError, AttributeError):
        before = {}
    for name in found:
        if before.get(name, found[name]) != found[name]:
            raise Mistake(f"{name!r} has changed since this comparison began", where=str(out), fix="another --out")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
