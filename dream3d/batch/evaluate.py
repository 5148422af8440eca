"""Scores of finished runs: what there is at all, the judge's truth for prompts of the toy world, likeness to words by models of one's own.

`eval.json` in a run's folder keeps them, under a key that changes with the run's checkpoint, the code and the models asked.
"""

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dream3d import __version__, api, files
from dream3d.bench import judge
from dream3d.bench.measures import janus, measure
from dream3d.bench.rings import Ring, of_scene, shoot
from dream3d.bench.truth import Truth
from dream3d.errors import Mistake
from dream3d.folder import read_status
from dream3d.toybox.language import parse

EMPTY, FULL = 0.002, 0.9  # share of a view that is covered: less is nothing, more is a fog around the camera
APART = ("says", "instance", "turn")  # of the judge's answer: no numbers


@dataclass
class Evaluation:
    """What is asked of every run. models: name -> a model of pictures and words (dream3d.batch.likeness); among: prompts that a run's own
    has to be told from."""

    models: dict[str, Any] = field(default_factory=dict)
    among: tuple[str, ...] = ()
    _judge: Any = None

    def of(self, run: Path, prompt: str) -> dict[str, Any]:
        """The scores of a finished run; those that are kept are not made again. Raises Mistake for what is no finished run."""
        if read_status(run).get("state") != "done":
            raise Mistake("this run is not finished", where=str(run), fix=f"python launch.py resume {run}")
        key = {"version": __version__, "run": read_status(run).get("config"), "prompt": prompt, "judge": judge.WEIGHTS,
               "models": {name: model.digest for name, model in self.models.items()},
               "among": _digest(self.among) if self.models else ""}  # fmt: skip
        if kept := _kept(run / "eval.json", key):
            return kept
        found = _finite(self.scene(api.load(run).scene, prompt) | _mesh(run))
        files.write_json(run / "eval.json", {"key": key, "scores": found})
        return found

    @torch.no_grad()
    def scene(self, scene, prompt: str) -> dict[str, Any]:
        """Of a scene: covered (share of the views, least and most), rejected (why, or null), and what the models and the judge say."""
        try:
            seen = shoot(of_scene(scene))
        except Mistake as mistake:
            return {"rejected": mistake.lines[0]}
        share = seen.mask.mean((1, 2))
        found: dict[str, Any] = {"covered_least": share.min().item(), "covered_most": share.max().item()}
        found["rejected"] = "nothing is to be seen" if found["covered_most"] < EMPTY else (
            "it fills the view" if found["covered_least"] > FULL else None)  # fmt: skip
        for name, model in self.models.items():
            found |= {f"{name}_{key}": value for key, value in liked(model, seen, prompt, self.among).items()}
        return found | self._true(seen, prompt)

    def _true(self, seen: Ring, prompt: str) -> dict[str, Any]:
        """The judge's measures, for prompts that the toy world understands."""
        try:
            wish = parse(prompt)
        except Mistake:
            return {}
        if not wish.things:
            return {}
        self._judge = self._judge or judge.load()
        found = measure(seen, Truth(prompt), self._judge)
        found["recognition"] = found.pop("recognised")
        return {key: value for key, value in found.items() if key not in APART}


def liked(model, seen: Ring, prompt: str, among: tuple[str, ...]) -> dict[str, float | int]:
    """score: mean likeness of 12 views to the prompt; precision: share of the views that are most like it among other prompts; fronts: how
    many arcs around it look like a front, side by side with "side view" and "back view" (more than one: Janus)."""
    white = (seen.render.rgb + 1 - seen.render.alpha).movedim(-1, 1).clamp(0, 1)
    pictures = model.pictures(white)
    others = [text for text in dict.fromkeys(among) if text != prompt]
    likeness = pictures[::2] @ model.words([prompt, *others]).T
    found: dict[str, float | int] = {"score": (model.scale * likeness[:, 0]).mean().item()}
    if others:
        found["precision"] = (likeness.argmax(1) == 0).float().mean().item()
    views = model.words([f"{prompt}, {word} view" for word in ("front", "side", "back")])
    return found | {"fronts": janus((model.sharp * pictures @ views.T).softmax(-1)[:, 0])}


def _digest(among: tuple[str, ...]) -> str:
    """Of prompts: of thousands, thousands of runs do not keep the whole list each."""
    return hashlib.sha256(json.dumps(sorted(set(among))).encode()).hexdigest()[:12]


def _finite(found: dict[str, Any]) -> dict[str, Any]:
    """None for what is no number."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in found.items()}


def _mesh(run: Path) -> dict[str, Any]:
    """What the export says of its mesh."""
    told = _json(run / "export" / "mesh.json")
    return {f"mesh_{key}": told[key] for key in ("watertight", "components", "euler", "triangles", "overlap", "stretch") if key in told}


def _kept(path: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    found = _json(path)
    return found.get("scores") if found.get("key") == key and isinstance(found.get("scores"), dict) else None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
