"""An item as a GLB for Blender to take, and back: what formats that only Blender writes share."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from dream3d import files
from dream3d.blender.call import ask as blender
from dream3d.blender.find import check
from dream3d.errors import Mistake
from dream3d.export.formats import Ask, named

KINDS = ("mesh", "mesh-clip", "skin")


def through(
    item: Any, path: Path, ask: Ask, tasks: Callable[[Path, Path], list[dict[str, Any]]], *, up: Literal["y", "z"] | None = None
) -> None:
    """Writes the item as a GLB, lets Blender do `tasks(that, a path for its file)`, and puts what it made into `path`. `up` turns the item
    for formats that Blender writes y up, whatever is asked. Raises Mistake where there is no Blender, before anything is written."""
    check()
    with tempfile.TemporaryDirectory(prefix="dream3d-blender-", ignore_cleanup_errors=True) as folder:
        source, made = Path(folder) / "item.glb", Path(folder) / f"made{path.suffix}"
        named("glb").write(item, source, Ask(ask.facts, up))
        blender(tasks(source, made))
        if not made.is_file() or not made.stat().st_size:
            raise Mistake(f"Blender made no {path.name}", code=3)
        files.write_bytes(path, made.read_bytes())
