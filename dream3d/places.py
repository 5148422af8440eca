"""Where the objects of a layout stand: boxes from relations, and whether they fit the world and each other. Plain numbers, no torch.

A box has its middle at `centre`, `size` metres along its own axes, and is turned by `rotation` degrees about x, then y, then z. Where
relations alone say where two objects of the toybox are, they stand where the toybox puts them (`toybox/world.py`): the first, smaller,
on the second, or at its left on one floor; others stand so as if they were cubes.
"""

import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations

from dream3d.errors import Mistake, choices
from dream3d.toybox.language import Wish, parse

WORLD, WHOLE = 0.75, 1.49  # metres: where objects live, the side of one alone
HALF, RADIUS, FILL = 0.745, 1.0, 0.965  # as the toybox fills its box and its ball, in the mean
SINK, GAP, TOUCH = 0.015, 0.075, 0.02  # metres: of a foot into what it stands on, between neighbours, of boxes that count as apart
SMALLER = {"on": 0.65}  # than what it stands to, in the toybox's mean
BESIDE = 0.9
SLACK = 1e-3  # metres: a layout that is written with four digits is read again
LETTERS = 500  # of a text that says how objects stand
INSTANCES = 16  # of the toybox, whose mean is its place
ROWS = ("kind", "pose", "shape", "colour", "second", "pattern", "part", "thing", "frame")  # of a soup, one for each primitive

