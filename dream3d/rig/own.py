"""The house's own rigs: NAME.safetensors with numbers, NAME.json beside it with names.

Tensors: vertices (V 3), faces (F 3), joints (J 3), weights (V J), or the joints that move each vertex, `weight_joint` (V M), and how much,
`weight` (V M); shapes (V 3 K) and joint_shapes (J 3 K), where there are any. JSON, angles in degrees:
{"joints": [{"name": "hips", "parent": null, "low": [0, 0, 0], "high": [0, 0, 0]}, ...], "shapes": ["height", ...], "up": "z"}.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from dream3d import files
from dream3d.errors import Mistake, choices
from dream3d.foreign.files import whole
from dream3d.rig.check import Numbers, checked, rows

MOST, TEXT = 1 << 28, 1 << 22  # bytes of either file
JOINTS = 1000  # of a rig
MOVING = 4  # joints a vertex that are written


def write(path: Path, *, names, parents, vertices, faces, joints, weights, shapes, joint_shapes, shape_names, limits, about: str) -> None:
    """Both files, small: of the weights the MOVING largest of each vertex, shape directions in half precision."""
    from safetensors.numpy import save

    index = np.argsort(-weights, 1, kind="stable")[:, :MOVING]
    tensors = {"vertices": vertices.astype(np.float32), "faces": faces.astype(np.uint16), "joints": joints.astype(np.float32),
               "weight_joint": index.astype(np.uint8), "weight": np.take_along_axis(weights, index, 1).astype(np.float32),
               "shapes": shapes.astype(np.float16), "joint_shapes": joint_shapes.astype(np.float32)}  # fmt: skip
    rows = [{"name": name, "parent": None if parent < 0 else names[parent], "low": low, "high": high}
            for name, parent, (low, high) in zip(names, parents, limits.tolist(), strict=True)]  # fmt: skip
    files.write_bytes(path, save({name: np.ascontiguousarray(value) for name, value in tensors.items()}))
    files.write_json(path.with_suffix(".json"), {"about": about, "up": "z", "joints": rows, "shapes": list(shape_names)})


def read(path: Path) -> Numbers:
    """A rig from NAME.safetensors and NAME.json. Raises Mistake."""
    data, told = whole(path, MOST), whole(_beside(path), TEXT)
    said = _said(path.with_suffix(".json"), told)
    tensors = _tensors(path, data)
    names, parents, limits = _joints(path.with_suffix(".json"), said["joints"])
    missing = [name for name in ("vertices", "faces", "joints") if name not in tensors]
    if missing:
        raise _broken(path, f"it has no tensor {missing[0]!r}", near=choices(missing[0], tensors))
    rows(path, "vertices", tensors["vertices"], len(names))
    v, shape_names = len(tensors["vertices"]), tuple(said["shapes"])
    empty = {"shapes": (v, 3, 0), "joint_shapes": (len(names), 3, 0)}
    shapes, joint_shapes = (tensors[name] if name in tensors else np.zeros(shape) for name, shape in empty.items())
    return checked(path, names=names, parents=parents, vertices=tensors["vertices"], faces=tensors["faces"], joints=tensors["joints"],
                   weights=_weights(path, tensors, len(names)), shapes=shapes, joint_shapes=joint_shapes, shape_names=shape_names,
                   limits=limits, up=said["up"], about=said["about"], digest=hashlib.sha256(data + told).digest())  # fmt: skip


def _beside(path: Path) -> Path:
    names = path.with_suffix(".json")
    if not names.is_file():
        raise Mistake(f"{path.name} has no {names.name} beside it, which names its joints", where=str(path), fix="put it there")
    return names


def _tensors(path: Path, data: bytes) -> dict[str, ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _broken(path, f"no safetensors file: {error}") from None


def _said(path: Path, data: bytes) -> dict[str, Any]:
    said = parsed(path, data)
    wrong = [key for key in said if key not in ("joints", "shapes", "up", "about")]
    if wrong:
        raise _broken(path, f"unknown key {wrong[0]!r}", near=choices(wrong[0], ("joints", "shapes", "up", "about")))
    said = {"shapes": [], "up": "z", "about": "", **said}
    if not isinstance(said.get("joints"), list) or not said["joints"]:
        raise _broken(path, "it lists no joints", fix='"joints": [{"name": "hips", "parent": null}]')
    if len(said["joints"]) > JOINTS:
        raise _broken(path, f"it lists {len(said['joints'])} joints, more than {JOINTS}")
    if not isinstance(said["shapes"], list) or not all(isinstance(name, str) for name in said["shapes"]):
        raise _broken(path, "its shapes are no list of names")
    if said["up"] not in ("y", "z") or not isinstance(said["about"], str):
        raise _broken(path, 'its "up" is neither y nor z, or its "about" no text')
    return said


def parsed(path: Path, data: bytes) -> dict[str, Any]:
    """A JSON object. Raises Mistake with the line."""
    try:
        said = json.loads(data.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise _broken(path, f"no JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise _broken(path, f"no JSON: {type(error).__name__}") from None
    if not isinstance(said, dict):
        raise _broken(path, "its JSON is no object")
    return said


def _joints(path: Path, rows: list) -> tuple[tuple[str, ...], ndarray, ndarray | None]:
    """Names, parents and limits in radians."""
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("name"), str) or not row["name"]:
            raise _broken(path, f"a joint has no name: {row!r}"[:90], fix='{"name": "hips", "parent": null}')
    names = tuple(row["name"] for row in rows)
    for row in rows:
        if row.get("parent") is not None and row["parent"] not in names:
            raise _broken(path, f"the parent of {row['name']!r} is {str(row['parent'])[:40]!r}, which is missing",
                          near=choices(str(row["parent"]), names), fix="add the joint, or name another parent")  # fmt: skip
    parents = np.array([-1 if row.get("parent") is None else names.index(row["parent"]) for row in rows])
    if not any("low" in row or "high" in row for row in rows):
        return names, parents, None
    limits = [[_angles(path, row, key) for key in ("low", "high")] for row in rows]
    return names, parents, np.radians(np.array(limits))


def _angles(path: Path, row: dict, key: str) -> list[float]:
    value = row.get(key, [0, 0, 0])
    plain = isinstance(value, list) and len(value) == 3 and all(type(v) in (int, float) and abs(v) <= 360 for v in value)
    if not plain:
        raise _broken(path, f"{key!r} of {row['name']!r} is no list of three angles in degrees", fix=f'"{key}": [0, 0, 0]')
    return [float(v) for v in value]


def _weights(path: Path, tensors: dict[str, ndarray], joints: int) -> ndarray:
    """All of them (V J)."""
    if "weights" in tensors:
        return tensors["weights"]
    if not {"weight", "weight_joint"} <= set(tensors):
        raise _broken(path, "it has no tensor 'weights', nor 'weight' with 'weight_joint'")
    index, weight = tensors["weight_joint"], tensors["weight"]
    if index.ndim != 2 or index.shape != weight.shape or len(index) != len(tensors["vertices"]) or index.dtype.kind not in "iu":
        raise _broken(path, f"'weight' {weight.shape} and 'weight_joint' {index.shape} are not of {len(tensors['vertices'])} vertices")
    if index.size and not 0 <= int(index.min()) <= int(index.max()) < joints:
        raise _broken(path, f"'weight_joint' names joint {int(index.max())}, which is missing; there are {joints}")
    every = np.zeros((len(index), joints))
    np.add.at(every, (np.arange(len(index))[:, None], index.astype(np.int64)), weight)
    return every


def _broken(path: Path, why: str, *, near: str = "", fix: str = "export it again") -> Mistake:
    return Mistake(f"cannot read {path.name}: {why}", where=str(path), near=near, fix=fix)
