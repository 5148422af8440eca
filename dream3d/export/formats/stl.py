"""Binary STL for printing: triangles in millimetres, z up, without colour.

STL knows no unit; slicers take millimetres. A metre is 1000 of them unless `millimetres` says how long the longest side is.
"""

from pathlib import Path

import numpy as np

from dream3d.export.formats import Ask
from dream3d.export.solid import printed, turned
from dream3d.files import write_bytes
from dream3d.types import Mesh

FILES = {"mesh": "mesh.stl"}
UP = "z"
EXTRA = ""
ROW = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
HEAD = b"dream3d, millimetres"  # 80 bytes; must not begin with "solid", which is how text begins


def write(item: Mesh, path: Path, ask: Ask) -> None:
    corners = turned(printed(item, ask.millimetres, path.name), ask.up or UP)[item.faces.numpy()]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    rows = np.zeros(len(corners), ROW)
    rows["corners"], rows["normal"] = corners, normal / np.where(length > 0, length, 1)
    write_bytes(path, HEAD.ljust(80, b"\0") + np.uint32(len(rows)).astype("<u4").tobytes() + rows.tobytes())
