"""Things that move. The front looks to -y."""

from dream3d.toybox.language import COLOURS
from dream3d.toybox.shapes import BLACK, DARK, GLASS, GREY, LIGHT, RED, WHITE, YELLOW, Kit

NATURAL = {"car": tuple(COLOURS[name] for name in ("red", "blue", "white", "yellow", "green", "orange"))}


def _wheel(kit: Kit, x: float, y: float, radius: float, half: float) -> None:
    kit.frustum("wheel", (x, y, radius), radius, half, DARK, turn=(0, 90, 0))
    kit.frustum("hubcap", (x, y, radius), radius * 0.5, half + 0.012, LIGHT, turn=(0, 90, 0))


def car(kit: Kit) -> None:
    dice = kit.dice
    length, width, sill = dice.between(0.92, 1.08), dice.between(0.44, 0.52), dice.between(0.56, 0.64)
    wheel, cabin, glass = dice.between(0.19, 0.23), dice.between(0.50, 0.62), dice.between(0.17, 0.21)
    middle, back = (sill + 0.2) / 2, dice.between(0.08, 0.2)
    kit.box("body", (0, 0, middle), (width, length, sill - middle), top=(0.95, 0.97))
    kit.box("window", (0, back, sill + glass), (width * 0.88, cabin, glass), GLASS, top=(0.82, 0.66), shift=(0, 0.06))
    kit.box("roof", (0, back + 0.06 * cabin, sill + 2 * glass + 0.02), (width * 0.75, cabin * 0.69, 0.035), top=(0.9, 0.9))
    kit.box("pillar", (0, back + 0.04 * cabin, sill + glass), (width * 0.9, 0.04, glass), top=(0.82, 1))
    for x in (-1, 1):
        for y in (-0.6, 0.62):
            _wheel(kit, x * (width - 0.05), y * length, wheel, 0.085)
    front, lamp = length * 1.0, sill - 0.13
    kit.pair(kit.ellipsoid, "headlight", (width * 0.68, -front, lamp), (0.11, 0.05, 0.08), YELLOW)
    kit.pair(kit.box, "rear light", (width * 0.72, front - 0.02, lamp + 0.01), (0.1, 0.05, 0.06), RED)
    kit.box("grille", (0, -front, lamp - 0.02), (width * 0.34, 0.03, 0.06), BLACK)
    kit.box("bumper", (0, -front, 0.25), (width * 0.95, 0.06, 0.055), GREY)
    kit.box("bumper", (0, front, 0.25), (width * 0.95, 0.06, 0.055), GREY)
    kit.box("plate", (0, front + 0.005, lamp - 0.02), (width * 0.28, 0.04, 0.05), WHITE)
