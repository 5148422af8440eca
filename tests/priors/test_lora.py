"""LoRA files as they are found: the names of diffusers, of kohya's trainers and of LDM's blocks, with alphas of their own. Each means
weight + scale alpha / rank up down."""

import pytest
import torch
from safetensors.torch import save_file

from dream3d import build
from dream3d.errors import Mistake

from .conftest import diffusers, sdxl, stable_diffusion

RANK, ALPHA = 2, 1.0


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("lora")
    return {"stable_diffusion": stable_diffusion(root / "sd"), "sdxl": sdxl(root / "xl")}


def made(folders, kind, **settings):
    return build.make("priors", {"type": kind, "model": str(folders[kind]), **settings})


def pair(layer, seed=0):
    make = torch.Generator().manual_seed(seed)
    return torch.randn(RANK, layer.in_features, generator=make), torch.randn(layer.out_features, RANK, generator=make)


def kohya(layers):
    """A file of kohya's: name -> layer."""
    state = {}
    for seed, (name, layer) in enumerate(layers.items()):
        down, up = pair(layer, seed)
        state |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(ALPHA)}
    return state


NET = {"stable_diffusion": "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
       "sdxl": "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q"}  # fmt: skip
ENDS = {"stable_diffusion": {"": "lora_te"}, "sdxl": {"": "lora_te1", "_2": "lora_te2"}}


PARTS = ("self_attn_q_proj", "self_attn_out_proj", "mlp_fc1")


def parts(encoder):
    """Layers of an encoder by the ends of kohya's names."""
    layer = next(m for n, m in encoder.named_modules() if n.endswith("encoder.layers.0"))
    return dict(zip(PARTS, (layer.self_attn.q_proj, layer.self_attn.out_proj, layer.mlp.fc1), strict=True))


@pytest.mark.parametrize("kind", list(NET))
def test_kohyas_files_change_network_and_encoders(kind, folders, tmp_path):
    from dream3d.priors import _adapt

    plain = made(folders, kind)
    block = plain.net.down_blocks[0].attentions[0].transformer_blocks[0].attn1.to_q
    layers, path = {NET[kind]: block}, tmp_path / "kohya.safetensors"
    for end, name in ENDS[kind].items():
        found = parts(plain.source.get(f"text_encoder{end}"))
        layers |= {f"{name}_text_model_encoder_layers_0_{part}": layer for part, layer in found.items()}
    save_file(kohya(layers), path)
    told = made(folders, kind, lora=str(path), lora_scale=0.5)
    after = [told.net.down_blocks[0].attentions[0].transformer_blocks[0].attn1.to_q]
    for name in (f"text_encoder{end}" for end in ENDS[kind]):
        after += parts(_adapt.adapted(told.source.get(name), name, str(path), 0.5)).values()
    for seed, (old, new) in enumerate(zip(layers.values(), after, strict=True)):
        down, up = pair(old, seed)
        torch.testing.assert_close(new.weight, old.weight + 0.5 * ALPHA / RANK * up @ down)
    assert (told.text(["a car"]).tokens - plain.text(["a car"]).tokens).abs().max() > 1e-3


def test_a_file_of_the_network_alone_leaves_the_encoders(folders, tmp_path):
    plain = made(folders, "sdxl")
    block = plain.net.down_blocks[0].attentions[0].transformer_blocks[0].attn1.to_q
    save_file(kohya({NET["sdxl"]: block}), tmp_path / "kohya.safetensors")
    told = made(folders, "sdxl", lora=str(tmp_path / "kohya.safetensors"))
    assert torch.equal(told.text(["a car"]).tokens, plain.text(["a car"]).tokens)


def test_an_alpha_in_the_header_counts(folders, tmp_path):
    """As diffusers saves what peft has trained."""
    from peft import LoraConfig, get_peft_model_state_dict

    plain = made(folders, "stable_diffusion")
    net = made(folders, "stable_diffusion").net
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    net.add_adapter(LoraConfig(r=RANK, lora_alpha=3 * RANK, target_modules=[name]))
    layer, (down, up) = net.get_submodule(name), pair(plain.net.get_submodule(name))
    layer.lora_A.default.weight.data, layer.lora_B.default.weight.data = down, up
    diffusers.StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=get_peft_model_state_dict(net),
                                                        unet_lora_adapter_metadata=net.peft_config["default"].to_dict())  # fmt: skip
    told = made(folders, "stable_diffusion", lora=str(tmp_path)).net.get_submodule(name)
    torch.testing.assert_close(told.weight, plain.net.get_submodule(name).weight + 3 * up @ down)


def test_what_would_be_left_out_is_refused(folders, tmp_path):
    """A weight-decomposed adapter (DoRA) without its magnitudes is another one."""
    block = made(folders, "stable_diffusion").net.down_blocks[0].attentions[0].transformer_blocks[0].attn1.to_q
    name = NET["stable_diffusion"]
    state = kohya({name: block}) | {f"{name}.dora_scale": torch.ones(block.out_features, 1)}
    save_file(state, tmp_path / "dora.safetensors")
    with pytest.raises(Mistake, match="does not fit.*dora_scale"):
        made(folders, "stable_diffusion", lora=str(tmp_path / "dora.safetensors"))
