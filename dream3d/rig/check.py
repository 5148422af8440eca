"""From what a file says to a rig that bends: every number looked at once, every mistake named with its file and what to do. Without torch,
so that a configuration can be checked with it."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from dream3d.errors import Mistake, one_line

VERTICES, WEIGHTS = 500_000, 1 << 27  # of a rig: how many at most
POINT, FAR = 1e-6, 1e6  # lengths below the one are none, numbers above the other no lengths, whatever the unit
LOOSE = 1e-3  # how far a vertex' weights may be from summing to one: files hold them in single precision, or half
FREE = math.radians(30)  # how far a joint turns by chance whose file says nothing of it; a root stays
UPRIGHT = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y up, looking along +z, to z up, looking along -y
INSIDE, OUTSIDE, SMALLEST = 0.7, 0.75, 0.35  # as foreign.load: fitted into, where objects live, the least half extent that is meant


@dataclass(frozen=True)
class Numbers:
    """What a rig is made of, in double precision: `dream3d.rig.types.Rig` without torch."""

    names: tuple[str, ...]
    shape_names: tuple[str, ...]
    expressions: int
    upright: bool  # z up in its file
    arrays: dict[str, ndarray]
    plain: dict[str, Any]

    def rig(self):
        import torch

        from dream3d.rig.types import Rig

        tensors = {name: torch.from_numpy(value) for name, value in self.arrays.items()}
        return Rig(names=self.names, shape_names=self.shape_names, expressions=self.expressions, **tensors, **self.plain)


def checked(
    path: Path,
    *,
    names: tuple[str, ...],
    parents: ndarray,
    vertices: ndarray,
    faces: ndarray,
    joints: ndarray,
    weights: ndarray,
    shapes: ndarray,
    joint_shapes: ndarray,
    shape_names: tuple[str, ...],
    limits: ndarray | None = None,
    bends: ndarray | None = None,
    expressions: int = 0,
    uv: ndarray | None = None,
    up: str = "z",
    about: str = "",
    digest: bytes = b"",
) -> Numbers:
    """What a rig is made of, from arrays as they were read. `up`: "y" is turned upright. What does not lie in [-0.75, 0.75]^3, or is
    much smaller, is fitted. Raises Mistake for what is missing, misshapen, not finite, or no tree."""
    rows(path, "vertices", vertices, len(names))
    rows(path, "faces", faces)
    v, j, k = len(vertices), len(names), len(shape_names)
    bends = np.zeros((v, 3, 0)) if bends is None else bends
    sizes = {"vertices": (vertices, (v, 3)), "joints": (joints, (j, 3)), "weights": (weights, (v, j)), "parents": (parents, (j,)),
             "shape directions": (shapes, (v, 3, k)), "shape directions of the joints": (joint_shapes, (j, 3, k)),
             "faces": (faces, (len(faces), 3)), "uvs": (uv, (len(faces), 3, 2)), "limits": (limits, (j, 2, 3)),
             "pose directions": (bends, (v, 3, 9 * (j - 1) if bends.size else 0))}  # fmt: skip
    for what, (array, shape) in sizes.items():
        if array is not None:
            _sound(path, what, array, shape)
    _faces(path, faces, v)
    _names(path, "joint", names)
    _names(path, "shape direction", shape_names)
    _tree(path, names, parents)
    bounded = limits is not None
    if limits is None:
        limits = np.array([[[-FREE] * 3, [FREE] * 3] if p >= 0 else [[0.0] * 3] * 2 for p in parents]).reshape(j, 2, 3)
    if (limits[:, 0] > limits[:, 1]).any():
        worst = int((limits[:, 0] > limits[:, 1]).any(1).argmax())
        raise _wrong(path, f"the lowest angle of {names[worst]!r} is above its highest", "limits are [low, high]")
    axes = UPRIGHT if up == "y" else np.eye(3)
    scale, shift = _place(path, vertices @ axes.T)
    real = {"vertices": vertices, "joints": joints, "weights": _weights(path, weights), "shapes": shapes, "bends": bends,
            "joint_shapes": joint_shapes, "limits": limits, "axes": axes, "shift": shift}  # fmt: skip
    arrays = {name: np.ascontiguousarray(value, dtype=np.float64) for name, value in real.items()}
    arrays |= {"faces": np.ascontiguousarray(faces, dtype=np.int64)}
    arrays |= {} if uv is None else {"uv": np.ascontiguousarray(uv, dtype=np.float64)}
    plain = {"parents": tuple(int(p) for p in parents), "scale": scale, "about": about, "digest": digest, "bounded": bounded}
    return Numbers(names, shape_names, expressions, up != "y", arrays, plain)


def order(parents: tuple[int, ...]) -> list[int]:
    """Joints, each after its parent; those on a cycle, or below a joint that is not there, are left out."""
    below: dict[int, list[int]] = {}
    for k, parent in enumerate(parents):
        below.setdefault(parent, []).append(k)
    found = list(below.get(-1, []))
    for k in found:  # which grows
        found += below.get(k, [])
    return found


def rows(path: Path, what: str, array: ndarray, joints: int = 0) -> None:
    """Rows of three, and of vertices no more than memory has room for, with a weight for each joint."""
    if array.ndim != 2 or array.shape[1] != 3:
        raise _wrong(path, f"its {what} have the shape {array.shape}, expected (.., 3)")
    if joints and (len(array) > VERTICES or len(array) * joints > WEIGHTS):
        raise _wrong(path, f"it has {len(array)} vertices and {joints} joints, more than {VERTICES}, or than {WEIGHTS} weights",
                     "a coarser template: cuts makes it finer")  # fmt: skip


def _sound(path: Path, what: str, array: ndarray, shape: tuple[int, ...]) -> None:
    if array.dtype.kind not in "fiu":
        raise _wrong(path, f"its {what} are no numbers but of kind {array.dtype}")
    if array.shape != shape:
        raise _wrong(path, f"its {what} have the shape {array.shape}, expected {shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))[0].tolist()
        raise _wrong(path, f"its {what} are not finite numbers, first at {bad}")
    if array.dtype.kind == "f" and array.size and float(np.abs(array).max()) > FAR:
        bad = np.unravel_index(np.abs(array).argmax(), array.shape)
        raise _wrong(path, f"its {what} hold {array[bad]:.3g}, which is no length and no share")
    if what in ("faces", "parents") and array.dtype.kind == "f":
        raise _wrong(path, f"its {what} are not whole numbers")


def _faces(path: Path, faces: ndarray, count: int) -> None:
    if len(faces) == 0 or count == 0:
        raise _wrong(path, "it has no faces")
    if int(faces.min()) < 0 or int(faces.max()) >= count:
        raise _wrong(path, f"its faces name vertices {int(faces.min())} to {int(faces.max())}, there are {count}")


def _names(path: Path, what: str, names: tuple[str, ...]) -> None:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise _wrong(path, f"two {what}s are called {twice[0]!r}", "every name once")


def _tree(path: Path, names: tuple[str, ...], parents: ndarray) -> None:
    """One root, every other joint below it."""
    if len(names) == 0:
        raise _wrong(path, "it has no joints", "at least one joint, a root")
    missing = [k for k, p in enumerate(parents) if not -1 <= p < len(names)]
    if missing:
        k = missing[0]
        raise _wrong(path, f"the parent of {names[k]!r} is joint {int(parents[k])}, which is missing; there are {len(names)}",
                     "add the joint, or name another parent")  # fmt: skip
    roots = [names[k] for k, p in enumerate(parents) if p == -1]
    lost = sorted(set(range(len(names))) - set(order(tuple(int(p) for p in parents))))
    if lost:
        raise _wrong(path, f"the parents of its joints make a cycle: {_cycle(names, parents, lost[0])}", "every joint below one root")
    if len(roots) != 1:
        raise _wrong(path, f"it has {len(roots)} roots: {', '.join(roots[:4])}", "one joint without a parent")


def _cycle(names: tuple[str, ...], parents: ndarray, k: int) -> str:
    seen: list[int] = []
    while k not in seen:
        seen.append(k)
        k = int(parents[k])
    return one_line(" < ".join(names[i] for i in [*seen[seen.index(k) :], k]), 90)


def _weights(path: Path, weights: ndarray) -> ndarray:
    """Of sum one."""
    weights = np.asarray(weights, dtype=np.float64)
    if weights.min() < -1e-6:
        v, k = np.unravel_index(weights.argmin(), weights.shape)
        raise _wrong(path, f"vertex {v} has the weight {weights[v, k]:.4g} for joint {k}: weights are at least 0",
                     "normalise the weights of all vertices where it was made")  # fmt: skip
    total = weights.sum(1)
    off = np.abs(total - 1)
    if off.max() > LOOSE:
        v, many = int(off.argmax()), int((off > LOOSE).sum())
        raise _wrong(path, f"the weights of {many} of {len(off)} vertices do not sum to one (vertex {v}: {total[v]:.4g})",
                     "normalise the weights of all vertices where it was made")  # fmt: skip
    weights = weights.clip(min=0)
    return weights / weights.sum(1, keepdims=True)


def _place(path: Path, vertices: ndarray) -> tuple[float, ndarray]:
    """What fits a template into the world, or leaves it."""
    low, high = vertices.min(0), vertices.max(0)
    reach = np.abs(vertices).max()
    if SMALLEST <= reach <= OUTSIDE:
        return 1.0, np.zeros(3)
    half = (high - low).max() / 2
    if half < POINT:
        raise _wrong(path, f"its vertices lie within {2 * half:.2g} of each other: all at one place")
    scale = float(INSIDE / half)
    return scale, -scale * (low + high) / 2


def _wrong(path: Path, why: str, fix: str = "export it again") -> Mistake:
    return Mistake(f"{path.name} is no rig that can be used: {why}", where=str(path), fix=fix)
