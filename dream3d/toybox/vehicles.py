"""Things that move. The front looks to -y."""

from math import cos, radians, sin

from dream3d.toybox.language import COLOURS
from dream3d.toybox.shapes import BLACK, DARK, GLASS, GREY, LIGHT, ORANGE, RED, STEEL, WHITE, WOOD, YELLOW, Kit


def _named(*names: str):
    return tuple(COLOURS[name] for name in names)


NATURAL = {
    "car": _named("red", "blue", "white", "yellow", "green", "orange"),
    "bus": _named("red", "yellow", "blue", "green", "orange"),
    "train": _named("red", "green", "blue", "black"),
    "rocket": _named("white", "red", "white", "blue"),
    "boat": _named("red", "blue", "white", "brown", "green"),
    "plane": _named("white", "blue", "white", "red"),
}


def _wheel(kit: Kit, x: float, y: float, radius: float, half: float, tyre=DARK) -> None:
    kit.frustum("wheel", (x, y, radius), radius, half, tyre, turn=(0, 90, 0))
    kit.frustum("hubcap", (x, y, radius), radius * 0.5, half + 0.012, LIGHT, turn=(0, 90, 0))


def car(kit: Kit) -> None:
    dice = kit.dice
    length, width, sill = dice.between(0.92, 1.08), dice.between(0.5, 0.58), dice.between(0.62, 0.7)
    wheel, cabin, glass = dice.between(0.21, 0.25), dice.between(0.46, 0.56), dice.between(0.145, 0.175)
    middle, back = (sill + 0.2) / 2, dice.between(0.08, 0.2)
    kit.box("body", (0, 0, middle), (width, length, sill - middle), top=(0.95, 0.97))
    kit.box("window", (0, back, sill + glass), (width * 0.88, cabin, glass), GLASS, top=(0.82, 0.66), shift=(0, 0.06))
    kit.box(
        "roof", (0, back + 0.06 * cabin, sill + 2 * glass + 0.02), (width * 0.75, cabin * 0.69, 0.035), top=(0.9, 0.9)
    )
    kit.box("pillar", (0, back + 0.04 * cabin, sill + glass), (width * 0.9, 0.04, glass), top=(0.82, 1))
    for x in (-1, 1):
        for y in (-0.6, 0.62):
            _wheel(kit, x * (width - 0.05), y * length, wheel, 0.085)
    lamp = sill - 0.13
    kit.pair(kit.ellipsoid, "headlight", (width * 0.7, -length, lamp), (0.12, 0.05, 0.09), YELLOW)
    kit.pair(kit.box, "rear light", (width * 0.74, length - 0.01, lamp + 0.01), (0.1, 0.06, 0.06), (1.0, 0.16, 0.12))
    kit.pair(kit.box, "trim", (width * 0.74, length - 0.02, lamp + 0.01), (0.13, 0.055, 0.09), DARK)
    kit.box("grille", (0, -length, lamp - 0.02), (width * 0.36, 0.03, 0.07), BLACK)
    kit.box("bumper", (0, -length, 0.25), (width * 0.95, 0.06, 0.055), GREY)
    kit.box("bumper", (0, length, 0.25), (width * 0.95, 0.06, 0.055), GREY)
    kit.box("plate", (0, length + 0.005, lamp - 0.02), (width * 0.3, 0.04, 0.06), WHITE)


