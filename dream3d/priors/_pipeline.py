"""Components of a diffusers pipeline folder, each loaded by its own class and checked before any is used: safetensors only, no code of
the model's own, nothing half-loaded. One message names the component and the file."""

import importlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dream3d.errors import Mistake, choices
from dream3d.schedule import Precision

LIBRARIES = ("diffusers", "transformers")
SAFE = 'convert once: load it with the library that wrote it, then save_pretrained(folder, safe_serialization=True)'
AGAIN = "fetch the model again: hf download OWNER/NAME --local-dir FOLDER"
TOLD = 160  # characters of another library's message


def dtype(name: Precision) -> torch.dtype:
    """What networks compute in. "auto": bfloat16 on CUDA, else float32."""
    cuda = torch.cuda.is_available()
    if name == "bfloat16" and cuda and not torch.cuda.is_bf16_supported():
        raise Mistake("this GPU has no bfloat16", where="prior.precision", near="float16, float32", code=3)
    return getattr(torch, ("bfloat16" if cuda and torch.cuda.is_bf16_supported() else "float32") if name == "auto" else name)


class Source:
    """Where components come from: a pipeline folder, or one .safetensors file of a whole model (whose layout `config`, a pipeline
    folder, tells). own: classes that folders bring code for -> where ours for the same weights are; name: as the model was asked for."""

    def __init__(self, path: Path, classes: tuple[str, ...], dtype: torch.dtype, config: Path | None = None,
                 own: dict[str, str] | None = None, name: str = ""):  # fmt: skip
        self.path, self.classes, self.dtype, self.config, self.own = path, classes, dtype, config, own or {}
        self.name = Path(name).name or path.resolve().name
        if path.is_file() and path.suffix != ".safetensors":
            raise Mistake(f"{path.name} is not a safetensors file", where=str(path), fix=SAFE, code=3)
        if path.is_file() and config is None:
            fix = "prior.config=FOLDER, a pipeline folder of the same architecture (its .json files are enough)"
            raise Mistake("one file of weights does not say how the model is built", where=str(path), fix=fix, code=3)
        self.pipeline, self.listed, self.options = index(path if path.is_dir() else config, classes)
        self.kept: dict[str, Any] | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is read meanwhile stays in memory until the end."""
        before, self.kept = self.kept, {} if self.kept is None else self.kept
        try:
            yield
        finally:
            self.kept = before

    def get(self, name: str) -> Any:
        """One component, checked. Of a file nothing else is read; nothing is kept, unless it is held."""
        if self.kept is None:
            return self._get(name)
        if name not in self.kept:
            self.kept[name] = self._get(name)
        return self.kept[name]

    def _get(self, name: str) -> Any:
        if self.path.is_dir():
            return component(self.path, name, self.listed, self.dtype, self.own)
        cls = kind(self.config, name, self.listed)
        if not issubclass(cls, nn.Module):
            return _plain(cls, self.config / name)
        _no_kernels(self.config / name)
        others = {other: None for other in self.listed if other != name}
        given = {"config": str(self.config), "torch_dtype": self.dtype, "local_files_only": True, **others}
        pipeline = getattr(importlib.import_module("diffusers"), self.pipeline)
        found = getattr(_told(pipeline.__name__, self.path, lambda: pipeline.from_single_file(str(self.path), **given)), name)
        return _sound(found, name, self.path)

    def files(self, *names: str) -> list[Path]:
        """What some components are read from: enough to tell them from others."""
        where = self.path if self.path.is_dir() else self.config
        return [*([] if self.path.is_dir() else [self.path]), *(where / name for name in names)]


def index(folder: Path, classes: tuple[str, ...]) -> tuple[str, dict[str, list[str]], dict[str, Any]]:
    """The pipeline of a folder, which is one of `classes`, component -> [library, class], and what else it says of itself."""
    try:
        told = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        kind = told["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        inside = ", ".join(sorted(p.name for p in folder.iterdir())[:6]) or "nothing"
        raise Mistake("this is not a pipeline folder: it has no readable model_index.json", where=str(folder), near=f"there is {inside}",
                      fix="a folder written by save_pretrained, or fetched by hf download", code=3) from None  # fmt: skip
    if kind not in classes:
        raise Mistake(f"this folder holds a {kind}, which this prior does not read", where=str(folder / "model_index.json"),
                      near=f"it reads {', '.join(classes[:3])}", fix="another prior.type, or another folder", code=3)  # fmt: skip
    listed = {name: row for name, row in told.items() if isinstance(row, list) and [type(word) for word in row] == [str, str]}
    return kind, listed, {name: value for name, value in told.items() if not isinstance(value, list)}


def component(
    folder: Path, name: str, listed: dict[str, list[str]], dtype: torch.dtype, own: dict[str, str] | None = None
) -> Any:
    """One component, by the class that the folder names or ours of that name: a frozen network in `dtype`, or a tokenizer or scheduler."""
    cls = kind(folder, name, listed, own)
    return network(cls, folder / name, dtype) if issubclass(cls, nn.Module) else _plain(cls, folder / name)


def kind(folder: Path, name: str, listed: dict[str, list[str]], own: dict[str, str] | None = None) -> type:
    """The class of a component: of diffusers, of transformers, or ours of the name that the folder tells."""
    if name not in listed:
        raise Mistake(f"the model has no {name}", where=str(folder / "model_index.json"), near=choices("", listed),
                      fix="another folder of the same family", code=3)  # fmt: skip
    library, called = listed[name]
    cls = getattr(__import__(library), called, None) if library in LIBRARIES else _ours((own or {}).get(called))
    base = _base(name)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        why = "diffusers and transformers do not have" if cls is None else f"is no {base.__name__}"
        raise Mistake(f"{name} wants {library}.{called}, which {why}", where=str(folder / "model_index.json"),
                      fix="no code of a model's own is run; another model, or a prior that was written for it", code=3)  # fmt: skip
    return cls


def _base(name: str) -> type:
    """What a component of this name is. Classes that choose another by what lies in the folder are none of these."""
    if name.startswith("tokenizer"):
        return __import__("transformers").PreTrainedTokenizerBase
    return __import__("diffusers").SchedulerMixin if name == "scheduler" else nn.Module


def _plain(cls: type, folder: Path) -> Any:
    """A tokenizer or scheduler from this folder, never from a repository of the hub that is called as the folder is."""
    if not folder.is_dir():
        raise Mistake(f"the component {folder.name} is missing", where=str(folder), fix=AGAIN, code=3)
    return _read(cls, folder, local_files_only=True)


def _ours(where: str | None) -> type | None:
    """A class by its dotted name."""
    module, _, name = (where or "").rpartition(".")
    return getattr(importlib.import_module(module), name) if where else None


def network(cls: type, folder: Path, dtype: torch.dtype) -> nn.Module:
    """Weights from safetensors: every one there, of the right shape, finite."""
    weights = sorted(folder.glob("*.safetensors"))
    if pickles := sorted([*folder.glob("*.bin"), *folder.glob("*.ckpt"), *folder.glob("*.pt")]) if not weights else []:
        raise Mistake(f"{folder.name} has pickled weights only, which may run code", where=str(pickles[0]), fix=SAFE, code=3)
    if not weights:
        problem = f"{folder.name} has no weights" if folder.is_dir() else f"the component {folder.name} is missing"
        raise Mistake(problem, where=str(folder), near="diffusion_pytorch_model.safetensors, model.safetensors",
                      fix=AGAIN, code=3)  # fmt: skip
    _no_kernels(folder)
    dtype_name = "dtype" if cls.__module__.startswith("transformers") else "torch_dtype"
    given = {dtype_name: dtype, "use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    made, told = _read(cls, folder, **given)
    _complete(told, folder)
    return _sound(made, folder.name, folder)


def _no_kernels(folder: Path) -> None:
    """A config may name a kernel for attention, which transformers would fetch from the hub and run."""

    def named(told: Any) -> list[str]:
        if not isinstance(told, dict):
            return []
        own = [str(v) for k, v in told.items() if "attn_implementation" in k and v not in (None, "eager", "sdpa")]
        return own + [name for value in told.values() for name in named(value)]

    try:
        found = named(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return  # what reads it will say what is wrong with it
    if found:
        raise Mistake(f"the config of {folder.name} names a kernel, {found[0][:TOLD]}, which is code", where=str(folder / "config.json"),
                      fix="remove attn_implementation from it", code=3)  # fmt: skip


def _sound(net: nn.Module, name: str, path: Path) -> nn.Module:
    """A network all of whose weights are there and numbers, frozen."""
    for weight, value in [*net.named_parameters(), *net.named_buffers()]:
        if value.is_meta:
            raise Mistake(f"{name} lacks weights: {weight}", where=str(path), fix=AGAIN, code=3)
        if value.is_floating_point() and not value.isfinite().all():
            raise Mistake(f"{name} has weights that are not numbers: {weight}", where=str(path),
                          fix="fetch the model again, or another precision", code=3)  # fmt: skip
    return net.requires_grad_(False).eval()


def _read(cls: type, folder: Path, **given):
    return _told(cls.__name__, folder, lambda: cls.from_pretrained(str(folder), **given))


def _told(kind: str, path: Path, read):
    """What another library reads, silently; the beginning of its complaint if it fails."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for quiet in (diffusers_logging, transformers_logging):
        quiet.set_verbosity_error()
        quiet.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except Exception as error:  # theirs are of many kinds
        first = " ".join((str(error) or type(error).__name__).split())[:TOLD]
        raise Mistake(f"{path.name} cannot be read as {kind}: {first}", where=str(path), fix=AGAIN, code=3) from error


def _complete(told: dict, folder: Path) -> None:
    """Libraries fill in what is missing or does not fit with random numbers; we do not."""
    for key, what in (("missing_keys", "lacks"), ("mismatched_keys", "has another shape for")):
        if found := sorted(str(k[0] if isinstance(k, tuple | list) else k) for k in told.get(key) or []):
            raise Mistake(f"{folder.name} {what} {len(found)} weights: {found[0]}", where=str(folder),
                          fix="its config.json and weights are of different models; fetch it again", code=3)  # fmt: skip
