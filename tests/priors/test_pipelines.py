"""One guided denoising step of diffusers' own pipelines against ours: the same weights, prompt, negative prompt, noise and level. This
holds the embedding of texts, pooled texts, sizes, levels and the form of guidance to what a model's makers run."""

import importlib
import inspect

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dream3d import build
from dream3d.diffusion import cfg
from dream3d.priors.controlnet import drawn
from dream3d.types import Render

from .conftest import (
    adapter,
    control,
    deepfloyd,
    diffusers,
    flux2,
    inpainting,
    sd3,
    sdxl,
    stable_diffusion,
    table,
    transformers,
    unet,
    zimage,
)

SCALE, PROMPT, NEGATIVE = 7.5, "a red car", "ugly"
MADE = {
    "stable_diffusion": (stable_diffusion, "StableDiffusionPipeline", {}, {}),
    "sdxl": (sdxl, "StableDiffusionXLPipeline", {}, {"height": 32, "width": 32}),
    "deepfloyd": (deepfloyd, "IFPipeline", {}, {"clean_caption": False}),
    "sd3": (sd3, "StableDiffusion3Pipeline", {}, {}),
    "z-image": (zimage, "ZImagePipeline", {"size": 32}, {"height": 32, "width": 32}),
    "flux2": (flux2, "Flux2KleinPipeline", {"size": 32}, {"height": 32, "width": 32, "text_encoder_out_layers": (1, 2, 3)}),
}  # fmt: skip


def first_step(pipe, given):
    """z, the level's number and the guided answer as the pipeline's own scheduler is called, below pure noise."""
    seen, real = {}, pipe.scheduler.step

    def step(answer, timestep, z, *args, **more):
        if not seen and timestep < 999:
            seen.update(answer=answer, timestep=timestep, z=z.clone())
        return real(answer, timestep, z, *args, **more)

    pipe.scheduler.step = step
    known = inspect.signature(pipe.__call__).parameters
    pipe.set_progress_bar_config(disable=True)
    pipe(**{k: v for k, v in {**given, "output_type": "latent" if "vae" in pipe.components else "pt"}.items() if k in known})
    return seen


@pytest.mark.parametrize("negative", [NEGATIVE, None])
@pytest.mark.parametrize("name", MADE)
def test_a_guided_step_is_the_pipelines_own(name, negative, tmp_path):
    make, kind, settings, more = MADE[name]
    folder = make(tmp_path / "model")
    pipe = getattr(diffusers, kind).from_pretrained(str(folder))
    type_ = name if name in ("stable_diffusion", "sdxl", "deepfloyd") else "flow"
    prior = build.make("priors", {"type": type_, "model": str(folder), **settings})
    if type_ != "flow":  # deterministic, and eps what it is told
        told = {**pipe.scheduler.config, "variance_type": "fixed_small"}  # else it wants the variance too
        pipe.scheduler = diffusers.DDIMScheduler.from_config(told) if name == "deepfloyd" else table()
    given = {"prompt": PROMPT, "negative_prompt": negative, "num_inference_steps": 3, "guidance_scale": SCALE,
             "generator": torch.Generator().manual_seed(0), **more}  # fmt: skip
    seen = first_step(pipe, given)
    z, level = seen["z"].float(), float(seen["timestep"])
    if name == "flux2":  # packed as a sequence
        z = z.mT.unflatten(2, (prior.spec.size, prior.spec.size))
    t = torch.full((len(z),), level / 1000 if type_ == "flow" else (level + 0.5) / 1000)
    text = prior.text([PROMPT, "" if name == "flux2" else negative or ""])  # klein's pipeline has no negative prompt
    cond, free = (prior.eps(z, t, text.at(torch.full((len(z),), i))) for i in (0, 1))
    ours = cfg(cond, free, SCALE + 1 if name == "z-image" else SCALE)  # Z-Image's writes cond + s (cond - uncond)
    if type_ == "flow":
        x0 = (z - t[0] * ours) / (1 - t[0])
        answer = ours - x0
    else:
        answer = ours
    theirs = seen["answer"][:, : z.shape[1]] if name != "flux2" else seen["answer"].mT.unflatten(2, z.shape[2:])
    torch.testing.assert_close(answer, theirs.float(), rtol=1e-3, atol=2e-3)
    assert (cond - free).abs().max() > 1e-5


# --- what else is heard -----------------------------------------------------------------------------------------------------------------


