"""What a file says of itself: what it was made from and by what, under which licences. Read from the configuration; imports no torch.

Only names: where files and models lie on a machine is nobody's business.
"""

import re
from pathlib import Path
from typing import Any

from dream3d import __version__, catalogue, models
from dream3d.config import Config
from dream3d.errors import Mistake


def of_run(config: Config, stage: int = -1) -> dict[str, Any]:
    """JSON values of a run whose scene is that of a stage: prompt, negative, seed, recipe, representation, priors, models with licences,
    the file it began with, version."""
    values, stages = config.values, config.stages
    used = stages if stage < 0 else stages[: stage + 1]
    facts = {
        "prompt": values["prompt"],
        "negative": values["negative"],
        "seed": values["seed"],
        "recipe": Path(values["name"]).name,
        "representation": stages[stage]["renderer"]["type"],
        "prior": list(dict.fromkeys(s["prior"]["type"] for s in used)),
        "models": _models(used),
        "source": list(dict.fromkeys(name for s in used for name in _sources(s))),
        "version": __version__,
    }
    return {key: value for key, value in facts.items() if value not in ("", [])}


def of_file(path: Path) -> dict[str, Any]:
    """Of what was read from a file that is not ours."""
    return {"source": [_bare(path.name)], "version": __version__}


def _sources(stage: dict[str, Any]) -> list[str]:
    """The files that a stage begins with."""
    held = stage["renderer"].get("layout")
    objects = held["objects"] if isinstance(held, dict) else []
    return [_bare(part["file"]) for part in (stage["init"], *objects) if part.get("file")]


def _models(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The models that priors name, each once."""
    found: dict[str, dict[str, Any]] = {}
    for settings in stages:
        for name in _named(settings["prior"]):
            one = _model(name)
            found.setdefault(one["name"], one)
    return list(found.values())


def _named(prior: dict[str, Any]) -> list[str]:
    """The models that a prior's settings name, those of its parts, and the one it has of its own."""
    told = [name for part in prior.get("priors") or [] for name in _named(part)]
    for given in (prior.get(key) for key in models.NAMED):
        told += [name for name in (given.values() if isinstance(given, dict) else [given]) if isinstance(name, str)]
    own = catalogue.weights(prior["type"]) if "model" not in prior else None
    return [*told, *([own] if own else [])]


def _model(name: str) -> dict[str, Any]:
    """A model by its alias, its repository, its name in assets/, or the last part of its path."""
    known = models.find(name)
    if known is not None:
        return {"name": known.alias, "licence": known.licence, "commercial": known.commercial}
    try:
        card = catalogue.entry("models", name).facts
        return {"name": name, "licence": str(card.get("licence", "unknown"))}
    except Mistake:
        return {"name": _bare(name), "licence": "unknown"}


def _bare(path: str) -> str:
    """The last part of a path of any system, as text: names of files on Linux may be any bytes."""
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1].encode("utf-8", "replace").decode()

