"""The humanoid of this house, built: an implicit doll, marched, smoothed, skinned by diffusion. `python -m dream3d.rig.humanoid FOLDER`
writes humanoid.safetensors and humanoid.json, byte for byte those of assets/rigs: only sums, products, quotients and roots are taken.

Metres, z up, looking along -y; the left hand is at +x. Half of it is made, the other half is its mirror image.
"""

import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from dream3d.rig.own import write

CELL = 0.028  # metres
MELT = 0.035  # metres over which parts melt together
SMOOTH, SPREAD = 12, 10  # rounds of smoothing the surface, and the weights
MOST = 4  # joints that move one vertex

# joint: parent, where it is, where its bone ends, radii of the bone's body at both ends; x is mirrored for the right
SPINE = {
    "hips": (None, (0, 0, -0.07), (0, 0, 0.0), 0.115, 0.11),
    "spine": ("hips", (0, 0, 0.02), (0, 0, 0.09), 0.11, 0.115),
    "chest": ("spine", (0, 0, 0.1), (0, 0, 0.19), 0.115, 0.11),
    "neck": ("chest", (0, 0.005, 0.285), (0, 0.005, 0.36), 0.06, 0.055),
    "head": ("neck", (0, 0.005, 0.37), (0, 0, 0.56), 0.055, 0.1),
}
LEFT = {
    "shoulder": ("chest", (0.145, 0, 0.235), (0.265, 0, 0.075), 0.058, 0.047),
    "elbow": ("shoulder", (0.265, 0, 0.075), (0.373, 0, -0.069), 0.047, 0.04),
    "wrist": ("elbow", (0.373, 0, -0.069), (0.415, -0.005, -0.125), 0.043, 0.04),
    "hip": ("hips", (0.1, 0, -0.13), (0.105, 0, -0.38), 0.072, 0.058),
    "knee": ("hip", (0.105, 0, -0.38), (0.107, 0.005, -0.61), 0.058, 0.048),
    "ankle": ("knee", (0.107, 0.005, -0.62), (0.11, -0.105, -0.652), 0.05, 0.047),
}
MORE = (  # of a joint: where, half axes; x is mirrored
    ("head", (0, -0.005, 0.545), (0.155, 0.165, 0.165)),
    ("head", (0, -0.172, 0.525), (0.026, 0.032, 0.026)),  # nose
    ("head", (0.158, 0.01, 0.54), (0.025, 0.035, 0.045)),  # ears
    ("wrist", (0.372, -0.045, -0.092), (0.022, 0.036, 0.026)),  # thumbs
    ("chest", (0.095, 0, 0.2), (0.09, 0.08, 0.08)),  # shoulders
    ("hips", (0.06, 0.02, -0.09), (0.075, 0.085, 0.075)),
)
LIMITS = {  # degrees about x (nod: forwards is below 0 for what hangs), y (to the side: the left is raised below 0) and z (twist)
    "hips": ((0, 0, 0), (0, 0, 0)),
    "spine": ((-20, -15, -20), (40, 15, 20)),
    "chest": ((-15, -10, -20), (30, 10, 20)),
    "neck": ((-25, -20, -40), (30, 20, 40)),
    "head": ((-25, -15, -30), (30, 15, 30)),
    "left_shoulder": ((-110, -120, -40), (45, 37, 40)),
    "left_elbow": ((-130, -60, -30), (0, 0, 30)),
    "left_wrist": ((-40, -25, -30), (40, 25, 30)),
    "left_hip": ((-90, -45, -30), (35, 12, 30)),
    "left_knee": ((0, 0, 0), (125, 0, 0)),
    "left_ankle": ((-40, -15, -15), (25, 15, 15)),
}
SHAPES = ("height", "girth", "head", "legs", "arms")  # coefficient 1 adds a seventh or so
GROWTH = 0.15


def main(folder: str) -> None:
    write(Path(folder) / "humanoid.safetensors", **built())


