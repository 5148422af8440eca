"""Claims that take whole runs: grids of methods x prompts x seeds, which go on where they were stopped and which claims share."""

import json
from pathlib import Path

from dream3d import files
from dream3d.bench.claims_core import Cell, Claim
from dream3d.bench.claims_world import PROMPTS
from dream3d.bench.compare_grid import Job, Method, claimed, fill, folder_name, plan
from dream3d.bench.compare_summary import value
from dream3d.errors import Interrupted
from dream3d.toybox.language import parse


def measure(
    claim: Claim, prior: str, model: str | None, prompts: int, seeds: int, out: Path, more: tuple[str, ...] = ()
) -> tuple[list[list[Cell]], int]:
    """Numbers by prompt and seed, and how many runs failed, whose numbers are missing. Diversity is one number a prompt, of all its seeds,
    and stands with the first. Raises Interrupted, and Mistake for a folder of other runs."""
    from dream3d.bench.quality import generate
    from dream3d.bench.score import Scores
    from dream3d.bench.summary import line

    said = (claim.prompts or PROMPTS)[:prompts]
    jobs = planned(claim, said, prior, model, seeds, out, more)
    scores = Scores(out)
    with claimed(out):
        stopped = fill(jobs, scores, generate, line)
    if stopped is not None:
        raise Interrupted(stopped)
    failed = sum((scores.stored(job) or {}).get("state") != "done" for job in jobs)
    cells = [[cell([job for job in jobs if (job.prompt, job.seed) == (text, seed)], scores) for seed in range(seeds)] for text in said]
    for text, row in zip(said, cells, strict=True):
        for name in claim.methods:
            spread = scores.diversity([job for job in jobs if (job.prompt, job.method) == (text, name)])
            for seed, found in enumerate(row):
                found[f"{name}_diversity"] = spread if seed == 0 else None
    return cells, failed


def planned(
    claim: Claim, prompts: tuple[str, ...], prior: str, model: str | None, seeds: int, out: Path, more: tuple[str, ...]
) -> list[Job]:
    """Seed by seed and prompt by prompt, so that an unfinished grid is balanced."""
    jobs = []
    for text in prompts:
        path = out / "prompts" / f"{folder_name(text)}.txt"  # one each: another process may plan other prompts here
        files.write_text(path, text + "\n")
        methods = [Method(name, recipe, (*(_told(o, text) for o in _of(overrides, prior, model)), *more))
                   for name, (recipe, overrides) in claim.methods.items()]  # fmt: skip
        jobs += plan(methods, path, seeds, out)
    return sorted(jobs, key=lambda job: job.seed)


def _of(overrides: tuple[str, ...], prior: str, model: str | None) -> tuple[str, ...]:
    """The recipes' own priors are the exact ones; another takes their place with all its settings."""
    if prior == "exact":
        return overrides
    told = f"prior={{type: {prior}, model: {model}}}" if model else f"prior={prior}"
    return (*(text for text in overrides if not text.startswith("prior.")), told)


def _told(override: str, prompt: str) -> str:
    """What an override says of the two objects of a prompt and of where they are."""
    if "<" not in override:
        return override
    wish = parse(prompt)
    first, second = prompt.split(f" {wish.relation} ", 1)
    places = {"<first>": first, "<second>": second, "<halves>": "above" if wish.relation == "on" else "left"}
    for name, words in places.items():
        override = override.replace(name, words)
    return override


def cell(jobs: list[Job], scores) -> dict[str, float | None]:
    """The judge's numbers of one prompt and seed, <method>_<measure>."""
    found = {}
    for job in jobs:
        record = scores.stored(job) or {}
        for key in ("recognised", "iou", "janus", "view_gap", "saturation"):
            number = value(record, f"score.{key}") if record.get("state") == "done" else None
            found[f"{job.method}_{key}"] = None if number is None else float(json.dumps(number))
    return found
