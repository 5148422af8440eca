"""Texts to embeddings once and for all: kept on disk by the content of prompt and encoder, so that a second run never loads the encoder.

Every text is embedded alone, so that its bits do not depend on what was asked for with it, or was there before.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from dream3d import files
from dream3d.errors import Mistake
from dream3d.types import Embedding

NAMES = ("tokens", "mask", "pooled", "image")
PAGE, WHOLE = 1 << 12, 1 << 26  # bytes


def folder() -> Path:
    """$DREAM3D_CACHE, else the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DREAM3D_CACHE") or Path(home) / "dream3d") / "texts"


def fingerprint(*weights: Path, told: object = "") -> str:
    """What an encoder is: of every file its name, size and content; of one beyond 64 MB pages all over it, so that a network which was
    trained further is another one."""
    digest = hashlib.sha256(repr(told).encode())
    for file in sorted(file for path in weights for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        step = PAGE if size <= WHOLE else max(64 * PAGE, size >> 12)
        with file.open("rb") as stream:
            for start in [*range(0, size, step), max(0, size - PAGE)]:
                stream.seek(start)
                digest.update(stream.read(PAGE))
    return digest.hexdigest()


class Texts:
    """Embeddings in a folder; what lies in one of `others` is read from there."""

    def __init__(self, own: Path, *others: Path):
        self.own, self.others = own, others

    def embedded(
        self, prompts: list[str], encoder: str, embed: Callable[[list[str]], Embedding], held: AbstractContextManager = nullcontext()
    ) -> Embedding:
        """One row per prompt. `encoder` is its fingerprint; `embed` is called, within `held`, with each that is nowhere."""
        rows = {prompt: row for prompt in dict.fromkeys(prompts) if (row := self._find(prompt, encoder)) is not None}
        if fresh := [prompt for prompt in dict.fromkeys(prompts) if prompt not in rows]:
            with held:
                for prompt in fresh:
                    rows[prompt] = embed([prompt]).to("cpu")
                    _save(self.own / _name(prompt, encoder), rows[prompt])
        return Embedding.cat([rows[prompt] for prompt in prompts])

    def _find(self, prompt: str, encoder: str) -> Embedding | None:
        return next((row for place in (self.own, *self.others) if (row := _load(place / _name(prompt, encoder))) is not None), None)


def embedded(prompts: list[str], encoder: str, embed: Callable[[list[str]], Embedding]) -> Embedding:
    """One row per prompt, kept in the user's folder."""
    return Texts(folder()).embedded(prompts, encoder, embed)


def _name(prompt: str, encoder: str) -> str:
    return hashlib.sha256(json.dumps([encoder, prompt, "alone"]).encode()).hexdigest()[:32] + ".safetensors"


def _load(path: Path) -> Embedding | None:
    try:
        found = load_file(path)
    except Exception:  # not there, or torn: it is made again
        return None
    return Embedding(*(found.get(name) for name in NAMES)) if "tokens" in found else None


def _save(path: Path, row: Embedding) -> None:
    """A cache that cannot be written is a slow one, not an error."""
    values = {name: getattr(row, name).contiguous() for name in NAMES if getattr(row, name) is not None}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as temporary:
            save_file(values, temporary)
    except (OSError, Mistake, SafetensorError):
        pass