def built() -> dict:
    """Everything `own.write` takes."""
    bones = _bones()
    vertices, faces = _surface(bones)
    weights = _weights(vertices, faces, bones)
    names = tuple(bones)
    parents = np.array([-1 if bone[0] is None else names.index(bone[0]) for bone in bones.values()])
    joints = np.array([bone[1] for bone in bones.values()], dtype=np.float64)
    shapes, joint_shapes = _shapes(vertices, weights, bones, parents)
    limits = np.array([_limits(name) for name in names], dtype=np.float64)
    return {"names": names, "parents": parents, "vertices": vertices, "faces": faces, "joints": joints, "weights": weights,
            "shapes": shapes, "joint_shapes": joint_shapes, "shape_names": SHAPES, "limits": limits,
            "about": "the humanoid of dream3d, built by dream3d/rig/humanoid.py; Apache-2.0"}  # fmt: skip


def _mirrored(point, side: int) -> tuple[float | int, ...]:
    return (side * point[0], point[1], point[2])


def _bones() -> dict[str, tuple]:
    """All joints by name, each after its parent."""
    bones = dict(SPINE)
    for name, side in (("left", 1), ("right", -1)):
        for part, (parent, start, end, *radii) in LEFT.items():
            above = parent if parent in SPINE else f"{name}_{parent}"
            bones[f"{name}_{part}"] = (above, _mirrored(start, side), _mirrored(end, side), *radii)
    return bones


def _limits(name: str) -> tuple[tuple, tuple]:
    low, high = LIMITS[name.replace("right_", "left_")]
    mirrored = (low[0], -high[1], -high[2]), (high[0], -low[1], -low[2])  # what a mirror does to turns
    return mirrored if name.startswith("right_") else (low, high)


# --- the surface ----------------------------------------------------------------------------------------------------


def _length(v: Float[ndarray, "*n 3"]) -> Float[ndarray, "*n"]:
    return np.sqrt(v[..., 0] * v[..., 0] + v[..., 1] * v[..., 1] + v[..., 2] * v[..., 2])


def _dot(v: Float[ndarray, "*n 3"], w: Float[ndarray, "3"]) -> Float[ndarray, "*n"]:
    return v[..., 0] * w[0] + v[..., 1] * w[1] + v[..., 2] * w[2]


def _bone(x: Float[ndarray, "*n 3"], bone: tuple) -> Float[ndarray, "*n"]:
    """About the signed distance to a bone's body: a rod whose radius changes along it."""
    _, start, end, first, last = bone
    start, way = np.array(start, dtype=np.float64), np.subtract(end, start).astype(np.float64)
    along = np.clip(_dot(x - start, way) / _dot(way[None], way), 0, 1)
    return _length(x - start - along[..., None] * way) - (first + along * (last - first))


def _ball(x: Float[ndarray, "*n 3"], middle, radii) -> Float[ndarray, "*n"]:
    """About the signed distance to an ellipsoid."""
    radii = np.array(radii, dtype=np.float64)
    scaled = (x - np.array(middle)) / radii
    far, steep = _length(scaled), _length(scaled / radii)
    return far * (far - 1) / np.maximum(steep, 1e-9)


def _melted(a: ndarray, b: ndarray, width: float) -> ndarray:
    """The smaller of both, rounded where they are alike."""
    share = np.maximum(width - np.abs(a - b), 0) / width
    return np.minimum(a, b) - share * share * width / 4


def _parts(x: Float[ndarray, "*n 3"], bones: dict[str, tuple]) -> list[tuple[str, ndarray]]:
    found = [(name, _bone(x, bone)) for name, bone in bones.items()]
    for joint, middle, radii in MORE:
        sides = ((f"left_{joint}", 1), (f"right_{joint}", -1)) if joint in LEFT else ((joint, 1), (joint, -1))
        found += [(name, _ball(x, _mirrored(middle, side), radii)) for name, side in sides if side > 0 or middle[0]]
    return found


def _doll(x: Float[ndarray, "*n 3"], bones: dict[str, tuple]) -> Float[ndarray, "*n"]:
    """About the signed distance to the whole. Arms and legs melt into the body, not into what else is near them."""
    groups: dict[str, ndarray] = {}
    for name, part in _parts(x, bones):
        limb = name if name in SPINE else name.split("_")[0] + ("_arm" if name.split("_")[1] in ("shoulder", "elbow", "wrist") else "_leg")
        key = "body" if limb in SPINE else limb
        small = 0.5 if name in ("head", "left_wrist", "right_wrist") else 1.0
        groups[key] = part if key not in groups else _melted(groups[key], part, small * MELT)
    whole = groups.pop("body")
    for limb in groups.values():
        whole = _melted(whole, limb, MELT)
    return whole


