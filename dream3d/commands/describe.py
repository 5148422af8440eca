"""`describe`: all there is to know of one name: documentation, settings, papers, who uses it, an example that runs."""

import json
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dream3d import bibliography, build, catalogue, check, kinds, needs
from dream3d.catalogue import KINDS, Entry, Parameters
from dream3d.commands.parser import Parser, plug, plugin
from dream3d.export import fits
from dream3d.export.formats import formats

SCHEDULE = "a schedule is a number, or {start: 1, end: 0, begin: 0, until: 1, shape: linear} over the progress of the run"


def main(words: list[str]) -> int:
    """Print one entry for every kind in which the name occurs."""
    parser = Parser("describe", "What a name means: what it does, every setting with its type and default, papers, recipes, an example.",
                    ["describe sds", "describe renderers/gaussians", "describe keep", "describe sds-gaussian"])  # fmt: skip
    parser.add_argument("name", help="a guidance, renderer, prior, ..., recipe or section; KIND/NAME where several have it")
    parser.add_argument("--json", action="store_true", help="for programs")
    plugin(parser)
    options = parser.parse_args(words)
    plug(options.plugin)
    found = catalogue.find(options.name)
    if options.json:
        print(json.dumps([_facts(entry) for entry in found], indent=1, ensure_ascii=False))
    else:
        print("\n\n".join("\n".join(lines(entry)) for entry in found))
    return 0


def lines(entry: Entry) -> Iterator[str]:
    """What is printed of one entry."""
    yield f"{entry.kind}/{entry.name}  ({_short(entry.path)})"
    yield ""
    yield from paragraphs(entry.doc)
    for title, known in _tables(entry):
        yield ""
        yield title
        yield from settings(known)
    if entry.needs:
        yield ""
        yield from (f"needs {need}: {'; '.join(needs.givers(need)) or 'nothing here has it yet'}" for need in sorted(entry.needs))
    if entry.offers:
        yield ""
        yield f"offers  {', '.join(name if when == 'True' else f'{name} ({when})' for name, when in entry.offers.items())}"
    if entry.facts:
        yield ""
        yield from (f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entry.facts.items())
    if entry.papers:
        yield ""
        yield from (f"paper  {line}" for line in map(bibliography.line, entry.papers))
    recipes = catalogue.users(entry)
    if recipes:
        yield ""
        yield f"used by  {', '.join(recipes)}"
    yield from _example(entry, recipes)


def paragraphs(text: str) -> Iterator[str]:
    """Documentation filled to the terminal's width; indented blocks and lists stay as they are."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    for i, block in enumerate(text.split("\n\n")):
        if i:
            yield ""
        if any(line.startswith((" ", "-", "*")) for line in block.splitlines()):
            yield from block.splitlines()
        else:
            yield from textwrap.wrap(" ".join(block.split()), width, break_long_words=False, break_on_hyphens=False)


def settings(known: Parameters) -> Iterator[str]:
    """One line per setting: name, default, what it may be."""
    told = [(name, _default(default), _words(name, kind)) for name, (kind, default) in known.items()]
    name_width, default_width = (max(len(row[i]) for row in told) for i in (0, 1))
    yield from (f"  {name:{name_width}}  {default:{default_width}}  {what}" for name, default, what in told)
    if any("schedule" in what for *_, what in told):
        yield f"  ({SCHEDULE})"


def _words(name: str, kind: Any) -> str:
    return f"one of {', '.join(build.sees())}, or {{name: probability}}" if name == "sees" else kinds.words(kind)


def _tables(entry: Entry) -> list[tuple[str, Parameters]]:
    section = KINDS[entry.kind][1] or entry.name
    found = [(f"settings, as {section}.NAME (default, what it may be)", entry.parameters)] if entry.parameters else []
    if entry.kind == "guidance":
        found.append(("and those of every term", build.term_parameters()))
    return found


def _default(value: Any) -> str:
    return "needed" if value is build.MISSING else flow(check.plain(value))


def flow(value: Any) -> str:
    """A plain value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _short(path: Path) -> str:
    """A path from here on, or inside the package."""
    for root in (Path.cwd(), build.place("configs").parent):
        if path.is_relative_to(root):
            return str(path.relative_to(root))
    return str(path)


