"""What a motion's file, or a built-in motion, says of a rig's joints; every number looked at. Without torch, so that a configuration can be
checked with it.

JSON: {"rotations": {"left_elbow": [[0, 0, 0], [-90, 0, 0]]}, "times": [0, 1], "shift": [[0, 0, 0], [0, -0.1, 0]]}, degrees about an axis
(axis times angle) and metres of the world; without times they are even. Safetensors: rotations (T J 3) of all joints, radians; times
(T), shift (T 3). Joints that are not named stay as they stand.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from dream3d.errors import Mistake, choices
from dream3d.foreign.files import whole
from dream3d.rig.own import parsed

SIZE, MOMENTS = 1 << 26, 100_000  # bytes of a file, moments in it
FRAMES = 49  # moments of a built-in motion


@dataclass(frozen=True)
class Moves:
    """T moments of M joints: which of the rig's they are, axis times angle in radians, metres in the world."""

    joints: tuple[int, ...]
    times: ndarray  # T
    turns: ndarray  # T M 3
    shift: ndarray  # T 3


def moves(name: str, path: Path | None, names: tuple[str, ...], upright: bool) -> Moves:
    """Of a rig with these joints, z up in its file or not; `path`: the user's file, None for a built-in motion. Raises Mistake for a motion
    that is not of this rig, or is broken."""
    if path is None:
        return _sampled(name, names, upright)
    joints, turns, times, shift = (_json if path.suffix.lower() == ".json" else _tensors)(path, names)
    return _checked(path, joints, turns, times, shift)


def _checked(path: Path, joints: list[int], turns: ndarray, times: ndarray | None, shift: ndarray | None) -> Moves:
    count = turns.shape[0]
    if count == 0 or not joints:
        raise _wrong(path, "it has no moments" if joints else "it turns no joint")
    if count > MOMENTS:
        raise _wrong(path, f"it has {count} moments, more than {MOMENTS}", "fewer moments: between them joints turn at a steady pace")
    times = np.linspace(0, 1, count) if times is None else times
    shift = np.zeros((count, 3)) if shift is None else shift
    for what, array, shape in (("rotations", turns, (count, len(joints), 3)), ("times", times, (count,)), ("shift", shift, (count, 3))):
        if array.dtype.kind not in "fiu" or array.shape != shape:
            raise _wrong(path, f"its {what} have the shape {array.shape}, expected {shape}")
        if not np.isfinite(array).all():
            raise _wrong(path, f"its {what} are not finite numbers")
    if count > 1 and not (np.diff(times) > 0).all():
        raise _wrong(path, "its times do not grow", "times from 0 to 1, each above the one before")
    if times[0] < 0 or times[-1] > 1:
        raise _wrong(path, f"its times are from {times[0]:g} to {times[-1]:g}", "times from 0 to 1")
    return Moves(tuple(joints), *(np.asarray(v, dtype=np.float64) for v in (times, turns, shift)))


def _json(path: Path, names: tuple[str, ...]):
    said = parsed(path, whole(path, SIZE))
    if wrong := [key for key in said if key not in ("rotations", "times", "shift")]:
        raise _wrong(path, f"unknown key {wrong[0]!r}", near=choices(wrong[0], ("rotations", "times", "shift")))
    rows = said.get("rotations")
    if not isinstance(rows, dict) or not rows:
        raise _wrong(path, "it has no rotations", '"rotations": {"left_elbow": [[0, 0, 0], [-90, 0, 0]]}')
    for name in rows:
        if name not in names:
            raise _wrong(path, f"there is no joint {name[:40]!r} in this rig", "one of the rig's joints", near=choices(name, names))
    tables = [_table(path, f"the rotations of {name!r}", row) for name, row in rows.items()]
    lengths = {len(table) for table in tables}
    if len(lengths) > 1:
        raise _wrong(path, f"its joints have between {min(lengths)} and {max(lengths)} moments", "as many for each")
    if any(table.ndim != 2 or table.shape[1] != 3 for table in tables if len(table)):
        raise _wrong(path, "its rotations are no lists of [x, y, z]")
    turns = np.radians(np.stack(tables, 1)) if lengths != {0} else np.zeros((0, len(tables), 3))
    times, shift = (None if said.get(key) is None else _table(path, f"its {key}", said[key]) for key in ("times", "shift"))
    return [names.index(name) for name in rows], turns, times, shift


