"""A folder for Blender's asset browser, made of finished runs and GLB files: one .blend for each, catalogues by recipe. Named by content:
what is there already is not made again. And the extension that brings them into Blender, as one file."""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dream3d import build, files
from dream3d.blender import assets
from dream3d.blender.call import ask
from dream3d.blender.inside import LARGEST, said
from dream3d.errors import Mistake
from dream3d.foreign.files import whole


def collect(folder: Path, sources: list[Path]) -> Iterator[tuple[Path, bool]]:
    """Yields the .blend of each source and whether it was made now. A source is a run's folder or a .glb. Raises Mistake for others, and
    where there is no Blender; what was made before stays."""
    found = [_glb(Path(source)) for source in sources]
    for path in found:
        data = whole(path, LARGEST)
        told = facts(data, path)
        target = Path(folder) / f"{assets.name(told, data)}.blend"
        fresh = not target.is_file()
        if fresh:
            home = _home(told)
            _make(path, target, told, home)
            assets.enter(folder, [home])
        yield target, fresh


def extension(path: Path) -> None:
    """Blender's extension (assets/blender/extension) with its licence as a .zip: always the same bytes."""
    home, buffer = build.place("assets") / "blender", io.BytesIO()
    parts = sorted(part for part in (home / "extension").iterdir() if part.suffix in (".py", ".toml"))
    with zipfile.ZipFile(buffer, "w") as archive:
        for part in [*parts, home / "COPYING"]:
            entry = zipfile.ZipInfo(part.name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            archive.writestr(entry, part.read_bytes())
    files.write_bytes(path, buffer.getvalue())


def _make(path: Path, target: Path, facts: dict[str, Any], home: str) -> None:
    preview = path.with_name("thumbnail.png")
    told = {"name": target.stem, "catalog": assets.catalogue(home), "tags": assets.tags(facts), "about": assets.about(facts),
            "picture": preview if preview.is_file() else None}  # fmt: skip
    with files.replacing(target) as temporary:
        ask([{"do": "blend", "file": path, "target": temporary} | told])


def _glb(source: Path) -> Path:
    """The GLB of a run, or the file itself."""
    path = source / "export" / "mesh.glb" if source.is_dir() else source
    if path.suffix.lower() != ".glb" or not path.is_file():
        fix = "python launch.py export RUN --format glb" if source.is_dir() else "a run's folder, or a .glb"
        raise Mistake(f"there is no GLB in {source.name or source}", where=str(source), fix=fix)
    return path


def facts(data: bytes, path: Path) -> dict[str, Any]:
    """What a GLB of ours says of itself; of another's only its name. Nothing in it is trusted."""
    asset = said(data, path).get("asset")
    told = asset.get("extras") if isinstance(asset, dict) else None
    return told if isinstance(told, dict) else {"source": [path.name]}


def _home(facts: dict[str, Any]) -> str:
    """The catalogue: by recipe."""
    name = re.sub(r"[^\w. -]+", "-", str(facts.get("recipe") or "Other"))[:60].strip(" .-") or "Other"
    return f"Generated/{name}"
