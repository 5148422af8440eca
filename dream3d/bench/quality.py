"""`bench quality`: prompts and seeds through one recipe, scored against the truth by the judge: the grid of one method.

Everything lies in one folder and is made only where it is missing, so the same command goes on where it was stopped:
runs/<prompt>-s<seed>/ (ordinary runs), scores/ (one JSON each), scale/ (floor, ceiling and truth of each prompt), quality.json,
quality.html. Nothing here imports torch before the prompts and the configuration are checked.
"""

import argparse
import json
import sys
from pathlib import Path

from dream3d import __version__, files
from dream3d.bench.compare_grid import Job, Method, background, check, claimed, fill, folder_name, options, plan  # noqa: F401
from dream3d.commands.parser import Parser

EXAMPLES = [
    "bench quality --prompts assets/quality.txt --seeds 2 --no-export --out quality",
    "bench quality --prompts assets/quality.txt --seeds 2 --background",
    "bench quality --config my.yaml --prompts mine.txt --seeds 3 guidance.scale=20",
]


def parser() -> Parser:
    made = Parser("bench quality", "Score a recipe over prompts and seeds; the same command goes on where it was stopped.", EXAMPLES)
    options(made, "quality")
    made.add_argument("--no-export", action="store_true", help="no meshes: runs are shorter, scores the same")
    return made


def main(words: list[str] | None = None) -> int:
    """Run what is missing, score it, write the tables. Exit code 6 where some runs failed."""
    words = sys.argv[1:] if words is None else words
    given = parser().parse_intermixed_args(words)
    jobs = planned(given)
    if given.background:
        return background(["bench", "quality"], words, given.out)
    from dream3d.bench.score import Scores
    from dream3d.bench.summary import line

    with claimed(given.out):
        scores = Scores(given.out)
        stopped = fill(jobs, scores, lambda job: generate(job), line)
        return report(given.out, jobs, scores) if stopped is None else 128 + stopped


def planned(given: argparse.Namespace) -> list[Job]:
    """Every job. Raises Mistake with file and line before anything is made."""
    check(given, "bench")
    overrides = (*given.overrides, *(["export.mesh=false"] if given.no_export else []))
    return plan([Method("", given.config, overrides)], given.prompts, given.seeds, given.out)


def generate(job: Job) -> None:
    """Run a job to its end, from wherever it stopped. A finished one is left alone."""
    from dream3d.api import execute
    from dream3d.folder import Folder

    folder = Folder(job.run, job.config)
    if folder.status().get("state") == "done":
        folder.close()
        return
    execute(folder, quiet=not sys.stderr.isatty())


def report(out: Path, jobs: list[Job], scores) -> int:
    """quality.json and quality.html, and the table on the terminal; the seeds of a prompt together."""
    from dream3d.bench.quality_page import page
    from dream3d.bench.summary import by_prompt, summarise, table

    groups = by_prompt(jobs)
    records = [json.loads(job.score.read_text(encoding="utf-8")) for _, group in groups for job in group]
    diversity = {prompt: scores.diversity(group) for prompt, group in groups}
    summary = {"version": __version__, "config": jobs[0].config.values["name"], **summarise(records, diversity)}
    files.write_json(out / "quality.json", {**summary, "runs": records})
    files.write_text(out / "quality.html", page(summary, records, {record["name"]: out / "runs" / record["name"] for record in records}))
    print(table(summary, records))
    print(out / "quality.json", out / "quality.html", sep="\n")
    return 6 if any(record["state"] != "done" for record in records) else 0
