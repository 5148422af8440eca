"""One binary glTF 2.0 file: what Blender, Unity, Unreal, Godot and browsers open; what moves has its animation in it."""

from pathlib import Path

from dream3d.clips import MeshClip, Skin
from dream3d.export.formats import Ask
from dream3d.export.glb import write_glb
from dream3d.export.gltf_moving import write_morph, write_skin
from dream3d.types import Mesh

FILES = {"mesh": "mesh.glb", "mesh-clip": "mesh.glb", "skin": "mesh.glb"}
UP = "y"
EXTRA = ""


def write(item: Mesh | MeshClip | Skin, path: Path, ask: Ask) -> None:
    if isinstance(item, MeshClip):
        write_morph(item, path, ask.facts)
    elif isinstance(item, Skin):
        write_skin(item, path, ask.facts)
    else:
        write_glb(item, path, ask.facts)