def compared(prior, pipe, given, render=None):
    """Our guided answer and the pipeline's, at its first step below pure noise."""
    pipe.scheduler = table()
    told = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "num_inference_steps": 3, "guidance_scale": SCALE, "height": 32, "width": 32}
    seen = first_step(pipe, {**told, "generator": torch.Generator().manual_seed(0), **given})
    z, t, text = seen["z"].float(), torch.tensor([(float(seen["timestep"]) + 0.5) / 1000]), prior.text([PROMPT, NEGATIVE])
    if text.image is not None:
        text.image[1:] = 0
    cond, free = (prior.eps(z, t, text.at(torch.tensor([i])), render=render) for i in (0, 1))
    return cfg(cond, free, SCALE), seen["answer"]


XL = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 8 * 6 + 12, "width": 40}


def based(base, tmp_path):
    """A base's folder, its pipeline's class and what its U-Net is made with."""
    make, kind, *_ = MADE[base]
    return make(tmp_path / "base"), getattr(diffusers, kind), {} if base == "stable_diffusion" else XL


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("base", ["stable_diffusion", "sdxl"])
def test_a_picture_is_heard_as_the_pipeline_shows_it(base, plus, tmp_path):
    folder, kind, net = based(base, tmp_path)
    picture = Image.fromarray((torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(2)) * 255).byte().numpy())
    picture.save(tmp_path / "picture.png")  # of the size that is looked at: resizing rounds to eight bits there
    told = adapter(tmp_path, unet(**net), net.get("width", 16), plus) | {"image": str(tmp_path / "picture.png")}
    prior = build.make("priors", {"type": "image_prompt", "base": base, "model": str(folder), **told})
    eye = transformers.CLIPVisionModelWithProjection.from_pretrained(told["encoder"])
    ready = transformers.CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    pipe = kind.from_pretrained(str(folder), image_encoder=eye, feature_extractor=ready)
    parts = {"image_proj": {}, "ip_adapter": {}}
    for name, value in load_file(told["adapter"]).items():
        parts[name.partition(".")[0]][name.partition(".")[2]] = value
    pipe.unet._load_ip_adapter_weights([parts], low_cpu_mem_usage=False)
    ours, theirs = compared(prior, pipe, {"ip_adapter_image": picture})
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
    deaf = build.make("priors", {"type": "image_prompt", "base": base, "model": str(folder), **told, "strength": 0.0})
    assert prior.plus == plus and (compared(deaf, pipe, {"ip_adapter_image": picture})[0] - theirs).abs().max() > 0.5


@pytest.mark.parametrize("base", ["stable_diffusion", "sdxl"])
def test_what_controls_is_heard_as_in_the_pipeline(base, tmp_path):
    folder, kind, net = based(base, tmp_path)
    nets = {"edge": str(control(tmp_path / "net", **net))}
    prior = build.make("priors", {"type": "controlnet", "base": base, "model": str(folder), "nets": nets, "strength": {"edge": 0.7}})
    kind = getattr(diffusers, kind.__name__.replace("Pipeline", "ControlNetPipeline"))
    pipe = kind.from_pretrained(str(folder), controlnet=diffusers.ControlNetModel.from_pretrained(nets["edge"]))
    alpha = torch.zeros(1, 32, 32, 1)
    alpha[:, 8:24, 8:24] = 1
    render = Render(alpha.expand(-1, -1, -1, 3), alpha, alpha)
    edges = Image.fromarray((drawn("edge", render, 32)[0].movedim(0, -1) * 255).byte().numpy())
    torch.testing.assert_close(*compared(prior, pipe, {"image": edges, "controlnet_conditioning_scale": 0.7}, render), rtol=0, atol=1e-4)


def test_what_is_around_a_hole_is_heard_as_in_the_pipeline(tmp_path, monkeypatch):
    """With the posterior's mean where the pipeline draws from it."""
    folder = inpainting(tmp_path / "model")
    prior = build.make("priors", {"type": "inpaint", "model": str(folder)})
    pipe = diffusers.StableDiffusionInpaintPipeline.from_pretrained(str(folder))
    module = importlib.import_module(type(pipe).__module__)
    monkeypatch.setattr(module, "retrieve_latents", lambda out, *asked, **more: out.latent_dist.mode())
    image = (torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(5)) * 255).byte()
    mask = torch.zeros(32, 32, dtype=torch.uint8)
    mask[6:20, 8:30] = 255
    alpha = torch.ones(1, 32, 32, 1)
    render = Render(image[None] / 255, alpha, alpha, extras={"mask": mask[None, ..., None] / 255})
    given = {"image": Image.fromarray(image.numpy()), "mask_image": Image.fromarray(mask.numpy()), "strength": 1.0}
    torch.testing.assert_close(*compared(prior, pipe, given, render), rtol=0, atol=1e-4)
