"""Those with a face. Faces look to -y."""

from dream3d.toybox.language import COLOURS
from dream3d.toybox.shapes import BLACK, DARK, LIGHT, ORANGE, PINK, RED, SKIN, WHITE, WOOD, YELLOW, Kit

_FUR = ((0.85, 0.52, 0.20), (0.45, 0.45, 0.47), COLOURS["black"], COLOURS["white"], (0.55, 0.38, 0.24))
NATURAL = {
    "duck": (COLOURS["yellow"], COLOURS["yellow"], COLOURS["white"], COLOURS["brown"]),
    "robot": ((0.62, 0.66, 0.72), COLOURS["blue"], COLOURS["orange"], COLOURS["white"]),
    "snowman": (COLOURS["white"],),
    "cat": _FUR,
    "rabbit": (COLOURS["white"], (0.70, 0.55, 0.42), (0.60, 0.60, 0.62)),
    "penguin": (COLOURS["black"], (0.15, 0.20, 0.32)),
    "fish": tuple(COLOURS[name] for name in ("orange", "blue", "red", "yellow")),
    "bear": (COLOURS["brown"], (0.62, 0.42, 0.24), (0.80, 0.62, 0.42)),
}


def _eyes(kit: Kit, x: float, y: float, z: float, radius: float, *, white: bool = True) -> None:
    if white:
        kit.pair(kit.ellipsoid, "eye", (x, y, z), (radius, radius * 0.6, radius), WHITE)
    pupil = radius * (0.55 if white else 1.0)
    kit.pair(kit.ellipsoid, "pupil", (x, y - (radius * 0.45 if white else 0.0), z), (pupil, pupil * 0.6, pupil), BLACK)


def duck(kit: Kit) -> None:
    dice = kit.dice
    head, long, neck = dice.between(0.36, 0.43), dice.between(0.85, 0.98), dice.between(0.72, 0.82)
    kit.ellipsoid("body", (0, 0.1, 0), (0.62, long, 0.5))
    kit.ellipsoid("tail", (0, 0.1 + long * 0.86, 0.3), (0.26, 0.36, 0.13), turn=(35, 0, 0))
    kit.ellipsoid("head", (0, -0.52, neck), (head, head, head))
    kit.frustum("neck", (0, -0.5, neck * 0.5), 0.38, 0.3, top=0.7)
    kit.ellipsoid("beak", (0, -0.55 - head, neck - 0.08), (0.2, 0.28, 0.07), ORANGE)
    _eyes(kit, head * 0.5, -0.52 - head * 0.76, neck + 0.14, 0.085)
    kit.pair(kit.ellipsoid, "wing", (0.56, 0.22, 0.1), (0.14, 0.5, 0.27), turn=(12, 0, 0))
    kit.pair(kit.box, "foot", (0.25, -0.05, -0.56), (0.17, 0.26, 0.045), ORANGE, top=(0.8, 0.8))
    kit.pair(kit.frustum, "leg", (0.25, 0.05, -0.48), 0.06, 0.12, ORANGE)


def robot(kit: Kit) -> None:
    dice = kit.dice
    chest, tall, head = dice.between(0.42, 0.52), dice.between(0.42, 0.5), dice.between(0.3, 0.36)
    top = 2 * tall + 0.55
    face = top + 0.1 + head * 0.85
    kit.box("body", (0, 0, 0.55 + tall), (chest, 0.3, tall), top=(0.95, 0.95))
    kit.frustum("neck", (0, 0, top + 0.05), 0.12, 0.08, DARK)
    kit.box("head", (0, 0, face), (head, 0.28, head * 0.8))
    kit.box("screen", (0, -0.28, face), (head * 0.82, 0.02, head * 0.58), DARK)
    kit.pair(kit.ellipsoid, "eye", (head * 0.4, -0.3, face + 0.05), (0.075, 0.04, 0.075), YELLOW)
    kit.box("mouth", (0, -0.3, face - 0.11), (head * 0.42, 0.015, 0.025), WHITE)
    kit.frustum("antenna", (0, 0, face + head * 0.8 + 0.1), 0.03, 0.1, DARK)
    kit.ellipsoid("bulb", (0, 0, face + head * 0.8 + 0.24), (0.08, 0.08, 0.08), RED)
    kit.pair(kit.frustum, "ear", (head, 0, face), 0.09, 0.06, LIGHT, turn=(0, 90, 0))
    kit.box("panel", (0, -0.3, 0.65 + tall), (chest * 0.6, 0.015, tall * 0.42), LIGHT)
    for x, colour in ((-0.5, RED), (0.0, YELLOW), (0.5, (0.2, 0.7, 0.3))):
        kit.ellipsoid("button", (x * chest * 0.7, -0.32, 0.7 + tall), (0.055, 0.03, 0.055), colour)
    _robot_limbs(kit, chest, top)


