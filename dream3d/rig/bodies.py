"""SMPL (Loper et al. 2015), SMPL-X (Pavlakos et al., arXiv:1904.05866) and FLAME (Li et al. 2017) from the user's own files.

Their licences do not let them be handed on, so none is here, and none goes into a run: a run keeps the file's digest. Of a file only
what a body is made of is read: v_template, f, shapedirs, posedirs, J_regressor, weights, kintree_table, and vt with ft. Nothing in it is
ever run: .npz without object arrays, .pkl by `_pickled`. Poses are axis times angle in the model's own axes (y up, looking along +z), hands
flat at 0; the corrections that a pose asks for are SMPL's.
"""

import hashlib
import tokenize
import zipfile
from pathlib import Path

import numpy as np
from numpy import ndarray

from dream3d.errors import Mistake, choices
from dream3d.foreign.files import broken
from dream3d.rig._pickled import unpickled
from dream3d.rig.check import Numbers, checked

BYTES = 1 << 30  # of a file, and of all arrays in it
KEYS = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "vt", "ft")
OPTIONAL = ("posedirs", "vt", "ft")
FACE = {400: 100, 20: 10}  # of SMPL-X and FLAME: shape directions in all, and how many of them are of the face
MEAN = 1e-2  # how far the rows of a joint regressor may be from means
FIX = "the model file itself, as its authors hand it out"

_BODY = [
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle", "spine3", "left_foot",
    "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist",
]  # fmt: skip
_BENT = [f"{finger}{k}" for finger in ("index", "middle", "pinky", "ring", "thumb") for k in (1, 2, 3)]
_FINGERS = [f"{side}_{finger}" for side in ("left", "right") for finger in _BENT]
JOINTS = {
    5: ["root", "neck", "jaw", "left_eye", "right_eye"],  # FLAME
    24: [*_BODY, "left_hand", "right_hand"],  # SMPL
    52: [*_BODY, *_FINGERS],  # SMPL+H
    55: [*_BODY, "jaw", "left_eye", "right_eye", *_FINGERS],  # SMPL-X
}


def read_npz(path: Path) -> Numbers:
    """SMPL-X as it is handed out, and whatever is laid out alike. Raises Mistake."""
    _small(path)
    try:
        with zipfile.ZipFile(path) as archive:
            there = [key for key in KEYS if f"{key}.npy" in archive.namelist()]
            if sum(archive.getinfo(f"{key}.npy").file_size for key in there) > BYTES:
                raise broken(path, f"what it holds is larger than {BYTES >> 20} MiB", fix=FIX)
            arrays = {key: _member(path, archive, key) for key in there}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, zipfile.zlib.error) as error:
        raise broken(path, f"no .npz file: {error}", fix=FIX) from None
    return _body(path, arrays)


def read_pkl(path: Path) -> Numbers:
    """FLAME and SMPL as they are handed out. Raises Mistake, also for a file that names anything but arrays."""
    _small(path)
    return _body(path, unpickled(path, KEYS))


def _small(path: Path) -> None:
    if path.stat().st_size > BYTES:
        raise broken(path, f"it is larger than {BYTES >> 20} MiB", fix=FIX)


def _member(path: Path, archive: zipfile.ZipFile, key: str) -> ndarray:
    """One array, whose header says as many bytes as there are."""
    from numpy.lib import format

    member = archive.getinfo(f"{key}.npy")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise broken(path, f"{key} is packed in a way that numpy does not write", fix=FIX)
    try:
        with archive.open(f"{key}.npy") as file:
            version = format.read_magic(file)
            shape, _, dtype = {(1, 0): format.read_array_header_1_0, (2, 0): format.read_array_header_2_0}[version](file)
            told = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
            if dtype.hasobject:
                raise broken(path, f"{key} holds objects, which may run code, not numbers", fix=FIX)
            if told != member.file_size - file.tell():
                raise broken(path, f"{key} says that it has {told} bytes, and has {member.file_size - file.tell()}", fix=FIX)
        with archive.open(f"{key}.npy") as file:
            return format.read_array(file, allow_pickle=False)
    except (ValueError, KeyError, TypeError, SyntaxError, MemoryError, OverflowError, tokenize.TokenError) as error:
        raise broken(path, f"{key} is no array: {error}", fix=FIX) from None