def _table(path: Path, what: str, rows) -> ndarray:
    try:
        table = np.asarray(rows)
    except ValueError:
        table = np.asarray("")
    if not isinstance(rows, list) or table.size and table.dtype.kind not in "fiu":
        raise _wrong(path, f"{what} are no list of numbers")
    return table


def _tensors(path: Path, names: tuple[str, ...]):
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found = load(whole(path, SIZE))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _wrong(path, f"no safetensors file: {error}") from None
    turns = found.get("rotations")
    if turns is None or turns.ndim != 3 or turns.shape[1:] != (len(names), 3):
        said = "it has no rotations" if turns is None else f"its rotations have the shape {turns.shape}"
        raise _wrong(path, f"{said}, expected (moments, {len(names)}, 3): this rig has {len(names)} joints")
    return list(range(len(names))), turns, found.get("times"), found.get("shift")


def _wrong(path: Path, why: str, fix: str = "docs/rigs.md says how a motion is written", *, near: str = "") -> Mistake:
    return Mistake(f"cannot play {path.name}: {why}", where=str(path), near=near, fix=fix)


# --- built in -------------------------------------------------------------------------------------------------------


def _wave(t: float) -> dict[str, tuple[float | int, ...]]:
    """The right hand goes up, to and fro, and down: at rest at 0 and 1. Degrees."""
    up = _rise(t / 0.2) * _rise((1 - t) / 0.2)
    fro = math.sin(2 * math.pi * 3 * t)
    return {"right_shoulder": (0, 100 * up, 0), "right_elbow": (0, (35 + 25 * fro) * up, 0), "head": (0, 6 * up, 8 * up)}


def _walk(t: float) -> dict[str, tuple[float | int, ...]]:
    """Two steps on the spot: as it begins, so it ends."""
    swing, pass_by = math.sin(2 * math.pi * t), math.cos(2 * math.pi * t)
    legs = {"left_hip": (-28 * swing, 0, 0), "left_knee": (8 + 40 * max(0.0, pass_by), 0, 0),
            "right_hip": (28 * swing, 0, 0), "right_knee": (8 + 40 * max(0.0, -pass_by), 0, 0)}  # fmt: skip
    arms = {"left_shoulder": (25 * swing, 25, 0), "right_shoulder": (-25 * swing, -25, 0),
            "left_elbow": (-20, 0, 0), "right_elbow": (-20, 0, 0)}  # fmt: skip
    return {**legs, **arms, "chest": (0, 0, -6 * swing)}


BUILT_IN: dict[str, Callable[[float], dict[str, tuple[float | int, ...]]]] = {"wave": _wave, "walk": _walk}


def _rise(x: float) -> float:
    """0 below 0, 1 above 1, smooth between."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def _sampled(name: str, names: tuple[str, ...], upright: bool) -> Moves:
    """A built-in motion, of rigs that have its joints and stand as ours does."""
    rows = [BUILT_IN[name](i / (FRAMES - 1)) for i in range(FRAMES)]
    missing = [joint for joint in rows[0] if joint not in names]
    if missing or not upright:
        lacks = f"this rig has no joint {missing[0]!r}" if missing else "this rig is y up in its file"
        raise Mistake(f"the motion {name!r} is of the humanoid; {lacks}", where="renderer.motion",
                      fix="renderer.motion=MOTION.json, docs/rigs.md says how it is written")  # fmt: skip
    turns = np.radians(np.array([list(row.values()) for row in rows], dtype=np.float64))
    return _checked(Path(name), [names.index(joint) for joint in rows[0]], turns, None, None)
