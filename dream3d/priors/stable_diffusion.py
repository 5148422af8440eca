"""Stable Diffusion 1 and 2 (Rombach et al. 2021, arXiv:2112.10752) and what is fine-tuned from it, through diffusers: eps and v
checkpoints, from a pipeline folder, a hub's name, an alias (`list models`) or one file.

What is converted here: t in (0, 1) to the index floor(t T) of the scheduler's table, v to eps, images in [0, 1] to scaled latents by the
posterior's mean, texts to the last hidden states of CLIP, kept on disk. Everything that enters and leaves `eps` is float32.
"""

from typing import ClassVar

import torch

from dream3d.errors import Mistake
from dream3d.interfaces import Prior
from dream3d.priors._adapt import adapted, invert
from dream3d.priors._diffusers import tokens
from dream3d.priors._stable import Stable
from dream3d.schedule import Positive
from dream3d.types import Embedding


class StableDiffusion(Stable, Prior):
    """model: a folder, file, alias or hub's name; config: for one file, a pipeline folder that tells how it is built; size: pixels a
    side (null: the model's own); lora, lora_scale: adapters that are merged into the weights; inversion: a learnt word, with its
    token from the file; precision: of the networks; tiny: a distilled autoencoder for the way of the gradient; slicing: views pass the
    autoencoder one by one; channels_last, compile: faster convolutions, a compiled network (CUDA)."""

    offers: ClassVar[dict[str, str]] = {"student": "True"}
    family, pipelines = "stable_diffusion", ("StableDiffusionPipeline",)

    def __init__(
        self,
        *,
        model: str = "sd-2.1-base",
        config: str | None = None,
        lora: str | None = None,
        lora_scale: Positive = 1.0,
        inversion: str | None = None,
        **rest,
    ):
        super().__init__(model, config, lambda net: adapted(net, "unet", lora, lora_scale), **rest)
        self.lora, self.inversion = (lora, lora_scale), inversion
        self.adapters, self.learnt = (lora is None, lora_scale, inversion is None), (lora, inversion)

    def _fits(self) -> None:
        same(self.net.config.in_channels, self.vae.channels, self.source.name)

    def _embed(self, prompts: list[str]) -> Embedding:
        encoder, tokenizer = self.source.get("text_encoder"), self.source.get("tokenizer")
        encoder, said = invert(adapted(encoder, "text_encoder", *self.lora), tokenizer, self.inversion)
        with torch.no_grad():
            return Embedding(encoder(tokens(tokenizer, [said(p) for p in prompts])[0])[0].float())



def same(inputs: int, channels: int, name: str) -> None:
    """A U-Net that reads more than x is another prior's."""
    if inputs != channels:
        fix = "prior.type=inpaint" if inputs > channels else "another folder"
        problem = f"the U-Net of {name} takes {inputs} channels, its autoencoder makes {channels}"
        raise Mistake(problem, where="prior.model", fix=fix, code=3)
