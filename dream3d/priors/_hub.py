"""Where a full-size model lies: a folder, one file, an alias of assets/models.yaml, or a hub's name. Nothing here loads weights."""

import hashlib
import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path

from dream3d import models
from dream3d.errors import Mistake, choices

FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*/*.safetensors", "model*.safetensors", "diffusion_pytorch_model*.safetensors")
UNREAD = ("*.fp16*", "*.bf16*", "*non_ema*", "safety_checker/*", "text_encoders/*", "vae_1_0/*")  # no pickles, no code, nothing twice

PACKAGES = ("diffusers", "transformers", "peft", "accelerate", "huggingface_hub")
INSTALL = 'pip install -c constraints.txt -e ".[diffusion]" (outside a checkout: pip install "dream3d[diffusion]")'


@dataclass(frozen=True)
class Found:
    """A pipeline folder or one file of weights, and what is known of it."""

    path: Path
    name: str


def locate(name: str, family: str, where: str = "prior.model") -> Found:
    """The model called `name`, downloaded if it is on the hub and this machine is online. Raises Mistake (exit code 3) with what was
    looked for, where, and the command that fetches it."""
    if lacks := [package for package in PACKAGES if importlib.util.find_spec(package) is None]:
        raise Mistake(f"full-size models need the package {lacks[0]}", where=where, fix=INSTALL, code=3)
    path, known = models.named(name, family, where)
    if path is not None:
        return Found(path, name)
    if known is not None and known.family != family:
        raise Mistake(f"{name} is a {known.family} model, not {family}", where=where, near=choices("", models.of(family)),
                      fix=f"prior.type={known.family}", code=3)  # fmt: skip
    repos, revision = (known.repos, known.revision) if known else ((name,), None)
    tried, torn = [], None
    for repo in repos:
        for offline in (True, False):
            found, trouble = _snapshot(repo, revision if repo == repos[0] else None, offline)
            if found is not None and offline and not _whole(found):
                torn = torn or found
            elif found is not None:
                _verify(found, dict(known.sha256) if known else {})
                return Found(found, name)
        tried.append(f"{repo}: {trouble}")
    if torn is not None:  # what reads it will say what is missing
        return Found(torn, name)
    gated = " after accepting its licence there" if known and known.gated else ""
    raise Mistake(f"the model {name!r} is not here and could not be fetched ({'; '.join(tried)[:110]})", where=where,
                  near=f"hf download {repos[0]} --local-dir models/{repos[0].split('/')[-1]}{gated}",
                  fix="then prior.model=that folder", code=3)  # fmt: skip


def _whole(folder: Path) -> bool:
    """Whether everything is there that a pipeline lists: if not, its download was interrupted and is taken up again."""
    try:
        told = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        names = [name for name, row in told.items() if isinstance(row, list) and row and row[0] is not None and name != "safety_checker"]
    except (OSError, ValueError, AttributeError):
        return True  # no pipeline
    parts = [folder / name for name in names]
    return all(part.is_dir() and (not (part / "config.json").exists() or any(part.glob("*.safetensors"))) for part in parts)


def _verify(folder: Path, digests: dict[str, str]) -> None:
    """Files whose digest the registry knows are those files: a mirror is not trusted by its name."""
    for file, digest in digests.items():
        if not (folder / file).is_file():
            raise Mistake(f"{file} is missing", where=str(folder), fix="remove that folder and fetch it again", code=3)
        with (folder / file).open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != digest:
                raise Mistake(f"{file} is not the file that was published: its sha256 differs", where=str(folder), code=3,
                              fix="remove that folder and fetch it again, or name another by prior.model")  # fmt: skip


def _snapshot(repo: str, revision: str | None, offline: bool) -> tuple[Path | None, str]:
    """The repository's folder in the hub's cache, or why it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if not offline and (HF_HUB_OFFLINE or os.environ.get("DREAM3D_OFFLINE")):
        return None, "offline"
    try:
        ask = {"allow_patterns": list(FILES), "ignore_patterns": list(UNREAD)}
        return Path(snapshot_download(repo, revision=revision, local_files_only=offline, **ask)), ""
    except Exception as error:  # the hub's and its transport's errors have no common class
        return None, type(error).__name__
