"""Those with a face. Faces look to -y."""

from dream3d.toybox.language import COLOURS
from dream3d.toybox.shapes import BLACK, DARK, LIGHT, ORANGE, RED, WHITE, YELLOW, Kit

NATURAL = {
    "duck": (COLOURS["yellow"], COLOURS["yellow"], COLOURS["white"], COLOURS["brown"]),
    "robot": ((0.62, 0.66, 0.72), COLOURS["blue"], COLOURS["orange"], COLOURS["white"]),
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
