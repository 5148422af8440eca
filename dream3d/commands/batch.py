"""`batch`: a list of prompts to a library of assets. The folder is the truth: the same command makes what is missing, on any machine."""

import argparse
import signal
import sys
from pathlib import Path

from dream3d.commands.parser import Parser, one_of, plug, plugin, some
from dream3d.errors import Mistake, one_line

MORE = ("status", "sheets", "blender", "push", "pull")  # each with its own --help
EXECUTORS = ("local", "ray", "slurm")
SHOWN = 20  # rows that cannot be made, listed
EXAMPLES = [
    "batch prompts.csv --config sds-gaussian --out library",
    "batch prompts.txt --seeds 0-3 --grid guidance.scale=7.5,20 --workers 2 --out library",
    "batch prompts.csv --out library --dry-run",
    "batch status library",
    "batch sheets library",
]


def parser() -> Parser:
    made = Parser("batch", "A list of prompts (CSV, TSV, JSON lines, Parquet, or one a line) to a library of assets. The same command "
                  "makes what is missing; several on one folder share the work.", EXAMPLES)  # fmt: skip
    made.add_argument("manifest", type=Path, help=f"the list; or a word, with a library after it: {', '.join(MORE)}")
    made.add_argument("--config", default="sds-gaussian", metavar="NAME", help="the recipe of rows that name none (sds-gaussian)")
    made.add_argument("--seeds", default="0", metavar="0-3", help="of rows that name none (0)")
    made.add_argument("--grid", action="append", default=[], nargs="+", metavar="key=a,b", help="every row with each of these values")
    made.add_argument("--set", action="append", default=[], nargs="+", metavar="key=value", help="for every row")
    made.add_argument("--executor", default="local", type=one_of(EXECUTORS, "executor"), help="where workers are: local, ray, slurm")
    made.add_argument("--workers", type=int, default=1, metavar="N", help="that work at once (1)")
    made.add_argument("--together", type=int, default=1, metavar="K", help="jobs of one recipe whose calls of the network a worker makes "
                      "one (1)")  # fmt: skip
    made.add_argument("--address", metavar="HOST:PORT", help="of a Ray cluster; auto: the one of this machine (one is begun here)")
    made.add_argument("--gpus", type=float, default=0.0, metavar="N", help="of each worker on Ray; 0.5: two share one (0)")
    made.add_argument("--cpus", type=float, default=1.0, metavar="N", help="of each worker on Ray (1)")
    made.add_argument("--sbatch", action="append", default=[], metavar="OPTION", help="of sbatch: --sbatch=--partition=gpu")
    made.add_argument("--out", type=some, default=Path("library"), help="the folder it lies in, and grows in (library)")
    made.add_argument("--dry-run", action="store_true", help="say what would be made, and what is wrong with the list")
    made.add_argument("--retry-failed", action="store_true", help="begin again with what failed")
    made.add_argument("--force", action="store_true", help="begin again with everything in the list")
    made.add_argument("--only", action="append", default=[], metavar="ID", help="these jobs alone (ids, or beginnings of names)")
    made.add_argument("--hang", type=float, default=600.0, metavar="S", help="kill a worker whose run stands still for so long (600)")
    made.add_argument("--patience", type=float, default=60.0, metavar="S", help="take over what another machine left for so long (60)")
    plugin(made)
    return made


def main(words: list[str]) -> int:
    """Plan, then make what is missing. Exit code 6 where some jobs failed."""
    if words and words[0] in MORE:
        from dream3d.batch.words import WORDS

        return WORDS[words[0]](words[1:])
    given = parser().parse_args(words)
    if given.workers < 1:
        raise Mistake("no workers make nothing", where="--workers", fix="--workers 1")
    if given.together < 1:
        raise Mistake("no jobs together make nothing", where="--together", fix="--together 1")
    from dream3d.batch.lease import BEAT

    if not given.patience >= 2 * BEAT:
        raise Mistake(f"who tells every {BEAT:g} s that it is at work would be taken for gone", where="--patience", fix="--patience 60")
    if not given.hang > 0:
        raise Mistake("every run stands still for so long", where="--hang", fix="--hang 600")
    plug(given.plugin)
    return _go(given, words)


