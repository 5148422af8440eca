"""What a run was made of, as tables: its settings with those that are not the default marked, its parts with their papers,
versions and licences. Read from signatures and docstrings; nothing is imported."""

import ast
import re
import time
from typing import Any

from dream3d import build, config
from dream3d.errors import Mistake
from dream3d.export.page import Markup, section, tag
from dream3d.export.record import Record, is_number

UNKNOWN = object()
OWN = ("prompt", "name", "out", "stages")  # what every run says for itself


def settings(found: Record) -> Markup | None:
    """Every value by section; those that are not the default are marked and say what that is."""
    if not found.values:
        return section("Settings", tag("p", "config.yaml cannot be read.", class_="quiet"))
    groups: dict[str, list] = {}
    defaults = {key: _defaults(key, values) for key, values in found.values.items()}
    for key, name, value in ((key, *leaf) for key, values in found.values.items() for leaf in _leaves(values)):
        default = defaults[key].get(name, None if key in ("penalties", "clip") else UNKNOWN)
        changed = default is not UNKNOWN and default != value
        note = tag("span", f"default {_written(default)}", class_="quiet") if changed else None
        cells = tag("th", name or key, scope="row"), tag("td", tag("code", _written(value)), note)
        groups.setdefault(key if name else "run", []).append(tag("tr", *cells, class_="changed" if changed else None))
    tables = [tag("table", tag("caption", key), *group) for key, group in groups.items()]
    legend = tag(
        "p",
        tag("span", "Marked", class_="mark"),
        " values differ from the defaults of the parts they belong to.",
        class_="quiet",
    )
    return section("Settings", legend, tag("div", *tables, class_="tables"))


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """(path, value) below a section; the mapping of a schedule is one value."""
    if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
        value = {str(i): v for i, v in enumerate(value)}
    if not isinstance(value, dict) or not value or path and "start" in value:
        return [(path, value)]
    return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{path}.{key}".strip("."))]


def _defaults(key: str, settings: Any) -> dict[str, Any]:
    """The defaults of one section by name, from the classes that dream3d has now; empty where there are none."""
    if isinstance(settings, list) and key == "guidance":
        return {f"{i}.{name}": value for i, one in enumerate(settings) for name, value in _defaults(key, one).items()}
    if key in build.OPTIONS:
        known = build.option_parameters(build.OPTIONS[key])
    elif key in config.PLUGINS:
        try:
            known = build.signature(config.PLUGINS[key], settings["type"]).parameters
        except (Mistake, KeyError, TypeError):
            return {}
        known = {**(build.term_parameters() if key == "guidance" else {}), **known}
        known["type"] = (str, config.DEFAULTS[key]["type"])
    else:
        return {"": config.DEFAULTS[key]} if key in config.DEFAULTS and key not in OWN else {}
    return {name: config.plain(value) for name, (_, value) in known.items() if value is not build.MISSING}


def _written(value: Any) -> str:
    """A value as YAML would have it, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return {True: "true", False: "false", None: "null"}[value] if isinstance(value, bool | None) else str(value) or '""'


def parts(found: Record) -> Markup:
    """What the run was made of, with the papers its files name; versions, hardware, licences."""
    rows = []
    for role, catalogue in config.PLUGINS.items():
        settings = found.values.get(role)
        for one in settings if isinstance(settings, list) else [settings]:
            if isinstance(one, dict) and isinstance(one.get("type"), str):
                rows.append((role, one["type"], *_said(catalogue, one["type"])))
    method = tag("table", tag("caption", "method"), *(
        tag("tr", tag("th", role, scope="row"), tag("td", tag("code", kind), tag("span", " ".join([words, *papers]), class_="quiet")))
        for role, kind, words, papers in rows))  # fmt: skip
    where = {"started": _moment(found.status.get("started"))}
    where |= {key: found.environment.get(key) for key in ("python", "platform", "device", "hardware", "threads")}
    packages = found.environment.get("packages")
    where |= packages if isinstance(packages, dict) else {}
    licences = {"dream3d": "Apache-2.0", "three.js r187 (the viewer in this page)": "MIT"}
    models = found.environment.get("models")
    for model in models if isinstance(models, list) else []:
        if isinstance(model, dict):
            licences[str(model.get("name"))] = str(model.get("licence", "unknown"))
    return section(
        "Made with", tag("div", method, _table("where", where), _table("licences", licences), class_="tables")
    )


def _moment(seconds: object) -> str | None:
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if is_number(seconds) else None
    except (OverflowError, ValueError, OSError):
        return None


def _table(caption: str, facts: dict) -> Markup:
    rows = (tag("tr", tag("th", k, scope="row"), tag("td", tag("code", v))) for k, v in facts.items() if v is not None)
    return tag("table", tag("caption", caption), *rows)


def _said(catalogue: str, name: str) -> tuple[str, list[str]]:
    """The first sentence of a part's own text, and the papers that text names."""
    try:
        found = build.signature(catalogue, name)
        tree = ast.parse(found.path.read_text(encoding="utf-8"))
    except (Mistake, OSError, SyntaxError):
        return "", []
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == found.name)
    module, own = ast.get_docstring(tree) or "", ast.get_docstring(next(classes)) or ""
    words = own if catalogue in build.MODULES else module
    first = re.split(r"(?<=(?<! al)\.)\s", " ".join(words.split()), maxsplit=1)[0]
    return first, [paper for paper in dict.fromkeys(re.findall(r"arXiv:\d{4}\.\d{5}", words)) if paper not in first]
