"""How much memory a run will take, before it starts and without torch: an estimate, from formulas beside the code they speak of.

A renderer or prior may say `memory: ClassVar[str] = "expression"`: bytes at its worst moment, computed from its own settings and
`views` (of a step, frames counted each), `side` (of a rendered view, pixels), `prompts` (how many different ones). Whoever says
nothing counts as unknown, but for the weights of full-size models in the registry.

Fitted to the peak resident memory of whole processes (Linux, CPU, sds-gaussian, "a red car", 20 steps); the parts do not peak together,
so the sum is an upper estimate:

                                       measured   estimated
    default                             1.28 GB     1.57 GB
    export.mesh=false                   1.21 GB     1.30 GB
    prior.size=128                      3.24 GB     3.54 GB
    prior.renders=3200                  2.78 GB     2.87 GB   (no export)
    renderer.count=max_count=50000      1.25 GB     1.41 GB   (no export)
    cameras.batch=16                    1.21 GB     1.37 GB   (no export)
    export.texture=4096                 3.77 GB     4.06 GB
    export.resolution=256               1.33 GB     1.67 GB
    export.size=512                     1.50 GB     1.86 GB
    prior.tangents=2                    2.57 GB     2.61 GB   (no export)
    sds-plane                           1.16 GB     1.27 GB

The renderer's own formula was fitted to the growth of one process around two steps: 100 000 Gaussians, 4 views of 64 pixels 287 MB, 8
views 509 MB, degree 3 494 MB; 2000 Gaussians at 512 pixels, 4 views 81 MB, 16 views 323 MB.
"""

import math
from typing import Any

from dream3d import build, claims, models
from dream3d.foreign import start
from dream3d.parts import within

LIBRARIES = 0.61e9  # Python, torch, numba and this package on a CPU, while it compiles kernels
READING = 14  # bytes while a byte of a user's file is read: 1.3 million faces as PLY 13.8, OBJ 8.2, GLB with a texture 10.3; splats 4.2
EXPORT = "158 * texture**2 + 1450 * size**2 + 7 * resolution**3"  # 158 bytes a texel


def memory(stages: list[dict[str, Any]], values: dict[str, Any]) -> list[str]:
    """Lines: the peak of a run's resident memory, and what it is made of."""
    rows = _rows(stages, values)
    known, unknown = total(stages, values)
    listed = ", ".join(f"{name} {'unknown' if size is None else human(size)}" for name, size in rows)
    note = f" and what {', '.join(unknown)} needs" if unknown else ""
    return [f"memory, an upper estimate for the CPU: {human(known)}{note}", f"  {listed}"]


def total(stages: list[dict[str, Any]], values: dict[str, Any]) -> tuple[float, list[str]]:
    """Bytes of what is known, and what is not."""
    rows = _rows(stages, values)
    return sum(size for _, size in rows if size is not None), [name for name, size in rows if size is None]


def _rows(stages: list[dict[str, Any]], values: dict[str, Any]) -> list[tuple[str, float | None]]:
    export = _evaluate(EXPORT, values["export"]) if values["export"]["mesh"] else 0.0
    return [("libraries", LIBRARIES), *_largest([parts(stage) for stage in stages]), ("export", export)]


def _largest(stages: list[list[tuple[str, float | None]]]) -> list[tuple[str, float | None]]:
    """Of every part the most that a stage needs; unknown if one is."""
    sizes: dict[str, list[float | None]] = {}
    for name, size in [row for stage in stages for row in stage]:
        sizes.setdefault(name, []).append(size)
    return [(name, None if None in found else max(found)) for name, found in sizes.items()]


def parts(stage: dict[str, Any]) -> list[tuple[str, float | None]]:
    """Bytes of a complete stage's prior and renderer; None where they do not say."""
    camera, prior, prompt = stage["cameras"], stage["prior"], stage["prompt"]
    views = camera["batch"] * camera.get("frames", 1) if "batch" in camera else None
    known = models.find(prior["model"]) if prior.get("model") else None
    side = camera.get("resolution") or prior.get("size") or (known and known.resolution)
    around = {"views": views, "side": side,
              "prompts": len(set(prompt)) if isinstance(prompt, list) else 1}  # fmt: skip
    around = {name: value for name, value in around.items() if value is not None}
    rows = []
    for section, catalogue in (("prior", "priors"), ("renderer", "renderers")):
        own = stage[section]
        if build.signature(catalogue, own["type"]).memory is None and section == "prior" and known is not None:
            rows.append((f"prior {own['type']} (weights alone)", _weights(known, own)))
        else:
            several = within(catalogue, own) or [own]
            sizes = [_evaluate(build.signature(catalogue, one["type"]).memory, {**around, **one}) for one in several]
            rows.append((f"{section} {own['type']}", None if None in sizes else sum(sizes)))
    if stage["init"]["file"] is not None:
        rows.append(("init", float(READING * start.size(stage["init"]))))
    return rows


def _weights(model: models.Model, prior: dict[str, Any]) -> float:
    """Bytes of a registered model, in the precision that a CPU takes by itself."""
    return model.memory * 1e9 * (1 if prior.get("precision") in ("bfloat16", "float16") else 2)


def _evaluate(expression: str | None, names: dict[str, Any]) -> float | None:
    """Bytes; None without an expression, or where it needs a setting that is not there."""
    value = None if expression is None else claims.evaluate(expression, names)
    return None if value is None or not math.isfinite(value) else float(value)


def human(size: float) -> str:
    """Bytes as people say them."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
