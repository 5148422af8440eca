"""Gaussians of a glTF (KHR_gaussian_splatting), as the columns of a .ply of Gaussians."""

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from dream3d.export.axes import turned
from dream3d.foreign.files import broken
from dream3d.foreign.gltf_parts import Document
from dream3d.foreign.splats import columns, logit
from dream3d.types import Points

EXTENSION = "KHR_gaussian_splatting"
STRETCHED = 1e-3  # how far a node may be from a rotation and one scale


def splats(scene: Document, primitive: dict, vertices: Float[ndarray, "N 3"], place: Float[ndarray, "4 4"]) -> dict[str, ndarray]:
    """Of a primitive with the extension, whose vertices lie in the scene already. Raises Mistake for attributes that are not there, and for
    a node that stretches or mirrors."""
    attributes, count = scene.section(primitive, "attributes"), len(vertices)

    def held(name: str, width: int) -> ndarray:
        values = scene.array(attributes.get(f"{EXTENSION}:{name}"), width)
        if len(values) != count:
            raise broken(scene.path, f"{len(values)} of {name} for {count} Gaussians")
        return values.astype(np.float32)

    sh = [held("SH_DEGREE_0_COEF_0", 3)]
    for degree in (1, 2, 3):
        if f"{EXTENSION}:SH_DEGREE_{degree}_COEF_0" not in attributes:
            break
        sh += [held(f"SH_DEGREE_{degree}_COEF_{n}", 3) for n in range(2 * degree + 1)]
    rotation, coefficients = np.roll(held("ROTATION", 4), 1, 1), np.stack(sh, 1)
    with np.errstate(invalid="ignore"):
        scale, opacity = np.log(np.maximum(held("SCALE", 3), 1e-10)), logit(held("OPACITY", 1))
    turn, size = _parted(place, scene)
    if not np.array_equal(turn, np.eye(3)):
        empty = torch.zeros(count, 3)
        there = turned(Points(empty, empty, rotation=torch.from_numpy(rotation), sh=torch.from_numpy(coefficients)), torch.from_numpy(turn))
        rotation, coefficients = there.rotation.numpy(), there.sh.numpy()
    return columns(vertices, coefficients[:, 0], opacity, scale + np.log(size), rotation, coefficients[:, 1:])


def _parted(place: Float[ndarray, "4 4"], scene: Document) -> tuple[Float[ndarray, "3 3"], float]:
    """The rotation and the scale of a node."""
    size = float(np.cbrt(np.linalg.det(place[:3, :3])))
    turn = place[:3, :3] / (size if size > 0 else 1)
    if size <= 0 or np.abs(turn @ turn.T - np.eye(3)).max() > STRETCHED:
        raise broken(scene.path, "its Gaussians stand in a node that stretches or mirrors", fix="apply its scale, and export it again")
    return turn, size


def together(parts: list[dict[str, ndarray]]) -> dict[str, ndarray]:
    """Of all primitives; harmonics that one of them lacks are nought."""
    names = max(parts, key=len)
    most = sum(name.startswith("f_rest_") for name in names) // 3
    return {name: np.concatenate([_rest(part, name, most) for part in parts]) for name in names}


def _rest(part: dict[str, ndarray], name: str, most: int) -> ndarray:
    """A column; those of harmonics are numbered channel by channel, so that other degrees have other numbers."""
    if not name.startswith("f_rest_"):
        return part[name]
    channel, k = divmod(int(name[7:]), most)
    own = sum(key.startswith("f_rest_") for key in part) // 3
    return part[f"f_rest_{channel * own + k}"] if k < own else np.zeros_like(part["x"])
