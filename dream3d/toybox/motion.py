"""How things of the toybox move: one affine map of the whole scene per moment, time in [0, 1], at rest at 0.

spinning turns once around z; bouncing goes up and falls back once; driving goes steadily the way the front looks; waving leans to the
left, to the right and back, more the higher; growing becomes larger from its base.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from dream3d.toybox.world import HALF, RADIUS, Soup, corners, mapped

LEAN, GROWTH = 0.35, 1.5  # metres of lean per metre of height; size at the end
LARGEST = {"driving": 0.64, "bouncing": 0.64}  # of what needs a way to go
MOMENTS = 33  # at which a motion is looked at to fit it into the room


def moved(soup: Soup, time: float) -> Soup:
    """The soup at a moment; the very same at time 0, and where its wish names no motion."""
    if soup.wish.motion is None or time == 0:
        return soup
    points = corners(soup)
    return mapped(soup, _map(soup.wish.motion, time, points.min(0), points.max(0)))


def fitted(soup: Soup) -> Soup:
    """A soup whose whole motion stays in the room that a still one fills: smaller, and moved to where the motion begins."""
    if soup.wish.motion is None:
        return soup
    points = corners(soup)
    for size in np.arange(LARGEST.get(soup.wish.motion, 1.0), 0.3, -0.02):
        start = _start(soup.wish.motion, size * points)
        if _stays(soup.wish.motion, size * points + start):
            break
    go = np.diag([size, size, size, 1.0])
    go[:3, 3] = start
    return mapped(soup, go)


def _stays(motion: str, points: Float[np.ndarray, "P 3"]) -> bool:
    maps = np.stack([_map(motion, t, points.min(0), points.max(0)) for t in np.linspace(0, 1, MOMENTS)])
    seen = points @ maps[:, :3, :3].transpose(0, 2, 1) + maps[:, None, :3, 3]
    return bool(np.abs(seen).max() <= HALF and np.linalg.norm(seen, axis=-1).max() <= RADIUS)


def _start(motion: str, points: Float[np.ndarray, "P 3"]) -> Float[np.ndarray, "3"]:
    """Where a motion begins: at the back of the room to drive, on its floor to bounce and to grow."""
    low, high = points.min(0), points.max(0)
    match motion:
        case "driving":
            return np.array([0, _room(low, high, 1) / 2, 0])
        case "bouncing":
            return np.array([0, 0, -_room(low, high, 2) / 2])
        case "growing":
            return np.array([0, 0, -(GROWTH - 1) * (high[2] - low[2]) / 2])
    return np.zeros(3)


def _room(low: Float[np.ndarray, "3"], high: Float[np.ndarray, "3"], axis: int) -> float:
    """How far a thing can go along an axis, in the box and in the ball."""
    across = np.linalg.norm(np.delete(np.maximum(np.abs(low), np.abs(high)), axis))
    return max(0.0, 2 * min(HALF, math.sqrt(max(0.0, RADIUS**2 - across**2))) - (high - low)[axis])


def _map(motion: str, time: float, low: Float[np.ndarray, "3"], high: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """From rest to a moment. How far a thing drives or bounces follows from where it rests: as far again on the other side."""
    go = np.eye(4)
    match motion:
        case "spinning":
            c, s = math.cos(2 * math.pi * time), math.sin(2 * math.pi * time)
            go[:2, :2] = [[c, -s], [s, c]]
        case "bouncing":
            go[2, 3] = 4 * time * (1 - time) * -(low[2] + high[2])
        case "driving":
            go[1, 3] = -time * (low[1] + high[1])
        case "waving":
            lean = LEAN * math.sin(2 * math.pi * time)
            go[0, 2], go[0, 3] = lean, -lean * low[2]
        case "growing":
            k = 1 + (GROWTH - 1) * time
            go[:3, :3] *= k
            go[2, 3] = (1 - k) * low[2]
    return go


def at_times(soups: list[Soup], which: np.ndarray, times: np.ndarray | None) -> tuple[list[Soup], np.ndarray]:
    """The soups as views see them at their times, and which view sees which."""
    if times is None or all(soup.wish.motion is None for soup in soups):
        return soups, which
    pairs = [(int(i), float(t) if soups[i].wish.motion else 0.0) for i, t in zip(which, times, strict=True)]
    each = list(dict.fromkeys(pairs))
    return [moved(soups[i], t) for i, t in each], np.array([each.index(pair) for pair in pairs], dtype=np.int64)


def still(soup: Soup) -> Soup:
    """The same soup without its motion: where it rests."""
    return dataclasses.replace(soup, wish=dataclasses.replace(soup.wish, motion=None))