Vector = tuple[float, float, float]
AXES: dict[str, tuple[int, int]] = {  # the axis along which a relation places the first, and which way
    "on": (2, 1), "under": (2, -1), "left of": (0, -1), "next to": (0, -1), "right of": (0, 1), "in front of": (1, -1), "behind": (1, 1),
}  # fmt: skip
WORDS = {
    "on top of": "on", "atop": "on", "above": "on", "below": "under", "beneath": "under", "underneath": "under",
    "to the left of": "left of", "to the right of": "right of", "beside": "next to", "near": "next to", "by": "next to", "and": "next to",
} | {name: name for name in AXES}  # fmt: skip
SAID = re.compile(r"\s+(" + "|".join(sorted(map(re.escape, WORDS), key=len, reverse=True)) + r")\s+", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Box:
    """None: it is not said."""

    name: str
    prompt: str
    centre: Vector | None = None
    size: Vector | None = None
    rotation: Vector = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Relation:
    """`first` stands `how` to `second`."""

    first: str
    how: str
    second: str

    def __str__(self) -> str:
        return f"{self.first} {self.how} {self.second}"


def relation(text: str, names: list[str]) -> Relation:
    """What "ball on cube" says, as a relation of two objects with these names. Raises Mistake for what is none, or of unknown objects."""
    text = said(text)
    found = [(text[: m.start()].strip(), WORDS[m[1].lower()], text[m.end() :].strip()) for m in _everywhere(text)]
    if not found:
        raise Mistake(f"{text[:60]!r} says of no two objects how they stand", near=", ".join(AXES), fix="relations: [ball on cube]")
    known = {name.casefold(): name for name in names}
    first, how, second = next((row for row in found if {row[0].casefold(), row[2].casefold()} <= set(known)), found[0])
    for name in (first, second):
        if name.casefold() not in known:
            raise Mistake(f"the relation {text[:60]!r} is about {name[:40]!r}, but there is no such object", near=choices(name, names))
    if first.casefold() == second.casefold():
        raise Mistake(f"{first!r} cannot stand {how} itself", fix="a relation has two objects")
    return Relation(known[first.casefold()], how, known[second.casefold()])


def said(text: str) -> str:
    """A text with single spaces. Raises Mistake for one that is too long to say how two objects stand."""
    if len(text) > LETTERS:
        raise Mistake(f"{text[:40]!r}... has {len(text)} letters, more than {LETTERS}", fix="relations: [ball on cube]")
    return " ".join(text.split())


def _everywhere(text: str):
    """Every relation said in a text, also where two share a space."""
    at = 0
    while (found := SAID.search(text, at)) is not None:
        yield found
        at = found.start() + 1


def arrange(boxes: list[Box], relations: list[Relation]) -> list[Box]:
    """Every box with its size and place. Raises Mistake for objects that have none, or two."""
    by = {box.name: box for box in boxes}
    told = _once(by, relations)
    roots = [box for box in boxes if box.centre is None and box.name not in told]
    anchored = any(box.centre is not None for box in boxes)
    for lost in [box.name for box in (roots if anchored else roots[1:])]:
        raise Mistake(f"nothing says where {lost!r} stands", near=f"{{box: {{centre: [0, 0, 0], size: 0.5}}}}, relations: [{lost} on ...]",
                      fix="a box with a centre, or a relation to another object")  # fmt: skip
    if not anchored and not any(box.size for box in boxes) and (true := _true(boxes, relations)):
        return true
    done: dict[str, Box] = {}
    for box in boxes:
        _stand(box.name, by, told, done)
    placed = [done[box.name] for box in boxes]
    return placed if anchored else _middle(placed, fit=not any(box.size for box in boxes))


def _once(by: dict[str, Box], relations: list[Relation]) -> dict[str, Relation]:
    """The one relation that places each object; none leads back to itself."""
    told: dict[str, Relation] = {}
    for one in relations:
        if one.first in told or by[one.first].centre is not None:
            other = f"{str(told[one.first])!r}" if one.first in told else "its box's centre"
            raise Mistake(f"{one.first!r} has two places: {other} and {str(one)!r}", fix="leave one of them out")
        told[one.first] = one
    for name in told:
        way = [name]
        while way[-1] in told:
            way.append(told[way[-1]].second)
            if way[-1] in way[:-1]:
                ring = way[way.index(way[-1]) :]
                chain = ", ".join(str(told[step]) for step in ring[:-1])
                raise Mistake(f"these relations go round in a circle: {chain}", fix="give one of them a box with a centre instead")
    return told


def _stand(name: str, by: dict[str, Box], told: dict[str, Relation], done: dict[str, Box]) -> None:
    """Place an object, first what it stands to."""
    way = [name]
    while way[-1] in told and told[way[-1]].second not in done:
        way.append(told[way[-1]].second)
    for step in reversed(way):
        box = by[step]
        if step not in told:
            done[step] = replace(box, centre=box.centre or (0.0, 0.0, 0.0), size=box.size or (WHOLE,) * 3)
            continue
        how, other = told[step].how, done[told[step].second]
        size = box.size or (SMALLER.get(how, BESIDE) * max(other.size),) * 3
        done[step] = replace(box, size=size, centre=_beside(how, extents(size, box.rotation), other))


def _beside(how: str, mine: Vector, other: Box) -> Vector:
    """The centre of what stands `how` to another box; side by side they have one floor."""
    (axis, way), theirs = AXES[how], extents(other.size, other.rotation)
    centre = list(other.centre)
    if axis != 2:
        centre[2] += (mine[2] - theirs[2]) / 2
    centre[axis] += way * ((mine[axis] + theirs[axis]) / 2 + (GAP if axis != 2 else -SINK))
    return tuple(centre)


def _middle(boxes: list[Box], *, fit: bool) -> list[Box]:
    """The whole in the middle of the world; `fit`: as large as the toybox makes its scenes."""
    points = [corner for box in boxes for corner in corners(box)]
    middle = [(min(p[k] for p in points) + max(p[k] for p in points)) / 2 for k in range(3)]
    away = [[p[k] - middle[k] for k in range(3)] for p in points]
    scale = FILL * min(HALF / max(max(map(abs, p)) for p in away), RADIUS / max(math.hypot(*p) for p in away)) if fit else 1.0
    return [replace(box, centre=tuple(scale * (c - m) for c, m in zip(box.centre, middle, strict=True)),
                    size=tuple(scale * s for s in box.size)) for box in boxes]  # fmt: skip


# --- the toybox -------------------------------------------------------------------------------------------------------------------


def _true(boxes: list[Box], relations: list[Relation]) -> list[Box] | None:
    """Where the toybox puts these one or two objects; None where it does not know them so."""
    swapped = {"left of": "next to", "next to": "next to", "on": "on"}
    if len(boxes) > 2 or any(any(box.rotation) for box in boxes) or any(one.how not in swapped for one in relations):
        return None
    order = sorted(boxes, key=lambda box: box.name != relations[0].first) if relations else boxes
    try:
        things = [thing for box in order for thing in parse(box.prompt).things]
    except Mistake:
        return None
    if len(things) != len(boxes):
        return None
    found = _mean(Wish(tuple(things), swapped[relations[0].how] if relations else None))
    known = {box.name: replace(box, centre=centre, size=size) for box, (centre, size) in zip(order, found, strict=True)}
    return [known[box.name] for box in boxes]


@lru_cache(maxsize=64)
def _mean(wish: Wish) -> tuple[tuple[Vector, Vector], ...]:
    """Mean centre and size of every thing of a wish."""
    import numpy as np

    from dream3d.toybox import world

    ends = np.zeros((len(wish.things), 2, 3))
    for i in range(INSTANCES):
        soup = world.build(wish, world.instance_seed("prior", i))
        for k in range(len(wish.things)):
            mine = soup.thing == k
            points = world.corners(replace(soup, **{name: getattr(soup, name)[mine] for name in ROWS}))
            ends[k] += np.stack([points.min(0), points.max(0)]) / INSTANCES
    return tuple((tuple(map(float, row.mean(0))), tuple(map(float, row[1] - row[0]))) for row in ends)


# --- whether it fits --------------------------------------------------------------------------------------------------------------


def matrix(rotation: Vector) -> tuple[Vector, Vector, Vector]:
    """Rows of the rotation about x, then y, then z, in degrees."""
    (a, b, c), (s, t, u) = ([f(math.radians(r)) for r in rotation] for f in (math.cos, math.sin))
    return ((b * c, s * t * c - a * u, a * t * c + s * u), (b * u, s * t * u + a * c, a * t * u - s * c), (-t, s * b, a * b))


def extents(size: Vector, rotation: Vector) -> Vector:
    """Metres along the world's axes."""
    return tuple(sum(abs(r) * s for r, s in zip(row, size, strict=True)) for row in matrix(rotation))


def corners(box: Box) -> list[Vector]:
    rows = matrix(box.rotation)
    signs = [(i, j, k) for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (-0.5, 0.5)]
    return [tuple(c + sum(r * s * sign for r, s, sign in zip(row, box.size, way, strict=True))
                  for c, row in zip(box.centre, rows, strict=True)) for way in signs]  # fmt: skip


def overlap(a: Box, b: Box) -> float:
    """How far, in metres, one box would have to move to be apart from the other; below 0 they are (the theorem of separating axes)."""
    own = [[*zip(*matrix(box.rotation), strict=True)] for box in (a, b)]
    across = [_cross(u, v) for u in own[0] for v in own[1]]
    axes = [*own[0], *own[1], *([x / n for x in axis] for axis in across if (n := math.hypot(*axis)) > 1e-6)]
    apart = [p - q for p, q in zip(a.centre, b.centre, strict=True)]
    reach = [[abs(_dot(axis, u)) * s / 2 for box, us in zip((a, b), own, strict=True) for u, s in zip(us, box.size, strict=True)]
             for axis in axes]  # fmt: skip
    return min(sum(each) - abs(_dot(axis, apart)) for axis, each in zip(axes, reach, strict=True))


def crowded(boxes: list[Box]) -> list[tuple[Box, Box, float]]:
    """Pairs that overlap by more than boxes that touch, and by how much."""
    return [(a, b, depth) for a, b in combinations(boxes, 2) if (depth := overlap(a, b)) > TOUCH + SLACK]


def check_inside(box: Box) -> None:
    """Raises Mistake for a box that reaches out of the world."""
    far, axis = max((abs(corner[k]), k) for corner in corners(box) for k in range(3))
    if far > WORLD + SLACK:
        raise Mistake(f"{box.name!r} reaches {far:.3g} m along {'xyz'[axis]}, but the world ends at {WORLD} m",
                      fix="a smaller size, or a centre nearer to the middle")  # fmt: skip


def _dot(u, v) -> float:
    return sum(p * q for p, q in zip(u, v, strict=True))


def _cross(u, v) -> Vector:
    return u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]
