"""The registry of full-size models, assets/models.yaml: which exist, where they lie, what they are allowed for. Imports no torch."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from dream3d import build
from dream3d.errors import Mistake


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