def _robot_limbs(kit: Kit, chest: float, top: float) -> None:
    kit.pair(kit.ellipsoid, "shoulder", (chest + 0.08, 0, top - 0.15), (0.15, 0.15, 0.15), DARK)
    kit.pair(kit.frustum, "arm", (chest + 0.1, 0, top - 0.45), 0.1, 0.28, LIGHT)
    kit.pair(kit.ellipsoid, "hand", (chest + 0.1, 0, top - 0.78), (0.14, 0.14, 0.14))
    kit.pair(kit.frustum, "leg", (chest * 0.5, 0, 0.38), 0.12, 0.22, LIGHT)
    kit.pair(kit.box, "foot", (chest * 0.5, -0.08, 0.1), (0.18, 0.26, 0.1), top=(0.85, 0.75))


def snowman(kit: Kit) -> None:
    dice = kit.dice
    low, middle, head = dice.between(0.62, 0.7), dice.between(0.44, 0.5), dice.between(0.32, 0.37)
    waist, face = low + middle * 0.62, low + middle * 1.35 + head * 0.6
    for radius, z in ((low, 0), (middle, waist), (head, face)):
        kit.ellipsoid("snow", (0, 0, z), (radius, radius, radius))
    kit.frustum("nose", (0, -head - 0.16, face), 0.075, 0.2, ORANGE, turn=(90, 0, 0), top=0)
    _eyes(kit, head * 0.42, -head * 0.86, face + 0.1, 0.055, white=False)
    for z in (-0.16, 0.04, 0.24):
        kit.ellipsoid("button", (0, -((middle**2 - z**2) ** 0.5), waist + z), (0.055, 0.04, 0.055), BLACK)
    scarf = dice.pick((RED, (0.15, 0.35, 0.8), (0.15, 0.6, 0.3)))
    kit.torus("scarf", (0, 0, face - head * 0.7), head * 0.82, 0.1, scarf)
    kit.box("scarf", (0.16, -middle * 0.92, face - head * 1.2), (0.08, 0.05, 0.2), scarf, turn=(-20, 0, 0))
    kit.frustum("hat", (0, 0, face + head * 0.72), head * 1.15, 0.03, DARK)
    kit.frustum("hat", (0, 0, face + head * 0.72 + 0.22), head * 0.72, 0.2, DARK)
    for side in (-1, 1):
        kit.rod("arm", (side * middle * 0.9, 0, waist + 0.1), (side * (middle + 0.42), -0.05, waist + 0.36), 0.04, WOOD)


def _muzzle(kit: Kit, y: float, z: float, size: float, nose) -> None:
    kit.ellipsoid("muzzle", (0, y, z), (size, size * 0.7, size * 0.72), WHITE)
    kit.ellipsoid("nose", (0, y - size * 0.6, z + size * 0.35), (size * 0.4, size * 0.3, size * 0.28), nose)


