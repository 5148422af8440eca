"""`bench quality`: prompts and seeds through one recipe, scored against the truth by the judge.

Everything lies in one folder and is made only where it is missing, so the same command goes on where it was stopped:
runs/<prompt>-s<seed>/ (ordinary runs), scores/ (one JSON each), scale/ (floor, ceiling and truth of each prompt), quality.json,
quality.html. Nothing here imports torch before the prompts and the configuration are checked.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from dream3d import __version__, config, files, needs, vocabulary
from dream3d.build import place
from dream3d.commands.parser import Parser
from dream3d.errors import Mistake
from dream3d.folder import slug
from dream3d.toybox.language import parse

EXAMPLES = [
    "bench quality --prompts assets/quality.txt --seeds 2 --no-export --out quality",
    "bench quality --prompts assets/quality.txt --seeds 2 --background",
    "bench quality --config my.yaml --prompts mine.txt --seeds 3 guidance.scale=20",
]
OWN = ("prompt", "seed", "out")  # set for every run by the bench
LIMIT = 1 << 20  # bytes of a file of prompts


@dataclass(frozen=True)
class Job:
    """One prompt with one seed, and its configuration."""

    prompt: str
    seed: int
    config: config.Config
    out: Path

    @property
    def name(self) -> str:
        return f"{folder_name(self.prompt)}-s{self.seed}"

    @property
    def run(self) -> Path:
        return self.out / "runs" / self.name

    @property
    def score(self) -> Path:
        return self.out / "scores" / f"{self.name}.json"


def folder_name(prompt: str) -> str:
    """A prompt as a folder's name; long ones keep apart by a hash."""
    short = slug(prompt)
    return short if len(short) < 48 else f"{short}-{hashlib.sha256(prompt.encode()).hexdigest()[:6]}"


def parser() -> Parser:
    made = Parser("bench quality", "Score a recipe over prompts and seeds; the same command goes on where it was stopped.", EXAMPLES)
    made.add_argument("--prompts", required=True, type=Path, metavar="FILE", help="one prompt a line; # begins a comment")
    made.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N - 1 of each prompt")
    made.add_argument("--config", default="sds-gaussian", metavar="NAME", help="the recipe (sds-gaussian)")
    made.add_argument("--out", type=Path, default=Path("quality"), help="the folder it lies in, and goes on in (quality)")
    made.add_argument("--no-export", action="store_true", help="no meshes: runs are shorter, scores the same")
    made.add_argument("--background", action="store_true", help="go on in another process that outlives the terminal")
    made.add_argument("overrides", nargs="*", metavar="key=value", help="of the recipe: steps=400 guidance.scale=20")
    return made


def main(words: list[str] | None = None) -> int:
    """Run what is missing, score it, write the tables. Exit code 6 where some runs failed."""
    words = sys.argv[1:] if words is None else words
    given = parser().parse_intermixed_args(words)
    jobs = plan(given)
    if not (place("assets") / "judge" / "model.safetensors").is_file():
        raise Mistake("the judge's weights are missing", where=str(place("assets")), fix="python -m dream3d.bench.train_judge")
    if given.background:
        return background(words, given.out)
    from dream3d.bench.score import Scores
    from dream3d.run import Interrupted

    scores = Scores(given.out)
    try:
        for number, job in enumerate(jobs, 1):
            began = time.monotonic()
            record = scores.of(job, lambda job=job: generate(job))
            print(f"[{number}/{len(jobs)}] {line(record)} ({time.monotonic() - began:.0f} s)", flush=True)
    except Interrupted as stop:
        print("stopped and saved; the same command goes on", file=sys.stderr)
        return 128 + stop.number
    return report(given.out, jobs, scores)


def plan(given: argparse.Namespace) -> list[Job]:
    """Every job, all seeds of a prompt together. Raises Mistake with file and line before anything is made."""
    if given.seeds < 1:
        raise Mistake("there is nothing to do for no seeds", where="--seeds", fix="--seeds 2")
    for text in given.overrides:
        if text.partition("=")[0] in OWN:
            raise Mistake(f"{text.partition('=')[0]!r} is set by the bench", where=f"command line: {text}",
                          fix="use --prompts, --seeds and --out")  # fmt: skip
    overrides = [*given.overrides, *(["export.mesh=false"] if given.no_export else [])]
    return [job for number, prompt in read_prompts(given.prompts)
            for job in _jobs(f"{given.prompts}:{number}", prompt, given, overrides)]  # fmt: skip


def _jobs(where: str, prompt: str, given: argparse.Namespace, overrides: list[str]) -> list[Job]:
    jobs = []
    for seed in range(given.seeds):
        name = f"{folder_name(prompt)}-s{seed}"
        own = [f"prompt={prompt}", f"seed={seed}", f"out={given.out / 'runs' / name}"]
        found = config.load(given.config, [*overrides, *own])
        try:
            vocabulary.check_vocabulary(found)
            needs.check_needs(found)
            parse(prompt)  # whatever the prior knows, the judge knows only this
        except Mistake as mistake:
            raise Mistake(mistake.problem, where=where, near=mistake.near, fix=mistake.fix) from None
        jobs.append(Job(prompt, seed, found, given.out))
    return jobs


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


def generate(job: Job) -> None:
    """Run a job to its end, from wherever it stopped. A finished one is left alone."""
    from dream3d.api import execute
    from dream3d.folder import Folder

    folder = Folder(job.run, job.config)
    if folder.status().get("state") == "done":
        folder.close()
        return
    execute(folder, quiet=not sys.stderr.isatty())


def background(words: list[str], out: Path) -> int:
    """The same command in a session of its own, its output in log.txt."""
    rest = [word for word in words if word != "--background"]
    code = "import sys; from dream3d.cli import main; sys.exit(main())"
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "log.txt", "ab") as log:
        process = subprocess.Popen([sys.executable, "-c", code, "bench", "quality", *rest], stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, start_new_session=True)  # fmt: skip
    print(f"process {process.pid} goes on; see {out / 'log.txt'}; stop it with: kill {process.pid}")
    return 0


def report(out: Path, jobs: list[Job], scores) -> int:
    """quality.json and quality.html, and the table on the terminal."""
    from dream3d.bench.quality_page import page
    from dream3d.bench.summary import by_prompt, summarise, table

    records = [json.loads(job.score.read_text(encoding="utf-8")) for job in jobs]
    diversity = {prompt: scores.diversity(group) for prompt, group in by_prompt(jobs)}
    summary = {"version": __version__, "config": jobs[0].config.values["name"], **summarise(records, diversity)}
    files.write_json(out / "quality.json", {**summary, "runs": records})
    files.write_text(out / "quality.html", page(summary, records, {record["name"]: out / "runs" / record["name"] for record in records}))
    print(table(summary, records))
    print(out / "quality.json", out / "quality.html", sep="\n")
    return 6 if any(record["state"] != "done" for record in records) else 0


def line(record: dict) -> str:
    """One run in one line."""
    who = f"{record['prompt']}, seed {record['seed']}"
    if record["state"] != "done":
        return f"{who}: failed, {record['reason']}"
    score, scale = record["score"], record["scale"]
    fronts = "" if score["janus"] is None else f", fronts {score['janus']}"
    ends = f"{scale['floor']['iou']:.2f} to {scale['ceiling']['iou']:.2f}"
    return f"{who}: recognised {score['recognised']:.0%}, IoU {score['iou']:.2f} ({ends}){fronts}"
