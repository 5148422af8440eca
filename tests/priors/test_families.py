"""What single families do beyond the contract: controls drawn from the scene, masks, adapters, learnt words, distilled encoders."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from dream3d import build
from dream3d.cameras import look_at, ring
from dream3d.errors import Mistake
from dream3d.priors.controlnet import drawn
from dream3d.toybox.language import parse
from dream3d.toybox.render import render as toybox
from dream3d.toybox.world import build as thing
from dream3d.types import Render

from .conftest import LENGTH, adapter, control, deepfloyd, inpainting, sd3, stable_diffusion, zimage


def made(kind, model, **settings):
    return build.make("priors", {"type": kind, "model": str(model), **settings})


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return stable_diffusion(tmp_path_factory.mktemp("families") / "model")


@pytest.fixture
def seen():
    return toybox([thing(parse("a red car"), 0)], ring(2, size=32, start=30.0))


def noisy(prior, count=2):
    make = torch.Generator().manual_seed(0)
    z = torch.randn(count, prior.spec.channels, prior.spec.size, prior.spec.size, generator=make)
    return z, torch.tensor([0.3, 0.8])[:count], prior.text(["a red car", "a duck"][:count])


# --- control ----------------------------------------------------------------------------------------------------------------------------


def test_controls_are_drawn_from_the_scene(seen):
    cameras = ring(2, size=32, start=30.0)
    depth, normal, edge = (drawn(what, seen, 32, cameras) for what in ("depth", "normal", "edge"))
    inside = (seen.alpha[..., 0] > 0.99)[:, None]
    assert all(x.shape == (2, 3, 32, 32) and x.min() >= 0 and x.max() <= 1 for x in (depth, normal, edge))
    near = seen.depth[..., 0].masked_fill(~inside[:, 0], torch.inf).flatten(1).argmin(1)
    assert depth[:, 0].flatten(1).gather(1, near[:, None]).min() == 1  # the nearest point is white
    assert (depth[:, 0][~inside[:, 0] & (seen.alpha[..., 0] < 0.01)] == 0).all()
    back = -torch.einsum("bij,bhwj->bhwi", cameras.to_world[:, :3, :3], normal.movedim(1, -1) * 2 - 1)
    torch.testing.assert_close(back[inside[:, 0]], seen.normal[inside[:, 0]], rtol=0, atol=0.02)
    assert set(edge.unique().tolist()) == {0.0, 1.0} and 0.02 < edge.mean() < 0.3
    assert drawn("depth", seen, 64).shape == (2, 3, 64, 64)
    with pytest.raises(Mistake, match="draws no pose"):
        drawn("pose", seen, 32)
    posed = Render(seen.rgb, seen.alpha, seen.depth, extras={"pose": torch.rand(2, 32, 32, 3)})
    assert torch.equal(drawn("pose", posed.at(torch.tensor([1])), 32)[0], posed.extras["pose"][1].movedim(-1, 0))


def test_normals_are_red_to_the_left_green_up_and_blue_towards_the_camera():
    """ScanNet's colours, by hand, from behind and from the side; nothing is a wall that faces the camera."""
    cameras = look_at(torch.tensor([0.0, torch.pi, torch.pi / 2]), torch.zeros(3), size=4)  # from -y, +y and +x
    towards, left = torch.tensor([[0.0, -1, 0], [0, 1, 0], [1, 0, 0]]), torch.tensor([[-1.0, 0, 0], [1, 0, 0], [0, -1, 0]])
    up, alpha = torch.tensor([0.0, 0, 1]).expand(3, 3), torch.ones(3, 4, 4, 1)
    for world, colour in ((towards, [0.5, 0.5, 1]), (left, [1, 0.5, 0.5]), (up, [0.5, 1, 0.5])):
        render = Render(alpha.expand(-1, -1, -1, 3), alpha, alpha, normal=world[:, None, None].expand(-1, 4, 4, -1))
        torch.testing.assert_close(drawn("normal", render, 4, cameras)[..., 0, 0], torch.tensor(colour).expand(3, 3), rtol=0, atol=1e-6)
    empty = Render(0 * alpha.expand(-1, -1, -1, 3), 0 * alpha, 0 * alpha, normal=torch.zeros(3, 4, 4, 3))
    torch.testing.assert_close(drawn("normal", empty, 4, cameras)[..., 0, 0], torch.tensor([0.5, 0.5, 1]).expand(3, 3))


