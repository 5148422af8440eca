"""From a manifest to jobs, without torch: each an asset to be made, named by a hash of all that decides what it will be.

Rows that differ in prompt, negative, seed or picture alone share one complete configuration, so ten thousand of them are planned in
seconds. Where a part reads the prompt to complete its settings (a layout, a rig), every row has its own.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dream3d import __version__, build, config, needs, vocabulary
from dream3d.batch.manifest import Row
from dream3d.check import PLUGINS
from dream3d.errors import Mistake, choices
from dream3d.folder import slug

MOST = 1_000_000  # jobs of a library
DIGITS = 12  # of a job's hash: of a hundred thousand two are alike once in fifty thousand libraries
SKIPPED = ("out", "keep", "name")  # change nothing about the asset
Fault = tuple[int, Mistake]  # line of the manifest, what is wrong there


@dataclass(frozen=True)
class Job:
    """An asset to be made. `recipe`: the name of its complete configuration, in which prompt, negative, seed and picture are its own;
    lines: of the manifest."""

    id: str
    prompt: str
    negative: str
    seed: int
    recipe: str
    image: str | None = None
    tags: tuple[str, ...] = ()
    category: str = ""
    lines: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Of its folder: readable, and no name that any system refuses."""
        return f"{slug(self.prompt)}_s{self.seed}_{self.id}"


@dataclass(frozen=True)
class Plan:
    """Jobs in the order of priors and of recipes, so that a worker seldom changes its model; recipes: name -> complete configuration as
    YAML; images: name -> picture that jobs name; repeated: how many rows asked for what another had asked for."""

    jobs: list[Job]
    recipes: dict[str, str]
    configs: dict[str, config.Config]
    images: dict[str, Path] = field(default_factory=dict)
    repeated: int = 0
    wrong: list[Fault] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """What the command adds to every row: its recipe, seeds where a row has none, settings, and a grid of settings."""

    recipe: str = "sds-gaussian"
    seeds: tuple[int, ...] = (0,)
    overrides: tuple[str, ...] = ()
    grid: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def points(self) -> list[tuple[str, ...]]:
        """Every combination of the grid, as overrides."""
        return [tuple(f"{path}={value}" for (path, _), value in zip(self.grid, values, strict=True))
                for values in itertools.product(*(values for _, values in self.grid))]  # fmt: skip


def seeds(text: str) -> tuple[int, ...]:
    """"0-3,7" as numbers. Raises Mistake."""
    found: dict[int, None] = {}
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdigit() or (dash and not high.isdigit()) or len(low + high) > 18 or int(high or low) >= 1 << 31:
            raise Mistake(f"seeds: expected numbers such as 0-3 or 0,5, but it is {text[:40]!r}", where="--seeds", near="--seeds 0-3")
        ends = int(low), int(high or low)
        if ends[1] - ends[0] >= MOST:
            raise Mistake(f"seeds: {part} are more than {MOST:,}", where="--seeds")
        found |= dict.fromkeys(range(ends[0], ends[1] + 1))
    return tuple(found)


