"""What a part of a stage holds: the parts within it and what they are told, asked of the module that completes it (`completes` in its
class, as `dream3d/layout.py` of composed scenes). Without torch."""

import importlib
from types import ModuleType
from typing import Any

from dream3d import build
from dream3d.errors import Mistake
from dream3d.options import regions as split


def within(catalogue: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The complete settings of every part of a complete part; none of what is one."""
    ask = getattr(_module(catalogue, settings), "parts", None)
    return [] if ask is None else ask(settings)


def regions(term: dict[str, Any], renderer: dict[str, Any]) -> list[str]:
    """The prompts of the objects of a scene, in the order of their labels: those that a term is told, else, where its formula asks for
    labels, the scene's own. Raises Mistake where a term is told of more or fewer objects than the scene has."""
    told, ask = split(term.get("regions")), getattr(_module("renderers", renderer), "prompts", None)
    if ask is None or "labels" not in (build.signature("guidance", term["type"]).needs or ()):
        return told
    own = ask(renderer)
    if len(told) not in (0, len(own)):
        raise Mistake(f"{len(told)} region prompts, but the layout has {len(own)} objects", where="guidance.regions", near=" | ".join(own),
                      fix="one prompt for each object, in the order of the layout; none: the layout's own")  # fmt: skip
    return told or own


def place(renderer: dict[str, Any]) -> str:
    """The setting that says what a scene's objects are told."""
    return getattr(_module("renderers", renderer), "PATH", "renderer")


def _module(catalogue: str, settings: dict[str, Any]) -> ModuleType | None:
    name = build.signature(catalogue, settings["type"]).completes
    return None if name is None else importlib.import_module(name)
