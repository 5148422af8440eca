"""Buildings and plants. Doors look to -y."""

from math import cos, radians, sin

from dream3d.toybox.language import COLOURS
from dream3d.toybox.shapes import BLACK, GLASS, GREEN, GREY, RED, WHITE, WOOD, YELLOW, Kit

_BRICKS = (COLOURS["white"], (0.93, 0.85, 0.66), (0.93, 0.70, 0.55), (0.75, 0.84, 0.90))
_LEAVES = ((0.16, 0.50, 0.20), (0.25, 0.58, 0.18), (0.12, 0.42, 0.26))
_PETALS = tuple(COLOURS[name] for name in ("red", "pink", "yellow", "purple", "orange"))
NATURAL = {
    "house": _BRICKS,
    "castle": ((0.62, 0.62, 0.64), (0.72, 0.66, 0.56), (0.80, 0.78, 0.74)),
    "tree": _LEAVES,
    "cactus": _LEAVES,
    "mushroom": (COLOURS["red"], COLOURS["red"], COLOURS["brown"], COLOURS["orange"]),
    "flower": _PETALS,
    "apple": (COLOURS["red"], COLOURS["green"], COLOURS["yellow"]),
}
_ROOFS = ((0.50, 0.20, 0.14), (0.36, 0.24, 0.18), (0.32, 0.33, 0.38))


def house(kit: Kit) -> None:
    dice = kit.dice
    width, depth, wall, roof = (
        dice.between(0.8, 1.0),
        dice.between(0.75, 0.9),
        dice.between(0.6, 0.72),
        dice.between(0.2, 0.28),
    )
    kit.box("wall", (0, 0, wall), (width, depth, wall))
    kit.box("roof", (0, 0, 2 * wall + roof), (width * 1.09, depth * 1.12, roof), dice.pick(_ROOFS), top=(0.96, 0.0))
    kit.box("chimney", (width * 0.55, depth * 0.35, 2 * wall + roof * 1.4), (0.1, 0.1, roof * 0.8), (0.55, 0.30, 0.24))
    kit.box("door", (0, -depth, wall * 0.62), (0.17, 0.03, wall * 0.62), WOOD)
    kit.ellipsoid("knob", (0.1, -depth - 0.04, wall * 0.6), (0.03, 0.03, 0.03), YELLOW)
    kit.box("step", (0, -depth - 0.08, 0.04), (0.24, 0.1, 0.04), GREY)
    for x in (-0.6, 0.6):
        kit.box("frame", (x * width, -depth, wall * 1.15), (0.195, 0.02, wall * 0.3 + 0.035), WHITE)
        kit.box("window", (x * width, -depth, wall * 1.15), (0.16, 0.032, wall * 0.3), GLASS)
    kit.box("rear window", (0, depth, wall * 1.15), (0.24, 0.03, wall * 0.26), GLASS)
    kit.box("frame", (0, 0, wall * 1.1), (width + 0.02, 0.275, wall * 0.3 + 0.035), WHITE)
    kit.box("window", (0, 0, wall * 1.1), (width + 0.032, 0.24, wall * 0.3), GLASS)


def castle(kit: Kit) -> None:
    dice = kit.dice
    half, wall, tower, roof = (
        dice.between(0.6, 0.72),
        dice.between(0.3, 0.4),
        dice.between(0.5, 0.62),
        dice.between(0.2, 0.28),
    )
    tile = dice.pick(((0.20, 0.30, 0.60), (0.62, 0.18, 0.16), (0.35, 0.22, 0.45)))
    kit.box("wall", (0, 0, wall), (half, half, wall))
    for x in (-1, 1):
        for y in (-1, 1):
            kit.frustum("tower", (x * half, y * half, tower), 0.23, tower)
            kit.frustum("roof", (x * half, y * half, 2 * tower + roof), 0.3, roof, tile, top=0)
    kit.box("keep", (0, 0.12, tower * 1.15), (0.34, 0.34, tower * 1.15))
    for x in (-0.27, 0.27):
        for y in (-0.27, 0.27):
            kit.box("merlon", (x, 0.12 + y, 2.3 * tower + 0.06), (0.08, 0.08, 0.06))
    kit.box("gate", (0, -half, wall * 0.6), (0.19, 0.03, wall * 0.6), WOOD)
    kit.frustum("arch", (0, -half, wall * 1.2), 0.19, 0.03, WOOD, turn=(90, 0, 0))
    kit.box("window", (0, -0.22, tower * 1.75), (0.08, 0.02, 0.13), BLACK)
    kit.frustum("pole", (0, 0.12, 2.3 * tower + 0.22), 0.02, 0.22, GREY)
    kit.box("flag", (0.13, 0.12, 2.3 * tower + 0.36), (0.12, 0.015, 0.07), RED)


