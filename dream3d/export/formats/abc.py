"""Alembic, written by Blender: vertices at every frame, for Maya, Houdini, Cinema 4D; no joints, no materials, no pictures.

Uvs, normals and colours of vertices are inside. What moves is sampled 24 times a second. Its bytes are not repeatable: it holds the time of
writing.
"""

from pathlib import Path
from typing import Any

from dream3d.blender.hand import through
from dream3d.export.formats import Ask

FILES = {"mesh": "mesh.abc", "mesh-clip": "mesh.abc", "skin": "mesh.abc"}
UP = "y"
EXTRA = "blender"
NEEDS = "dream3d.blender.find"


def write(item: Any, path: Path, ask: Ask) -> None:
    """Mesh, MeshClip or Skin. Raises Mistake where there is no Blender, or it fails."""
    through(item, path, ask, lambda source, made: [{"do": "abc", "file": source, "target": made}], up=ask.up)
