"""A whole model in one file, its weights named as the authors' code names them: the same answers, and what is wrong with it is said."""

import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from dream3d import build
from dream3d.errors import Mistake

from .conftest import stable_diffusion

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0", "conv2": "out_layers.3",
          "conv_shortcut": "skip_connection"}  # fmt: skip
UNET = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0", "conv_out": "out.2", "down_blocks.0.resnets.0": "input_blocks.1.0",
        "down_blocks.0.attentions.0": "input_blocks.1.1", "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
        "down_blocks.1.resnets.0": "input_blocks.3.0", "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2", "up_blocks.0.resnets.0": "output_blocks.0.0", "up_blocks.0.resnets.1": "output_blocks.1.0",
        "up_blocks.0.upsamplers.0.conv": "output_blocks.1.1.conv", "up_blocks.1.resnets.0": "output_blocks.2.0",
        "up_blocks.1.attentions.0": "output_blocks.2.1", "up_blocks.1.resnets.1": "output_blocks.3.0",
        "up_blocks.1.attentions.1": "output_blocks.3.1"}  # fmt: skip
VAE = ((r"encoder\.down_blocks\.(\d)\.resnets\.(\d)", r"encoder.down.\1.block.\2"),
       (r"encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample"),
       (r"decoder\.up_blocks\.0\.", "decoder.up.1."), (r"decoder\.up_blocks\.1\.", "decoder.up.0."),
       (r"(up\.\d)\.resnets\.(\d)", r"\1.block.\2"), (r"(up\.\d)\.upsamplers\.0", r"\1.upsample"),
       (r"mid_block\.resnets\.0", "mid.block_1"), (r"mid_block\.resnets\.1", "mid.block_2"), (r"mid_block\.attentions\.0", "mid.attn_1"),
       ("conv_norm_out", "norm_out"), ("conv_shortcut", "nin_shortcut"), ("attn_1.group_norm", "attn_1.norm"),
       (r"attn_1\.to_([qkv])", r"attn_1.\1"), (r"attn_1\.to_out\.0", "attn_1.proj_out"))  # fmt: skip


def unet_name(name):
    part = next(p for p in UNET if name.startswith(f"{p}."))
    end = name.removeprefix(part)
    if ".resnets." in part:
        first, _, rest = end[1:].partition(".")
        end = f".{RESNET[first]}.{rest}"
    return f"model.diffusion_model.{UNET[part]}{end}"


def vae_name(name):
    for theirs, ours in VAE:
        name = re.sub(theirs, ours, name)
    return f"first_stage_model.{name}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stable_diffusion(tmp_path_factory.mktemp("one") / "model")


@pytest.fixture(scope="module")
def weights(folder):
    """As checkpoints of the first days: attention of the autoencoder is a convolution."""
    unet, auto, text = (load_file(next((folder / name).glob("*.safetensors"))) for name in ("unet", "vae", "text_encoder"))
    auto = {vae_name(k): v for k, v in auto.items()}
    auto = {k: v[:, :, None, None] if v.ndim == 2 else v for k, v in auto.items()}
    text = {f"cond_stage_model.transformer.text_model.{k.removeprefix('text_model.')}": v for k, v in text.items()}
    return {**{unet_name(k): v for k, v in unet.items()}, **auto, **text}


@pytest.fixture(scope="module")
def layout(folder, tmp_path_factory):
    return shutil.copytree(folder, tmp_path_factory.mktemp("one") / "layout", ignore=shutil.ignore_patterns("*.safetensors"))


def loaded(weights, layout, path):
    save_file({k: v.contiguous() for k, v in weights.items()}, path)
    return build.make("priors", {"type": "stable_diffusion", "model": str(path), "config": str(layout)})


def test_it_answers_as_the_folder(folder, weights, layout, tmp_path):
    one = loaded(weights, layout, tmp_path / "one.safetensors")
    many = build.make("priors", {"type": "stable_diffusion", "model": str(folder)})
    texts = [prior.text(["a red car", "a duck"]) for prior in (one, many)]
    assert torch.equal(texts[0].tokens, texts[1].tokens)
    make = torch.Generator().manual_seed(0)
    z, t, image = torch.randn(2, 4, 16, 16, generator=make), torch.tensor([0.3, 0.8]), torch.rand(1, 32, 32, 3, generator=make)
    assert torch.equal(one.eps(z, t, texts[0]), many.eps(z, t, texts[1])) and torch.equal(one.encode(image), many.encode(image))
    assert torch.equal(one.decode(z), many.decode(z)) and one.about.startswith("one.safetensors")


@pytest.mark.parametrize("begin, name", [("model.diffusion_model", "unet"), ("first_stage_model", "vae"), ("cond_stage", "text_encoder")])
def test_what_is_missing_or_no_number_is_said(begin, name, weights, layout, tmp_path):
    key = next(k for k in weights if k.startswith(begin) and "norm" in k)
    lacking, strange = {k: v for k, v in weights.items() if k != key}, weights | {key: weights[key] * torch.nan}
    for change, says in ((lacking, "lacks weights|cannot be read"), (strange, f"{name} has weights that are not numbers")):
        with pytest.raises(Mistake, match=says) as raised:
            loaded(change, layout, tmp_path / "one.safetensors").text(["a car"])
        assert raised.value.code == 3 and "one.safetensors" in raised.value.where


def test_what_is_no_model_is_said(layout, tmp_path):
    with pytest.raises(Mistake, match="cannot be read as StableDiffusionPipeline"):
        loaded({"model.diffusion_model.x": torch.zeros(1)}, layout, tmp_path / "one.safetensors")


def test_what_is_learnt_is_merged_once_however_often_texts_are_asked(weights, layout, tmp_path):
    """Every text of new words reads its encoder anew; nothing of the file is kept for it."""
    make = torch.Generator().manual_seed(1)
    name = "encoder.layers.0.self_attn.q_proj"
    pair = {"A": torch.randn(2, 16, generator=make), "B": torch.randn(16, 2, generator=make)}
    unet = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    none = {f"{unet}.lora_{end}.weight": torch.zeros(size) for end, size in (("A", (2, 16)), ("B", (16, 2)))}
    save_file(none | {f"text_encoder.{name}.lora_{end}.weight": v for end, v in pair.items()}, tmp_path / "lora.safetensors")
    save_file({"<cat>": torch.randn(1, 16, generator=make)}, tmp_path / "word.safetensors")
    path = tmp_path / "one.safetensors"
    save_file({k: v.contiguous() for k, v in weights.items()}, path)
    learnt = {"lora": str(tmp_path / "lora.safetensors"), "inversion": str(tmp_path / "word.safetensors")}

    def prior():
        return build.make("priors", {"type": "stable_diffusion", "model": str(path), "config": str(layout), **learnt})

    one = prior()
    one.text(["a red car"])
    again = one._embed(["a <cat>"]).tokens
    torch.testing.assert_close(again, prior()._embed(["a <cat>"]).tokens)


def test_a_layout_names_no_code(weights, layout, tmp_path):
    import json

    folder = shutil.copytree(layout, tmp_path / "layout")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"text_encoder": ["wave", "Wave_read"]}))
    with pytest.raises(Mistake, match="text_encoder wants wave.Wave_read"):
        loaded(weights, folder, tmp_path / "one.safetensors").text(["a car"])