def _facts(entry: Entry) -> dict[str, Any]:
    known = {
        name: {"type": kinds.words(kind), "default": None if default is build.MISSING else check.plain(default),
               "needed": default is build.MISSING}
        for name, (kind, default) in entry.parameters.items()
    }  # fmt: skip
    return {"kind": entry.kind, "name": entry.name, "doc": entry.doc, "settings": known, "papers": entry.papers,
            "file": str(entry.path), "used_by": catalogue.users(entry), "example": example(entry, catalogue.users(entry))}  # fmt: skip


VALUES = {"name": "mine", "prompt": '"a duck"', "negative": '"a duck"', "steps": "300", "seed": "3", "device": "cpu", "out": "duck",
          "track": "tensorboard", "clip": "0.1", "stages": '"[{guidance: {scale: 20}}, {share: 2}]"'}  # fmt: skip

# --- examples -----------------------------------------------------------------------------------------------------------------------


def example(entry: Entry, recipes: list[str]) -> list[str]:
    """The words of a command line that uses the entry; none for a model."""
    section, start = KINDS[entry.kind][1], ["--config", recipes[0] if recipes else "sds-gaussian"]
    match entry.kind:
        case "models":
            return []
        case "formats":
            if formats()[entry.name].files.keys() <= fits.MOVING:
                start = ["--config", "video_sds-dynamic_mesh"]
            return [*start, f"export.formats=[{entry.name}]"]
        case "sections" if entry.name == "extends":
            return []
        case "configs":
            return ["--config", f"{entry.name}.yaml", 'prompt="a red car"']
        case "penalties" if entry.name in build.penalty_needs() and not recipes:
            return []  # what moves cannot be guessed
        case "penalties":
            return [*start, f"penalties.{entry.name}=0.1"]
        case "sees":
            return [*start, f"guidance.sees={entry.name}"]
        case "sections":
            given = VALUES.get(entry.name)
            return [*start, *([f"{entry.name}={given}"] if given else _first(entry.name, entry.parameters))]
        case _ if any(default is build.MISSING for _, default in entry.parameters.values()) or entry.needs - {"student"}:
            return start if recipes else []  # a setting, or parts, that cannot be guessed: the recipe that has them
        case _:
            told = ['guidance.source="a blue car"'] if entry.edits else []  # what an edit begins with
            together = {key: entry.parameters.get(key, (int, 1))[1] for key in ("views", "frames")} if entry.kind == "priors" else {}
            told += ["cameras=orthogonal"] if together.get("views", 1) > 1 else []
            told += [f"cameras.{key}={count}" for key, count in together.items() if count > 1]  # cameras that a prior of groups needs
            told += ["cameras.frames=4"] if "motion" in entry.offers else []  # what moves has to be seen more than once
            return [*start, f"{section}={entry.name}", *told, *_first(section, entry.parameters)]


def _first(section: str, known: Parameters) -> list[str]:
    """The first setting that has a value, spelt out; before it those that need one cannot be guessed."""
    for name, (_, default) in known.items():
        if default is not build.MISSING and default is not None:
            text = flow(check.plain(default))
            return [f'{section}.{name}="{text}"' if set(text) & set(" {}[]") else f"{section}.{name}={text}"]
    return []


def _example(entry: Entry, recipes: list[str]) -> Iterator[str]:
    words = example(entry, recipes)
    if not words:
        return
    yield ""
    yield "example"
    section = KINDS[entry.kind][1]
    if entry.kind in check.PLUGINS.values():
        given = {k: check.plain(v) for k, (_, v) in entry.parameters.items() if v is not build.MISSING and v is not None}
        yield f"  {section}: {flow({'type': entry.name, **dict(list(given.items())[:3])})}"
    yield f"  python launch.py {' '.join(words)} --dry-run"