def cat(kit: Kit) -> None:
    """Sitting, its tail around the right side."""
    dice = kit.dice
    head, fat, ear = dice.between(0.36, 0.41), dice.between(0.4, 0.47), dice.between(0.2, 0.26)
    face = 1.0 + head * 0.3
    kit.ellipsoid("body", (0, 0.12, 0.42), (fat, 0.5, 0.62), low=-0.68)
    kit.ellipsoid("head", (0, -0.12, face), (head * 1.08, head, head * 0.92))
    for side in (-1, 1):
        kit.frustum(
            "ear",
            (side * head * 0.62, -0.1, face + head * 0.75 + 0.08),
            (0.16, 0.09),
            ear,
            turn=(0, side * 14, 0),
            top=0,
        )
        kit.frustum(
            "inner ear",
            (side * head * 0.62, -0.15, face + head * 0.75 + 0.04),
            (0.1, 0.06),
            ear * 0.75,
            PINK,
            turn=(0, side * 14, 0),
            top=0,
        )
        for z in (0.0, -0.07):
            kit.rod(
                "whisker",
                (side * 0.12, -0.14 - head, face - 0.1 + z),
                (side * 0.52, -0.1 - head, face - 0.06 + 1.8 * z),
                0.012,
                LIGHT,
            )
    kit.pair(
        kit.ellipsoid, "eye", (head * 0.42, -0.12 - head * 0.86, face + 0.07), (0.085, 0.05, 0.095), (0.55, 0.85, 0.3)
    )
    kit.pair(kit.ellipsoid, "pupil", (head * 0.42, -0.12 - head * 0.97, face + 0.07), (0.03, 0.03, 0.08), BLACK)
    _muzzle(kit, -0.1 - head * 0.9, face - 0.11, 0.14, PINK)
    kit.pair(kit.frustum, "leg", (0.17, -0.28, 0.3), 0.11, 0.32)
    kit.pair(kit.ellipsoid, "paw", (0.17, -0.36, 0.06), (0.13, 0.18, 0.09), WHITE)
    kit.pair(kit.ellipsoid, "thigh", (fat * 0.8, 0.14, 0.2), (0.2, 0.34, 0.22))
    kit.rod("tail", (0.1, 0.55, 0.1), (0.52, 0.62, 0.16), 0.085)
    kit.rod("tail", (0.52, 0.62, 0.16), (0.62, 0.6, 0.72), 0.085, top=0.8)
    kit.ellipsoid("tail", (0.62, 0.6, 0.72), (0.08, 0.08, 0.1))
    kit.ellipsoid("tail", (0.52, 0.62, 0.16), (0.09, 0.09, 0.09))


def rabbit(kit: Kit) -> None:
    dice = kit.dice
    head, ear, fat = dice.between(0.34, 0.39), dice.between(0.4, 0.52), dice.between(0.44, 0.5)
    face = 0.98 + head * 0.3
    kit.ellipsoid("body", (0, 0.12, 0.4), (fat, 0.52, 0.58), low=-0.7)
    kit.ellipsoid("belly", (0, -0.32, 0.38), (fat * 0.6, 0.12, 0.36), WHITE if kit.main.colour[2] < 0.8 else PINK)
    kit.ellipsoid("head", (0, -0.12, face), (head, head, head * 0.92))
    for side in (-1, 1):
        top = (side * 0.18, -0.04, face + head * 0.7 + ear * 0.8)
        kit.ellipsoid("ear", top, (0.12, 0.07, ear), turn=(0, side * 8, 0))
        kit.ellipsoid(
            "inner ear", (top[0], top[1] - 0.04, top[2]), (0.07, 0.045, ear * 0.8), PINK, turn=(0, side * 8, 0)
        )
    _eyes(kit, head * 0.45, -0.12 - head * 0.84, face + 0.07, 0.065, white=False)
    _muzzle(kit, -0.1 - head * 0.9, face - 0.1, 0.12, PINK)
    kit.box("tooth", (0, -0.17 - head, face - 0.2), (0.04, 0.02, 0.05), WHITE)
    kit.ellipsoid("tail", (0, 0.68, 0.2), (0.17, 0.15, 0.17), WHITE)
    kit.pair(kit.ellipsoid, "foot", (0.26, -0.28, 0.06), (0.14, 0.34, 0.1))
    kit.pair(kit.ellipsoid, "paw", (0.22, -0.4, 0.5), (0.1, 0.14, 0.1))


