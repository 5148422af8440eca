"""Everything that has a name in a configuration, read from the source without importing it: for `list`, `describe` and `cite`."""

import ast
import dataclasses
import importlib.util
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from dream3d import build, models, parts
from dream3d.errors import Mistake, choices
from dream3d.export.formats import formats

KINDS = {  # kind -> (one word on it, what it is in a configuration)
    "guidance": ("formulas that pull a render towards a prior", "guidance"),
    "renderers": ("what is optimised and how it is drawn", "renderer"),
    "priors": ("diffusion models", "prior"),
    "systems": ("loops", "system"),
    "cameras": ("where the scene is looked at from", "cameras"),
    "background": ("what stands behind the scene", "background"),
    "optim": ("optimisers", "optimizer"),
    "penalties": ("scalars of the scene that are no pixel's business", "penalties"),
    "sees": ("what a guidance may look at", "guidance.sees"),
    "sections": ("sections and keys of a configuration that name no class", ""),
    "configs": ("recipes", "--config"),
    "models": ("trained weights: those in assets/, and full-size ones that are fetched", ""),
    "formats": ("files of an export: export RUN --format NAME", "export.formats"),
}
KEYS = {  # that hold a value and no section -> what they are
    "name": "of the recipe; its run folders lie in runs/NAME", "prompt": "what to make; several take turns over the views",
    "negative": "what not to make", "steps": "of the whole run; schedules scale with it", "seed": "of all randomness",
    "device": "auto, cpu, cuda, cuda:1, mps", "out": "the run folder, exactly there",
    "track": "where scalars and previews also go: wandb, mlflow, trackio; TensorBoard files and metrics.jsonl are always kept",
    "extends": "another recipe, which this one changes",
    "clip": "largest gradient of a pixel, for all buffers or by buffer; null: off (PGC, arXiv:2310.12474)",
    "stages": "overrides one after the other; between them only points, meshes or fields travel",
}  # fmt: skip
SHARE = "of the steps, among stages"
ARXIV = re.compile(r"arXiv[: ]\s*(\d{4}\.\d{4,5})")
Parameters = dict[str, tuple[Any, Any]]  # name -> (annotation, default or build.MISSING)


@dataclass(frozen=True)
class Entry:
    """One named thing: its documentation, its settings, the file it is in."""

    kind: str
    name: str
    path: Path
    doc: str
    parameters: Parameters = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)  # of a model: its card
    edits: bool = False
    needs: frozenset[str] = frozenset()
    offers: dict[str, str] = field(default_factory=dict)

    @property
    def what(self) -> str:
        """The first sentence of the documentation, without the brackets that name papers; of a section what it sets."""
        text = ", ".join(self.parameters) if self.kind == "sections" else ""
        text = text or (self.doc.partition(": ")[2] if self.kind == "sections" else sentence(self.doc))
        return re.sub(r" ?\([^()]*arXiv[^()]*\)", "", text)

    @property
    def papers(self) -> list[str]:
        return papers(self.doc)


def papers(text: str) -> list[str]:
    """arXiv ids in a text, in order, each once."""
    return list(dict.fromkeys(ARXIV.findall(text)))


def sentence(text: str) -> str:
    """The first sentence of the first paragraph; "et al. 2023" does not end one."""
    first = " ".join(text.strip().split("\n\n")[0].split())
    end = re.search(r"(?<!al)\.(?=\s+[A-Z`\"'{(]|\s*$)", first)
    return first[: end.start()] if end else first


def names(kind: str) -> list[str]:
    """All names of a kind, sorted. Raises Mistake where there is no such kind."""
    if kind not in KINDS:
        raise Mistake(f"there is no list of {kind!r}", where="command line", near=choices(kind, KINDS))
    match kind:
        case "penalties":
            return build.penalties()
        case "sees":
            return build.sees()
        case "sections":
            return sorted({*build.OPTIONS, *KEYS})
        case "configs":
            return sorted(path.stem for path in build.place("configs").glob("*.yaml"))
        case "models":
            return sorted({path.parent.name for path in build.place("assets").glob("*/card.json")} | set(models.registry()))
        case "formats":
            return sorted(formats())
        case _:
            return build.available(kind)


def entries(kind: str) -> list[Entry]:
    return [entry(kind, name) for name in names(kind)]


def entry(kind: str, name: str) -> Entry:
    """One of the names of a kind."""
    if name not in names(kind):
        raise Mistake(f"there is no {kind} {name!r}", where="command line", near=choices(name, names(kind)))
    match kind:
        case "penalties":
            return _function(kind, name, "dream3d.penalties", name)
        case "sees":
            return _function(kind, name, "dream3d.sees", name.replace("+", "_"))
        case "sections":
            return _section(name)
        case "configs":
            path = build.place("configs") / f"{name}.yaml"
            return Entry(kind, name, path, _comment(path))
        case "models":
            return _model(name)
        case "formats":
            return _format(name)
        case _:
            return _class(kind, name)


