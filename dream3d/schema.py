"""The JSON Schema of a recipe (draft 2020-12), made from the signatures of everything there is: for editors.

It knows names, keys, types and bounds. What depends on several values at once only the program checks. A section without `type` may
hold the settings of any type, since it may be that of the recipe it extends, or of the stage's.
"""

from typing import Any

from dream3d import __version__, build, catalogue, check, kinds, trackers
from dream3d.catalogue import KEYS, SHARE
from dream3d.schedule import Positive

TEXT = {"type": ["string", "number", "boolean", "null"]}  # arrives as it is written


def recipe() -> dict[str, Any]:
    """The schema of a whole recipe."""
    sections = _sections()
    stage = {key: {"$ref": f"#/$defs/{key}"} for key in sections if key not in check.PER_RUN}
    stage["share"] = {**kinds.schema(Positive), "description": SHARE}
    top = {key: {"$ref": f"#/$defs/{key}"} for key in sections}
    top["extends"] = {"type": "string", "description": KEYS["extends"]}
    top["stages"] = {"type": "array", "items": {"$ref": "#/$defs/stage"}, "description": KEYS["stages"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"a recipe of dream3d {__version__}",
        **_closed(top),
        "$defs": {**kinds.DEFINITIONS, **_parts(), **sections, "stage": _closed(stage)},
    }


def _closed(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


def _sections() -> dict[str, Any]:
    """Every top-level key but `extends` and `stages`."""
    plain = {key: kinds.schema(kind) for key, kind in check.PLAIN.items()}
    plain |= {"negative": TEXT, "out": TEXT, "prompt": {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}}
    plain["steps"] = {"anyOf": [{"type": "integer", "minimum": 1}, {"$ref": "#/$defs/reference"}]}
    tracker = {"enum": trackers.available()}
    plain["track"] = {"anyOf": [tracker, {"type": "array", "items": tracker}, {"type": "null"}]}
    plugged = {section: _plugged(section) for section in check.PLUGINS}
    options = {name: _nullable(_closed(_settings(build.option_parameters(cls)))) for name, cls in build.OPTIONS.items()}
    options["init"]["anyOf"].append({"type": "string"})
    buffers = _closed({name: {"$ref": "#/$defs/schedule"} for name in check.CLIPPED})
    weights = _closed({name: _described("penalties", name, {"$ref": "#/$defs/schedule"}) for name in build.penalties()})
    weights = {**_nullable(weights), "description": catalogue.KINDS["penalties"][0]}
    rest = {"penalties": weights, "clip": {"anyOf": [{"$ref": "#/$defs/schedule"}, buffers, {"type": "null"}]}}
    found = {**plain, **plugged, **options, **rest}
    return {key: {**value, "description": KEYS[key]} if key in KEYS else value for key, value in found.items()}


def _plugged(section: str) -> dict[str, Any]:
    """The name alone, nothing, or a mapping; a guidance also a list of mappings."""
    names = build.available(check.PLUGINS[section])
    one = {"$ref": f"#/$defs/{section}.any"}
    choices = [{"enum": names}, {"type": "null"}, one]
    if section == "guidance":
        choices.append({"type": "array", "items": {"anyOf": [{"enum": names}, one]}})
    return {"anyOf": choices, "description": catalogue.KINDS[check.PLUGINS[section]][0]}


def _parts() -> dict[str, Any]:
    """Per section "SECTION.any", a mapping whose keys are those of its type, and "SECTION.NAME" for every type."""
    out: dict[str, Any] = {}
    for section, kind in check.PLUGINS.items():
        names = build.available(kind)
        refs = {name: {"$ref": f"#/$defs/{section}.{name}"} for name in names}
        named = [{"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": refs[name]} for name in names]
        bare = {"if": {"not": {"required": ["type"]}}, "then": {"anyOf": list(refs.values())}}
        out[f"{section}.any"] = {"type": "object", "properties": {"type": {"enum": names}}, "allOf": [*named, bare]}
        out |= {f"{section}.{name}": _part(kind, name) for name in names}
    return out


def _part(kind: str, name: str) -> dict[str, Any]:
    entry = catalogue.entry(kind, name)
    known = {**entry.parameters, **build.term_parameters()} if kind == "guidance" else entry.parameters
    needed = [key for key, (_, default) in known.items() if default is build.MISSING]
    return _closed({"type": {"const": name}, **_settings(known)}, description=entry.what, **({"required": needed} if needed else {}))


def _settings(known: catalogue.Parameters) -> dict[str, Any]:
    """Properties with their types and defaults."""
    out = {}
    for key, (kind, default) in known.items():
        out[key] = TEXT if key == "prompt" else _sees() if key == "sees" else kinds.schema(kind)
        if default is not build.MISSING:
            out[key] = {**out[key], "default": check.plain(default)}
    return out


def _sees() -> dict[str, Any]:
    names = build.sees()
    mix = {"type": "object", "propertyNames": {"enum": names}, "additionalProperties": {"type": "number", "minimum": 0}, "minProperties": 1}
    return {"anyOf": [{"enum": names}, mix]}


def _described(kind: str, name: str, found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "description": catalogue.entry(kind, name).what}


def _nullable(found: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [found, {"type": "null"}]}