def penguin(kit: Kit) -> None:
    dice = kit.dice
    fat, tall, head = dice.between(0.46, 0.54), dice.between(0.66, 0.74), dice.between(0.33, 0.38)
    face = tall * 0.95 + head * 0.5
    kit.ellipsoid("body", (0, 0, 0), (fat, fat * 0.9, tall))
    kit.ellipsoid("belly", (0, -fat * 0.28, -0.06), (fat * 0.8, fat * 0.7, tall * 0.86), WHITE)
    kit.ellipsoid("head", (0, -0.02, face), (head, head, head))
    kit.pair(
        kit.ellipsoid, "cheek", (head * 0.38, -head * 0.6, face + 0.02), (head * 0.42, head * 0.4, head * 0.5), WHITE
    )
    _eyes(kit, head * 0.38, -head * 1.0, face + 0.1, 0.06, white=False)
    kit.frustum("beak", (0, -head - 0.12, face - 0.04), (0.11, 0.07), 0.17, ORANGE, turn=(90, 0, 0), top=0.1)
    for side in (-1, 1):
        kit.ellipsoid("wing", (side * (fat + 0.03), 0.03, 0.05), (0.09, 0.24, tall * 0.66), turn=(0, -side * 14, 0))
    kit.pair(kit.ellipsoid, "foot", (0.22, -0.2, -tall), (0.18, 0.3, 0.07), ORANGE)
    kit.frustum("tail", (0, fat * 0.85, -tall * 0.72), (0.2, 0.06), 0.2, turn=(-125, 0, 0), top=0.3)


def fish(kit: Kit) -> None:
    dice = kit.dice
    tall, thick = dice.between(0.44, 0.54), dice.between(0.26, 0.34)
    fin = tuple(min(1.0, c * 0.6 + 0.38) for c in kit.main.colour)
    kit.ellipsoid("body", (0, -0.15, 0), (thick, 0.82, tall))
    kit.box("tail", (0, 0.8, 0), (0.045, 0.16, 0.28), fin, turn=(-90, 0, 0), top=(0.6, 2.2))
    kit.box("dorsal", (0, -0.02, tall + 0.08), (0.04, 0.36, 0.16), fin, top=(0.6, 0.5), shift=(0, 0.5))
    kit.box("anal fin", (0, 0.15, -tall - 0.0), (0.035, 0.1, 0.14), fin, top=(1, 2.0))
    for side in (-1, 1):
        kit.ellipsoid(
            "side fin", (side * (thick + 0.06), -0.15, -0.12), (0.05, 0.22, 0.12), fin, turn=(25, 0, side * 30)
        )
        kit.ellipsoid("eye", (side * thick * 0.72, -0.66, 0.14), (0.07, 0.11, 0.11), WHITE)
        kit.ellipsoid("pupil", (side * (thick * 0.72 + 0.05), -0.69, 0.14), (0.04, 0.06, 0.06), BLACK)
    kit.ellipsoid("mouth", (0, -0.95, -0.06), (0.13, 0.07, 0.06), PINK)


def bear(kit: Kit) -> None:
    """A sitting teddy bear."""
    dice = kit.dice
    head, fat, ear = dice.between(0.42, 0.48), dice.between(0.46, 0.54), dice.between(0.15, 0.19)
    face = 0.92 + head * 0.5
    kit.ellipsoid("body", (0, 0.02, 0.42), (fat, 0.42, 0.54))
    kit.ellipsoid("belly", (0, -0.22, 0.4), (fat * 0.62, 0.24, 0.36), SKIN)
    kit.ellipsoid("head", (0, 0, face), (head, head * 0.92, head * 0.92))
    kit.pair(kit.ellipsoid, "ear", (head * 0.78, 0.02, face + head * 0.72), (ear, ear * 0.6, ear))
    kit.pair(
        kit.ellipsoid, "inner ear", (head * 0.78, -0.07, face + head * 0.7), (ear * 0.6, ear * 0.3, ear * 0.6), SKIN
    )
    kit.ellipsoid("muzzle", (0, -head * 0.88, face - 0.12), (0.2, 0.16, 0.15), SKIN)
    kit.ellipsoid("nose", (0, -head * 0.88 - 0.13, face - 0.06), (0.08, 0.06, 0.06), BLACK)
    _eyes(kit, head * 0.38, -head * 0.84, face + 0.1, 0.06, white=False)
    for side in (-1, 1):
        kit.ellipsoid("arm", (side * (fat + 0.04), -0.12, 0.52), (0.16, 0.2, 0.33), turn=(25, -side * 25, 0))
        kit.ellipsoid("leg", (side * 0.34, -0.42, 0.08), (0.2, 0.36, 0.2))
        kit.ellipsoid("sole", (side * 0.34, -0.74, 0.1), (0.14, 0.06, 0.14), SKIN)