def find(word: str) -> list[Entry]:
    """Everything called `word`, or `kind/word`. Raises Mistake with the nearest names of all kinds."""
    kind, slash, name = word.removesuffix(".yaml").removesuffix(".py").strip("/").rpartition("/")
    if slash and kind in KINDS:
        return [entry(kind, name)]
    found = [entry(kind, name) for kind in KINDS if name in names(kind)]
    if not found and (kind := next((kind for kind, (_, section) in KINDS.items() if word in (kind, section)), None)):
        raise Mistake(f"{word!r} is not one thing, but a list of them", where="command line", fix=f"python launch.py list {kind}")
    if not found:
        every = {name: kind for kind in KINDS for name in names(kind)}
        raise Mistake(f"nothing is called {word!r}", where="command line", near=choices(name, [*every, *KINDS]),
                      fix="python launch.py list")  # fmt: skip
    return found


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def origin(module: str) -> Path:
    return Path(importlib.util.find_spec(module).origin)


def _class(kind: str, name: str) -> Entry:
    """Of a file the module's text, then the class's and those of the bases whose settings it takes; of a class among others its own."""
    found = build.signature(kind, name)
    module = tree(found.path)
    node = next(n for n in module.body if isinstance(n, ast.ClassDef) and n.name == found.name)
    texts = [] if kind in build.MODULES else [ast.get_docstring(module)]
    texts += [ast.get_docstring(part) for part in build.lineage(node, found.path)]
    doc = "\n\n".join(text for text in texts if text)
    return Entry(kind, name, found.path, doc, found.parameters, {}, bool(found.edits), found.needs or frozenset(), found.offers or {})


def _function(kind: str, name: str, module: str, function: str) -> Entry:
    path = origin(module)
    node = next(n for n in tree(path).body if isinstance(n, ast.FunctionDef) and n.name == function)
    return Entry(kind, name, path, ast.get_docstring(node) or f"The {name} buffer as it is.")


def _section(name: str) -> Entry:
    if name in KEYS:
        return Entry("sections", name, origin("dream3d.check"), f"{name}: {KEYS[name]}")
    cls = build.OPTIONS[name]
    return Entry("sections", name, Path(inspect.getfile(cls)), inspect.getdoc(cls), build.option_parameters(cls))


def _comment(path: Path) -> str:
    """The comment that a recipe begins with; indented lines stay lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    told = [line[1:].removeprefix(" ") for line in lines[:head]]
    return "\n".join(("\n" if line.startswith(" ") else "") + line for line in told).strip()


def _format(name: str) -> Entry:
    """What a file format takes, where its axes point, and what it needs."""
    form = formats()[name]
    path = origin(f"dream3d.export.formats.{form.module}")
    facts = {"kind": ", ".join(form.files), "files": form.files, "up": form.up, "extra": form.extra}
    return Entry("formats", name, path, ast.get_docstring(tree(path)), facts={key: value for key, value in facts.items() if value})


def _model(name: str) -> Entry:
    """A model that lies here, by its card; or one that is fetched, by its line in the registry."""
    path = build.place("assets") / name / "card.json"
    if (full := models.registry().get(name)) is not None:
        told = {k: v for k, v in dataclasses.asdict(full).items() if k not in ("alias", "what") and v not in (None, ())}
        return Entry("models", name, path.parents[1] / "models.yaml", full.what, facts={"kind": full.family, **told})
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        text = str(card["what"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Mistake(f"the card of the model {name!r} cannot be read: {error!r}", where=str(path)) from None
    return Entry("models", name, path, text, facts=card)


# --- who uses what ------------------------------------------------------------------------------------------------------------------


def used(stage: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, name) of every part of a complete stage."""
    for kind in ("renderers", "priors", "systems", "cameras", "background", "optim"):
        yield kind, stage[KINDS[kind][1]]["type"]
    yield from (("renderers", part["type"]) for part in parts.within("renderers", stage["renderer"]))
    for term in stage["guidance"] if isinstance(stage["guidance"], list) else [stage["guidance"]]:
        yield "guidance", term["type"]
        for name in [term["sees"]] if isinstance(term["sees"], str) else term["sees"]:
            yield "sees", name
    for name in stage["penalties"]:
        yield "penalties", name


def users(thing: Entry) -> list[str]:
    """The bundled recipes that use it."""
    folder = build.place("configs")
    paths = {name: folder / f"{name}.yaml" for name in names("configs")}
    return [name for name, path in paths.items() if (thing.kind, thing.name) in _used_by(str(path), path.stat().st_mtime_ns)]


@cache
def _used_by(recipe: str, changed: int) -> frozenset[tuple[str, str]]:
    """(kind, name) of every part of a recipe, read once for each version of its file."""
    from dream3d import config

    return frozenset(part for stage in config.load(recipe).stages for part in used(stage))


def weights(prior: str) -> str | None:
    """The model that a prior loads: of assets/, which its class names (`weights: ClassVar[str] = "toybox-32"`), or its setting `model`;
    None: it needs none."""
    found = build.signature("priors", prior)
    own = (found.parameters["model"][1] or "the model of its base") if "model" in found.parameters else None
    return found.weights or own
