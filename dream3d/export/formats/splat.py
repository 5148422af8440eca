"""Gaussians of one colour each as a .splat of 32 bytes: old, small to read, no harmonics.

Per Gaussian, little-endian, without any header: x y z and the three scales (metres, not their logarithms) as float32; red, green, blue and
opacity as bytes; the quaternion w x y z as bytes, 128 for nought (the layout of antimatter15/splat, which viewers took over).
"""

from pathlib import Path

import numpy as np
from numpy import ndarray

from dream3d.export.formats import Ask
from dream3d.export.splat import C0, settled
from dream3d.files import write_bytes
from dream3d.types import Points

FILES = {"splats": "splats.splat"}
UP = "-y"
EXTRA = ""
RECORD = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])


def write(item: Points, path: Path, ask: Ask) -> None:
    points = settled(item, ask.up or UP)
    table = np.zeros(len(points.position), RECORD)
    table["position"], table["scale"] = points.position, points.scale
    table["rgba"][:, :3], table["rgba"][:, 3] = _bytes(255 * (0.5 + C0 * points.sh[:, 0].numpy())), _bytes(255 * points.opacity.numpy())
    table["rotation"] = _bytes(128 + 128 * _downward(points.rotation.numpy()))
    write_bytes(path, table.tobytes())


def _downward(quaternion: ndarray) -> ndarray:
    """The same rotations with the largest component below nought: 128 reaches from -1 to 127 / 128."""
    largest = np.take_along_axis(quaternion, np.abs(quaternion).argmax(1)[:, None], 1)
    return np.where(largest > 0, -quaternion, quaternion)


def _bytes(values: ndarray) -> ndarray:
    return values.round().clip(0, 255).astype(np.uint8)
