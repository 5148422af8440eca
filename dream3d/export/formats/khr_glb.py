"""Gaussians in a binary glTF (KHR_gaussian_splatting), without any loss; programs without the extension show coloured points.

As the extension's text of July 2026 has it: scales in metres, not their logarithms, opacities in [0, 1], quaternions x y z w, the
harmonics of 3D Gaussian Splatting one accessor per coefficient, colours display sRGB. COLOR_0 is what is left for others: the colour
without a direction, linear as glTF wants it, and the opacity.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

import dream3d
from dream3d.errors import Mistake
from dream3d.export.formats import Ask
from dream3d.export.glb import VERTICES, accessor, container
from dream3d.export.splat import C0, settled
from dream3d.files import write_bytes
from dream3d.foreign.pieces import to_linear
from dream3d.types import Points

FILES = {"splats": "splats.glb"}
UP = "y"
EXTRA = ""
EXTENSION = "KHR_gaussian_splatting"
LOOK = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display", "projection": "perspective", "sortingMethod": "cameraDistance"}
POINTS = 0  # primitive.mode


def write(item: Points, path: Path, ask: Ask) -> None:
    """Raises Mistake where there is nothing to write: glTF has no empty accessors."""
    points = settled(item, ask.up or UP)
    if not len(points.position):
        raise Mistake("there are no Gaussians to write", where=str(path))
    document, buffer = _document(ask.facts), bytearray()
    primitive = {"mode": POINTS, "material": 0, "extensions": {EXTENSION: LOOK}, "attributes": {}}
    for name, array in _attributes(points).items():
        number = accessor(document, buffer, array, VERTICES, bounds=name == "POSITION")
        primitive["attributes"][name] = number
        if array.dtype == "<u2":
            document["accessors"][number]["normalized"] = True
    document["meshes"] = [{"name": "splats", "primitives": [primitive]}]
    write_bytes(path, container(document, buffer))


def _document(facts: dict[str, Any]) -> dict[str, Any]:
    plain = {"name": "points", "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1}}
    return {
        "asset": {"version": "2.0", "generator": f"dream3d {dream3d.__version__}", "extras": facts},
        "extensionsUsed": [EXTENSION, "KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "object", "extras": facts}],
        "materials": [plain | {"alphaMode": "BLEND", "extensions": {"KHR_materials_unlit": {}}}],
        "accessors": [],
        "bufferViews": [],
    }


def _attributes(points: Points) -> dict[str, ndarray]:
    sh, opacity = points.sh.numpy(), points.opacity.numpy()
    rgba = np.concatenate([to_linear((0.5 + C0 * sh[:, 0]).clip(0, 1)), opacity[:, None].clip(0, 1)], 1)
    said = {"ROTATION": np.roll(points.rotation.numpy(), -1, 1), "SCALE": points.scale.numpy(), "OPACITY": opacity.clip(0, 1)}
    for degree in range(4):
        for n, k in enumerate(range(degree**2, min((degree + 1) ** 2, sh.shape[1]))):
            said[f"SH_DEGREE_{degree}_COEF_{n}"] = sh[:, k]
    fallback = {"POSITION": points.position.numpy().astype("<f4"), "COLOR_0": (65535 * rgba).round().astype("<u2")}
    return fallback | {f"{EXTENSION}:{name}": values.astype("<f4") for name, values in said.items()}
