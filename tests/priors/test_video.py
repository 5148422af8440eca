"""Clips beyond the contract: whose frames hear whom, what a row is, which noise, texts and pictures the models are told."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from dream3d import assemble, build, config, needs
from dream3d.diffusion import cfg, jump, predict
from dream3d.errors import Mistake
from dream3d.types import Condition, Embedding, View

from . import clips
from .clips import FRAMES, LENGTH, diffusers, kit, linear
from .test_contract import asked

KINDS = ("animatediff", "modelscope", "wan")


@pytest.fixture(scope="module", params=KINDS)
def made(request, tmp_path_factory):
    family = getattr(clips, request.param)(tmp_path_factory.mktemp(request.param) / "model")
    return family.settings, build.make("priors", family.settings)


@pytest.fixture
def prior(made):
    return made[1]


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    return str(clips.wan_model(tmp_path_factory.mktemp("wan") / "model"))


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return str(kit.stable_diffusion(tmp_path_factory.mktemp("sd") / "model"))


def video(model, **settings):
    return build.make("priors", {"type": "video", "model": str(model), "frames": FRAMES, **settings})


def told(model, **settings):
    with pytest.raises(Mistake) as raised:
        video(model, **settings)
    assert (raised.value.code == 3 or raised.value.where.startswith("prior.")) and len(raised.value.lines) <= 5
    return str(raised.value)


# --- clips ------------------------------------------------------------------------------------------------------------------------------


def test_frames_of_a_clip_hear_each_other_and_clips_do_not(prior):
    z, t, text, cameras, render = asked(prior, 2)
    eps = prior.eps(z, t, text, cameras, render)
    for row in (0, FRAMES - 1, FRAMES):
        other = z.clone()
        other[row] += 1
        change = (prior.eps(other, t, text, cameras, render) - eps).abs().flatten(1).amax(1).unflatten(0, (2, FRAMES))
        assert change[row // FRAMES].min() > 1e-5 and change[1 - row // FRAMES].max() < 1e-6


def test_a_frame_has_its_place_in_a_clip(prior):
    """Frames are fastest: in another order they are another clip."""
    z, t, text, cameras, render = asked(prior, 1)
    back = torch.arange(FRAMES).flip(0)
    eps, turned = prior.eps(z, t, text, cameras, render), prior.eps(z[back], t, text, cameras, render)
    assert (turned[back] - eps).abs().max() > 1e-5


def test_a_clip_is_whole_and_has_one_t(prior):
    z, t, text, cameras, render = asked(prior, 1)
    with pytest.raises(Mistake, match="share one t"):
        prior.eps(z, torch.linspace(0.2, 0.8, FRAMES), text)
    with pytest.raises(Mistake, match=f"2 rows are not clips of {FRAMES}"):
        prior.eps(z[:2], t[:2], text.at(torch.arange(2)))


def test_whose_text_a_clip_hears(prior):
    """AnimateDiff's frames hear their own, the others' clips that of their first frame."""
    z, t, text, cameras, render = asked(prior, 1)
    last = Embedding(torch.cat([text.tokens[:-1], prior.text(["a blue dog"]).tokens]))
    change = (prior.eps(z, t, last) - prior.eps(z, t, text)).abs().max()
    assert change > 1e-6 if type(prior.net).__name__ == "UNetMotionModel" else change == 0


# --- the pipelines' own steps -----------------------------------------------------------------------------------------------------------


def stepped(settings, prior, z):
    """Latents before and after one step of the pipeline that diffusers has for the model, guided by 3, and their noise levels."""
    seen, steps = [], 3 if prior.spec.flow else 2
    given = {"prompt": "a red car", "negative_prompt": "", "guidance_scale": 3.0, "num_inference_steps": steps, "latents": z,
             "output_type": "latent", "height": 32, "width": 32}  # fmt: skip
    if settings.get("motion"):
        adapter = diffusers.MotionAdapter.from_pretrained(settings["motion"])
        sd = diffusers.StableDiffusionPipeline.from_pretrained(settings["model"])
        pipe = diffusers.AnimateDiffPipeline(sd.vae, sd.text_encoder, sd.tokenizer, sd.unet, adapter, linear())
    else:
        pipe = diffusers.DiffusionPipeline.from_pretrained(settings["model"])
    pipe.set_progress_bar_config(disable=True)
    if isinstance(pipe, diffusers.TextToVideoSDPipeline):
        pipe(**given, num_frames=FRAMES, callback=lambda i, t, latents: seen.append((int(t), latents)))
    else:
        more = {"num_frames": 4 * (FRAMES - 1) + 1, "max_sequence_length": LENGTH} if prior.spec.flow else {"num_frames": FRAMES}
        pipe(**given, **more, callback_on_step_end=lambda pipe, i, t, kept: seen.append((float(t), kept["latents"])) or kept)
    if prior.spec.flow:  # the first step begins at pure noise, where x is not to be had from eps
        return seen[0][1], seen[1][1], pipe.scheduler.sigmas[1].item(), pipe.scheduler.sigmas[2].item()
    return z, seen[0][1], (seen[0][0] + 0.5) / 1000, (seen[0][0] - 500 + 0.5) / 1000


def test_one_guided_step_is_that_of_the_pipeline(made):
    settings, prior = made
    shape = (1, prior.spec.channels, FRAMES, prior.spec.size, prior.spec.size)
    z, after, here, there = stepped(settings, prior, torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    z, after = clips.rows(z), clips.rows(after)
    _, _, _, cameras, render = asked(prior, 1)
    first = torch.zeros(FRAMES, dtype=torch.long)
    rows = Condition({name: prior.text([said]).at(first) for name, said in (("text", "a red car"), ("negative", ""))})
    t, to = torch.full((FRAMES,), here), torch.full((FRAMES,), there)
    cond, free = predict(prior, z, t, View(z, render, cameras, rows), "text", "negative")
    torch.testing.assert_close(jump(prior, z, t, to, cfg(cond, free, 3.0)), after, rtol=1e-3, atol=2e-4)


# --- AnimateDiff ------------------------------------------------------------------------------------------------------------------------


def test_motion_that_does_nothing_leaves_pictures(sd, tmp_path):
    folder = clips.motion(tmp_path / "motion")
    path = next(folder.glob("*.safetensors"))
    still = {k: torch.zeros_like(v) if "proj_out" in k else v for k, v in load_file(path).items()}
    assert sum("proj_out" in k for k in still) > 4
    moving = video(sd, motion=str(folder))
    save_file(still, path, metadata={"format": "pt"})
    calm, pictures = video(sd, motion=str(folder)), build.make("priors", {"type": "stable_diffusion", "model": sd})
    z, t, text, *_ = asked(moving, 2)
    alone = pictures.eps(z, t, text)
    torch.testing.assert_close(calm.eps(z, t, text), alone, rtol=0, atol=1e-5)
    assert (moving.eps(z, t, text) - alone).abs().max() > 1e-3


def test_a_folder_of_both_is_the_same_model(sd, tmp_path):
    adapter = diffusers.MotionAdapter.from_pretrained(clips.motion(tmp_path / "motion"))
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(sd)
    both = diffusers.AnimateDiffPipeline(pipe.vae, pipe.text_encoder, pipe.tokenizer, pipe.unet, adapter, linear())
    both.save_pretrained(tmp_path / "both")
    one, two = video(tmp_path / "both"), video(sd, motion=str(tmp_path / "motion"))
    z, t, text, *_ = asked(one, 1)
    torch.testing.assert_close(one.eps(z, t, text), two.eps(z, t, text), rtol=0, atol=1e-5)
    for a, b in zip(one.alpha_sigma(t), two.alpha_sigma(t), strict=True):
        assert torch.equal(a, b)


def test_motion_is_trained_with_a_linear_table_and_one_frame_is_no_video(sd, tmp_path):
    prior = video(sd, motion=str(clips.motion(tmp_path / "motion")), frames=1)
    assert "video" not in prior.spec.capabilities and prior.spec.frames == 1
    t = torch.tensor([0.1, 0.5, 0.9])
    squared = torch.cumprod(1 - torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64), 0)
    torch.testing.assert_close(prior.alpha_sigma(t)[0], squared[(1000 * t).long()].sqrt().float())


def test_motion_of_another_model(sd, wan, tmp_path):
    assert "model of pictures" in told(sd) and "prior.motion=animatediff-v3" in told(sd)
    folder = clips.motion(tmp_path / "motion", block_out_channels=(16, 48))
    assert "does not fit the model's unet" in told(sd, motion=str(folder))
    assert "of at most 8 frames, not 9" in told(sd, motion=str(clips.motion(tmp_path / "good")), frames=9)
    assert "has its own motion" in told(wan, motion=str(tmp_path / "good"))
    assert f"{tmp_path.name} has no weights" in told(sd, motion=str(tmp_path))


# --- ModelScope -------------------------------------------------------------------------------------------------------------------------


def test_a_network_that_is_shown_more_than_x(tmp_path):
    parts = {"vae": kit.vae(), "text_encoder": kit.clip(), "tokenizer": kit.tokenizer(), "scheduler": kit.table()}
    diffusers.TextToVideoSDPipeline(unet=clips.modelscope_net(in_channels=9), **parts).save_pretrained(tmp_path)
    assert "takes 9 channels, its autoencoder makes 4" in told(tmp_path)


# --- Wan --------------------------------------------------------------------------------------------------------------------------------


def wan_vae(folder):
    return diffusers.AutoencoderKLWan.from_pretrained(folder, subfolder="vae").eval()


def normed(vae, mean):
    middle, spread = (torch.tensor(vae.config[name]).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    return clips.rows((mean - middle) / spread)


def test_moments_are_held_for_as_long_as_a_latent_lasts(wan):
    prior, vae = video(wan, size=32), wan_vae(wan)
    image = torch.rand(2 * FRAMES, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    film = torch.stack([clip[[0, *(i for i in range(1, FRAMES) for _ in range(4))]] for clip in image.unflatten(0, (2, FRAMES))])
    with torch.no_grad():
        by_hand = normed(vae, vae.encode(2 * film.movedim(-1, 1) - 1).latent_dist.mean)
        torch.testing.assert_close(prior.encode(image), by_hand, rtol=0, atol=1e-5)
        x = prior.encode(image)
        latent = clips.apart(x) * prior.vae.latents_std + prior.vae.latents_mean
        back = vae.decode(latent).sample
    assert back.shape[2] == 4 * (FRAMES - 1) + 1
    torch.testing.assert_close(prior.decode(x), clips.rows(back[:, :, [0, 4, 8]]).movedim(1, -1) / 2 + 0.5, rtol=0, atol=1e-5)


def test_the_past_does_not_hear_the_future(wan):
    prior = video(wan, size=32)
    image = torch.rand(FRAMES, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    later = image.clone()
    later[1] = 0
    with torch.no_grad():
        change = (prior.encode(later) - prior.encode(image)).abs().flatten(1).amax(1)
    assert change[0] == 0 and change[1:].min() > 1e-4


def test_rows_that_are_not_held_are_first_pictures(wan):
    prior, vae = video(wan, size=32, hold=False), wan_vae(wan)
    image = torch.rand(2, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone = torch.cat([normed(vae, vae.encode(2 * one[None, None].movedim(-1, 1) - 1).latent_dist.mean) for one in image])
    torch.testing.assert_close(prior.encode(image), alone, rtol=0, atol=1e-5)
    assert prior.decode(alone).shape == image.shape
    with pytest.raises(Mistake, match="2 rows are not clips of 3"):
        video(wan, size=32).encode(image)


def test_texts_are_the_pipelines(wan):
    prior, pipe = video(wan, size=32, tokens=LENGTH), diffusers.WanPipeline.from_pretrained(wan)
    said = ["a red car", " a  duck, which is far too long for what the encoder reads "]
    with torch.no_grad():
        theirs = pipe.encode_prompt(said, do_classifier_free_guidance=False, max_sequence_length=LENGTH)[0]
    torch.testing.assert_close(prior.text(said).tokens, theirs, rtol=0, atol=1e-5)
    assert (theirs[0, -1] == 0).all() and theirs[1, -1].abs().max() > 0


def test_a_time_for_every_patch_is_the_time_of_all(wan):
    """Wan 2.2's smallest model is told t patch by patch: the same answer where they are all alike."""
    prior = video(wan, size=32, tokens=LENGTH)
    z, t, text, *_ = asked(prior, 1)
    patches = (1000 * t[:1, None]).expand(1, FRAMES * 4 * 4)
    out = prior.net(clips.apart(z), timestep=patches, encoder_hidden_states=text.tokens[:1]).sample
    torch.testing.assert_close(prior.table.to_eps(clips.rows(out), z, t), prior.eps(z, t, text), rtol=0, atol=1e-5)


