"""USDZ, OpenUSD and its pictures in one file: what Apple's devices show in the room (AR Quick Look)."""

import tempfile
from pathlib import Path

from dream3d.clips import MeshClip, Skin
from dream3d.export.axes import outward
from dream3d.export.formats import Ask
from dream3d.export.formats._usd import plain
from dream3d.types import Mesh

FILES = {"mesh": "mesh.usdz", "mesh-clip": "mesh.usdz", "skin": "mesh.usdz"}
UP = "y"
EXTRA = "usd"
NEEDS = "pxr"


def write(item: Mesh | MeshClip | Skin, path: Path, ask: Ask) -> None:
    from dream3d.export import usd_stage

    up = ask.up or UP
    stage = usd_stage.of(outward(plain(item), up), up, ask.facts)
    with tempfile.TemporaryDirectory() as folder:
        crate = Path(folder) / "mesh.usdc"
        stage.write(crate)
        usd_stage.package({"mesh.usdc": crate.read_bytes(), **stage.files}, path)