def test_strength_0_and_no_scene_are_no_control(sd, tmp_path, seen):
    nets = {"depth": str(control(tmp_path / "net"))}
    base, loose, held = (made("stable_diffusion", sd), *(made("controlnet", sd, nets=nets, strength={"depth": s}) for s in (0.0, 1.0)))
    z, t, text = noisy(base)
    free = base.eps(z, t, text)
    torch.testing.assert_close(loose.eps(z, t, text, render=seen), free)
    torch.testing.assert_close(held.eps(z, t, text), free)
    assert (held.eps(z, t, text, render=seen) - free).abs().max() > 1e-3


def test_a_controlled_prior_is_sampled_over_nothing(sd, tmp_path):
    from dream3d.options import Words
    from dream3d.prompt import Prompt
    from dream3d.sampling import sample

    prior = made("controlnet", sd, nets={what: str(control(tmp_path / what)) for what in ("depth", "normal", "edge")})
    cameras = ring(2, size=32)
    assert sample(prior, Prompt(prior, ["a car"], "", Words())(cameras), cameras, steps=2).isfinite().all()


def test_a_control_of_another_base_is_refused(sd, tmp_path):
    with pytest.raises(Mistake, match="trained on another base: its cross_attention_dim is 24"):
        made("controlnet", sd, nets={"depth": str(control(tmp_path / "net", width=24))})
    for key, other in (("block_out_channels", (16, 64)), ("in_channels", 5)):
        with pytest.raises(Mistake, match=f"trained on another base: its {key}"):
            made("controlnet", sd, nets={"depth": str(control(tmp_path / key, **{key: other}))})
    with pytest.raises(Mistake, match="nothing is controlled by normal"):
        made("controlnet", sd, nets={"depth": str(control(tmp_path / "good"))}, strength={"normal": 1.0})


# --- inpainting -------------------------------------------------------------------------------------------------------------------------


def test_only_what_is_known_around_the_mask_is_heard(tmp_path, seen):
    prior = made("inpaint", inpainting(tmp_path / "model"))
    z, t, text = noisy(prior)
    mask = torch.zeros(2, 32, 32, 1)
    mask[:, 8:24, 8:24] = 1
    told = Render(seen.rgb, seen.alpha, seen.depth, extras={"mask": mask})
    inside, outside = seen.rgb.clone(), seen.rgb.clone()
    inside[:, 10:20, 10:20] = 0.3
    outside[:, :6] = 0.3
    eps = prior.eps(z, t, text, render=told)
    hidden = Render(inside, seen.alpha, seen.depth, extras={"mask": mask})
    assert torch.equal(prior.eps(z, t, text, render=hidden), eps)
    other = Render(outside, seen.alpha, seen.depth, extras={"mask": mask})
    assert (prior.eps(z, t, text, render=other) - eps).abs().max() > 1e-4
    everything = Render(seen.rgb, seen.alpha, seen.depth, extras={"mask": torch.ones(2, 32, 32, 1)})
    torch.testing.assert_close(prior.eps(z, t, text), prior.eps(z, t, text, render=everything), rtol=0, atol=1e-5)


# --- what users train -------------------------------------------------------------------------------------------------------------------


def lora(net, folder, scale=1.0):
    """A LoRA of one attention layer as diffusers saves it, and the weight it means."""
    name = next(n for n, m in net.named_modules() if n.endswith("attn1.to_q"))
    layer = net.get_submodule(name)
    make = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, layer.in_features, generator=make), torch.randn(layer.out_features, 2, generator=make)
    save_file({f"unet.{name}.lora_A.weight": a, f"unet.{name}.lora_B.weight": b}, folder / "lora.safetensors")
    return name, layer.weight + scale * b @ a


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_an_adapter_becomes_part_of_the_weights(sd, tmp_path, scale):
    plain = made("stable_diffusion", sd)
    name, expected = lora(plain.net, tmp_path, scale)
    merged = made("stable_diffusion", sd, lora=str(tmp_path / "lora.safetensors"), lora_scale=scale)
    torch.testing.assert_close(merged.net.get_submodule(name).weight, expected)
    assert [n for n, _ in merged.net.named_parameters()] == [n for n, _ in plain.net.named_parameters()]
    z, t, text = noisy(plain)
    assert (merged.eps(z, t, text) - plain.eps(z, t, text)).abs().max() > 1e-4
    student = merged.student(rank=2)
    torch.testing.assert_close(student.eps(z, t, text), merged.eps(z, t, text), rtol=0, atol=1e-5)


