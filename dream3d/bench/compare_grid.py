"""Grids of runs: methods x prompts x seeds in one folder, made only where they are missing, so the same command goes on where it was
stopped. `bench quality` is the grid of one method. Nothing here imports torch."""

import argparse
import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

import dream3d
from dream3d import config, needs, vocabulary
from dream3d.build import place
from dream3d.errors import Mistake, one_line
from dream3d.folder import slug
from dream3d.toybox.language import parse

OWN = ("prompt", "seed", "out")  # set for every run by the grid
LIMIT = 1 << 20  # bytes of a file of prompts
SHOWN = 20  # problems that are listed
MOST = 10_000  # runs of a grid: more are a slip, and planning them alone takes minutes


@dataclass(frozen=True)
class Method:
    """A row of a grid: a recipe and what is changed in it. Its name begins the names of its runs; the only one needs none."""

    name: str
    recipe: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """One prompt with one seed under one method, and its configuration."""

    prompt: str
    seed: int
    config: config.Config
    out: Path
    method: str = ""

    @property
    def name(self) -> str:
        return run_name(self.method, self.prompt, self.seed)

    @property
    def run(self) -> Path:
        return self.out / "runs" / self.name

    @property
    def score(self) -> Path:
        return self.out / "scores" / f"{self.name}.json"


class Problems(Mistake):
    """Several at once, one a line, each with those that have it."""

    def __init__(self, found: list[tuple[str, Mistake]]):
        super().__init__(f"{len(found)} problems, and nothing was made")
        self.found = found

    @property
    def lines(self) -> list[str]:
        rows = [f"  - {one_line(f'{who}{m.problem}' + (f' ({m.near or m.fix})' if m.near or m.fix else ''), 240)}"
                for who, m in self.found[:SHOWN]]  # fmt: skip
        return [self.problem, *rows, *([f"  ... and {len(self.found) - SHOWN} more"] if len(self.found) > SHOWN else [])]


def folder_name(prompt: str) -> str:
    """A prompt as a folder's name; long ones keep apart by a hash."""
    short = slug(prompt)
    return short if len(short) < 48 else f"{short}-{hashlib.sha256(prompt.encode()).hexdigest()[:6]}"


def run_name(method: str, prompt: str, seed: int) -> str:
    return f"{method}{'-' if method else ''}{folder_name(prompt)}-s{seed}"


def options(made, out: str) -> None:
    """What every grid is told."""
    made.add_argument("--prompts", required=True, type=Path, metavar="FILE", help="one prompt a line; # begins a comment")
    made.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N - 1 of each prompt")
    made.add_argument("--config", default="sds-gaussian", metavar="NAME", help="the recipe (sds-gaussian)")
    made.add_argument("--out", type=Path, default=Path(out), help=f"the folder it lies in, and goes on in ({out})")
    made.add_argument("--background", action="store_true", help="go on in another process that outlives the terminal")
    made.add_argument("overrides", nargs="*", metavar="key=value", help="of the recipe: steps=400 guidance.scale=20")


def check(given: argparse.Namespace, who: str) -> None:
    """What is wrong whatever the methods are. Raises Mistake."""
    if given.seeds < 1:
        raise Mistake("there is nothing to do for no seeds", where="--seeds", fix="--seeds 2")
    ready(given.overrides, who, OWN, "use --prompts, --seeds and --out")


def ready(overrides: list[str], who: str, own: tuple[str, ...], fix: str) -> None:
    """Raises Mistake where a grid is told what it sets itself, or there is no judge."""
    for text in overrides:
        if text.partition("=")[0] in own:
            raise Mistake(f"{text.partition('=')[0]!r} is set by the {who}", where=f"command line: {text}", fix=fix)
    if not (place("assets") / "judge" / "model.safetensors").is_file():
        raise Mistake("the judge's weights are missing", where=str(place("assets")), fix="python -m dream3d.bench.train_judge")


def read_prompts(path: Path) -> list[tuple[int, str]]:
    """(line number, prompt), without blank lines, comments and repetitions."""
    try:
        if path.stat().st_size > LIMIT:
            raise Mistake("this file of prompts is larger than 1 MiB", where=str(path))
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"the prompts cannot be read: {error}", where=str(path), fix="one prompt a line, UTF-8") from None
    found = {text: number for number, line in reversed(list(enumerate(lines, 1)))
             if (text := line.strip()) and not text.startswith("#")}  # fmt: skip
    if not found:
        raise Mistake("there is no prompt in this file", where=str(path), fix="one prompt a line")
    return sorted((number, text) for text, number in found.items())