def _surface(bones: dict[str, tuple]) -> tuple[Float[ndarray, "V 3"], Int[ndarray, "F 3"]]:
    """Vertices in the plane of the mirror first, then the left, then the right in the same order."""
    from skimage.measure import marching_cubes

    axes = [CELL * np.arange(0, 20), CELL * (np.arange(-12, 12) + 0.5), CELL * (np.arange(-27, 27) + 0.5)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    volume = _doll(grid, bones)
    vertices, faces, _, _ = marching_cubes(volume, 0.0)  # in cells
    vertices, faces = _welded(_crossings(vertices.astype(np.float64), volume), faces.astype(np.int64))
    vertices = CELL * vertices + np.array([axis[0] for axis in axes])
    vertices, faces, middle = _both(vertices, _outwards(vertices, faces))
    for _ in range(SMOOTH):
        vertices = _symmetric(_smoothed(vertices, faces, 0.6), middle)
        for _ in range(2):
            vertices = _onto(vertices, bones)
    return _symmetric(vertices, middle).astype(np.float32).astype(np.float64), faces


def _crossings(vertices: Float[ndarray, "V 3"], volume: Float[ndarray, "X Y Z"]) -> Float[ndarray, "V 3"]:
    """Where edges of the grid cross the surface, told anew: compiled code may round in its own way."""
    low, away = np.floor(vertices).astype(np.int64), np.abs(vertices - vertices.round())
    way = np.eye(3, dtype=np.int64)[away.argmax(1)]
    first, last = volume[tuple(low.T)], volume[tuple((low + way).T)]
    return low + way * (first / (first - last))[:, None]


def _welded(vertices: Float[ndarray, "V 3"], faces: Int[ndarray, "F 3"]) -> tuple[ndarray, ndarray]:
    """Without vertices that lie on another."""
    _, first, index = np.unique((vertices * 1e4).round().astype(np.int64), axis=0, return_index=True, return_inverse=True)
    faces = index.reshape(-1)[faces]
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return vertices[first], faces[distinct]


def _outwards(vertices: Float[ndarray, "V 3"], faces: Int[ndarray, "F 3"]) -> Int[ndarray, "F 3"]:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return faces if (np.cross(a, b) * c).sum() > 0 else faces[:, ::-1]


def _both(vertices: Float[ndarray, "V 3"], faces: Int[ndarray, "F 3"]) -> tuple[ndarray, ndarray, int]:
    """The half at x >= 0 and its mirror image, joined where x is 0; how many vertices lie there."""
    flat = vertices[:, 0] < 1e-9
    order = np.argsort(~flat, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    vertices, faces, middle = vertices[order], place[faces], int(flat.sum())
    other = np.where(faces < middle, faces, faces + len(vertices) - middle)[:, ::-1]
    image = vertices[middle:] * np.array([-1.0, 1, 1])
    return np.concatenate([vertices, image]), np.concatenate([faces, other]), middle


def _symmetric(vertices: Float[ndarray, "V 3"], middle: int) -> Float[ndarray, "V 3"]:
    """The left as it is, the right its image: sums in another order may have parted them."""
    half = (len(vertices) - middle) // 2
    plane, left = vertices[:middle] * np.array([0.0, 1, 1]), vertices[middle : middle + half]
    return np.concatenate([plane, left, left * np.array([-1.0, 1, 1])])


def _smoothed(rows: Float[ndarray, "V C"], faces: Int[ndarray, "F 3"], share: float) -> Float[ndarray, "V C"]:
    """Each row moved by `share` towards the mean of its neighbours'."""
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])  # closed: each edge once each way
    total, count = np.zeros_like(rows), np.zeros((len(rows), 1))
    np.add.at(total, sides[:, 0], rows[sides[:, 1]])
    np.add.at(count, sides[:, 0], 1.0)
    return rows + share * (total / count - rows)


