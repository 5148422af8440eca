"""Plain solids. Each builder fills a kit (see toybox.shapes.Kit); NATURAL holds the colours an object has when none is named."""

from dream3d.toybox.language import COLOURS
from dream3d.toybox.shapes import Kit

_ANY = tuple(COLOURS[name] for name in ("red", "orange", "yellow", "green", "blue", "purple", "pink"))
NATURAL = {"ball": _ANY, "cube": _ANY}


def ball(kit: Kit) -> None:
    kit.ellipsoid("ball", (0, 0, 0), (1, 1, kit.dice.between(0.94, 1.0)))


def cube(kit: Kit) -> None:
    kit.box("cube", (0, 0, 0), (1, kit.dice.between(0.92, 1.0), kit.dice.between(0.9, 1.0)))