def tree(kit: Kit) -> None:
    dice = kit.dice
    trunk, wide = dice.between(0.25, 0.35), dice.between(0.55, 0.68)
    kit.frustum("trunk", (0, 0, trunk), 0.14, trunk + 0.1, WOOD, top=0.75)
    if dice.chance(0.5):
        for i, share in enumerate((1.0, 0.8, 0.56)):
            kit.frustum("leaves", (0, 0, 2 * trunk + 0.22 + 0.36 * i), wide * share, 0.36, top=0.12)
        return
    top = 2 * trunk + wide * 0.8
    kit.ellipsoid("leaves", (0, 0, top + 0.1), (wide * 0.85, wide * 0.85, wide * 0.85))
    for i in range(5):
        angle = radians(72 * i + dice.between(-10.0, 10.0))
        size = wide * dice.between(0.42, 0.52)
        kit.ellipsoid("leaves", (wide * 0.62 * cos(angle), wide * 0.62 * sin(angle), top - 0.12), (size, size, size))


def cactus(kit: Kit) -> None:
    """A column with two arms in a pot."""
    dice = kit.dice
    tall, radius = dice.between(0.62, 0.75), dice.between(0.22, 0.27)
    kit.frustum("pot", (0, 0, 0.2), 0.32, 0.2, (0.75, 0.40, 0.25), top=1.25)
    kit.frustum("rim", (0, 0, 0.4), 0.44, 0.06, (0.70, 0.36, 0.22))
    kit.frustum("stem", (0, 0, 0.4 + tall), radius, tall)
    kit.ellipsoid("stem", (0, 0, 0.4 + 2 * tall), (radius, radius, radius))
    for side, low in ((-1, dice.between(0.5, 0.7)), (1, dice.between(0.75, 0.95))):
        elbow, up = (side * 0.5, 0, 0.4 + tall * low), (side * 0.5, 0, 0.4 + tall * low + dice.between(0.35, 0.5))
        kit.rod("arm", (0, 0, elbow[2]), elbow, 0.13)
        kit.rod("arm", elbow, up, 0.13)
        for end in (elbow, up):
            kit.ellipsoid("arm", end, (0.13, 0.13, 0.13))
    kit.ellipsoid("blossom", (0.05, -0.08, 0.42 + 2 * tall + radius), (0.13, 0.13, 0.08), COLOURS["pink"])


def mushroom(kit: Kit) -> None:
    dice = kit.dice
    cap, dome, stem = dice.between(0.85, 1.0), dice.between(0.62, 0.8), dice.between(0.38, 0.5)
    kit.frustum("stem", (0, 0, stem), dice.between(0.3, 0.38), stem + 0.02, (0.96, 0.93, 0.84), top=0.8)
    kit.ellipsoid("cap", (0, 0, 2 * stem), (cap, cap, dome), low=-0.08)
    kit.frustum("gills", (0, 0, 2 * stem - 0.08 * dome), cap * 0.9, 0.03, (0.88, 0.82, 0.70))
    for rise, count in ((25, 6), (58, 4)):
        for i in range(count):
            a, e, r = radians(360 / count * i + 2 * rise), radians(rise), dice.between(0.1, 0.15)
            kit.ellipsoid(
                "spot", (cap * cos(e) * cos(a), cap * cos(e) * sin(a), 2 * stem + dome * sin(e)), (r, r, r * 0.8), WHITE
            )


def flower(kit: Kit) -> None:
    """Its face looks to the front."""
    dice = kit.dice
    petals, size, stem = dice.pick((6, 7, 8)), dice.between(0.28, 0.33), dice.between(0.55, 0.68)
    face = 2 * stem + 0.25
    kit.frustum("stem", (0, 0.08, stem + 0.05), 0.06, stem + 0.1, GREEN)
    for side, low in ((-1, 0.5), (1, 0.75)):
        kit.ellipsoid("leaf", (side * 0.28, 0.08, stem * low), (0.3, 0.14, 0.07), GREEN, turn=(0, -side * 30, 0))
    for i in range(petals):
        a = radians(360 * i / petals)
        kit.ellipsoid(
            "petal", (0.42 * cos(a), 0, face + 0.42 * sin(a)), (0.34, 0.11, size * 0.78), turn=(0, -360 * i / petals, 0)
        )
    kit.ellipsoid("centre", (0, -0.07, face), (0.24, 0.13, 0.24), (0.45, 0.28, 0.10) if dice.chance(0.4) else YELLOW)
    kit.ellipsoid("sepal", (0, 0.1, face), (0.2, 0.1, 0.2), GREEN)


def apple(kit: Kit) -> None:
    dice = kit.dice
    tall, waist = dice.between(0.86, 0.96), dice.between(0.72, 0.8)
    kit.ellipsoid("flesh", (0, 0, 0.12), (1, 1, tall * 0.86))
    kit.ellipsoid("flesh", (0, 0, -0.2), (waist * 1.1, waist * 1.1, tall * 0.72))
    kit.ellipsoid("hollow", (0, 0, 0.12 + tall * 0.82), (0.22, 0.22, 0.07), (0.35, 0.25, 0.10))
    kit.rod("stem", (0, 0, 0.8), (0.1, 0, 1.25), 0.05, WOOD, top=1.2)
    kit.ellipsoid("leaf", (0.38, 0, 1.1), (0.3, 0.15, 0.05), GREEN, turn=(0, -20, 0))
