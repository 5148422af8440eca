"""Analytic primitives and the kit objects are assembled from.

Every primitive is a canonical solid under an affine pose, so one ray test per kind serves all proportions:
ellipsoid  the unit ball, cut to lo <= z <= hi;                                          shape = (lo, hi, -, -)
box        |z| <= 1, half-widths 1 at the bottom and (tx, ty) at the top, whose centre
           is moved by (sx, sy): boxes, pyramids, prisms, windscreens;                   shape = (tx, ty, sx, sy)
frustum    |z| <= 1, radius 1 at the bottom and `top` at the top;                        shape = (top, -, -, -)
torus      major radius 1 around z, minor radius `minor`;                                shape = (minor, -, -, -)
"""

import math
import random
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

ELLIPSOID, BOX, FRUSTUM, TORUS = range(4)
UNCUT = 2.0  # beyond the unit ball: no cut
DARK, GREY, LIGHT, BLACK = (0.16, 0.16, 0.18), (0.45, 0.46, 0.48), (0.80, 0.81, 0.83), (0.05, 0.05, 0.06)
WHITE, GLASS, WOOD, SKIN = (0.96, 0.96, 0.96), (0.66, 0.84, 0.95), (0.46, 0.29, 0.15), (0.87, 0.66, 0.42)
RED, ORANGE, YELLOW, GREEN = (0.85, 0.08, 0.08), (0.97, 0.52, 0.05), (1.0, 0.88, 0.35), (0.17, 0.50, 0.20)
STEEL, PINK = (0.62, 0.65, 0.69), (0.96, 0.60, 0.68)

Colour = tuple[float, float, float]
Vector = tuple[float | int, float | int, float | int]


@dataclass(frozen=True)
class Paint:
    """A colour, the second tone of its pattern, and the pattern's number (0: plain, then 1 + index in PATTERNS)."""

    colour: Colour
    second: Colour
    pattern: int = 0


def plain(colour: Colour) -> Paint:
    return Paint(colour, colour)


class Dice(random.Random):
    """The within-class variation. Built on `random()` alone, whose stream Python promises never to change."""

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def pick(self, options):
        return options[int(self.random() * len(options))]

    def chance(self, p: float) -> bool:
        return self.random() < p


@dataclass
class Primitive:
    kind: int
    pose: Float[np.ndarray, "4 4"]
    shape: tuple[float, float, float, float]
    paint: Paint
    part: str


