"""What users train at home: LoRA files merged into a network, and words learnt by textual inversion (Gal et al. 2022, arXiv:2208.01618)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dream3d import models
from dream3d.errors import Mistake

NAMELESS = "emb_params"  # where a learnt word is called as its file


def adapted(net: nn.Module, prefix: str, lora: str | None, scale: float) -> nn.Module:
    """A network with the part of a LoRA file that is meant for it merged into its weights. Raises Mistake for a file of another
    family: none of its layers, or none of their shapes, fit."""
    if lora is None or getattr(net, "adapted", None) == (lora, scale):  # of a component that is held
        return net
    from diffusers import StableDiffusionPipeline

    path = safetensors(lora, "prior.lora")
    try:
        state, told = _state(path, net, prefix)
        mine = {k: v for k, v in state.items() if k.startswith(f"{prefix}.")}
        if prefix == "unet" and not mine:
            raise ValueError(f"it has no layer of a {prefix}, but {next(iter(state), 'nothing')}")
        if mine:
            if prefix == "unet":
                StableDiffusionPipeline.load_lora_into_unet(mine, unet=net, **told)
            else:
                StableDiffusionPipeline.load_lora_into_text_encoder(mine, text_encoder=net, prefix=prefix, **told)
            _merge(net, scale)
        net.adapted = lora, scale
    except Exception as error:  # of diffusers, peft or torch
        first = " ".join(str(error).split())[:120]
        raise Mistake(f"this LoRA does not fit the model's {prefix}: {first}", where=str(path), fix="a LoRA of the same family",
                      code=3) from error  # fmt: skip
    return net.requires_grad_(False).eval()


def _state(path: Path, net: nn.Module, prefix: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of a file under diffusers' names, and what scales them: alphas, or what its header tells."""
    from diffusers import StableDiffusionPipeline

    given: Any = load_file(path)
    if strange := [k for k in given if k.endswith("dora_scale")]:
        raise ValueError(f"weight-decomposed adapters are not read: {strange[0]}")
    if not any(k.startswith("lora_") for k in given):
        given = str(path)  # with its header
    elif prefix != "unet":
        given = {k: v for k, v in given.items() if not k.startswith("lora_unet_")}
    if not given:
        return {}, {}
    ask = {"use_safetensors": True, "local_files_only": True, "return_lora_metadata": True, "unet_config": net.config}
    state, alphas, told = StableDiffusionPipeline.lora_state_dict(given, **ask)
    return state, {"network_alphas": alphas, "metadata": told}


def _merge(net: nn.Module, scale: float) -> None:
    """Every adapter becomes part of the layer it was hung on."""
    from peft.tuners.lora import LoraLayer

    for name, layer in [(n, m) for n, m in net.named_modules() if isinstance(m, LoraLayer)]:
        for adapter in layer.active_adapters:
            layer.set_scale(adapter, scale)
        layer.merge(safe_merge=True)
        parent, _, last = name.rpartition(".")
        setattr(net.get_submodule(parent), last, layer.get_base_layer())
    if hasattr(net, "peft_config"):  # nothing of the adapter is left, and a student's is not a second one
        del net.peft_config
    net._hf_peft_config_loaded = False


def invert(encoder: nn.Module, tokenizer: Any, inversion: str | None) -> tuple[nn.Module, Callable[[str], str]]:
    """The encoder and tokenizer with a learnt word added, and how a prompt is written then: a word of several vectors is several tokens."""
    if inversion is None:
        return encoder, str
    if (known := getattr(tokenizer, "learnt", None)) is not None:  # a component that is held
        return encoder, known
    path = safetensors(inversion, "prior.inversion")
    (word, vectors), *more = weights(path).items()
    word = path.stem if word == NAMELESS else word
    vectors = vectors if vectors.ndim == 2 else vectors[None]
    table = encoder.get_input_embeddings().weight
    if more or vectors.shape[1] != table.shape[1]:
        problem = f"this learnt word has {vectors.shape[1]} numbers, the text encoder's have {table.shape[1]}"
        problem = "there is more than one word in this file" if more else problem
        raise Mistake(problem, where=str(path), fix="one word of the same family", code=3)
    names = [word, *(f"{word}_{i}" for i in range(1, len(vectors)))]
    if tokenizer.add_tokens(names) != len(names):
        raise Mistake(f"the tokenizer knows the word {word!r} already", where=str(path), fix="another word", code=3)
    encoder.resize_token_embeddings(len(tokenizer))
    with torch.no_grad():
        encoder.get_input_embeddings().weight[-len(names) :] = vectors.to(table)
    tokenizer.learnt = lambda prompt: prompt.replace(word, " ".join(names))
    return encoder, tokenizer.learnt


def safetensors(name: str, where: str) -> Path:
    """A file of weights that cannot run code, or the only one in a folder."""
    path = models.local(name)
    found = [] if path is None else sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if len(found) != 1:
        near = ", ".join(p.name for p in found[:4])
        raise Mistake(f"there is no one file at {name!r}", where=where, near=near, fix="name a .safetensors file", code=3)
    if found[0].suffix != ".safetensors":
        raise Mistake(f"{found[0].name} may run code when it is read", where=where, fix="a .safetensors file", code=3)
    return found[0]


def weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of this kind, at least one, all of them numbers."""
    try:
        found = load_file(path)
    except Exception as error:  # of safetensors
        raise Mistake(f"{path.name} cannot be read: {' '.join(str(error).split())[:120]}", where=str(path), fix="fetch it again",
                      code=3) from error  # fmt: skip
    strange = [name for name, value in found.items() if not value.isfinite().all()]
    if strange or not found:
        problem = f"{path.name} has weights that are not numbers: {strange[0]}" if strange else f"{path.name} is empty"
        raise Mistake(problem, where=str(path), fix="fetch it again", code=3)
    return found
