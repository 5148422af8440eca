"""Runs laid out as other benchmarks look for them, so that their own tools run unchanged.

T3Bench (He et al. 2023, arXiv:2310.02977) looks for outputs_mesh_t3/METHOD_GROUP/PROMPT*/save/it*-export/model.obj and draws it itself.
GPTEval3D (Wu et al. 2024, arXiv:2401.04092) wants 120 pictures of colour and of normals: methods/METHOD/PROMPT_ID/SEED/rgb_0.png ...,
beside prompts.json.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from dream3d import files
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.export.asset import export
from dream3d.export.views import renders
from dream3d.options import Export

VIEWS, SIDE, ELEVATION = 120, 512, 15.0


def t3bench(to: Path, method: str, group: str, prompt: str, scene, settings: Export) -> Path:
    """The mesh of a scene as T3Bench finds it; its tool draws flat colours on its own."""
    folder = to / "outputs_mesh_t3" / f"{_plain(method)}_{_plain(group)}" / _prompt(prompt) / "save" / "it0-export"
    made = export(scene, folder, replace(settings, mesh=True, formats=["obj"]), extras={"prompt": prompt}, pictures=False)
    return made["obj"].replace(folder / "model.obj")


def gpteval3d(to: Path, method: str, prompts: list[str], prompt: str, seed: int, scene) -> Path:
    """120 pictures around a scene over white, and of its normals, as GPTEval3D numbers them; prompts.json where there is none. Raises
    Mistake where the prompts there are others."""
    stored = to / "prompts.json"
    try:
        known = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else prompts
    except (OSError, ValueError, RecursionError):
        known = None
    if not isinstance(known, list):
        raise Mistake("this is no list of prompts", where=str(stored), fix="another --to")
    if prompt not in known:
        raise Mistake(f"prompts.json does not have {prompt[:60]!r}", where=str(stored), fix="another --to, or the prompt in its list")
    if not stored.is_file():
        files.write_json(stored, prompts)
    folder = to / "methods" / _plain(method) / str(known.index(prompt)) / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    with torch.no_grad():
        for _, seen in renders(scene, ring(VIEWS, elevation=ELEVATION, size=SIDE)):
            alpha = seen.alpha.clamp(0, 1)
            normal = torch.zeros_like(seen.rgb) if seen.normal is None else (seen.normal + alpha) / 2  # premultiplied
            for row in range(len(alpha)):
                _save(seen.rgb[row] + 1 - alpha[row], folder / f"rgb_{number}.png")
                _save(normal[row] + 1 - alpha[row], folder / f"normal_{number}.png")
                number += 1
    return folder


def _save(picture, path: Path) -> None:
    with files.replacing(path) as temporary:
        Image.fromarray(picture.clamp(0, 1).mul(255).round().byte().cpu().numpy()).save(temporary, format="PNG")


def _prompt(prompt: str) -> str:
    """As threestudio names folders: spaces become underscores; what no file name may hold goes."""
    return re.sub(r"[^\w.'-]", "", prompt.replace(" ", "_"))[:200].strip(".") or "prompt"


def _plain(name: str) -> str:
    if not re.fullmatch(r"[\w-]{1,60}", name):
        raise Mistake(f"{name[:60]!r} cannot be a method's name", where="--method", near="dream3d-sds", fix="letters, digits, - and _")
    return name
