"""Families of priors: tiny models (tiny.py), loaded the way a user loads, and what their own pipelines ask of them."""

import importlib
from dataclasses import dataclass

import pytest
import torch

from .tiny import (  # noqa: F401
    LENGTH,
    adapter,
    chatty,
    clip,
    control,
    deepfloyd,
    diffusers,
    flux2,
    inpainting,
    language,
    resampler,
    sd3,
    sdxl,
    stable_diffusion,
    straight,
    t5,
    table,
    tokenizer,
    transformers,
    unet,
    vae,
    zimage,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test reads what another, or the user, has embedded; networks are of single precision here where there is a GPU, too."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("DREAM3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DREAM3D_OFFLINE", "1")


def pictured(prior, z, t, text, cameras, render):
    return latent_unet(prior.base, z, t, text, cameras, render, added_cond_kwargs={"image_embeds": [text.image]})


@dataclass(frozen=True)
class Family:
    """settings: of the prior; raw: (prior, z, t, text, cameras, render) -> the network's own answer; overrides: of an ordinary recipe;
    words: whether it hears its prompt. noised and x0 are what the pipeline's own scheduler makes of the same."""

    settings: dict
    scheduler: object
    raw: object
    overrides: tuple[str, ...] = ()
    words: bool = True

    def noised(self, prior, z, t, noise):
        if prior.spec.flow:
            return self.scheduler.scale_noise(z, self._flow(t), noise)
        return self.scheduler.add_noise(z, noise, (t * 1000).long())

    def x0(self, prior, z, t, text, cameras, render):
        answer = self.raw(prior, z, t, text, cameras, render)
        if prior.spec.flow:  # one Euler step from sigma = t down to 0
            self.scheduler.set_timesteps(sigmas=[t[0].item()])
            return self.scheduler.step(answer, self.scheduler.timesteps[0], z).prev_sample
        self.scheduler.set_timesteps(1000)
        return self.scheduler.step(answer, int(t[0] * 1000), z).pred_original_sample

    def _flow(self, t):
        self.scheduler.set_timesteps(sigmas=sorted({v.item() for v in t}, reverse=True))
        return self.scheduler.timesteps[[int((self.scheduler.sigmas[:-1] - v).abs().argmin()) for v in t]]


def image_prompt(folder):
    model = stable_diffusion(folder / "base")
    return Family(named("image_prompt", model, **adapter(folder)), table(), pictured)


# --- families: how each is made, and what its own scheduler says ------------------------------------------------------------------------


def latent_unet(prior, z, t, text, cameras, render, **more):
    with torch.no_grad():
        return prior.net(z, (t * 1000).long(), encoder_hidden_states=text.tokens, **more).sample


def told_size(prior, z, t, text, cameras, render):
    size = torch.tensor([[32, 32, 0, 0, 32, 32]]).expand(len(z), 6).float()
    return latent_unet(prior, z, t, text, cameras, render, added_cond_kwargs={"text_embeds": text.pooled, "time_ids": size})


def without_variance(*inputs):
    return latent_unet(*inputs)[:, :3]


def velocity(prior, z, t, text, cameras, render):
    """As the pipelines of diffusers call their transformers."""
    with torch.no_grad():
        match type(prior.net).__name__:
            case "SD3Transformer2DModel":
                return prior.net(z, timestep=t * 1000, encoder_hidden_states=text.tokens, pooled_projections=text.pooled).sample
            case "ZImageTransformer2DModel":
                told = [row[mask] for row, mask in zip(text.tokens, text.mask, strict=True)]
                return -torch.stack(prior.net(list(z.unsqueeze(2)), (1000 - 1000 * t) / 1000, told, return_dict=False)[0]).squeeze(2)
            case _:
                pipe = diffusers.Flux2KleinPipeline
                where = pipe._prepare_latent_ids(z)
                out = prior.net(hidden_states=pipe._pack_latents(z), timestep=t, guidance=None, encoder_hidden_states=text.tokens,
                                txt_ids=pipe._prepare_text_ids(text.tokens), img_ids=where, return_dict=False)[0]  # fmt: skip
                return torch.stack([row.T.view(z.shape[1:]) for row in out])


def painted(prior, z, t, text, cameras, render):
    """As the inpainting pipeline concatenates: x, mask, masked picture's latent."""
    from torch.nn.functional import interpolate

    side = prior.spec.pixels
    both = (v.movedim(-1, 1) for v in (render.rgb, render.extras["mask"]))
    image, mask = (interpolate(v, (side, side), mode="bilinear", antialias=True) for v in both)
    mask = (mask >= 0.5).float()
    with torch.no_grad():  # the pipeline's masked picture is 0 in [-1, 1] where it is painted
        hidden = prior.vae.vae.encode((2 * image - 1) * (1 - mask)).latent_dist.mode() * prior.vae.vae.config.scaling_factor
    return latent_unet(prior, torch.cat([z, interpolate(mask, z.shape[-2:]), hidden], 1), t, text, cameras, render)


def controlled(prior, z, t, text, cameras, render):
    """As diffusers' own MultiControlNetModel adds them."""
    from dream3d.priors.controlnet import drawn

    many = diffusers.MultiControlNetModel(list(prior.nets.values()))
    seen = [drawn(what, render, prior.spec.pixels, cameras) for what in prior.nets]
    with torch.no_grad():
        skips, middle = many(z, (t * 1000).long(), text.tokens, seen, list(prior.strength.values()), return_dict=False)
        return prior.base.net(z, (t * 1000).long(), encoder_hidden_states=text.tokens, down_block_additional_residuals=skips,
                              mid_block_additional_residual=middle).sample  # fmt: skip


def controlnet(folder):
    nets = {what: str(control(folder / what, seed)) for seed, what in enumerate(("depth", "normal"))}
    told = named("controlnet", stable_diffusion(folder / "base"), nets=nets, strength={"normal": 0.5})
    return Family(told, table(), controlled)


def named(kind, folder, **more):
    return {"type": kind, "model": str(folder), **more}


def flow(make, **more):
    return lambda folder: Family(named("flow", make(folder), tokens=LENGTH, **more), diffusers.FlowMatchEulerDiscreteScheduler(), velocity)


def kept(module, name):
    """A family whose tiny models are made in a module of their own."""
    return lambda folder: getattr(importlib.import_module(f".{module}", __package__), name)(folder)


IF_NOISE = {"beta_schedule": "squaredcos_cap_v2", "clip_sample": False, "timestep_spacing": "leading"}
FAMILIES = {
    "sd": lambda folder: Family(named("stable_diffusion", stable_diffusion(folder)), table(), latent_unet),
    "sd-v": lambda f: Family(named("stable_diffusion", stable_diffusion(f, "v_prediction")), table("v_prediction"), latent_unet),
    "sdxl": lambda folder: Family(named("sdxl", sdxl(folder)), table(), told_size),
    "deepfloyd": lambda f: Family(named("deepfloyd", deepfloyd(f), tokens=LENGTH), diffusers.DDIMScheduler(**IF_NOISE), without_variance),
    "inpaint": lambda folder: Family(named("inpaint", inpainting(folder)), table(), painted),
    "controlnet": controlnet,
    "image_prompt": image_prompt,
    "sd3": flow(sd3),
    "z-image": flow(zimage, size=32),
    "flux2": flow(flux2, size=32),
    "animatediff": kept("clips", "animatediff"),
    "modelscope": kept("clips", "modelscope"),
    "wan": kept("clips", "wan"),
    "joint_depth": kept("clips", "joint_depth"),
    "ldm3d": kept("clips", "ldm3d"),
    "mvdream": kept("views", "mvdream"),
    "imagedream": kept("views", "imagedream"),
    "zero123": kept("views", "zero123"),
}


@pytest.fixture(scope="session", params=list(FAMILIES))
def family(request, tmp_path_factory):
    return FAMILIES[request.param](tmp_path_factory.mktemp(request.param) / "model")
