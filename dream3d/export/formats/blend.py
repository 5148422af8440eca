"""A .blend with one asset for Blender's asset browser: catalogue, tags, author, licence, preview. Written by Blender.

Its folder is an asset library: blender_assets.cats.txt lies beside it. The preview is `thumbnail.png` where one lies there, else Cycles
draws it. Blender's files are z up, and their bytes are not repeatable.
"""

from pathlib import Path
from typing import Any

from dream3d.blender import assets
from dream3d.blender.hand import through
from dream3d.export.formats import Ask

FILES = {"mesh": "asset.blend", "mesh-clip": "asset.blend", "skin": "asset.blend"}
UP = "z"
EXTRA = "blender"
NEEDS = "dream3d.blender.find"
CATALOGUE = "Generated"


def write(item: Any, path: Path, ask: Ask) -> None:
    """Mesh, MeshClip or Skin. Raises Mistake where there is no Blender, or it fails."""
    preview = path.with_name("thumbnail.png")

    def tasks(source: Path, made: Path) -> list[dict[str, Any]]:
        told = {"name": assets.name(ask.facts, source.read_bytes()), "catalog": assets.catalogue(CATALOGUE), "tags": assets.tags(ask.facts),
                "about": assets.about(ask.facts), "picture": preview if preview.is_file() else None}  # fmt: skip
        return [{"do": "blend", "file": source, "target": made} | told]

    through(item, path, ask, tasks)
    assets.enter(path.parent, [CATALOGUE])