def _body(path: Path, arrays: dict[str, ndarray]) -> Numbers:
    """What these models have in common."""
    _complete(path, arrays)
    real = {key: arrays[key].astype(np.float64) for key in ("v_template", "J_regressor", "shapedirs")}
    vertices, regressor, shapes = real.values()
    j, expressions = len(regressor), _expressions(shapes.shape[2], len(regressor))
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    names = tuple(JOINTS.get(j, [f"joint_{k}" for k in range(j)]))
    return checked(path, names=names, parents=_parents(path, arrays["kintree_table"]), vertices=vertices, faces=arrays["f"],
                   joints=regressor @ vertices, weights=arrays["weights"], shapes=shapes,
                   joint_shapes=np.einsum("jv,vck->jck", regressor, shapes), shape_names=_called(shapes.shape[2], expressions),
                   bends=arrays.get("posedirs"), expressions=expressions, uv=_uv(path, arrays), up="y",
                   about="a body model of the user's", digest=digest)  # fmt: skip


def _complete(path: Path, arrays: dict[str, ndarray]) -> None:
    """Everything there, in shapes that fit, and joints that are means of vertices."""
    for key in KEYS:
        if key not in arrays and key not in OPTIONAL:
            raise Mistake(f"{path.name} is no body model: it has no {key}", where=str(path), near=choices(key, arrays), fix=FIX)
        if key in arrays and arrays[key].dtype.kind not in "fiu":
            raise broken(path, f"its {key} is no array of numbers", fix=FIX)
    vertices, tree, directions = arrays["v_template"], arrays["kintree_table"], arrays["shapedirs"]
    v, j = len(vertices) if vertices.ndim else 0, tree.shape[1] if tree.ndim == 2 else 0
    k = directions.shape[2] if directions.ndim == 3 else 0
    fit = {"v_template": (v, 3), "J_regressor": (j, v), "kintree_table": (2, j), "weights": (v, j), "shapedirs": (v, 3, k)}
    for key, shape in fit.items():
        if arrays[key].shape != shape or v == 0 or j == 0:
            raise broken(path, f"its {key} has the shape {arrays[key].shape}, expected {shape}", fix=FIX)
        if not np.isfinite(arrays[key]).all():
            raise broken(path, f"its {key} is not made of finite numbers", fix=FIX)
    total = arrays["J_regressor"].astype(np.float64).sum(1)
    worst = int(np.abs(total - 1).argmax())
    if abs(total[worst] - 1) > MEAN:
        raise broken(path, f"row {worst} of its J_regressor sums to {total[worst]:.4g}, not to one", fix=FIX)


def _expressions(columns: int, joints: int) -> int:
    """How many of the shape directions, the last ones, are of the face. SMPL has none."""
    return FACE.get(columns, 0) if joints in (5, 55) else 0


def _called(count: int, expressions: int) -> tuple[str, ...]:
    return tuple([f"shape_{k}" for k in range(count - expressions)] + [f"expression_{k}" for k in range(expressions)])


def _parents(path: Path, tree: ndarray) -> ndarray:
    """Of every joint; the root's is written as -1, or as 2^32 - 1. The second row numbers the joints."""
    if not np.array_equal(tree[1], np.arange(tree.shape[1])):
        raise broken(path, "its kintree_table does not number the joints from 0 on", fix=FIX)
    parents = tree[0].astype(np.float64)
    if (parents != np.floor(parents)).any():
        raise broken(path, "its kintree_table holds parents that are not whole numbers", fix=FIX)
    return np.where((parents == 2**32 - 1) | (parents == 2.0**64), -1, parents.clip(-2, 2**31)).astype(np.int64)


def _uv(path: Path, arrays: dict[str, ndarray]) -> ndarray | None:
    """One per corner, where the file has them."""
    if "vt" not in arrays or "ft" not in arrays:
        return None
    places, corners = arrays["vt"], arrays["ft"]
    sound = places.ndim == 2 and places.shape[1] == 2 and corners.shape == arrays["f"].shape and corners.dtype.kind in "iu" and len(places)
    if not sound or int(corners.min(initial=0)) < 0 or int(corners.max(initial=0)) >= len(places):
        raise broken(path, f"its vt {places.shape} and ft {corners.shape} do not say where its faces lie in a texture", fix=FIX)
    return places[corners.astype(np.int64)].astype(np.float64)
