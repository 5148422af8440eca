"""Scores of finished runs, and the scale of every prompt they are read on: floor, ceiling and the truth itself. Kept as JSON files."""

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from dream3d import api, files
from dream3d.bench import controls, judge
from dream3d.bench.compare_grid import folder_name
from dream3d.bench.measures import measure
from dream3d.bench.rings import of_scene, of_soup, shoot
from dream3d.bench.truth import Truth, variance
from dream3d.build import place
from dream3d.errors import Mistake

SOURCES = ("judge", "measures", "truth", "rings", "controls", "score")  # a change in one of them makes scores stale


class Scores:
    """The scores in one folder; those made by another judge are made again."""

    def __init__(self, out: Path):
        self.out, self.judge, self.version = out, judge.load(), version()
        self.truth = lru_cache(2)(Truth)

    def of(self, job, make: Callable[[], None]) -> dict:
        """The record of one job: made by `make` where its run is not finished, scored where it is not scored."""
        key = self.key(job)
        if (stored := self.stored(job)) and stored["state"] == "done":
            return stored
        record = {"key": key, "name": job.name, "method": job.method, "prompt": job.prompt, "seed": job.seed}
        try:
            make()
            record |= {"state": "done", "scale": self.scale(job.prompt), **self._score(job)}
        except Mistake as mistake:
            if mistake.code == 2:  # the user's to mend, and the same for every job
                raise
            record |= {"state": "failed", "reason": mistake.lines[0]}
        files.write_json(job.score, record)
        return record

    def key(self, job) -> dict:
        """What a record stands for: another one is stale."""
        return {"version": self.version, "config": job.config.hash}

    def stored(self, job) -> dict | None:
        """The record of a job that has ended, well or not."""
        return self._read(job.score, self.key(job))

    def _score(self, job) -> dict:
        run, truth = api.load(job.run), self.truth(job.prompt)
        seen = shoot(of_scene(run.scene))
        score = measure(seen, truth, self.judge)
        return {"score": score, "verdict": verdict(score, self.scale(job.prompt)), "seconds": run_seconds(job.run)}

    def scale(self, prompt: str) -> dict:
        """What the best ellipsoid, splats fitted to a true object, and true objects of another stream score."""
        path, key = self.out / "scale" / f"{folder_name(prompt)}.json", {"version": self.version, "prompt": prompt}
        if stored := self._read(path, key):
            return stored
        truth = self.truth(prompt)
        fitted = self._fitted(path.with_suffix(".safetensors"), truth)
        looks = {"floor": controls.ellipsoid(truth), "ceiling": of_scene(fitted),
                 "true": of_soup(Truth(prompt, 1, "judge").soups[0])}  # fmt: skip
        made = {name: measure(shoot(look), truth, self.judge) for name, look in looks.items()}
        files.write_json(path, {"key": key, "variance": truth.variance, "fronted": truth.fronted, **made})
        return self._read(path, key)

    @staticmethod
    def _fitted(path: Path, truth: Truth):
        """Splats fitted to the first true instance: the slow part of a scale, and the same for every judge."""
        about = {"version": digest([Path(controls.__file__)])}
        if path.is_file():
            with safe_open(path, "pt") as stored:
                if stored.metadata() == about:
                    return controls.restored({name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118
        scene = controls.fitted(of_soup(truth.soups[0]))
        with files.replacing(path) as temporary:
            save_file({name: value.contiguous() for name, value in scene.state().items()}, temporary, about)
        return scene

    def diversity(self, jobs: list) -> float | None:
        """Variance between the finished seeds of a prompt over the variance of true objects; None for fewer than two."""
        done = [job for job in jobs if (self.stored(job) or {}).get("state") == "done"]
        if len(done) < 2:
            return None
        path, key = done[0].score.with_name(f"{done[0].name}.diversity.json"), {"runs": [self.key(job) for job in done]}
        if stored := self._read(path, key):
            return stored["diversity"]
        rings = [shoot(of_scene(api.load(job.run).scene)).pictures for job in done]
        found = round(variance(rings) / self.truth(done[0].prompt).variance, 4)
        files.write_json(path, {"key": key, "diversity": found})
        return found

    @staticmethod
    def _read(path: Path, key: dict) -> dict | None:
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return stored if isinstance(stored, dict) and stored.get("key") == key else None


RECOGNISED, GAP, SATURATION = 0.9, 0.25, (0.6, 1.6)


def verdict(score: dict, scale: dict) -> dict[str, bool]:
    """What a subject passes: recognised in 90 % of the views; silhouette at least halfway between floor and ceiling; one front;
    views that fit together; colours neither pale nor glaring. A measure that does not apply is left out."""
    halfway = (scale["floor"]["iou"] + scale["ceiling"]["iou"]) / 2
    tests = {"recognised": score["recognised"] >= RECOGNISED, "shape": score["iou"] >= halfway}
    if score["janus"] is not None:
        tests |= {"one front": score["janus"] == 1, "coherent": score["view_gap"] <= GAP}
    if score["saturation"] is not None:
        tests["colourful"] = SATURATION[0] <= score["saturation"] <= SATURATION[1]
    return tests


def version() -> str:
    """A hash of the judge's weights and of the code that measures."""
    here = Path(__file__).parent
    return digest([here / f"{name}.py" for name in SOURCES] + [place("assets") / judge.WEIGHTS])


def digest(paths: list[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]


def run_seconds(run: Path) -> float | None:
    """Seconds of optimisation and export, from the status of a finished run; pauses of an interrupted one count too."""
    status = json.loads((run / "status.json").read_text(encoding="utf-8"))
    return round(status["updated"] - status["started"], 1)