def grid(texts: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """guidance.scale=7.5,20 as path and values."""
    found = []
    for text in texts:
        path, same, values = text.partition("=")
        parts = tuple(dict.fromkeys(value.strip() for value in values.split(",")))
        if not same or not path or "" in parts:
            raise Mistake(f"a grid is a setting and its values, not {text[:60]!r}", where="--grid", near="--grid guidance.scale=7.5,20")
        found.append((path, parts))
    return tuple(found)


def plan(rows: list[Row], asked: Asked, folder: Path) -> Plan:
    """Every job. What is wrong with a row is told by its line, and the others are planned. `folder`: that pictures lie in."""
    recipes, jobs, wrong = Recipes(asked, folder), {}, []
    count = sum(1 if row.seed is not None else len(asked.seeds) for row in rows) * len(asked.points)
    if count > MOST:
        raise Mistake(f"these are {count:,} jobs", where="--seeds, --grid", fix=f"at most {MOST:,} in one library")
    repeated = 0
    for row in rows:
        try:
            for job in recipes.jobs(row):
                before = jobs.setdefault(job.id, job)
                if before is not job:
                    jobs[job.id], repeated = replace(before, lines=(*before.lines, row.line)), repeated + 1
        except Mistake as mistake:
            wrong.append((row.line, mistake))
    ordered = sorted(jobs.values(), key=lambda job: (*recipes.order[job.recipe], job.lines, job.seed))
    return Plan(ordered, {name: found.text() for name, found in recipes.found.items()}, recipes.found, recipes.images, repeated, wrong)


class Recipes:
    """Complete configurations, each made once."""

    def __init__(self, asked: Asked, folder: Path):
        self.asked, self.folder = asked, folder
        self.found: dict[str, config.Config] = {}
        self.order: dict[str, tuple[int, int]] = {}  # of a recipe: its priors' number, its own
        self._priors: dict[str, int] = {}
        self.images: dict[str, Path] = {}
        self._made: dict[Any, tuple[str, Callable[[str], None], list[str]]] = {}
        self._heard: dict[tuple[str, str], Mistake | None] = {}

    def jobs(self, row: Row) -> Iterable[Job]:
        """Those of a row. Raises Mistake for a row that cannot be made."""
        for point in self.asked.points:
            for seed in self.asked.seeds if row.seed is None else (row.seed,):
                yield self._job(row, point, seed)

    def _job(self, row: Row, point: tuple[str, ...], seed: int) -> Job:
        name, check, models = self._recipe(row, point)
        self._hear(name, row.prompt, check)
        base = self.found[name].values
        own = {"prompt": row.prompt, "seed": seed, "negative": base["negative"] if row.negative is None else row.negative}
        image = None if row.image is None else self._image(row.image, base)
        told = {k: v for k, v in base.items() if k not in SKIPPED} | own | {"image": image}
        told |= {"models": models, "version": __version__.split(".")[0]}
        key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:DIGITS]
        return Job(key, row.prompt, own["negative"], seed, name, image, row.tags, row.category, (row.line,))

    def _recipe(self, row: Row, point: tuple[str, ...]) -> tuple[str, Callable[[str], None], list[str]]:
        """Its name, a check of prompts for it, and what tells its models' weights from others of the same names."""
        settings = json.dumps(row.settings, sort_keys=True)
        shared = (row.config, settings, point)
        key = next((k for k in (shared, (*shared, row.prompt)) if k in self._made), None)
        if key is None:
            found = self._load(row, point)
            own = _reads_prompts(found)
            text = hashlib.sha256(found.text().encode()).hexdigest()[:DIGITS]
            self.found.setdefault(text, found)
            priors = self._priors.setdefault(repr([stage["prior"] for stage in found.stages]), len(self._priors))
            self.order.setdefault(text, (priors, len(self.order)))
            key = (*shared, row.prompt) if own else shared
            self._made[key] = text, vocabulary.heard(found), [revision(m) for s in found.stages if (m := s["prior"].get("model"))]
        return self._made[key]

    def _load(self, row: Row, point: tuple[str, ...]) -> config.Config:
        """With this row's prompt, which others may replace. The row's settings come last."""
        texts = [f"{name}={value}" for name, value in row.settings if isinstance(value, str)]
        plain = {name: value for name, value in row.settings if not isinstance(value, str)}
        found = config.load(self._named(row.config), [*self.asked.overrides, *point, *texts], plain | {"prompt": row.prompt})
        needs.check_needs(found)
        return found

    def _named(self, name: str | None) -> str:
        """The recipe of a row: a bundled one, or a file in the manifest's folder; else that of the command."""
        if name is None:
            return self.asked.recipe
        bundled = {path.name for path in build.place("configs").glob("*.yaml")}
        full = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
        if full in bundled:
            return full
        own = (self.folder / full).resolve()
        if not own.is_relative_to(self.folder.resolve()) or not own.is_file():
            raise Mistake(f"there is no recipe {name[:60]!r}", near=choices(name, sorted(path.removesuffix(".yaml") for path in bundled)),
                          fix="a recipe's name, or a file beside the manifest")  # fmt: skip
        return str(own)

    def _hear(self, recipe: str, prompt: str, check: Callable[[str], None]) -> None:
        """Raises Mistake for words that a prior does not know; a prompt is asked for once."""
        if (recipe, prompt) not in self._heard:
            self._heard[recipe, prompt] = None
            try:
                check(prompt)
            except Mistake as mistake:
                self._heard[recipe, prompt] = mistake
        if mistake := self._heard[recipe, prompt]:
            raise mistake

    def _image(self, name: str, values: dict[str, Any]) -> str:
        """The picture a row names, for a prior that takes one: the name it has in the library."""
        known = build.signature("priors", values["prior"]["type"]).parameters
        if "image" not in known:
            raise Mistake(f"prior {values['prior']['type']} takes no image", fix="another recipe, or no image")
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()) or not path.is_file():
            raise Mistake(f"there is no picture {name[:80]!r}", where=str(self.folder), fix="a path below the manifest's folder")
        if not re.fullmatch(r"(\.[a-z0-9]{1,8})?", path.suffix.lower()):
            raise Mistake(f"no picture ends in {path.suffix[:40]!r}", near=".png", fix="a PNG or JPEG")
        known = f"{_digest(path)[:16]}{path.suffix.lower()}"
        self.images[known] = path
        return known


def _reads_prompts(found: config.Config) -> bool:
    """Whether a part of it completes its settings by the prompt, or two prompts stand in it."""
    parts = [(section, stage[section]) for stage in found.stages for section in PLUGINS if isinstance(stage[section], dict)]
    return any(build.signature(PLUGINS[section], part["type"]).completes for section, part in parts)


def revision(model: str) -> str:
    """Of a model: the digests of its small files and the sizes of its large ones, where it lies here; else its name."""
    places = [build.place("assets") / model, Path(model)]
    folder = next((p for p in places if config.there(p, "is_dir")), None)
    if folder is None:
        return model
    told = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        size = path.stat().st_size
        told.update(f"{path.relative_to(folder).as_posix()} {size} {_digest(path) if size < 1 << 25 else ''}\n".encode())
    return told.hexdigest()[:DIGITS]


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
