"""Whether a file names others that lie elsewhere: Blender would open them, whatever they are."""

import json
import re
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from dream3d.errors import Mistake
from dream3d.foreign.files import LIMITS, beside, broken, libraries, lines, mapped, whole

MAPS = (b"map_", b"norm", b"bump", b"disp", b"decal", b"refl")  # of a material, with a file's name
LARGEST, JSON = LIMITS["bytes"], LIMITS["json"]


def check(path: Path) -> None:
    """Raises Mistake where a glb, gltf or obj (or its materials) names a file outside its folder, or an address; a ply names nothing that
    Blender opens. Of other kinds of files nothing is known."""
    suffix = path.suffix.lower()
    if suffix == ".obj":
        names = (name for words in lines(path) if words[0] == b"mtllib" for name in libraries(words[1:]))
        own = path.with_suffix(".mtl")  # Blender looks for it unasked
        for found in dict.fromkeys([*filter(None, (_beside(path, name) for name in names)), *[own] * own.is_file()]):
            for words in lines(found):
                if len(words) > 1 and words[0].lower().startswith(MAPS):
                    _beside(path, mapped(words))
    elif suffix in (".glb", ".gltf"):
        document = said(whole(path, LARGEST), path)
        for entry in [*_entries(document, "images"), *_entries(document, "buffers")]:
            uri = entry.get("uri", "data:")
            if not isinstance(uri, str):
                raise broken(path, f"it names {str(uri)[:80]!r}, which is no file beside it")
            if not uri.startswith("data:"):
                _beside(path, unquote(uri))


def _beside(path: Path, name: str) -> Path | None:
    """As `beside`, but absolute names and addresses are refused: Blender takes them at their word."""
    if re.match(r"\s*([/\\]|[A-Za-z]:|\w+://)", name):
        raise broken(path, f"it names {name[:80]!r}, which is no file beside it", fix="put that file beside it, and name it so")
    return beside(path, name)


def said(data: bytes, path: Path) -> dict[str, Any]:
    """The JSON of a .glb or .gltf. Raises Mistake where there is none."""
    try:
        if path.suffix.lower() == ".glb":
            magic, _, _, length, kind = struct.unpack_from("<4sIIII", data)
            if magic != b"glTF" or kind != 0x4E4F534A or length > len(data) - 20:
                raise ValueError
            data = data[20 : 20 + length]
        document = json.loads(data) if len(data) <= JSON else None
    except (struct.error, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Mistake(f"{path.name} is no glTF file", where=str(path))
    return document


def _entries(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = document.get(key)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