@pytest.mark.parametrize("vectors", [1, 2])
def test_a_learnt_word_is_as_many_tokens_as_it_has_vectors(sd, tmp_path, vectors):
    save_file({"<cat>": torch.randn(vectors, 16, generator=torch.Generator().manual_seed(0))}, tmp_path / "word.safetensors")
    plain, told = made("stable_diffusion", sd), made("stable_diffusion", sd, inversion=str(tmp_path / "word.safetensors"))
    torch.testing.assert_close(told.text(["a red car"]).tokens, plain.text(["a red car"]).tokens)
    assert (told.text(["a <cat>"]).tokens - plain.text(["a <cat>"]).tokens).abs().max() > 1e-3
    encoder, tokenizer = told.source.get("text_encoder"), told.source.get("tokenizer")
    from dream3d.priors._adapt import invert

    encoder, said = invert(encoder, tokenizer, str(tmp_path / "word.safetensors"))
    ids = tokenizer(said("a <cat>")).input_ids
    assert len(ids) == 3 + vectors and ids[2] == len(tokenizer) - vectors
    table = encoder.get_input_embeddings().weight
    torch.testing.assert_close(table[-vectors:], load_file(tmp_path / "word.safetensors")["<cat>"])


def test_what_was_embedded_before_is_not_read_for_other_weights(sd, tmp_path):
    """A word learnt anew in the same file, and another precision."""
    word, rows = tmp_path / "word.safetensors", []
    for seed in (0, 1):
        save_file({"<cat>": torch.randn(1, 16, generator=torch.Generator().manual_seed(seed))}, word)
        rows.append(made("stable_diffusion", sd, inversion=str(word)).text(["a <cat>"]).tokens)
    assert (rows[0] - rows[1]).abs().max() > 1e-3
    half, whole = (made("stable_diffusion", sd, precision=p).text(["a car"]).tokens for p in ("bfloat16", "float32"))
    assert 0 < (half - whole).abs().max() < 0.1


def test_a_learnt_word_without_a_name_is_called_as_its_file(sd, tmp_path):
    vectors = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    for name, file in (("emb_params", "mycat"), ("mycat", "word")):
        save_file({name: vectors}, tmp_path / f"{file}.safetensors")
    files = [str(tmp_path / f"{name}.safetensors") for name in ("mycat", "word")]
    one, two, plain = (made("stable_diffusion", sd, inversion=file).text(["a mycat"]).tokens for file in (*files, None))
    assert torch.equal(one, two) and (plain - one).abs().max() > 1e-3


def test_deepfloyd_reads_lower_case_without_blanks(tmp_path):
    prior = made("deepfloyd", deepfloyd(tmp_path / "model"), tokens=LENGTH)
    rows = prior.text(["a red car", "  A Red CAR "])
    assert torch.equal(rows.tokens[0], rows.tokens[1])


