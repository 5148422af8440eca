"""The methods of a comparison: from names to rows of a grid, and what forbids it, all at once. Nothing here imports torch.

A formula keeps the `guidance` section of its own recipe (scale, noise levels, learning rate of its student) and takes everything else
(renderer, cameras, steps, prior, background, optimizer) from the base recipe, so that only the formula differs.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import yaml

from dream3d import build, config
from dream3d.bench.compare_grid import Method
from dream3d.errors import Mistake, choices
from dream3d.typed import short

LOCAL = ("export.mesh=false", "export.frames=24", "keep.preview=0", "keep.checkpoints=1")  # as little beside the steps as can be
CONTEXT = ("prior", "renderer", "cameras", "text", "background", "optimizer", "clip", "penalties", "negative", "init")


@dataclasses.dataclass(frozen=True)
class Row:
    """A method, the guidance it brings, in words what its own recipe does otherwise than here, and (`unlike`) what differs from the first
    method beside the guidance, as it may between recipes."""

    method: Method
    guidance: Any
    notes: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()


def rows(given: argparse.Namespace) -> tuple[list[Row], list[tuple[str, Mistake]]]:
    """The rows in the order given, and the problems of those that cannot be compared like this, each with its name."""
    said = (*(f"prior={name}" for name in [given.prior] if name), *(f"steps={n}" for n in [given.steps] if n is not None))
    asked = [*(("guidance", name) for name in _names(given.guidance)), *(("recipes", name) for name in _names(given.recipes))]
    if not asked:
        raise Mistake("there is nothing to compare", where="command line", fix="--guidance sds,csd, or --recipes a.yaml,b.yaml")
    found, wrong, first = [], [], None
    for kind, name in dict.fromkeys(asked):
        try:
            row, loaded = _formula(name, given, said) if kind == "guidance" else _recipe(name, given, said)
            first = first or loaded
            found.append(dataclasses.replace(row, unlike=_unlike(loaded, first)))
        except Mistake as mistake:
            wrong.append((f"{name}: ", mistake))
    names = [row.method.name for row in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        wrong.append(("", Mistake(f"two methods would be called {twice[0]}", fix="give a recipe's file another name")))
    return found, wrong


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _recipe(name: str, given: argparse.Namespace, said: tuple[str, ...]) -> tuple[Row, config.Config]:
    overrides = (*LOCAL, *said, *given.overrides)
    found = config.load(name, [*overrides, "prompt=a red ball"])
    _check_scorers(found)
    return Row(Method(Path(name).stem, name, overrides), [stage["guidance"] for stage in found.stages]), found


def _formula(name: str, given: argparse.Namespace, said: tuple[str, ...]) -> tuple[Row, config.Config]:
    base, own = config.load(given.config, ["prompt=a red ball"]), _own(name)
    if any("guidance" in stage for stage in base.values["stages"]):
        raise Mistake("the stages of the base recipe name their own guidance", where="--config", fix="another --config, or --recipes")
    if own is not None:
        _check_own(name, own, base)
    guidance = own.values["guidance"] if own is not None else {"type": name}
    written = yaml.safe_dump(guidance, default_flow_style=True, width=1 << 20, allow_unicode=True).strip()
    overrides = (*LOCAL, f"guidance={written}", *said, *given.overrides)
    found = config.load(given.config, [*overrides, "prompt=a red ball"])
    _check_scorers(found)
    notes = () if own is None else _notes(own, found, (*said, *given.overrides))
    return Row(Method(name, given.config, overrides), found.values["guidance"], notes), found


def _own(name: str) -> config.Config | None:
    """The recipe of a formula: here, or among the bundled ones. A formula that is plugged in may have none."""
    known = {path.stem.removesuffix("-gaussian") for path in build.place("configs").glob("*-gaussian.yaml")}
    if name in known or config.there(Path(f"{name}-gaussian.yaml")):
        return config.load(f"{name}-gaussian.yaml", ["prompt=a red ball"])
    if name in build.available("guidance"):
        return None
    raise Mistake(f"there is no guidance {name!r}", where="--guidance", near=choices(name, sorted({*known, *build.available("guidance")})))


def _check_own(name: str, own: config.Config, base: config.Config) -> None:
    """What a formula's recipe has beside its formula that the base recipe lacks. `needs` are checked with the whole configuration."""
    whole = f"--recipes {name}-gaussian.yaml"
    if len(own.values["stages"]) > 1:
        raise Mistake(f"its recipe has {len(own.values['stages'])} stages, which one formula cannot stand for", fix=whole)
    seen = [term["sees"] for term in _terms(base)]
    for term in _terms(own):
        if term["views"] is not None and own.values["cameras"]["type"] != base.values["cameras"]["type"]:
            raise Mistake(f"a term of its recipe serves views of the role {term['views']!r}, which the base recipe has not", fix=whole)
        if term["sees"] not in seen:
            raise Mistake(f"it sees {term['sees']}, but the guidance of the base recipe sees {seen[0]}", fix=whole)
    particles = [found.values["renderer"].get("particles", 1) for found in (own, base)]
    if particles[0] > particles[1]:
        raise Mistake(f"its recipe has {particles[0]} particles, the base recipe {particles[1]}", fix=whole)


def _check_scorers(found: config.Config) -> None:
    """Whoever climbs the judge must not be measured by it."""
    for stage in found.stages:
        for term in stage["guidance"] if isinstance(stage["guidance"], list) else [stage["guidance"]]:
            if term["type"] == "reward" and term.get("scorer") == "judge":
                raise Mistake("it climbs the very judge that scores here", fix="leave it out, or another guidance.scorer")


def _terms(found: config.Config) -> list[dict]:
    guidance = found.values["guidance"]
    return guidance if isinstance(guidance, list) else [guidance]


def _notes(own: config.Config, here: config.Config, said: tuple[str, ...]) -> tuple[str, ...]:
    """What the recipe of a formula writes beside the formula, and what all have here in its place."""
    told = []
    for section in (*CONTEXT, *(["steps"] if not any(text.startswith("steps=") for text in said) else [])):
        mine, theirs = own.values[section], here.values[section]
        if isinstance(mine, dict) and isinstance(theirs, dict):
            keys = [key for key in mine if f"{section}.{key}" in own.origins and theirs.get(key) != mine[key]]
            told += [f"{section}.{key} {short(mine[key])} instead of {short(theirs.get(key))}" for key in keys]
        elif mine != theirs:
            told.append(f"{section} {short(mine)} instead of {short(theirs)}")
    return tuple(told)


def _unlike(here: config.Config, first: config.Config) -> tuple[str, ...]:
    """What a method has otherwise than the first one, guidance and its stages aside."""
    told = []
    for section in (*CONTEXT, "steps"):
        mine, theirs = here.values[section], first.values[section]
        if isinstance(mine, dict) and isinstance(theirs, dict):
            keys = ["type"] if mine.get("type") != theirs.get("type") else [key for key in mine if mine[key] != theirs.get(key)]
            told += [f"{section}.{key} {short(mine[key])} where the first method has {short(theirs.get(key))}" for key in keys]
        elif mine != theirs:
            told.append(f"{section} {short(mine)} where the first method has {short(theirs)}")
    counts = [len(found.values["stages"]) for found in (here, first)]
    return (*told, *([f"{counts[0]} stages where the first method has {counts[1]}"] if counts[0] != counts[1] else []))
