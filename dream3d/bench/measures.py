"""What the judge says of one subject: recognised from all sides, the right shape, one front, true colours."""

import math

import numpy as np
import torch
from jaxtyping import Float
from skimage.color import rgb2lab
from torch import Tensor

from dream3d.bench.judge import Judge, Seen
from dream3d.bench.rings import AZIMUTHS, Ring
from dream3d.bench.truth import STEP, Match, Truth, chamfer
from dream3d.cameras import view_index
from dream3d.toybox.language import COLOURS, OBJECTS, PATTERNS

APART = 45.0  # degrees between two fronts that count as two
CLIPPED = 254 / 255


def measure(ring: Ring, truth: Truth, judge: Judge) -> dict[str, float | int | list | None]:
    """Every score of one subject against the truth of its prompt; shares and ratios, Chamfer distance in metres.

    recognised: share of 12 views in which the strongest objects are the ones that show there, each in its colour; objects,
    colours, patterns: the same one by one; views: share of 24 views named after their azimuth; janus: number of fronts; view_gap,
    saturation (chroma against the truth's), clipped (share of opaque pixels with a channel at 1). None: nothing to measure.
    """
    match = truth.match(ring)
    seen = judge.see(ring.render.rgb, ring.render.alpha)
    named = recognised(seen, truth, match)
    there = bool(ring.mask.any())
    true = truth.ring(match) if there else None
    return {
        **named, "iou": match.iou, "chamfer": _finite(chamfer(ring, true)) if there else None,
        **(facing(seen, ring) if truth.fronted else {"views": None, "janus": None}),
        "view_gap": truth.view_gap(ring) if truth.fronted else None,
        "saturation": chroma(ring) / chroma(true) if there and chroma(true) > 3 else None,
        "clipped": clipped(ring) if there else None,
        "instance": match.instance, "turn": match.turn,
        "says": [spoken(seen, v, truth) for v in range(0, AZIMUTHS, STEP)],
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def recognised(seen: Seen, truth: Truth, match: Match) -> dict[str, float | None]:
    """Shares of the 12 views with the right objects, colours, patterns, and both objects and colours."""
    rows = [_right(seen, v * STEP, [truth.wish.things[i] for i in things])
            for v, things in enumerate(truth.required(match))]  # fmt: skip
    objects, colours, patterns = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    coloured, patterned = (any(getattr(t, k) for t in truth.wish.things) for k in ("colour", "pattern"))
    return {"recognised": float((objects * colours).mean()), "objects": float(objects.mean()),
            "colours": float(colours.mean()) if coloured else None,
            "patterns": float(patterns.mean()) if patterned else None}  # fmt: skip


def _right(seen: Seen, view: int, things: list) -> tuple[bool, bool, bool]:
    """In one view: the strongest objects are these, their colours and patterns are those asked for."""
    wanted = [OBJECTS.index(thing.name) for thing in things]
    strongest = seen.present[view].topk(max(1, len(wanted))).indices.tolist()
    colours = (seen.colour[view, o].argmax() == list(COLOURS).index(t.colour)
               for o, t in zip(wanted, things, strict=True) if t.colour)  # fmt: skip
    patterns = (seen.pattern[view, o].argmax() == PATTERNS.index(t.pattern) + 1
                for o, t in zip(wanted, things, strict=True) if t.pattern)  # fmt: skip
    return set(strongest) == set(wanted), all(map(bool, colours)), all(map(bool, patterns))


def spoken(seen: Seen, view: int, truth: Truth) -> str:
    """What the judge says of one view, as many objects as the prompt has."""
    found = seen.present[view].topk(len(truth.wish.things)).indices.tolist()
    paint = [list(COLOURS)[int(seen.colour[view, o].argmax())] for o in found]
    return ", ".join(f"{c} {OBJECTS[o]}" for c, o in zip(paint, found, strict=True))


def facing(seen: Seen, ring: Ring) -> dict[str, float | int]:
    """Is the front at the front, and is there only one? A ring has no overhead views."""
    side = seen.view[:, :3].argmax(-1)
    return {"views": (side == view_index(ring.cameras)).float().mean().item(), "janus": janus(seen.view[:, 0])}


def janus(front: Float[Tensor, " V"]) -> int:
    """Fronts around the ring: arcs of p(front) > 0.5, where arcs less than 45 degrees apart are one. A front is 90 degrees wide, so
    one view alone counts neither for nor against it: p is the median of three neighbours."""
    front = torch.stack([front.roll(1), front, front.roll(-1)]).median(0).values
    on = torch.nonzero(front > 0.5).flatten().tolist()
    gap = APART * len(front) / 360
    breaks = sum(1 for a, b in zip(on, on[1:] + on[:1], strict=True) if (b - a - 1) % len(front) + 1 >= gap)
    return breaks if len(on) < len(front) else 1


def chroma(ring: Ring) -> float:
    """Mean CIELAB chroma of what is nearly opaque."""
    colours = _opaque(ring)
    return float(np.linalg.norm(rgb2lab(colours)[..., 1:], axis=-1).mean()) if len(colours) else 0.0


def clipped(ring: Ring) -> float:
    """Share of opaque pixels in which a channel is at its end."""
    colours = _opaque(ring)
    return float((colours.max(-1) >= CLIPPED).mean()) if len(colours) else 0.0


def _opaque(ring: Ring) -> Float[np.ndarray, "P 3"]:
    alpha = ring.render.alpha[..., 0]
    rows = alpha > 0.9
    return (ring.render.rgb[rows] / alpha[rows, None]).clamp(0, 1).double().numpy()