def plan(methods: list[Method], prompts: Path, seeds: int, out: Path, known: list[tuple[str, Mistake]] = ()) -> list[Job]:
    """Every job: seed by seed, prompt by prompt, all methods of a prompt together, so that an unfinished grid is balanced. Raises the
    problem, or with those `known` all Problems at once, before anything is made."""
    jobs, wrong = [], {}
    lines = read_prompts(prompts)
    if (count := len(lines) * seeds * len(methods)) > MOST:
        raise Mistake(f"{len(lines)} prompts x {seeds} seeds x {len(methods)} methods are {count:,} runs", where="--prompts, --seeds",
                      fix=f"at most {MOST:,} in one folder")  # fmt: skip
    known = [*known, *_alike(lines, prompts, methods)]
    for seed in range(seeds):
        for number, prompt in lines:
            for method in methods:
                try:
                    jobs.append(_job(method, f"{prompts}:{number}", prompt, seed, out))
                except Mistake as mistake:
                    wrong.setdefault((mistake.problem, mistake.where), (mistake, {}))[1][method.name] = None
        if wrong or known:
            break
    problems = [*known, *(("" if len(whose) == len(methods) else f"{', '.join(whose)}: ", mistake) for mistake, whose in wrong.values())]
    if len(problems) == 1:
        who, mistake = problems[0]
        raise mistake.completed(within=who)
    if problems:
        raise Problems(problems)
    return jobs


def _alike(lines: list[tuple[int, str]], prompts: Path, methods: list[Method]) -> list[tuple[str, Mistake]]:
    """Prompts whose runs would lie in one folder: they differ in capitals or marks alone, or in words that end a method's name."""
    first: dict[str, str] = {}
    names = [(number, text, run_name(method.name, text, 0)) for number, text in lines for method in methods]
    found = dict.fromkeys((number, text, other) for number, text, name in names if (other := first.setdefault(name, text)) != text)
    return [("", Mistake(f"the runs of {text!r} and {other!r} would lie in one folder", where=f"{prompts}:{number}", fix="leave out one"))
            for number, text, other in found]  # fmt: skip


def _job(method: Method, where: str, prompt: str, seed: int, out: Path) -> Job:
    own = [f"prompt={prompt}", f"seed={seed}", f"out={out / 'runs' / run_name(method.name, prompt, seed)}"]
    found = config.load(method.recipe, [*method.overrides, *own])
    if seed == 0:
        try:
            vocabulary.check_vocabulary(found)
            parse(prompt)  # whatever the prior knows, the judge knows only this
        except Mistake as mistake:
            raise Mistake(mistake.problem, where=where, near=mistake.near, fix=mistake.fix) from None
        needs.check_needs(found)
    return Job(prompt, seed, found, out, method.name)


def groups(jobs: list[Job]) -> list[list[Job]]:
    """Jobs of one prompt and seed together: all methods of it."""
    found: dict[tuple, list[Job]] = {}
    for job in jobs:
        found.setdefault((job.seed, job.prompt), []).append(job)
    return list(found.values())


def fill(jobs: list[Job], scores, make: Callable[[Job], None], tell: Callable[[dict], str], between: Callable[[], object] | None = None):
    """Make and score what is missing, a line each; `between` is called after every group of `groups` that had something missing. Returns
    None, or the number of the signal that stopped it."""
    from dream3d.run import Interrupted

    ends, made = {id(group[-1]) for group in groups(jobs)}, []

    def noted(job: Job) -> None:
        made.append(job)
        make(job)

    try:
        for number, job in enumerate(jobs, 1):
            began = time.monotonic()
            record = scores.of(job, lambda job=job: noted(job))
            print(f"[{number}/{len(jobs)}] {tell(record)} ({time.monotonic() - began:.0f} s)", flush=True)
            if between is not None and made and id(job) in ends:
                between()
                made.clear()
    except Interrupted as stop:
        print("stopped and saved; the same command goes on", file=sys.stderr)
        return stop.number
    return None


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """The lock of a grid's folder: two processes would make the same runs and write the same tables. Raises Mistake."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = FileLock(out / ".lock")
        taken.acquire(timeout=0)
    except Timeout:
        raise Mistake("another process is already at work in this folder", where=str(out), fix="wait for it, or --out ANOTHER") from None
    except OSError as error:
        raise Mistake(f"this folder cannot be written: {error.strerror or error}", where=str(out), fix="another --out") from None
    try:
        yield
    finally:
        taken.release()


def python(code: str, *words: str) -> list[str]:
    """The command of a process of its own that finds this package wherever it is called from."""
    root = str(Path(dream3d.__file__).parent.parent)
    return [sys.executable, "-c", f"import sys; sys.path.append({root!r}); {code}", *words]


def background(command: list[str], words: list[str], out: Path) -> int:
    """The same command in a session of its own, its output in log.txt."""
    rest = [word for word in words if word != "--background"]
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "log.txt", "ab") as log:
        process = subprocess.Popen(python("from dream3d.cli import main; sys.exit(main())", *command, *rest), stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, start_new_session=True)  # fmt: skip
    print(f"process {process.pid} goes on; see {out / 'log.txt'}; stop it with: kill {process.pid}")
    return 0
