"""Which axis points up in a file, where it says so: ours do, in a .glb and in the comment of a .ply. Nothing here needs torch.

Others' comments of a vertical axis are not heeded: there are programs that write the same one into every file.
"""

import json
import os
import re
import struct
from pathlib import Path
from typing import Any, Literal

from dream3d.foreign.files import LIMITS

Axis = Literal["y", "z"]
HEAD, JSON = 1 << 16, 0x4E4F534A  # bytes of a .ply in which its header ends; the kind of a .glb's first chunk
COMMENT = "comment dream3d "


def told(path: Path) -> Axis | None:
    """Of a .glb or .ply that we wrote; None where nothing is said."""
    with Path(path).open("rb") as file:
        head = file.read(HEAD)
    if head[:4] == b"glTF":
        found = chunk(path)
        return None if found is None else axis(found)
    found = re.search(rb"\n" + COMMENT.encode() + rb"(\{[^\r\n]*)", head.partition(b"\nend_header")[0])
    return _up(_parsed(found[1])) if found else None


def axis(document: dict[str, Any]) -> Axis | None:
    """Of a glTF document that we wrote."""
    asset = document.get("asset")
    ours = isinstance(asset, dict) and str(asset.get("generator")).startswith("dream3d ")
    return _up(asset.get("extras")) if ours else None


def comment(up: str) -> str:
    """The line of a .ply's header that says it."""
    return COMMENT + json.dumps({"transform": {"up": up}})


def chunk(path: Path) -> dict[str, Any] | None:
    """The document inside a .glb; None where there is none that could be read."""
    with Path(path).open("rb") as file:
        head = file.read(20)
        if len(head) < 20 or head[:4] != b"glTF":
            return None
        length, kind = struct.unpack_from("<II", head, 12)
        if kind != JSON or length > min(LIMITS["text"], os.fstat(file.fileno()).st_size):
            return None
        found = _parsed(file.read(length))
    return found if isinstance(found, dict) else None


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _up(facts: Any) -> Axis | None:
    move = facts.get("transform") if isinstance(facts, dict) else None
    up = move.get("up") if isinstance(move, dict) else None
    return up if up in ("y", "z") else None