@dataclass
class Kit:
    """Collects the primitives of one object. `paint=None` is the object's named paint; a colour is a plain one.

    Units are free (world.build fits the object into its box); the front looks to -y, z is up. `rest` is the point on
    which something placed on the object stands, None for the very top.
    """

    dice: Dice
    main: Paint
    primitives: list[Primitive] = field(default_factory=list)
    rest: Vector | None = None

    def ellipsoid(self, part, centre, radii, paint=None, *, turn=(0, 0, 0), low=-UNCUT, high=UNCUT):
        self._add(ELLIPSOID, part, centre, radii, paint, turn, (low, high, 0, 0))

    def box(self, part, centre, half, paint=None, *, turn=(0, 0, 0), top=(1, 1), shift=(0, 0)):
        """`top` scales the upper face; `shift` moves its centre, in half-widths."""
        self._add(BOX, part, centre, half, paint, turn, (*top, *shift))

    def frustum(self, part, centre, radius, half, paint=None, *, turn=(0, 0, 0), top=1.0):
        """Around z before turning; `radius` (or a pair) at the bottom, `top` times it at the top, `half` the height."""
        rx, ry = radius if isinstance(radius, tuple) else (radius, radius)
        self._add(FRUSTUM, part, centre, (rx, ry, half), paint, turn, (top, 0, 0, 0))

    def torus(self, part, centre, major, minor, paint=None, *, turn=(0, 0, 0), squash=(1, 1, 1)):
        size = tuple(major * s for s in squash)
        self._add(TORUS, part, centre, size, paint, turn, (minor / major, 0, 0, 0))

    def rod(self, part, start, end, radius, paint=None, *, top=1.0):
        """A frustum from `start` to `end`."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        length = float(np.linalg.norm(end - start))
        x, y, z = (end - start) / length
        turn = (0, math.degrees(math.acos(max(-1.0, min(1.0, z)))), math.degrees(math.atan2(y, x)))
        self.frustum(part, tuple((start + end) / 2), radius, length / 2, paint, turn=turn, top=top)

    def pair(self, make, part, centre, *args, **more):
        """The same primitive at x and mirrored at -x (for upright or symmetric ones)."""
        for side in (-1, 1):
            make(part, (side * centre[0], *centre[1:]), *args, **more)

    def _add(self, kind, part, centre, size, paint, turn, shape):
        paint = self.main if paint is None else paint if isinstance(paint, Paint) else plain(paint)
        shape = tuple(float(s) for s in shape)
        self.primitives.append(Primitive(kind, pose(centre, size, turn), shape, paint, part))


def pose(centre: Vector, size: Vector, turn: Vector) -> Float[np.ndarray, "4 4"]:
    """Local to object: scale, then turn about x, then y, then z (degrees), then move."""
    (cx, cy, cz), (sx, sy, sz) = (f(np.radians(np.asarray(turn, float))) for f in (np.cos, np.sin))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_z @ about_y @ about_x * np.asarray(size, float)
    matrix[:3, 3] = centre
    return matrix


_ANGLE = np.arange(24) * (np.pi / 12)
_CIRCLE = np.stack([np.cos(_ANGLE), np.sin(_ANGLE), np.ones(24)], -1)
_BALL = np.concatenate([_CIRCLE * [math.cos(e), math.cos(e), math.sin(e)] for e in np.arange(-6, 7) * (np.pi / 12)])
_CORNERS = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


def outline(primitive: Primitive) -> Float[np.ndarray, "n 3"]:
    """Points on a primitive whose bounds are its bounds, within a percent of its size."""
    a, b, sx, sy = primitive.shape
    if primitive.kind == ELLIPSOID:
        points = np.stack([_BALL[:, 0], _BALL[:, 1], _BALL[:, 2].clip(a, b)], -1)
    elif primitive.kind == TORUS:
        points = _CIRCLE * [1, 1, 0] + a * np.stack([_BALL.reshape(13, 24, 3)[i] for i in (0, 6, 12)])
        points = np.concatenate([*points, _CIRCLE * [1 + a, 1 + a, 0]])
    elif primitive.kind == FRUSTUM:
        points = np.concatenate([_CIRCLE * [1, 1, -1], _CIRCLE * [a, a, 1]])
    else:
        up = (_CORNERS[:, 2:] + 1) / 2
        points = np.concatenate(
            [_CORNERS[:, :2] * (1 + up * (np.array([a, b]) - 1)) + up * [sx, sy], _CORNERS[:, 2:]], -1
        )
    return points @ primitive.pose[:3, :3].T + primitive.pose[:3, 3]


def surface(kind: int, shape, fine: int) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """A closed triangle mesh of a canonical primitive, outward faces; `fine` steps per quarter turn or edge."""
    if kind == BOX:
        return _box_surface(shape, fine)
    if kind == TORUS:
        return _wrapped(_torus_profile(shape[0], 2 * fine), 4 * fine, closed=True)
    profile = _ball_profile(shape[0], shape[1], fine) if kind == ELLIPSOID else _frustum_profile(shape[0], fine)
    return _wrapped(profile, 4 * fine, closed=False)


def _ball_profile(low: float, high: float, fine: int):
    low, high = max(low, -1.0), min(high, 1.0)
    angle = np.linspace(math.asin(low), math.asin(high), 2 * fine + 1)
    rim = np.stack([np.cos(angle), np.sin(angle)], -1)
    caps = [[[0, low]] if low > -1 else [], [[0, high]] if high < 1 else []]
    rim[[0, -1], 0] *= [low > -1, high < 1]  # exact poles
    return np.concatenate([np.reshape(caps[0], (-1, 2)), rim, np.reshape(caps[1], (-1, 2))])


def _frustum_profile(top: float, fine: int):
    u = np.linspace(0, 1, fine + 1)
    side = np.stack([1 + (top - 1) * u, 2 * u - 1], -1)
    floor = np.stack([u[:-1], np.full(fine, -1.0)], -1)
    roof = np.stack([top * u[:-1][::-1], np.full(fine, 1.0)], -1)
    return np.concatenate([floor, side, roof if top > 0 else roof[:0]])


def _torus_profile(minor: float, count: int):
    angle = np.arange(count) * (2 * np.pi / count)
    return np.stack([1 + minor * np.cos(angle), minor * np.sin(angle)], -1)


def _wrapped(profile, count: int, *, closed: bool):
    """A profile of (radius, z), upwards on the outside, turned around z. Ends on the axis become single vertices."""
    angle = np.arange(count) * (2 * np.pi / count)
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    points = np.concatenate(
        [profile[:, None, :1] * ring, np.broadcast_to(profile[:, None, 1:], (len(profile), count, 1))], -1
    )
    index = np.arange(len(profile) * count).reshape(len(profile), count)
    if not closed:
        index[0], index[-1] = index[0, 0], index[-1, 0]
    here, above = (index, np.roll(index, -1, 0)) if closed else (index[:-1], index[1:])
    a, b, c, d = here, np.roll(here, -1, 1), np.roll(above, -1, 1), above
    return _compact(points.reshape(-1, 3), np.stack([a, b, c, a, c, d], -1).reshape(-1, 3))


def _box_surface(shape, fine: int):
    """Six grids, welded."""
    tx, ty, sx, sy = shape
    u, v = np.meshgrid(*[np.linspace(-1, 1, fine + 1)] * 2, indexing="ij")
    n = fine + 1
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    quads = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)
    points, faces = [], []
    for axis in range(3):
        for sign in (1, -1):
            grid = np.empty((n * n, 3))
            grid[:, axis], grid[:, (axis + 1) % 3], grid[:, (axis + 2) % 3] = sign, u.ravel(), v.ravel()
            faces.append((quads if sign > 0 else quads[:, ::-1]) + n * n * len(points))
            points.append(grid)
    points, back = np.unique(np.round(np.concatenate(points), 9), axis=0, return_inverse=True)
    up = (points[:, 2:] + 1) / 2
    points[:, :2] = points[:, :2] * (1 + up * (np.array([tx, ty]) - 1)) + up * np.array([sx, sy])
    return _compact(points, back.reshape(-1)[np.concatenate(faces)])


def _compact(points, faces):
    """Merge equal points, drop faces without area and vertices without a face."""
    points, back = np.unique(np.round(points, 9), axis=0, return_inverse=True)
    faces = back.reshape(-1)[faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    used, faces = np.unique(faces, return_inverse=True)
    return points[used], faces.reshape(-1, 3)
