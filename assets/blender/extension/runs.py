# SPDX-License-Identifier: GPL-3.0-or-later
"""Finished runs on disk: folders with a status.json that says done and an export/mesh.glb. Needs no Blender."""

import json
from pathlib import Path

MOST, LARGEST = 5000, 1_000_000  # folders that are looked at; bytes of a status


def finished(root: str) -> list[Path]:
    """The folders of finished runs below `root` (itself, its children, or theirs), the newest first."""
    found, home = [], Path(root)
    if not root or not home.is_dir():
        return []
    for number, folder in enumerate(_folders(home)):
        if number >= MOST:
            break
        try:
            if _done(folder) and (folder / "export" / "mesh.glb").is_file():
                found.append(((folder / "status.json").stat().st_mtime, folder))
        except OSError:
            continue  # it went away, or is nobody's to read
    return [folder for _, folder in sorted(found, key=lambda pair: (-pair[0], str(pair[1])))]


def _folders(home: Path):
    yield home
    for pattern in ("*", "*/*"):
        yield from (path for path in home.glob(pattern) if path.is_dir())


def _done(folder: Path) -> bool:
    path = folder / "status.json"
    if not path.is_file() or path.stat().st_size > LARGEST:
        return False
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and told.get("state") == "done"
