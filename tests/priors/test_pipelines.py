"""One guided denoising step of diffusers' own pipelines against ours: the same weights, prompt, negative prompt, noise and level. This
holds the embedding of texts, pooled texts, sizes, levels and the form of guidance to what a model's makers run."""

import inspect

import pytest
import torch

from dream3d import build
from dream3d.diffusion import cfg

from .conftest import LENGTH, deepfloyd, diffusers, flux2, sd3, sdxl, stable_diffusion, table, zimage

SCALE, PROMPT, NEGATIVE = 7.5, "a red car", "ugly"
MADE = {
    "stable_diffusion": (stable_diffusion, "StableDiffusionPipeline", {}, {}),
    "sdxl": (sdxl, "StableDiffusionXLPipeline", {}, {"height": 32, "width": 32}),
    "deepfloyd": (deepfloyd, "IFPipeline", {}, {"clean_caption": False}),
    "sd3": (sd3, "StableDiffusion3Pipeline", {"tokens": LENGTH}, {"max_sequence_length": LENGTH}),
    "z-image": (zimage, "ZImagePipeline", {"tokens": LENGTH, "size": 32}, {"max_sequence_length": LENGTH, "height": 32, "width": 32}),
    "flux2": (flux2, "Flux2KleinPipeline", {"tokens": LENGTH, "size": 32},
              {"max_sequence_length": LENGTH, "height": 32, "width": 32, "text_encoder_out_layers": (1, 2, 3)}),
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
