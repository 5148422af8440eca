"""What a comparison keeps of a run beside the judge's scores: a turntable, the noise of its gradients, what it cost; and the files that
tell all of it."""

import copy
import io
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch

from dream3d import __version__, api, files
from dream3d.bench import compare_page, compare_run, compare_summary, compare_variance
from dream3d.bench.compare_grid import Job, folder_name
from dream3d.bench.score import Scores, digest
from dream3d.bench.summary import line
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.export.views import frames

FRAMES, SIDE = 12, 96  # of a turntable: views side by side in one JPEG, pixels


class Cells(Scores):
    """The scores of a comparison in one folder."""

    def __init__(self, out: Path):
        super().__init__(out)
        self.own = digest([Path(module.__file__) for module in (compare_variance, compare_run)] + [Path(__file__)])
        self.common = lru_cache(2)(lambda prompt: self._fitted(out / "scale" / f"{folder_name(prompt)}.safetensors", self.truth(prompt)))
        self.summary: dict = {}

    def key(self, job: Job) -> dict:
        return {**super().key(job), "cells": self.own}

    def of(self, job: Job, make: Callable[[], None]) -> dict:
        """As of all scores; a picture that somebody has deleted is made again, too."""
        stored = self.stored(job)
        if stored and stored["state"] == "done" and not sprite_file(self.out, job.name).is_file() and (job.run / "config.yaml").is_file():
            files.write_bytes(sprite_file(self.out, job.name), sprite(api.load(job.run).scene))
        return super().of(job, make)

    def stored(self, job: Job) -> dict | None:
        """The record of a job that has ended, well or not; one that is not what this makes is as good as none."""
        found = super().stored(job)
        return found if found and sound(found, job) else None

    def diversity(self, jobs: list[Job]) -> float | None:
        """As of all scores; None where it is not known and the runs are gone."""
        try:
            return super().diversity(jobs)
        except Mistake:
            if all((job.run / "config.yaml").is_file() for job in jobs):
                raise
            return None

    def _score(self, job: Job) -> dict:
        found = super()._score(job)
        scene = api.load(job.run).scene
        files.write_bytes(sprite_file(self.out, job.name), sprite(scene))
        found |= {"variance": compare_variance.of_run(job, copy.deepcopy(self.common(job.prompt))), "evaluations": evaluations(job.run),
                  "cost": compare_run.total(job.run)}  # fmt: skip
        return found

    def write(self, about: dict, jobs: list[Job]) -> int:
        """compare.json, .csv, .tex and .html of what there is so far; returns how many runs have failed."""
        records = [record for job in jobs if (record := self.stored(job))]
        diversity = {method: {prompt: self.diversity([job for job in jobs if (job.method, job.prompt) == (method, prompt)])
                              for prompt in dict.fromkeys(job.prompt for job in jobs)}
                     for method in dict.fromkeys(job.method for job in jobs)}  # fmt: skip
        self.summary = compare_summary.summarise(about, jobs, records, diversity) | {"version": __version__}
        files.write_json(self.out / "compare.json", {**self.summary, "runs": records})
        files.write_text(self.out / "compare.csv", compare_summary.csv(self.summary))
        files.write_text(self.out / "compare.tex", compare_summary.tex(self.summary))
        compare_page.write(self.out, self.summary, records)
        return sum(record["state"] != "done" for record in records)

    def table(self) -> str:
        return compare_summary.table(self.summary)


def sound(record: dict, job) -> bool:
    """Whether a record is of this job and has what the page and the tables take from it."""
    if any(record.get(name) != getattr(job, name) for name in ("name", "method", "prompt", "seed")):
        return False
    if record.get("state") != "done":
        return record.get("state") == "failed" and isinstance(record.get("reason"), str)
    try:
        json.dumps(record, allow_nan=False)
        line(record)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    numbers = {m.key: compare_summary.value(record, m.key) for m in compare_summary.MEASURES if m.key != "diversity"}
    known = all(number is None or type(number) in (int, float) for number in numbers.values())
    return known and None not in (numbers["score.recognised"], numbers["score.iou"])


def sprite_file(out: Path, name: str) -> Path:
    return out / "turntables" / f"{name}.jpg"


def sprite(scene) -> bytes:
    """FRAMES views around a scene, the front first, side by side as a JPEG; what moves does so meanwhile."""
    from PIL import Image

    seen = frames(scene, ring(FRAMES, size=SIDE, time=torch.linspace(0, 1, FRAMES)))
    buffer = io.BytesIO()
    Image.fromarray(seen.swapaxes(0, 1).reshape(SIDE, FRAMES * SIDE, 3)).save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()


def evaluations(run: Path) -> int | None:
    """How often the prior's networks were asked, a row of text and image each, over all steps; None where that was not written down."""
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = [json.loads(line).get("evaluations") for line in lines]
    return None if not found or None in found else round(sum(found))
