"""Things of a home. Seats are open to -y."""

from dream3d.toybox.language import COLOURS
from dream3d.toybox.shapes import BLACK, DARK, GREY, LIGHT, STEEL, WHITE, YELLOW, Kit

_WOODS = ((0.55, 0.35, 0.18), (0.68, 0.46, 0.25), (0.42, 0.26, 0.15), COLOURS["white"])
_CLOTH = tuple(COLOURS[name] for name in ("red", "blue", "green", "orange", "purple"))
NATURAL = {
    "table": _WOODS,
    "chair": _WOODS,
    "sofa": (*_CLOTH, (0.60, 0.55, 0.48)),
    "lamp": ((0.98, 0.90, 0.70), COLOURS["white"], COLOURS["red"], COLOURS["green"]),
    "mug": (*_CLOTH, COLOURS["white"]),
    "teapot": (*_CLOTH, COLOURS["white"]),
}


def _legs(kit: Kit, x: float, y: float, height: float, radius: float, *, round_: bool) -> None:
    for side in (-x, x):
        for end in (-y, y):
            if round_:
                kit.frustum("leg", (side, end, height / 2), radius * 0.8, height / 2, top=1.25)
            else:
                kit.box("leg", (side, end, height / 2), (radius, radius, height / 2))


def table(kit: Kit) -> None:
    dice = kit.dice
    width, depth, tall, leg = (
        dice.between(0.9, 1.0),
        dice.between(0.6, 0.85),
        dice.between(0.9, 1.1),
        dice.between(0.07, 0.1),
    )
    kit.box("top", (0, 0, tall + 0.06), (width, depth, 0.06))
    kit.box("apron", (0, 0, tall - 0.08), (width * 0.84, depth * 0.8, 0.08))
    _legs(kit, width * 0.84, depth * 0.8, tall, leg, round_=dice.chance(0.5))


def chair(kit: Kit) -> None:
    dice = kit.dice
    width, depth, tall, back = (
        dice.between(0.46, 0.54),
        dice.between(0.45, 0.52),
        dice.between(0.75, 0.9),
        dice.between(0.42, 0.52),
    )
    kit.box("seat", (0, 0, tall + 0.05), (width, depth, 0.06))
    _legs(kit, width * 0.84, depth * 0.84, tall, 0.06, round_=dice.chance(0.3))
    rear = depth * 0.88
    if dice.chance(0.5):
        kit.box("back", (0, rear, tall + 0.1 + back), (width, 0.05, back))
    else:
        kit.pair(kit.box, "post", (width * 0.88, rear, tall + 0.1 + back), (0.055, 0.055, back))
        for share in (0.75, 1.3, 1.85):
            kit.box("slat", (0, rear, tall + 0.1 + back * share), (width * 0.9, 0.035, back * 0.18))
    kit.rest = (0, -0.05, tall + 0.11)


def sofa(kit: Kit) -> None:
    dice = kit.dice
    width, depth, seat, back = (
        dice.between(0.95, 1.05),
        dice.between(0.42, 0.5),
        dice.between(0.3, 0.36),
        dice.between(0.62, 0.74),
    )
    kit.box("base", (0, 0, seat / 2 + 0.1), (width, depth, seat / 2))
    kit.box("back", (0, depth * 0.75, 0.1 + back / 2 + 0.05), (width, depth * 0.28, back / 2 + 0.05), top=(1, 0.8))
    kit.pair(kit.box, "arm", (width * 0.9, 0, 0.1 + seat * 0.85), (width * 0.13, depth, seat * 0.85))
    kit.pair(kit.frustum, "arm", (width * 0.9, 0, 0.1 + seat * 1.7), width * 0.14, depth, turn=(90, 0, 0))
    for x in (-0.4, 0.4):
        kit.box(
            "cushion", (x * width, -depth * 0.22, 0.16 + seat), (width * 0.375, depth * 0.74, 0.08), top=(0.95, 0.95)
        )
    pillow = dice.pick(((0.97, 0.85, 0.40), WHITE, (0.30, 0.60, 0.65)))
    kit.pair(
        kit.ellipsoid, "pillow", (width * 0.55, depth * 0.3, 0.4 + seat), (0.2, 0.1, 0.2), pillow, turn=(-15, 0, 0)
    )
    kit.pair(kit.frustum, "foot", (width * 0.85, -depth * 0.8, 0.05), 0.05, 0.06, DARK)
    kit.pair(kit.frustum, "foot", (width * 0.85, depth * 0.8, 0.05), 0.05, 0.06, DARK)
    kit.rest = (0, -depth * 0.2, 0.24 + seat)


def lamp(kit: Kit) -> None:
    """A table lamp with a switch on the front of its foot."""
    dice = kit.dice
    stem, shade, wide = dice.between(0.42, 0.55), dice.between(0.36, 0.44), dice.between(0.58, 0.7)
    metal = dice.pick((STEEL, (0.72, 0.55, 0.25), DARK))
    kit.frustum("foot", (0, 0, 0.06), 0.42, 0.06, metal, top=0.85)
    kit.ellipsoid("foot", (0, 0, 0.14), (0.16, 0.16, 0.1), metal)
    kit.frustum("stem", (0, 0, stem + 0.1), 0.05, stem, metal)
    kit.frustum("shade", (0, 0, 2 * stem + shade), wide, shade, top=dice.between(0.5, 0.65))
    kit.ellipsoid("bulb", (0, 0, 2 * stem + 0.02), (0.17, 0.17, 0.14), YELLOW)
    kit.ellipsoid("switch", (0, -0.3, 0.13), (0.07, 0.07, 0.04), (0.8, 0.15, 0.12))


def mug(kit: Kit) -> None:
    """The handle is on the right, a white badge on the front."""
    dice = kit.dice
    radius, tall, flare = dice.between(0.55, 0.65), dice.between(0.62, 0.72), dice.between(1.0, 1.1)
    kit.frustum("body", (0, 0, 0), radius, tall, top=flare)
    kit.frustum("coffee", (0, 0, tall), radius * flare * 0.87, 0.008, (0.25, 0.14, 0.08))
    kit.torus("handle", (radius * 1.02, 0, 0), tall * 0.5, tall * 0.15, turn=(90, 0, 0))
    kit.ellipsoid(
        "badge", (0, -radius * (1 + flare) / 2, 0.02), (0.2, 0.04, 0.2), WHITE if kit.main.colour[1] < 0.85 else GREY
    )


def teapot(kit: Kit) -> None:
    """The spout points to the front."""
    dice = kit.dice
    wide, tall = dice.between(0.62, 0.7), dice.between(0.5, 0.6)
    kit.ellipsoid("body", (0, 0, 0), (wide, wide, tall), low=-0.85)
    kit.frustum("foot", (0, 0, -tall * 0.85), wide * 0.55, 0.05)
    kit.rod("spout", (0, -wide * 0.7, -0.12), (0, -wide - 0.38, tall * 0.62), 0.17, top=0.5)
    kit.torus("handle", (0, wide * 1.02, 0.05), 0.32, 0.075, turn=(0, 90, 0))
    kit.ellipsoid(
        "lid", (0, 0, tall * 0.83), (wide * 0.5, wide * 0.5, 0.14), LIGHT if kit.main.colour[1] < 0.75 else STEEL
    )
    kit.ellipsoid("knob", (0, 0, tall * 0.83 + 0.19), (0.1, 0.1, 0.1), BLACK)
    kit.rest = None