def test_a_cache_that_cannot_be_written_is_slow_and_no_error(sd, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DREAM3D_CACHE", str(tmp_path / "file"))
    one, two = (made("stable_diffusion", sd).text(["a car"]).tokens for _ in range(2))
    assert torch.equal(one, two) and (tmp_path / "file").read_text() == "no folder"


def test_options_change_speed_and_not_answers(sd):
    plain = made("stable_diffusion", sd)
    z, t, text = noisy(plain)
    for option in ({"slicing": True}, {"channels_last": True}):
        other = made("stable_diffusion", sd, **option)
        torch.testing.assert_close(other.eps(z, t, text), plain.eps(z, t, text), rtol=0, atol=1e-5)
        image = torch.rand(2, 32, 32, 3)
        torch.testing.assert_close(other.encode(image), plain.encode(image), rtol=0, atol=1e-5)
    assert made("stable_diffusion", sd, slicing=True).vae.vae.use_slicing and not plain.vae.vae.use_slicing
    assert made("stable_diffusion", sd, channels_last=True).net.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    half = made("stable_diffusion", sd, precision="bfloat16")
    assert half.net.conv_in.weight.dtype == torch.bfloat16 and half.eps(z, t, text).dtype == torch.float32
    torch.testing.assert_close(half.eps(z, t, text), plain.eps(z, t, text), rtol=0, atol=0.1)


# --- pictures beside the text -----------------------------------------------------------------------------------------------------------


def test_a_picture_is_heard_by_the_prompt_and_not_by_what_it_is_guided_from(tmp_path):
    from dream3d.options import Words
    from dream3d.prompt import Prompt

    folder = stable_diffusion(tmp_path / "base")
    prior = made("image_prompt", folder, **adapter(tmp_path))
    plain, text = made("stable_diffusion", folder), Prompt(prior, ["a car"], "ugly", Words())(ring(2, size=32))
    z, t, _ = noisy(plain)
    assert text["text"].image.abs().max() > 0 and (text["negative"].image == 0).all() and (text["empty"].image == 0).all()
    silent = made("image_prompt", folder, **adapter(tmp_path), strength=0.0)
    torch.testing.assert_close(silent.eps(z, t, text["text"]), plain.eps(z, t, text["text"]), rtol=0, atol=1e-5)
    assert (prior.eps(z, t, text["text"]) - plain.eps(z, t, text["text"])).abs().max() > 1e-3
    with pytest.raises(Mistake, match="no IP-Adapter"):
        save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
        made("image_prompt", folder, **{**adapter(tmp_path), "adapter": str(tmp_path / "other.safetensors")})
    with pytest.raises(Mistake, match="does not fit"):
        made("image_prompt", folder, **adapter(tmp_path, width=24))


def test_a_composed_prior_shows_its_parts_the_picture_only_where_it_counts(tmp_path):
    """The negative row of a composed prior is that of its part, so the picture is guided towards."""
    from dream3d.options import Words
    from dream3d.prompt import Prompt

    told = {"type": "image_prompt", "model": str(stable_diffusion(tmp_path / "base")), **adapter(tmp_path)}
    one = build.make("priors", told)
    for how in ("sum", "product"):
        both = build.make("priors", {"type": "composed", "priors": [told, told], "how": how})
        rows = [Prompt(prior, ["a car"], "ugly", Words())(ring(2, size=32)) for prior in (one, both)]
        z, t, _ = noisy(one)
        hears, free = (one.eps(z, t, rows[0][name]) for name in ("text", "empty"))
        expected = hears if how == "sum" else 2 * hears - free
        torch.testing.assert_close(both.eps(z, t, rows[1]["text"]), expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(both.eps(z, t, rows[1]["empty"]), free, rtol=0, atol=1e-4)


# --- flows ------------------------------------------------------------------------------------------------------------------------------


def test_the_level_of_a_flow_is_told_as_exactly_as_it_is_used(tmp_path):
    """bfloat16 has no number between 0.5 and 0.502: neighbouring levels would be told as one."""
    prior = made("flow", zimage(tmp_path / "model"), tokens=LENGTH, size=32, precision="bfloat16")
    told = []
    prior.net.t_embedder.register_forward_pre_hook(lambda module, given: told.append(given[0] / 1000))
    z, _, text = noisy(prior)
    prior.eps(z, t := torch.tensor([0.4987, 0.4993]), text)
    torch.testing.assert_close(told[0].float(), 1 - t, rtol=0, atol=1e-6)


def test_an_encoder_that_a_flow_was_saved_without_says_nothing(tmp_path):
    folder = sd3(tmp_path / "model")
    index = folder / "model_index.json"
    bare = {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    index.write_text(json.dumps(json.loads(index.read_text()) | bare))
    prior = made("flow", folder, tokens=LENGTH)
    text = prior.text(["a red car"])
    assert text.tokens.shape == (1, 2 * LENGTH, 40) and (text.tokens[:, LENGTH:] == 0).all() and text.tokens[:, :LENGTH].abs().max() > 0


def test_of_a_picture_its_middle_square_over_white_is_seen(tmp_path):
    from PIL import Image

    folder, beside = stable_diffusion(tmp_path / "base"), adapter(tmp_path)
    wide = torch.randint(0, 256, (16, 40, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    wide[..., 3] = torch.where(wide[..., 3] > 127, 255, 0)
    Image.fromarray(wide.numpy(), "RGBA").save(tmp_path / "wide.png")
    square = torch.where(wide[:, 12:28, 3:] == 255, wide[:, 12:28, :3], 255)
    Image.fromarray(square.numpy(), "RGB").save(tmp_path / "square.png")
    one, two = (made("image_prompt", folder, **beside | {"image": str(tmp_path / f"{name}.png")}).seen for name in ("wide", "square"))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)
