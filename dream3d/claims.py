"""What plug-ins say of themselves in expressions over their own settings, read from the source: `memory`, `offers`. No torch."""

import ast
from typing import Any

ALLOWED = {"min": min, "max": max, "len": len}


def evaluate(expression: str, names: dict[str, Any]) -> Any:
    """The value of a small expression; None where it speaks of a setting that is not there."""
    tree = ast.parse(expression, mode="eval")
    if not {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} <= {*names, *ALLOWED}:
        return None
    return eval(compile(tree, "<claim>", "eval"), {"__builtins__": {}, **ALLOWED}, names)


def offered(offers: dict[str, str], settings: dict[str, Any]) -> frozenset[str]:
    """The capabilities whose condition holds for these settings: {"student": "True", "views": "views > 1"}."""
    return frozenset(name for name, condition in offers.items() if evaluate(condition, settings))
