"""What a text means depends on all that reads it: nothing of another encoder, precision or adapter comes out of the cache."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from dream3d import build
from dream3d.priors import _texts

from .conftest import sdxl, stable_diffusion


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return stable_diffusion(tmp_path_factory.mktemp("texts") / "model")


def told(model, kind="stable_diffusion", prompt="a red car", **settings):
    return build.make("priors", {"type": kind, "model": str(model), **settings}).text([prompt])


def lora(encoder, path, seed):
    """A LoRA of one layer of the text encoder."""
    name = next(n for n, m in encoder.named_modules() if n.endswith("q_proj"))
    make = torch.Generator().manual_seed(seed)
    pair = {"A": torch.randn(2, 16, generator=make), "B": torch.randn(16, 2, generator=make)}
    net = {"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q." + k: v
           for k, v in (("lora_A.weight", torch.zeros(2, 16)), ("lora_B.weight", torch.zeros(16, 2)))}  # fmt: skip
    save_file(net | {f"text_encoder.{name}.lora_{end}.weight": v for end, v in pair.items()}, path)


def test_another_lora_at_the_same_place_is_another_text(sd, tmp_path):
    path = tmp_path / "lora.safetensors"
    encoder = build.make("priors", {"type": "stable_diffusion", "model": str(sd)}).source.get("text_encoder")
    rows = [told(sd).tokens]
    for seed in (0, 1):
        lora(encoder, path, seed)
        rows.append(told(sd, lora=str(path)).tokens)
    assert all((a - b).abs().max() > 1e-3 for a, b in ((rows[0], rows[1]), (rows[0], rows[2]), (rows[1], rows[2])))


def test_another_word_at_the_same_place_is_another_text(sd, tmp_path):
    path, rows = tmp_path / "word.safetensors", []
    for seed in (0, 1):
        save_file({"<cat>": torch.randn(1, 16, generator=torch.Generator().manual_seed(seed))}, path)
        rows.append(told(sd, prompt="a <cat>", inversion=str(path)).tokens)
    assert (rows[0] - rows[1]).abs().max() > 1e-3


def test_a_coarser_encoder_is_another_one(sd):
    coarse, fine = (told(sd, precision=name).tokens for name in ("bfloat16", "float32"))
    assert 0 < (coarse - fine).abs().max() < 0.1


@pytest.mark.parametrize("mega", [0.1, 70])
def test_a_network_that_was_trained_further_is_another_one(tmp_path, mega):
    """In small files every byte counts, in large ones every tensor of a MB."""
    path = tmp_path / "model.safetensors"
    count = int(mega * 2**20 / 4 / 8)
    state = {f"layer{i}": torch.zeros(count) for i in range(8)}
    save_file(state, path)
    before = _texts.fingerprint(path)
    assert _texts.fingerprint(path) == before
    state["layer4"] = torch.full((count,), 0.5) if mega > 1 else torch.eye(1, count)[0]
    save_file(state, path)
    assert _texts.fingerprint(path) != before and load_file(path)["layer0"].sum() == 0


def test_no_text_is_zeros_for_sdxl_unless_its_folder_says_otherwise(tmp_path):
    import json

    folder = sdxl(tmp_path / "model")
    none, some = (told(folder, "sdxl", prompt) for prompt in ("", "ugly"))
    assert (none.tokens == 0).all() and (none.pooled == 0).all() and some.tokens.abs().max() > 0.1 < some.pooled.abs().max()
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "force_zeros_for_empty_prompt": False}))
    assert told(folder, "sdxl", "").tokens.abs().max() > 0.1
