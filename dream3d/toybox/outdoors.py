"""Buildings and plants. Doors look to -y."""

from dream3d.toybox.language import COLOURS
from dream3d.toybox.shapes import GLASS, GREY, WHITE, WOOD, YELLOW, Kit

NATURAL = {"house": (COLOURS["white"], (0.93, 0.85, 0.66), (0.93, 0.70, 0.55), (0.75, 0.84, 0.90))}
_ROOFS = ((0.50, 0.20, 0.14), (0.36, 0.24, 0.18), (0.32, 0.33, 0.38))


def house(kit: Kit) -> None:
    dice = kit.dice
    width, depth, wall, roof = dice.between(0.8, 1.0), dice.between(0.75, 0.9), dice.between(0.5, 0.65), dice.between(0.28, 0.4)
    tile = dice.pick(_ROOFS)
    kit.box("wall", (0, 0, wall), (width, depth, wall))
    kit.box("roof", (0, 0, 2 * wall + roof), (width * 1.12, depth * 1.12, roof), tile, top=(0.96, 0.0))
    kit.box("chimney", (width * 0.55, depth * 0.35, 2 * wall + roof * 1.4), (0.1, 0.1, roof * 0.8), (0.55, 0.30, 0.24))
    kit.box("door", (0, -depth, wall * 0.62), (0.17, 0.03, wall * 0.62), WOOD)
    kit.ellipsoid("knob", (0.1, -depth - 0.04, wall * 0.6), (0.03, 0.03, 0.03), YELLOW)
    kit.box("step", (0, -depth - 0.08, 0.04), (0.24, 0.1, 0.04), GREY)
    for x in (-0.6, 0.6):
        _window(kit, (x * width, -depth, wall * 1.15), (0.16, 0.02, wall * 0.3))
    kit.pair(_window_of(kit), "window", (width, 0.0, wall * 1.1), (0.02, 0.24, wall * 0.3))


def _window(kit: Kit, centre, half) -> None:
    kit.box("frame", centre, tuple(h + 0.035 if h > 0.03 else h for h in half), WHITE)
    kit.box("window", centre, tuple(h if h > 0.03 else h + 0.012 for h in half), GLASS)


def _window_of(kit: Kit):
    return lambda part, centre, half: _window(kit, centre, half)
