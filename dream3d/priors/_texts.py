"""Texts to embeddings once and for all: kept on disk by the content of prompt and encoder, so that a second run never loads the encoder."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from dream3d import files
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


def embedded(prompts: list[str], encoder: str, embed: Callable[[list[str]], Embedding]) -> Embedding:
    """One row per prompt, from disk where all are there; `encoder` is its fingerprint, `embed` is called with those that are not."""
    paths = {p: folder() / f"{hashlib.sha256(json.dumps([encoder, p]).encode()).hexdigest()[:32]}.safetensors" for p in prompts}
    rows = {prompt: row for prompt, path in paths.items() if (row := _load(path)) is not None}
    if fresh := [prompt for prompt in paths if prompt not in rows]:
        made = embed(fresh)
        for i, prompt in enumerate(fresh):
            rows[prompt] = made.at(torch.tensor([i], device=made.tokens.device)).to("cpu")
            _save(paths[prompt], rows[prompt])
    return Embedding.cat([rows[prompt] for prompt in prompts])


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
    except OSError:
        pass