def bus(kit: Kit) -> None:
    dice = kit.dice
    length, width, height = dice.between(1.0, 1.15), dice.between(0.44, 0.5), dice.between(0.42, 0.5)
    z, panes = 0.2 + height, dice.pick((4, 5))
    kit.box("body", (0, 0, z), (width, length, height), top=(0.96, 0.98))
    for y in (-0.5, 0.5):
        kit.box("hatch", (0, y * length, z + height + 0.02), (width * 0.4, length * 0.16, 0.03), WHITE)
    pane = 0.8 * length / panes
    for i in range(panes):
        kit.box(
            "window",
            (0, length * 0.95 - pane * 1.18 * (2 * i + 1), z + height * 0.36),
            (width * 0.99, pane, height * 0.36),
            GLASS,
        )
    kit.box("windscreen", (0, -length, z + height * 0.3), (width * 0.85, 0.03, height * 0.45), GLASS, top=(0.95, 1))
    kit.box("sign", (0, -length, z + height * 0.87), (width * 0.6, 0.03, height * 0.1), BLACK)
    kit.box("rear window", (0, length, z + height * 0.42), (width * 0.6, 0.02, height * 0.3), GLASS)
    kit.pair(kit.ellipsoid, "headlight", (width * 0.72, -length, 0.36), (0.09, 0.05, 0.08), YELLOW)
    kit.pair(kit.box, "rear light", (width * 0.75, length, 0.4), (0.08, 0.03, 0.1), RED)
    kit.box("bumper", (0, -length, 0.2), (width * 0.96, 0.05, 0.05), DARK)
    kit.box("bumper", (0, length, 0.2), (width * 0.96, 0.05, 0.05), DARK)
    for x in (-1, 1):
        for y in (-0.6, 0.6):
            _wheel(kit, x * (width - 0.06), y * length, 0.2, 0.09)


def train(kit: Kit) -> None:
    """A steam engine: boiler to the front, cab behind."""
    dice = kit.dice
    boiler, length, cab = dice.between(0.3, 0.36), dice.between(0.62, 0.72), dice.between(0.34, 0.4)
    axis = 0.42 + boiler
    kit.box("frame", (0, 0.05, 0.35), (0.36, 1.0, 0.07), DARK)
    kit.frustum("boiler", (0, 0.25 - length, axis), boiler, length, turn=(90, 0, 0))
    kit.frustum("smokebox", (0, 0.25 - 2 * length, axis), boiler * 0.94, 0.06, DARK, turn=(90, 0, 0))
    kit.ellipsoid("headlight", (0, 0.2 - 2 * length, axis), (0.12, 0.09, 0.12), YELLOW)
    kit.box("cab", (0, 0.65, 0.42 + cab), (0.42, 0.38, cab))
    kit.box("roof", (0, 0.65, 0.45 + 2 * cab), (0.46, 0.44, 0.035), GREY)
    kit.box("window", (0, 0.62, 0.45 + 1.4 * cab), (0.43, 0.2, cab * 0.34), GLASS)
    kit.box("rear window", (0, 1.04, 0.45 + 1.4 * cab), (0.22, 0.02, cab * 0.34), GLASS)
    kit.frustum("chimney", (0, -0.8, axis + boiler + 0.15), 0.1, 0.2, DARK, top=1.6)
    kit.ellipsoid("dome", (0, -0.25, axis + boiler), (0.15, 0.15, 0.16), YELLOW)
    kit.box("plough", (0, -1.02, 0.2), (0.36, 0.2, 0.16), top=(0.9, 0.3), shift=(0, 0.6))
    for y, radius in ((-0.7, 0.2), (-0.22, 0.2), (0.62, 0.3)):
        kit.pair(kit.frustum, "wheel", (0.38, y, radius), radius, 0.06, DARK, turn=(0, 90, 0))
        kit.pair(kit.frustum, "hub", (0.42, y, radius), radius * 0.4, 0.05, LIGHT, turn=(0, 90, 0))


