"""Plain solids.

Each builder fills a kit (see toybox.shapes.Kit); NATURAL holds the colours an object has when none is named.
"""

from math import cos, pi, sin

from dream3d.toybox.language import COLOURS
from dream3d.toybox.shapes import Kit

_ANY = tuple(COLOURS[name] for name in ("red", "orange", "yellow", "green", "blue", "purple", "pink"))
_ICING = (COLOURS["pink"], COLOURS["white"], (0.36, 0.20, 0.12), COLOURS["pink"])
NATURAL = {"ball": _ANY, "cube": _ANY, "cone": _ANY, "cylinder": _ANY, "donut": _ICING}
_DOUGH = (0.85, 0.62, 0.36)


def ball(kit: Kit) -> None:
    kit.ellipsoid("ball", (0, 0, 0), (1, 1, kit.dice.between(0.94, 1.0)))


def cube(kit: Kit) -> None:
    kit.box("cube", (0, 0, 0), (1, kit.dice.between(0.92, 1.0), kit.dice.between(0.9, 1.0)))


def cone(kit: Kit) -> None:
    kit.frustum("cone", (0, 0, 0), kit.dice.between(0.75, 1.0), 1, top=0)


def cylinder(kit: Kit) -> None:
    kit.frustum("cylinder", (0, 0, 0), kit.dice.between(0.55, 0.8), 1)


def donut(kit: Kit) -> None:
    """Icing over a ring of dough, with sprinkles on top."""
    minor, sprinkles = kit.dice.between(0.36, 0.44), 14
    kit.torus("dough", (0, 0, -0.1), 1, minor, _DOUGH, squash=(1, 1, 0.85))
    kit.torus("icing", (0, 0, 0.03), 1, minor * 1.06)
    for i in range(sprinkles):
        kit.rod("sprinkle", *_sprinkle(kit, i / sprinkles, minor * 1.06), 0.035, kit.dice.pick(_ANY))


def _sprinkle(kit: Kit, turn: float, minor: float):
    """Two points on the upper icing."""
    angle, tilt, spin = (
        2 * pi * (turn + kit.dice.between(-0.02, 0.02)),
        kit.dice.between(0.8, 2.3),
        kit.dice.between(0.0, pi),
    )
    ring, z = 1 + minor * cos(tilt), 0.03 + minor * sin(tilt)
    x, y, dx, dy = ring * cos(angle), ring * sin(angle), 0.1 * cos(spin), 0.1 * sin(spin)
    return (x - dx, y - dy, z), (x + dx, y + dy, z)
