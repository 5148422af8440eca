"""What Blender's asset browser is told: an asset's name, its catalogue, its tags; and the file of a library's catalogues."""

import hashlib
import re
import uuid
from pathlib import Path
from typing import Any

import dream3d
from dream3d import files
from dream3d.errors import Mistake, one_line
from dream3d.folder import slug

CATALOGUES = "blender_assets.cats.txt"
SPACE = uuid.uuid5(uuid.NAMESPACE_OID, "dream3d catalogues")
HEAD = "# Catalogues of Blender's asset browser. Written by dream3d; what you add stays.\n\nVERSION 1\n\n"
MOST, TAGS = 1_000_000, 12  # bytes of that file; tags from a prompt
LINE = re.compile(r"([0-9a-fA-F-]{36}):([^:]*):(.*)")


def name(facts: dict[str, Any], data: bytes) -> str:
    """slug_s3_0123abcd: prompt, seed, content. ASCII, the same for the same file."""
    seed = f"_s{facts['seed']}" if isinstance(facts.get("seed"), int) else ""
    return f"{slug(prompt(facts))}{seed}_{hashlib.sha256(data).hexdigest()[:8]}"


def prompt(facts: dict[str, Any]) -> str:
    """The prompt, or the name of the file that the asset was made from."""
    told = facts.get("prompt") or facts.get("source") or "object"
    return " / ".join(map(str, told)) if isinstance(told, list) else str(told)


def tags(facts: dict[str, Any]) -> list[str]:
    """Words that the browser's search finds it by."""
    words = re.findall(r"[^\W\d_]{3,}", prompt(facts)[:2000].lower())
    more = [str(facts[key]) for key in ("recipe", "representation", "lighting") if facts.get(key)]
    return [one_line(tag)[:60] for tag in dict.fromkeys([*words[:TAGS], *more, "dream3d"])]


def about(facts: dict[str, Any]) -> dict[str, str]:
    """Author, description and licence, as the browser shows them."""
    models = [model for model in facts.get("models") or [] if isinstance(model, dict)]
    licences = [f"{model.get('name', '?')}: {model.get('licence', 'unknown')}" for model in models]
    return {"author": f"dream3d {dream3d.__version__}", "description": one_line(prompt(facts), 500),
            "license": one_line("; ".join(licences), 500)}  # fmt: skip


def catalogue(path: str) -> str:
    """The id of a catalogue: the same for the same path, wherever it is asked for."""
    return str(uuid.uuid5(SPACE, path))


def enter(folder: Path, paths: list[str]) -> Path:
    """Make catalogues known to the library `folder`; what its file has already stays. Raises Mistake where that is no such file."""
    target = Path(folder) / CATALOGUES
    text = _text(target) or HEAD
    known = {found[1].lower() for line in text.splitlines() if (found := LINE.match(line))}
    new = [f"{catalogue(path)}:{path}:{path.replace('/', '-')}\n" for path in paths if catalogue(path) not in known]
    if new or not target.is_file():
        files.write_text(target, text + ("" if text.endswith("\n") else "\n") + "".join(new))
    return target


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MOST + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Mistake(f"cannot read {path.name}: {error.strerror or error}", where=str(path)) from None
    text = data.decode("utf-8", "replace")
    if len(data) > MOST or not re.search(r"^VERSION 1\s*$", text, re.MULTILINE):
        raise Mistake(f"{path.name} is no list of catalogues of version 1", where=str(path), fix="move it away, and try again")
    return text