def test_half_precision_spares_the_autoencoder(wan):
    plain, half = (video(wan, size=32, tokens=LENGTH, precision=p) for p in ("float32", "bfloat16"))
    z, t, text, *_ = asked(plain, 1)
    assert half.net.patch_embedding.weight.dtype == torch.bfloat16 and half.vae.vae.quant_conv.weight.dtype == torch.float32
    eps = half.eps(z, t, text)
    assert eps.dtype == torch.float32 and half.student(rank=2).eps(z, t, text).dtype == torch.float32
    torch.testing.assert_close(eps, plain.eps(z, t, text), rtol=0, atol=0.1)


def test_models_and_sizes_that_cannot_be(wan, tmp_path):
    assert "not a multiple of 8" in told(wan, size=36) and "32, 40" in told(wan, size=36)
    assert "does not know clips" in told(wan, size=32, tiny="taesd")
    two = clips.wan_model(tmp_path / "two")
    index = json.loads((two / "model_index.json").read_text())
    (two / "model_index.json").write_text(json.dumps({**index, "transformer_2": index["transformer"]}))
    assert "two networks" in told(two, size=32)


# --- the ordinary way -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cameras", ["{type: orbit, batch: 2, frames: 3}", "{type: orthogonal, batch: 2, views: 2, frames: 3}"])
def test_video_sds_moves_a_scene(made, cameras):
    settings, _ = made
    scene = "renderer={type: dynamic_gaussians, count: 20}"
    overrides = ["prompt=a car driving", "steps=10", "guidance=video_sds", scene, f"cameras={cameras}"]
    stage = config.load("sds-gaussian", overrides, settings={"prior": dict(settings)}).stages[0]
    system = assemble.stage(stage, 0, "cpu", 0, 0)
    before = {k: v.clone() for k, v in system.scene.state_dict().items()}
    logs = [system.step(index) for index in (0, 1)]
    assert not any(log.skipped for log in logs) and logs[0].scalars["gradient/rgb"] > 0
    assert any(not torch.equal(v, before[k]) for k, v in system.scene.state_dict().items())


def test_cameras_and_prior_agree_on_clips(made):
    """Said without torch, before any work."""
    settings, _ = made
    for words, says in ((["guidance=video_sds"], "answers for 3 frames together, but orbit cameras come 1 at a time"),
                        (["guidance=mv_video_sds", "cameras.frames=3"], "needs first_frame")):  # fmt: skip
        found = config.load("sds-gaussian", ["prompt=a car", *words], settings={"prior": dict(settings)})
        with pytest.raises(Mistake, match=says):
            needs.check_needs(found)


def test_full_size_networks_have_as_many_numbers_as_the_published_files():
    """On the meta device from the published configurations; keys are sizes of published float32 files, in bytes."""
    with torch.device("meta"):
        nets = {5.65e9: diffusers.UNet3DConditionModel(sample_size=32), 1.670875648e9: diffusers.MotionAdapter(use_motion_mid_block=False),
                5.68e9: diffusers.WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30)}  # fmt: skip
    for size, net in nets.items():
        numbers = sum(v.numel() for v in net.state_dict().values())
        assert 4 * numbers == pytest.approx(size, rel=2e-3), (type(net).__name__, numbers)
