"""FBX, written by Blender: for studios that ask for it. Pictures are inside; light that is baked becomes a rough material.

Its bytes are not repeatable: FBX keeps the time of writing.
"""

from pathlib import Path
from typing import Any

from dream3d.blender.hand import through
from dream3d.export.formats import Ask

FILES = {"mesh": "mesh.fbx", "mesh-clip": "mesh.fbx", "skin": "mesh.fbx"}
UP = "y"
EXTRA = "blender"
NEEDS = "dream3d.blender.find"


def write(item: Any, path: Path, ask: Ask) -> None:
    """Mesh, MeshClip or Skin. Raises Mistake where there is no Blender, or it fails."""
    through(item, path, ask, lambda source, made: [{"do": "fbx", "file": source, "target": made, "up": ask.up or UP}])
