"""From a wish to a soup of primitives: variation, paint, arrangement, and the fit into the box."""

import colorsys
import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from dream3d.toybox import basics, creatures, household, outdoors, vehicles
from dream3d.toybox.language import COLOURS, OBJECTS, PATTERNS, Thing, Wish
from dream3d.toybox.shapes import Dice, Kit, Paint, Primitive, outline

HALF, RADIUS = (
    0.745,
    1.0,
)  # the box, and the ball that the lens of the house (cameras.FOVY, DISTANCE) always shows whole
MODULES = (basics, creatures, household, outdoors, vehicles)
SPLITS = ("prior", "judge", "test")
PLAIN = Paint((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


@dataclass(frozen=True)
class Soup:
    """N primitives in the world; `kind`, `pose` (local to world) and `shape` as in toybox.shapes, colours display sRGB.

    `part` indexes `parts`, `thing` indexes `wish.things` (which name what was built, also for an empty wish); `frame`
    leads from the world to the object's own coordinates, in which patterns live.
    """

    kind: Int[np.ndarray, " N"]
    pose: Float[np.ndarray, "N 4 4"]
    shape: Float[np.ndarray, "N 4"]
    colour: Float[np.ndarray, "N 3"]
    second: Float[np.ndarray, "N 3"]
    pattern: Int[np.ndarray, " N"]
    part: Int[np.ndarray, " N"]
    thing: Int[np.ndarray, " N"]
    frame: Float[np.ndarray, "N 3 4"]
    parts: tuple[str, ...]
    wish: Wish

    def __len__(self) -> int:
        return len(self.kind)


def instance_seed(split: Literal["prior", "judge", "test"], i: int) -> int:
    """Seed `i` of a stream; the streams never meet."""
    return SPLITS.index(split) + len(SPLITS) * i


def build(wish: Wish, seed: int) -> Soup:
    """One instance of a wish: the same bytes for the same arguments. An empty wish gives any object in any paint."""
    dice = Dice(seed)
    things = wish.things or (_any_thing(dice),)
    made = [_make(thing, Dice(dice.getrandbits(64))) for thing in things]
    moves = [(1.0, np.zeros(3))] if len(made) == 1 else _arrange(made, wish.relation, dice)
    from dream3d.toybox.motion import fitted

    return fitted(_soup(made, moves, Wish(things, wish.relation, wish.view, wish.motion), dice.between(0.93, 1.0)))


def mapped(soup: Soup, go: Float[np.ndarray, "4 4"]) -> Soup:
    """A soup under an affine map of the world; patterns stay where they are on it."""
    back = np.linalg.inv(go)
    return dataclasses.replace(soup, pose=go @ soup.pose, frame=soup.frame @ back)


def corners(soup: Soup) -> Float[np.ndarray, "P 3"]:
    """Points whose hull holds the soup."""
    rows = zip(soup.kind, soup.pose, soup.shape, strict=True)
    return np.concatenate([outline(Primitive(int(kind), pose, tuple(shape), PLAIN, "")) for kind, pose, shape in rows])


def _any_thing(dice: Dice) -> Thing:
    colour = dice.pick(tuple(COLOURS)) if dice.chance(0.8) else None
    return Thing(dice.pick(OBJECTS), colour, dice.pick(PATTERNS) if dice.chance(0.4) else None)


def builder(name: str):
    """The function that assembles an object, and the colours it has when none is named."""
    module = next(module for module in MODULES if name in module.NATURAL)
    return getattr(module, name), module.NATURAL[name]


def _make(thing: Thing, dice: Dice) -> Kit:
    """One object in its own coordinates: centred, half extent at most HALF."""
    assemble, natural = builder(thing.name)
    kit = Kit(dice, _paint(COLOURS[thing.colour] if thing.colour else dice.pick(natural), thing.pattern, dice))
    assemble(kit)
    low, high = _bounds(kit.primitives)
    scale, centre = HALF / (high - low).max() * 2, (low + high) / 2
    _move(kit, scale, -centre * scale)
    return kit


def _paint(colour, pattern: str | None, dice: Dice) -> Paint:
    value = dice.between(0.93, 1.05)
    colour = tuple(min(1.0, max(0.0, c * value + dice.between(-0.02, 0.02))) for c in colour)
    return Paint(colour, second_tone(colour), 0 if pattern is None else 1 + PATTERNS.index(pattern))


def second_tone(colour):
    """The other tone of a pattern: the same hue, darker where the colour is light and lighter where it is dark."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*colour)
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    lightness = lightness * 0.5 if luma > 0.45 else lightness + (1 - lightness) * (0.62 if luma > 0.15 else 0.45)
    return colorsys.hls_to_rgb(hue, lightness, saturation)


def _bounds(primitives: list[Primitive]) -> Float[np.ndarray, "2 3"]:
    points = np.concatenate([outline(p) for p in primitives])
    return np.stack([points.min(0), points.max(0)])


def _move(kit: Kit, scale: float, offset) -> None:
    matrix = np.diag([scale, scale, scale, 1.0])
    matrix[:3, 3] = offset
    for primitive in kit.primitives:
        primitive.pose = matrix @ primitive.pose
    if kit.rest is not None:
        kit.rest = tuple(scale * np.asarray(kit.rest) + offset)


def _arrange(made: list[Kit], relation: str | None, dice: Dice):
    """Scale and offset per object. On: the first, smaller, stands on the second. Next to: side by side on one floor."""
    (low_a, high_a), (low_b, high_b) = (_bounds(kit.primitives) for kit in made)
    if relation == "on":
        size = dice.between(0.58, 0.72)
        rest = made[1].rest or (0.0, 0.0, high_b[2])
        return [(size, np.asarray(rest) - [0, 0, size * low_a[2] + 0.015]), (1.0, np.zeros(3))]
    size, gap = dice.between(0.8, 1.0), dice.between(0.03, 0.12)
    step = (size * high_a[0] - low_b[0] + gap) / 2
    return [(size, np.array([-step, 0, low_b[2] - size * low_a[2]])), (1.0, np.array([step, 0, 0]))]


def _soup(made: list[Kit], moves, wish: Wish, fill: float) -> Soup:
    for kit, (scale, offset) in zip(made, moves, strict=True):
        _move(kit, scale, offset)
    everything = [p for kit in made for p in kit.primitives]
    points = np.concatenate([outline(p) for p in everything])
    centre = (points.min(0) + points.max(0)) / 2
    extent, reach = np.abs(points - centre).max(), np.linalg.norm(points - centre, axis=-1).max()
    fit = fill * min(HALF / extent, RADIUS / reach)
    frames = [_inwards(scale * fit, fit * (offset - centre)) for scale, offset in moves]
    for kit in made:
        _move(kit, fit, -centre * fit)
    return _packed(made, frames, wish)


def _inwards(scale: float, offset) -> Float[np.ndarray, "3 4"]:
    return np.concatenate([np.eye(3), -np.asarray(offset)[:, None]], 1) / scale


def _packed(made: list[Kit], frames, wish: Wish) -> Soup:
    rows = [(p, i) for i, kit in enumerate(made) for p in kit.primitives]
    names = [p.part if len(made) == 1 else f"{wish.things[i].name} {p.part}" for p, i in rows]
    parts = tuple(dict.fromkeys(names))
    return Soup(
        kind=np.array([p.kind for p, _ in rows]),
        pose=np.stack([p.pose for p, _ in rows]),
        shape=np.array([p.shape for p, _ in rows], dtype=float),
        colour=np.array([p.paint.colour for p, _ in rows], dtype=float),
        second=np.array([p.paint.second for p, _ in rows], dtype=float),
        pattern=np.array([p.paint.pattern for p, _ in rows]),
        part=np.array([parts.index(name) for name in names]),
        thing=np.array([i for _, i in rows]),
        frame=np.stack([frames[i] for _, i in rows]),
        parts=parts,
        wish=wish,
    )
