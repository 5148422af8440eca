"""`config`: show a configuration complete, compare two, describe all of them to an editor."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dream3d.commands.describe import flow
from dream3d.commands.parser import Parser, one_of, plug, plugin
from dream3d.recipe import join

WHAT = {
    "show": "a recipe, file or run folder with every default written out",
    "diff": "what differs between two of them, and where each value was set",
    "schema": "the JSON Schema of all recipes, for editors that know YAML",
}


def main(words: list[str]) -> int:
    """Hand over to show, diff or schema."""
    table = "\n".join(f"  {name:7} {what}" for name, what in WHAT.items())
    examples = ["show sds-gaussian --origins", "diff sds-gaussian sds-plane", "schema > recipe.schema.json"]
    parser = Parser("config", f"Configurations. What to do with them, each with its own --help:\n\n{table}",
                    [f"config {example}" for example in examples])  # fmt: skip
    parser.add_argument("what", nargs="?", metavar="|".join(WHAT), type=one_of(WHAT, "subcommand"))
    what = parser.parse_args(words[:1]).what
    if what is None:
        parser.print_help()
        return 0
    return {"show": show, "diff": diff, "schema": schema}[what](words[1:])


def show(words: list[str]) -> int:
    """Print one configuration complete, as YAML."""
    parser = Parser("config show", "A recipe, file or run folder with every default written out, as YAML that runs.",
                    ["config show sds-gaussian", "config show sds-gaussian guidance.scale=20 --origins", "config show duck"])  # fmt: skip
    parser.add_argument("name", help="a recipe, a YAML file or a run folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--origins", action="store_true", help="behind every value that somebody set: where")
    plugin(parser)
    options = parser.parse_intermixed_args(words)
    plug(options.plugin)
    from dream3d.sketch import annotated

    found = _load(options.name, options.overrides)
    print(annotated(found) if options.origins else found.text(), end="")
    return 0


def diff(words: list[str]) -> int:
    """Print what differs, one value a line; nothing where nothing does."""
    parser = Parser("config diff", "What differs between two configurations, and where each value was set. Defaults count as values.",
                    ["config diff sds-gaussian sds-plane", "config diff runs/a runs/b", "config diff sds-gaussian mine.yaml"])  # fmt: skip
    parser.add_argument("a", metavar="A", help="a recipe, a YAML file or a run folder")
    parser.add_argument("b", metavar="B", help="another")
    plugin(parser)
    options = parser.parse_args(words)
    plug(options.plugin)
    for line in differences(_load(options.a, []), _load(options.b, [])):
        print(line)
    return 0


def schema(words: list[str]) -> int:
    """Print the schema."""
    parser = Parser("config schema", "The JSON Schema (draft 2020-12) of all recipes. A YAML language server finds it by a recipe's "
                    "first line:\n  # yaml-language-server: $schema=recipe.schema.json",
                    ["config schema > recipe.schema.json"])  # fmt: skip
    plugin(parser)
    plug(parser.parse_args(words).plugin)
    from dream3d import schema

    print(json.dumps(schema.recipe(), indent=1, ensure_ascii=False))
    return 0


def _load(name: str, overrides: list[str]):
    from dream3d import config

    run = Path(name) / "config.yaml"
    return config.load(str(run) if config.there(run) else name, overrides)


def differences(a, b) -> Iterator[str]:
    """Lines: `path: value (origin) | value (origin)`, then what only one of them has."""
    left, right = dict(_leaves(a.values)), dict(_leaves(b.values))
    for path in [path for path in left if path in right and left[path] != right[path]]:
        yield f"{path}: {_told(a, path, left)} | {_told(b, path, right)}"
    for label, config, own, other in (("A", a, left, right), ("B", b, right, left)):
        yield from (f"only in {label}: {path}: {_told(config, path, own)}" for path in own if path not in other)


def _told(config, path: str, leaves: dict[str, Any]) -> str:
    from dream3d.sketch import origin

    return f"{flow(leaves[path])} ({origin(config, path) or 'default'})"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its path; lists of plain values, and schedules, are values."""
    if isinstance(value, dict) and "start" not in value and (value or not path):
        for key, inner in value.items():
            yield from _leaves(inner, join(path, key))
    elif isinstance(value, list) and any(isinstance(inner, dict) and "start" not in inner for inner in value):
        for i, inner in enumerate(value):
            yield from _leaves(inner, join(path, i))
    else:
        yield path, value

