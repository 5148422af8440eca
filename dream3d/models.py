"""The registry of full-size models, assets/models.yaml: which exist, where they lie, what they are allowed for. Imports no torch."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from dream3d import build
from dream3d.errors import Mistake, choices

NAMED = {"model": "", "config": "", "motion": "motion", "tiny": "autoencoder", "encoder": "adapter", "nets": "control"}  # setting -> family

TRAINED = "python -m dream3d.toybox.train"  # what the README.md of every folder says that a training of our own wrote


@dataclass(frozen=True)
class Model:
    """One model. repos: mirrors in the order they are tried (`revision` is of the first); sha256: file -> digest, where known; family:
    the prior that reads it; prediction: eps, v, flow or sample; scale, shift: of its latents; resolution: pixels; commercial: whether
    its licence allows it; gated: whether the hub asks for consent; memory: GB of weights in half precision."""

    alias: str
    family: str
    repos: tuple[str, ...]
    prediction: str
    resolution: int
    licence: str
    commercial: bool
    gated: bool
    memory: float
    what: str
    revision: str | None = None
    scale: float = 1.0
    shift: float = 0.0
    sha256: tuple[tuple[str, str], ...] = ()


@lru_cache(maxsize=1)
def registry() -> dict[str, Model]:
    """All models by alias. Raises Mistake where the file is broken."""
    path = build.place("assets") / "models.yaml"
    rows: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        return {alias: _model(alias, row) for alias, row in rows.items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise Mistake(f"the registry of models cannot be read: {error}", where=str(path), fix="see dream3d/models.py") from None


def _model(alias: str, row: dict[str, Any]) -> Model:
    digests = tuple(sorted(row.get("sha256", {}).items()))
    return Model(**{**row, "alias": alias, "repos": tuple(row["repos"]), "sha256": digests})


def find(name: str) -> Model | None:
    """The model of an alias, or of one of its repositories."""
    found = registry()
    return found.get(name) or next((model for model in found.values() if name in model.repos), None)


def of(family: str) -> list[str]:
    """The aliases that a prior can read."""
    return [alias for alias, model in registry().items() if model.family == family]


def local(name: str) -> Path | None:
    """What lies at this path of this machine, or ships with the project under this name; nothing does where no file can be called so."""
    try:
        path, shipped = Path(name).expanduser(), build.place("assets") / name
        whole = any((shipped / told).exists() for told in ("model_index.json", "config.json"))  # a pipeline, or one network of it
        return path if path.exists() else shipped if whole else None
    except (OSError, RuntimeError):  # too long, or in the home of nobody
        return None


def words(folder: Path) -> str | None:
    """The module that tells which words a model knows: one that our own training wrote, and that hears any; None for all others."""
    try:
        told = (folder / "README.md").read_text(encoding="utf-8") if (folder / "text_encoder").is_dir() else ""
    except (OSError, ValueError):
        return None
    return "dream3d.toybox.language" if TRAINED in told else None


def check(prior: dict[str, Any]) -> None:
    """Raises Mistake for a model that a prior of our own names and that can be nowhere: neither here, nor an alias, nor a hub's."""
    for part in prior.get("priors") or []:
        check(part)
    own = ("priors", prior.get("type")) not in build.plugins  # what a plug-in's settings mean is its own business
    for setting, family in NAMED.items() if own else ():
        given = prior.get(setting)
        for name in given.values() if isinstance(given, dict) else [given]:
            if isinstance(name, str):
                named(name, family or str(prior.get("type")), f"prior.{setting}")


def named(name: str, family: str, where: str) -> tuple[Path | None, Model | None]:
    """Where a model lies here, or else what the registry knows of it; neither for a hub's name. Raises Mistake for other names."""
    path, known = local(name), find(name)
    if path is None and known is None and (name.count("/") != 1 or name.startswith((".", "/", "~"))):
        fix = "a pipeline folder, a .safetensors file, a hub's OWNER/NAME or an alias: python launch.py list models"
        near = choices(name, of(family))
        raise Mistake(f"there is no model {name!r}: no folder, no file, no alias", where=where, near=near, fix=fix, code=3)
    return path, known
