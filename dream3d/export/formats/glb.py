"""One binary glTF 2.0 file: what Blender, Unity, Unreal, Godot and browsers open."""

from pathlib import Path

from dream3d.export.formats import Ask
from dream3d.export.glb import write_glb
from dream3d.types import Mesh

FILES = {"mesh": "mesh.glb"}
UP = "y"
EXTRA = ""


def write(item: Mesh, path: Path, ask: Ask) -> None:
    write_glb(item, path, ask.facts)
