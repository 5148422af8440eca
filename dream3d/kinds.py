"""What a setting may be, from its annotation: in words for people, as JSON Schema for editors."""

import types
import typing
from typing import Any

from annotated_types import Ge, Gt, Interval, Le, Lt, MultipleOf

from dream3d.schedule import SHAPES, Ramp, Times

PLAIN = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
JSON = {bool: "boolean", int: "integer", float: "number", str: "string"}
REFERENCE = r"^\$\{[A-Za-z_][\w.]*\}$"
EXPONENT = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"  # 1e-3 is text to YAML 1.1, a number to us

Bounds = dict[str, int | float]  # ge, gt, le, lt, multiple_of


def words(kind: Any) -> str:
    """A setting's type for people: "a number above 0", "a schedule", "one of eps, v, flow"."""
    bare, limits = _peel(kind)
    if bare is Ramp:
        return "a schedule"
    if bare is Times:
        return "a range of t in (0, 1), each end a schedule"
    origin, inner = typing.get_origin(bare), typing.get_args(bare)
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (typing.Union, types.UnionType):
        return ", or ".join("null" if part is type(None) else words(part) for part in inner)
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"a list of {len(inner)}, each {words(inner[0])}"
    if origin in (list, tuple):
        return f"a list, each {words(inner[0])}"
    if origin is dict:
        return "a section of settings" if inner[1] is Any else f"a mapping of names, each {words(inner[1])}"
    return PLAIN[bare] + _range(limits)


def _range(limits: Bounds) -> str:
    low = f"from {limits['ge']:g}" if "ge" in limits else f"above {limits['gt']:g}" if "gt" in limits else ""
    high = f"to {limits['le']:g}" if "le" in limits else f"below {limits['lt']:g}" if "lt" in limits else ""
    if limits.get("le", 0) > 1e15:
        high = ""
    joint = " " if "ge" in limits and "le" in limits else " and "
    text = joint.join(part for part in (low, high) if part) + (" on" if low.startswith("from") and not high else "")
    step = f", a multiple of {limits['multiple_of']}" if "multiple_of" in limits else ""
    return (f" {text}" if text else "") + step


def _peel(kind: Any) -> tuple[Any, Bounds]:
    """The type below Annotated, and its finite bounds."""
    if typing.get_origin(kind) is not typing.Annotated:
        return kind, {}
    bare, *marks = typing.get_args(kind)
    limits: Bounds = {}
    for mark in marks:
        fields = ("ge", "gt", "le", "lt") if isinstance(mark, Interval | Ge | Gt | Le | Lt) else ()
        fields = ("multiple_of",) if isinstance(mark, MultipleOf) else fields
        limits |= {name: value for name in fields if (value := getattr(mark, name, None)) is not None}
    return bare, {name: value for name, value in limits.items() if abs(value) != float("inf")}


# --- JSON Schema --------------------------------------------------------------------------------------------------------------------

DEFINITIONS: dict[str, Any] = {
    "reference": {"type": "string", "pattern": REFERENCE, "description": "another value: ${section.key}"},
    "exponent": {"type": "string", "pattern": EXPONENT},
    "number": {"anyOf": [{"type": "number"}, {"$ref": "#/$defs/exponent"}]},
    "schedule": {
        "description": "a number, or how it changes over the run",
        "anyOf": [
            {"$ref": "#/$defs/number"},
            {
                "type": "object",
                "properties": {
                    "start": {"$ref": "#/$defs/number"},
                    "end": {"anyOf": [{"$ref": "#/$defs/number"}, {"type": "null"}]},
                    "begin": {"$ref": "#/$defs/number", "description": "progress in [0, 1] until which it is `start`"},
                    "until": {"$ref": "#/$defs/number", "description": "progress in [0, 1] from which it is `end`"},
                    "shape": {"enum": [*SHAPES, "exp"]},
                },
                "required": ["start"],
                "additionalProperties": False,
            },
        ],
    },
    "times": {
        "description": "noise levels t in (0, 1), 1 is pure noise: [low, high], or one schedule",
        "anyOf": [
            {"$ref": "#/$defs/schedule"},
            {"type": "array", "items": {"$ref": "#/$defs/schedule"}, "minItems": 2, "maxItems": 2},
        ],
    },
}
_KEYWORDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum", "multiple_of": "multipleOf"}


def schema(kind: Any) -> dict[str, Any]:
    """A setting's type as JSON Schema; a reference to another value may stand for any."""
    return {"anyOf": [_schema(kind), {"$ref": "#/$defs/reference"}]}


def _schema(kind: Any) -> dict[str, Any]:
    bare, limits = _peel(kind)
    if bare in (Ramp, Times):
        return {"$ref": "#/$defs/schedule" if bare is Ramp else "#/$defs/times"}
    origin, inner = typing.get_origin(bare), typing.get_args(bare)
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [{"type": "null"} if part is type(None) else _schema(part) for part in inner]}
    if origin is tuple and inner[-1] is not Ellipsis:
        return {"type": "array", "prefixItems": [_schema(part) for part in inner], "minItems": len(inner), "maxItems": len(inner)}
    if origin in (list, tuple):
        return {"type": "array", "items": _schema(inner[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": True if inner[1] is Any else _schema(inner[1])}
    found = {"type": JSON[bare], **{_KEYWORDS[name]: value for name, value in limits.items()}}
    return {"anyOf": [found, {"$ref": "#/$defs/exponent"}]} if bare is float else found
