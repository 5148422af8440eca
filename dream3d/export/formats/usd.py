"""OpenUSD, a binary crate with its pictures beside it: what Omniverse, Houdini, Unreal and Blender open.

Materials are UsdPreviewSurface. What moves has time samples of its vertices, a body a UsdSkel skeleton with its motion; a body whose poses
add something at rest (SMPL's) has time samples too.
"""

from pathlib import Path

from dream3d.clips import MeshClip, Skin
from dream3d.export.axes import outward
from dream3d.export.formats import Ask
from dream3d.export.formats._usd import plain
from dream3d.files import write_bytes
from dream3d.types import Mesh

FILES = {"mesh": "usd/mesh.usdc", "mesh-clip": "usd/mesh.usdc", "skin": "usd/mesh.usdc"}
UP = "y"
EXTRA = "usd"
NEEDS = "pxr"


def write(item: Mesh | MeshClip | Skin, path: Path, ask: Ask) -> None:
    from dream3d.export import usd_stage

    up = ask.up or UP
    stage = usd_stage.of(outward(plain(item), up), up, ask.facts)
    for name, data in stage.files.items():
        write_bytes(path.parent / name, data)
    stage.write(path)