def _onto(x: Float[ndarray, "V 3"], bones: dict[str, tuple]) -> Float[ndarray, "V 3"]:
    """Moved along the slope towards the surface."""
    step = CELL / 64
    ways = np.eye(3) * step
    slope = np.stack([(_doll(x + way, bones) - _doll(x - way, bones)) / (2 * step) for way in ways], -1)
    steep = np.maximum(slope[:, 0] ** 2 + slope[:, 1] ** 2 + slope[:, 2] ** 2, 0.25)
    go = -(_doll(x, bones) / steep)[:, None] * slope
    return x + go * np.minimum(1, CELL / 2 / np.maximum(_length(go), 1e-12))[:, None]


# --- what moves what ------------------------------------------------------------------------------------------------


def _weights(vertices: Float[ndarray, "V 3"], faces: Int[ndarray, "F 3"], bones: dict[str, tuple]) -> Float[ndarray, "V J"]:
    """Each vertex belongs to the part that it lies on, then this spreads to its neighbours; MOST joints a vertex."""
    names, parts = list(bones), _parts(vertices, bones)
    nearest = np.stack([part for _, part in parts]).argmin(0)
    weights = np.eye(len(names))[np.array([names.index(name) for name, _ in parts])[nearest]]
    for _ in range(SPREAD):
        weights = _smoothed(weights, faces, 0.5)
    weights = (weights + _image(weights, vertices, names)) / 2
    least = np.sort(weights, 1)[:, -MOST - 1 : -MOST]
    weights = np.where(weights > least, weights, 0).astype(np.float32).astype(np.float64)
    return weights / weights.sum(1, keepdims=True)


def _image(weights: Float[ndarray, "V J"], vertices: Float[ndarray, "V 3"], names: list[str]) -> Float[ndarray, "V J"]:
    """What the mirror makes of weights."""
    middle = int((vertices[:, 0] == 0).sum())
    half = (len(vertices) - middle) // 2
    rows = np.r_[0:middle, middle + half : len(vertices), middle : middle + half]
    other = {"left": "right", "right": "left"}
    columns = [names.index("_".join(other.get(word, word) for word in name.split("_"))) for name in names]
    return weights[rows][:, columns]


def _shapes(vertices, weights, bones: dict[str, tuple], parents) -> tuple[Float[ndarray, "V 3 K"], Float[ndarray, "J 3 K"]]:
    """What a coefficient adds to vertices and joints: each part grows in its own way, and carries those below it."""
    places = np.array([bone[1] for bone in bones.values()], dtype=np.float64)
    columns = [_direction(shape, vertices, weights, places, bones, parents) for shape in SHAPES]
    return np.stack([v for v, _ in columns], -1), np.stack([j for _, j in columns], -1)


def _direction(shape: str, vertices, weights, places, bones: dict[str, tuple], parents) -> tuple[ndarray, ndarray]:
    maps = [GROWTH * _growth(shape, name, bone) for name, bone in bones.items()]
    joints = np.zeros_like(places)
    for k, parent in enumerate(parents):
        above = maps[parent] @ (places[k] - places[parent]) if parent >= 0 else maps[k] @ places[k] * (shape == "height")
        joints[k] = above + (joints[parent] if parent >= 0 else 0)
    each = np.stack([joint + (vertices - place) @ grow.T for joint, place, grow in zip(joints, places, maps, strict=True)], 1)
    moved = (weights[..., None] * each).sum(1)
    ends = vertices[:, 2].argmin(), vertices[:, 2].argmax()
    lift = np.array([0, 0, -(moved[ends[0], 2] + moved[ends[1], 2]) / 2])  # the middle of the whole stays
    return moved + lift, joints + lift


def _growth(shape: str, name: str, bone: tuple) -> Float[ndarray, "3 3"]:
    """How a bone's body grows about its joint."""
    part = name.split("_")[-1]
    way = np.subtract(bone[2], bone[1]).astype(np.float64)
    along = np.outer(way, way) / (way * way).sum()
    match shape:
        case "height":
            return np.diag([0.0, 0, 1])
        case "girth":
            if name in ("hips", "spine", "chest"):
                return np.diag([1.0, 1, 0])
            return (np.eye(3) - along) * (part not in ("head", "neck"))
        case "head":
            return np.eye(3) * (name == "head")
        case "legs":
            return along * (part in ("hip", "knee"))
    return along * (part in ("shoulder", "elbow"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".")
