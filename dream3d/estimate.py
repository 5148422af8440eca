"""How much memory a run will take, before it starts and without torch: an estimate, from formulas beside the code they speak of.

A class of a catalogue may say `memory: ClassVar[str] = "expression"`: bytes at the peak of a step, computed from its own settings and
`views` (a step's), `side` (of a rendered view, pixels). Whoever says nothing counts as unknown. docs/log.md has the evidence.
"""

import ast
import math
from typing import Any

from dream3d import build

LIBRARIES = 0.42e9  # Python, torch, numba and this package on a CPU, with compiled kernels
EXPORT = "0.0 * texture**2 + 0.0 * resolution**3 + 0.0 * size**2"
ALLOWED = {"min": min, "max": max}


def memory(stages: list[dict[str, Any]], values: dict[str, Any]) -> list[str]:
    """Lines: the peak of a run's resident memory, and what it is made of."""
    rows = [("libraries", LIBRARIES), *_largest([_parts(stage) for stage in stages])]
    rows.append(("export", _evaluate(EXPORT, values["export"]) if values["export"]["mesh"] else 0.0))
    known = sum(size for _, size in rows if size is not None)
    unknown = [name for name, size in rows if size is None]
    parts = ", ".join(f"{name} {'unknown' if size is None else human(size)}" for name, size in rows)
    note = f" and what {', '.join(unknown)} needs" if unknown else ""
    return [f"memory, an estimate for the CPU: about {human(known)}{note}", f"  {parts}"]


def _largest(stages: list[list[tuple[str, float | None]]]) -> list[tuple[str, float | None]]:
    """Of every part the most that a stage needs; unknown if one is."""
    sizes: dict[str, list[float | None]] = {}
    for name, size in [row for parts in stages for row in parts]:
        sizes.setdefault(name, []).append(size)
    return [(name, None if None in found else max(found)) for name, found in sizes.items()]


def _parts(stage: dict[str, Any]) -> list[tuple[str, float | None]]:
    camera, prior = stage["cameras"], stage["prior"]
    around = {"views": camera.get("batch"), "side": camera.get("resolution") or prior.get("size")}
    around = {name: value for name, value in around.items() if value is not None}
    rows = []
    for section, catalogue in (("prior", "priors"), ("renderer", "renderers")):
        own = stage[section]
        expression = build.signature(catalogue, own["type"]).memory
        rows.append((f"{section} {own['type']}", _evaluate(expression, {**around, **own})))
    return rows


def _evaluate(expression: str | None, names: dict[str, Any]) -> float | None:
    """The value of an arithmetic expression; None without one, or where it needs a setting that is not there."""
    if expression is None:
        return None
    tree = ast.parse(expression, mode="eval")
    if not {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} <= {*names, *ALLOWED}:
        return None
    value = eval(compile(tree, "<memory>", "eval"), {"__builtins__": {}, **ALLOWED}, names)
    return float(value) if math.isfinite(value) else None


def human(size: float) -> str:
    """Bytes as people say them."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
