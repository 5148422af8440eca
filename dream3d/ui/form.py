"""A recipe's settings as fields of a form, from the JSON Schema: sliders, numbers, choices, switches, and text for schedules.

Settings that name files, models or folders have no field: they are the command line's.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from dream3d import catalogue, config, schema
from dream3d.errors import Mistake
from dream3d.recipe import VERBATIM
from dream3d.typed import short, written

SECTIONS = ("guidance", "prior", "renderer", "cameras", "background", "text", "export")
WORDS = tuple(name for name in VERBATIM if name != "out")  # text that is told to the prior
OWN = ("type", "digests")  # what the program sets itself
LONGEST = 2000  # characters of a text
Kind = Literal["slider", "number", "choice", "switch", "text"]


@dataclass(frozen=True)
class Field:
    """One setting: its path, what edits it, the recipe's value, and of numbers the bounds (None: none) and whether they are whole.
    A `text` holds the value as YAML; words for the prior stand there as they are."""

    path: str
    kind: Kind
    value: Any
    low: int | float | None = None
    high: int | float | None = None
    whole: bool = False
    choices: tuple[str, ...] = ()

    @property
    def section(self) -> str:
        return self.path.partition(".")[0] if "." in self.path else "run"


@cache
def _schema() -> dict[str, Any]:
    return schema.recipe()


@cache
def fields(recipe: str) -> tuple[Field, ...]:
    """The fields of a bundled recipe: of the run first, then of its sections. Raises Mistake where there is no such recipe."""
    if recipe not in catalogue.names("configs"):
        raise Mistake(f"there is no recipe {short(recipe)}", where="recipe", fix="choose one of the list")
    values = config.load(recipe, settings={"prompt": "a red car"}).values
    top = _schema()["$defs"]
    found = [_field("steps", top["steps"], values["steps"]), _field("seed", top["seed"], values["seed"]),
             _field("negative", top["negative"], values["negative"])]  # fmt: skip
    for section in SECTIONS:
        parts = values[section] if isinstance(values[section], list) else [values[section]]
        for i, part in enumerate(parts):
            path = section if parts is not values[section] else f"{section}.{i}"
            known = _properties(top, section, part)
            keys = [key for key in known if key not in OWN and (key in part or key in WORDS)]  # words that are not said are left out
            found += [_field(f"{path}.{key}", known[key], part.get(key)) for key in keys]
    return tuple(field for field in found if field is not None)


def _properties(top: dict[str, Any], section: str, part: dict[str, Any]) -> dict[str, Any]:
    node = top[f"{section}.{part['type']}"] if "type" in part else top[section]
    return next(option for option in [node, *node.get("anyOf", [])] if "properties" in option)["properties"]


def _field(path: str, node: dict[str, Any], value: Any) -> Field | None:
    kinds = [kind for kind in _kinds(node) if "propertyNames" not in kind]  # a mix of buffers by probability
    name = path.rpartition(".")[2]
    if name in WORDS:  # a schedule of that name cannot be told as words are
        return Field(path, "text", value or "") if isinstance(value, str | None) else None
    if isinstance(value, dict) and "start" not in value or any(kind.get("type") in ("string", "object") for kind in kinds):
        return None  # a table, or what may name a file or a folder
    free = any(kind.get("type") in ("null", "array") or "$ref" in kind for kind in kinds)
    enums = [str(choice) for kind in kinds for choice in kind.get("enum", ())]
    if enums and not any("type" in kind for kind in kinds if kind.get("type") != "null"):
        nothing = any(kind.get("type") == "null" for kind in kinds)
        return Field(path, "choice", written(value), choices=tuple(dict.fromkeys([*["null"] * nothing, *enums])))
    if free or len(kinds) != 1:
        return Field(path, "text", written(value))
    (kind,) = kinds
    if kind.get("type") == "boolean":
        return Field(path, "switch", value)
    if kind.get("type") in ("integer", "number"):
        low = kind.get("minimum", kind.get("exclusiveMinimum"))
        high = kind.get("maximum", kind.get("exclusiveMaximum"))
        high = None if high is not None and high > 1e9 else high
        slides = low is not None and high is not None and "exclusiveMinimum" not in kind and "exclusiveMaximum" not in kind
        return Field(path, "slider" if slides else "number", value, low, high, kind["type"] == "integer")
    return Field(path, "text", written(value))


def _kinds(node: dict[str, Any]):
    """The members of nested unions, without the ways to write a number or refer to another value."""
    for option in node.get("anyOf", [node]):
        if "anyOf" in option:
            yield from _kinds(option)
        elif option.get("$ref") not in ("#/$defs/reference", "#/$defs/exponent"):
            yield option


def overrides(recipe: str, prompt: str, given: dict[str, Any]) -> list[str]:
    """The words of a command line that has the recipe do this: the prompt, then every field whose value differs. Raises Mistake for what
    is no field, and for text that no command line can hold."""
    known = {field.path: field for field in fields(recipe)}
    words = [f"prompt={_text('prompt', prompt)}"]
    for path, value in given.items():
        if path not in known:
            raise Mistake(f"the page has no setting {short(path)}", where="page")
        text = _told(known[path], value)
        if text != _told(known[path], known[path].value):
            words.append(f"{path}={text}")
    return words


def _told(field: Field, value: Any) -> str:
    if field.kind == "switch":
        return written(bool(value))
    if field.kind == "choice" and value not in field.choices:
        raise Mistake(f"{field.path}: there is no choice {short(value)}", where="page")
    if field.kind in ("slider", "number"):
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise Mistake(f"{field.path}: expected a number, but it is {short(value)}", where="page")
        return str(int(value)) if float(value).is_integer() and (field.whole or abs(value) < 1e15) else repr(float(value))
    return _text(field.path, value)


def _text(path: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Mistake(f"{path}: expected text, but it is {short(value)}", where="page")
    if len(value) > LONGEST:
        raise Mistake(f"{path}: at most {LONGEST} characters, but there are {len(value)}", where="page", fix="say it shorter")
    if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise Mistake(f"{path} holds characters that no command line can", where="page", fix="type it again")
    return value


def checked(recipe: str, words: list[str]) -> config.Config:
    """The complete configuration, checked as the command line does."""
    from dream3d import needs, vocabulary
    from dream3d.foreign.start import check_init

    found = config.load(recipe, words)
    vocabulary.check_vocabulary(found)
    needs.check_needs(found)
    check_init(found)
    return found
