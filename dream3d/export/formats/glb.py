"""One binary glTF 2.0 file: what Blender, Unity, Unreal, Godot and browsers open; what moves has its animation in it.

glTF says that y points up. With `up` z the world's axes are kept, for programs that are told so. With `web` pictures are WebP and numbers
shorter: a third of the size, for readers that know the extensions.
"""

import tempfile
from pathlib import Path

from dream3d.clips import MeshClip, Skin
from dream3d.export.axes import inward
from dream3d.export.formats import Ask
from dream3d.export.formats._web import small
from dream3d.export.glb import write_glb
from dream3d.export.gltf_moving import write_morph, write_skin
from dream3d.files import write_bytes
from dream3d.types import Mesh

FILES = {"mesh": "mesh.glb", "mesh-clip": "mesh.glb", "skin": "mesh.glb"}
UP = "y"
EXTRA = ""


def write(item: Mesh | MeshClip | Skin, path: Path, ask: Ask) -> None:
    item = inward(item, "y") if ask.up == "z" else item  # the writers turn it out again
    writer = write_morph if isinstance(item, MeshClip) else write_skin if isinstance(item, Skin) else write_glb
    if not ask.web:
        writer(item, path, ask.facts)
        return
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / path.name
        writer(item, whole, ask.facts)
        write_bytes(path, small(whole.read_bytes()))