def rocket(kit: Kit) -> None:
    dice = kit.dice
    radius, body, nose = dice.between(0.32, 0.4), dice.between(0.5, 0.62), dice.between(0.26, 0.36)
    trim = dice.pick(
        (RED, ORANGE, (0.15, 0.35, 0.8)) if min(kit.main.colour) > 0.5 else (WHITE, LIGHT, (0.98, 0.85, 0.3))
    )
    kit.frustum("body", (0, 0, 0), radius, body, top=0.86)
    kit.frustum("nose", (0, 0, body + nose), radius * 0.86, nose, trim, top=0)
    kit.frustum("nozzle", (0, 0, -body - 0.08), radius * 0.8, 0.1, DARK, top=0.7)
    kit.frustum("flame", (0, 0, -body - 0.38), radius * 0.6, 0.26, ORANGE, turn=(180, 0, 0), top=0)
    for angle in (45.0, 135.0, 225.0, 315.0):
        kit.box(
            "fin",
            _around(angle, radius * 1.15, -body * 0.75),
            (0.26, 0.035, 0.34),
            turn=(0, 0, angle),
            top=(0.35, 1),
            shift=(-0.6, 0),
        )
    for z in (0.42, -0.12):
        kit.frustum("porthole", (0, -radius * (0.93 - 0.05 * z), body * z), 0.14, 0.05, GREY, turn=(90, 0, 0))
        kit.ellipsoid("glass", (0, -radius * (0.93 - 0.05 * z) - 0.04, body * z), (0.1, 0.04, 0.1), GLASS)


def _around(angle: float, radius: float, z: float):
    return radius * cos(radians(angle)), radius * sin(radians(angle)), z


def boat(kit: Kit) -> None:
    """A sailing boat, its bow to the front."""
    dice = kit.dice
    beam, depth, mast = dice.between(0.46, 0.56), dice.between(0.48, 0.58), dice.between(0.56, 0.68)
    sail = dice.pick((WHITE, WHITE, (0.98, 0.92, 0.75)))
    kit.ellipsoid("hull", (0, 0, 0), (beam, 1.0, depth), high=0.0)
    kit.box("rail", (0, 0.12, 0.02), (beam * 0.72, 0.62, 0.04), WOOD)
    kit.box("cabin", (0, 0.45, 0.14), (beam * 0.5, 0.24, 0.12), WHITE, top=(0.9, 0.85))
    kit.box("window", (0, 0.45, 0.16), (beam * 0.5, 0.14, 0.04), (0.25, 0.45, 0.65))
    kit.frustum("mast", (0, -0.1, mast), 0.035, mast, WOOD)
    kit.box("sail", (0, 0.36, 0.36 + mast * 0.72), (0.025, 0.42, mast * 0.68), sail, top=(1, 0.04), shift=(0, -0.94))
    kit.box("jib", (0, -0.5, 0.22 + mast * 0.6), (0.025, 0.34, mast * 0.58), top=(1, 0.04), shift=(0, 0.94))
    kit.box("flag", (0, -0.0, 2 * mast - 0.05), (0.02, 0.1, 0.05), RED)
    kit.rest = (0, 0.45, 0.26)


def plane(kit: Kit) -> None:
    dice = kit.dice
    radius, span, sweep = dice.between(0.17, 0.21), dice.between(0.92, 1.05), dice.between(0.15, 0.35)
    kit.ellipsoid("fuselage", (0, 0, 0), (radius, 1.0, radius * 1.05))
    for side in (-1, 1):
        kit.box(
            "wing",
            (side * span / 2, -0.12, -0.02),
            (0.035, 0.24, span / 2),
            turn=(0, side * 90, 0),
            top=(0.7, 0.6),
            shift=(0, 2 * sweep),
        )
    kit.ellipsoid("cockpit", (0, -0.62, radius * 0.62), (radius * 0.6, 0.22, 0.1), (0.25, 0.45, 0.65))
    kit.box("fin", (0, 0.82, 0.3), (0.03, 0.2, 0.24), top=(1, 0.5), shift=(0, 0.6))
    kit.box("tailplane", (0, 0.86, 0.06), (0.42, 0.13, 0.03))
    for x in (-0.46, 0.46):
        kit.frustum("engine", (x * span, -0.22, -0.13), 0.1, 0.2, STEEL, turn=(90, 0, 0))
        kit.ellipsoid("intake", (x * span, -0.42, -0.13), (0.085, 0.03, 0.085), DARK)
    for y in (-0.3, -0.1, 0.1, 0.3, 0.5):
        kit.box("window", (0, y, radius * 0.4), (radius * 0.96, 0.05, 0.045), GLASS)
