"""Checkpoints: safetensors and JSON, moved into place whole, verified before they are believed."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as tensor_bytes

from dream3d import files


def save(root: Path, step: int, state: dict, about: dict, *, keep: int = 3) -> Path:
    """Write root/step_0000500/{state.safetensors, state.json} atomically and drop all but the newest `keep`.

    `state` is nested dictionaries of tensors and JSON values; `about` says where the run stood."""
    tensors: dict[str, torch.Tensor] = {}
    body = {"about": about, "state": _pack(state, "", tensors)}
    data = tensor_bytes(tensors)
    final, draft = root / f"step_{step:07d}", root / f".step_{step:07d}.part"
    with files.writing(draft):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
    files.write_bytes(draft / "state.safetensors", data)
    files.write_json(draft / "state.json", {**body, "sha256": _digest(data, body)})
    with files.writing(final):
        while final.exists():  # saved again: never remove the one there is before the new one stands
            final = final.with_name(final.name + "b")
        os.replace(draft, final)
        files.flush(root)
    for old in listed(root)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def listed(root: Path) -> list[Path]:
    """All checkpoints, newest first."""
    return sorted(root.glob("step_*"), reverse=True)


def newest(root: Path, tell=print) -> tuple[dict, dict] | None:
    """(about, state) of the newest checkpoint that is whole; `tell` hears of every one that is not."""
    for folder in listed(root):
        try:
            return read(folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            tell(f"checkpoint {folder.name} is damaged ({error}); falling back to the one before")
    return None


def read(folder: Path) -> tuple[dict, dict]:
    """(about, state) of one checkpoint. Raises what parsing raises where it is not whole."""
    data = (folder / "state.safetensors").read_bytes()
    body = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    if body.pop("sha256") != _digest(data, body):
        raise ValueError("its checksum does not match")
    return body["about"], _unpack(body["state"], parse_tensors(data))


def _digest(data: bytes, body: dict) -> str:
    return hashlib.sha256(data + json.dumps(body, sort_keys=True).encode()).hexdigest()


def _pack(tree, path: str, tensors: dict[str, torch.Tensor]):
    if isinstance(tree, torch.Tensor):
        key = f"{len(tensors):05d}{path}"
        tensors[key] = tree.detach().cpu().contiguous().clone()
        return {"$tensor": key}
    if isinstance(tree, dict):
        return {str(name): _pack(value, f"{path}/{name}", tensors) for name, value in tree.items()}
    return tree


def _unpack(tree, tensors: dict[str, torch.Tensor]):
    if not isinstance(tree, dict):
        return tree
    return tensors[tree["$tensor"]] if "$tensor" in tree else {name: _unpack(v, tensors) for name, v in tree.items()}