def _go(given: argparse.Namespace, words: list[str]) -> int:
    from dream3d.batch import manifest, plan, tables
    from dream3d.batch.library import Library

    rows, wrong = manifest.read(given.manifest)
    asked = plan.Asked(given.config, plan.seeds(given.seeds), tuple(sum(given.set, [])), plan.grid(sum(given.grid, [])))
    found, library = plan.plan(rows, asked, given.manifest.parent), Library(given.out)
    wrong = sorted([*wrong, *found.wrong], key=lambda fault: fault[0])
    for line, mistake in wrong[:SHOWN]:
        near = f" (try {mistake.near})" if mistake.near else ""
        print(one_line(f"{given.manifest}:{line}: {mistake.problem}{near}", 240), file=sys.stderr)
    if given.dry_run:
        print(*tables.sketched(found, library, given.workers, given.together), sep="\n")
    if wrong:
        raise Mistake(f"{len(wrong)} of {len(rows) + len(wrong) - len(found.wrong)} rows cannot be made, and nothing was begun",
                      where=str(given.manifest), fix="mend them, or leave them out")  # fmt: skip
    if given.dry_run:
        return 0
    library.begin(found)
    jobs = _chosen(found.jobs, given.only)
    _again(given, library, jobs)
    if given.executor == "slurm":
        from dream3d.batch.slurm import submit

        print(submit(_launcher(words), library.path, given.workers, given.sbatch))
        return 0
    return _make(given, jobs, library)


def _again(given: argparse.Namespace, library, jobs: list) -> None:
    """Forget what failed, or with --force everything, but for jobs that another launcher is at."""
    from dream3d.batch import tables

    if given.retry_failed and not given.force:
        jobs = tables.state(library, jobs)["failed"]
    for job in jobs if given.force or given.retry_failed else []:
        if not library.again(job, done=given.force):
            print(f"{job.name}: somebody is at work on it; it goes on", file=sys.stderr)


def _launcher(words: list[str]) -> list[str]:
    """The same command for one of many launchers, with a worker of its own; what is begun again was so before."""
    kept, follows = [], False
    for word in words:
        name, same, _ = word.partition("=")
        if not follows and name not in ("--executor", "--workers", "--sbatch", "--retry-failed", "--force"):
            kept.append(word)
        follows = not follows and name in ("--executor", "--workers", "--sbatch") and not same
    return [*kept, "--executor", "local", "--workers", "1"]


def _pool(given: argparse.Namespace, library, policy):
    own = library.path.absolute(), given.workers, policy, given.patience, tuple(given.plugin)
    if given.executor == "local":
        from dream3d.batch.local import Local

        return Local(*own, together=given.together)
    from dream3d.batch.cluster import Cluster

    try:
        return Cluster(*own, address=given.address, gpus=given.gpus, cpus=given.cpus, together=given.together)
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise Mistake("Ray is not installed", where="--executor ray", fix='pip install "dream3d[ray]"') from None


def _make(given: argparse.Namespace, jobs: list, library) -> int:
    from dream3d.batch import drive, failures, slurm
    from dream3d.batch.closing import closed
    from dream3d.batch.listed import parted

    policy, heard = failures.Policy(), []
    pool = _pool(given, library, policy)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: heard.append(number))
    made = drive.Drive(library, pool, policy, hang=given.hang, tell=lambda line: print(line, flush=True), stopping=lambda: bool(heard))
    part = slurm.part()
    tally = made.go(*parted(jobs, part))
    if tally.stopped and part[1] > 1:  # whoever ends last writes them
        print("stopped and saved; it goes on when it is queued again", file=sys.stderr)
        return 128 + heard[0]
    page, table = closed(library, tally.failed, part[1] > 1)
    print(page)
    print(f"{tally.before + len(tally.done)} of {len(jobs)} are there, {len(tally.failed)} failed" + (f": {table}" if table else ""))
    if tally.stopped:
        print("stopped and saved; the same command goes on", file=sys.stderr)
        return 128 + heard[0]
    return tally.code


def _chosen(jobs: list, only: list[str]) -> list:
    if not only:
        return jobs
    if "" in only:  # a variable that is not set; every name begins so
        raise Mistake("a job has no empty name", where="--only", near=", ".join(job.name for job in jobs[:3]), fix="no --only: all")
    found = [job for job in jobs if any(job.id == word or job.name.startswith(word) for word in only)]
    if missing := [word for word in only if not any(job.id == word or job.name.startswith(word) for job in jobs)]:
        raise Mistake(f"no job is called {missing[0]!r}", where="--only", near=", ".join(job.name for job in jobs[:3]))
    return found
