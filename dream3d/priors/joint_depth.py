"""Colour and depth denoised together, through diffusers: what HumanGaussian (Liu et al. 2023, arXiv:2311.17061) guides with, and LDM3D
(Stan et al. 2023, arXiv:2305.10853); or colour and normals. Images are rgb with relative depth (near 1, far 0), as a term's
`sees: rgb+depth` makes them, or with normals, as `sees: rgb+normal` does.

Two kinds of pipeline folders. A Stable Diffusion one whose U-Net has twice the channels of its autoencoder: x is the latent of the colour,
then that of the depth as a grey picture, or of the normals. An LDM3D one of four channels: its autoencoder knows colour and depth, and x
has no halves, so anpg's `depth` must stay 1. What differs from HumanGaussian: there the U-Net has a branch of its own for colour and for
depth and is shown a skeleton; its depth latents have the colour's mean and deviation, which scale = 0.86 and shift = 0.0432 do here.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.claims import offered
from dream3d.errors import Mistake
from dream3d.interfaces import Prior, Spec, freeze
from dream3d.priors._diffusers import Diffusers, clip_tokens, opened
from dream3d.priors._latent import Autoencoder
from dream3d.priors._network import Knobs, Table, prepared
from dream3d.schedule import Count, Positive, Precision
from dream3d.types import Embedding

WHOLE, HALVES = "StableDiffusionLDM3DPipeline", "StableDiffusionPipeline"


class JointDepth(Diffusers, Prior):
    """As stable_diffusion; beside: what is denoised with the colour; scale, shift: its half of x is (latent - shift) scale."""

    offers: ClassVar[dict[str, str]] = {"student": "True", "depth": "beside == 'depth'", "normal": "beside == 'normal'"}

    def __init__(
        self,
        *,
        model: str = "ldm3d-4c",
        config: str | None = None,
        size: Count | None = None,
        beside: Literal["depth", "normal"] = "depth",
        scale: Positive = 1.0,
        shift: float = 0.0,
        precision: Precision = "auto",
        slicing: bool = False,
        channels_last: bool = False,
        compile: bool = False,
    ):
        super().__init__()
        self.source = opened(model, "joint_depth", (WHOLE, HALVES), precision, config)
        self.halves = 2 if self.source.pipeline == HALVES else 1
        self.beside, self.scale, self.shift = beside, scale, shift
        self.table = Table(self.source.get("scheduler"))
        self.net = prepared(self.source.get("unet"), Knobs(channels_last, compile))
        self.vae = Autoencoder.read(self.source, size, self.net.config.sample_size, None, slicing)
        self._check()
        can, channels = offered(self.offers, {"beside": beside}), self.halves * self.vae.channels
        self.spec = Spec(self.vae.size, channels, "latent", capabilities=can, factor=self.vae.factor)
        freeze(self)

    def _check(self) -> None:
        seen, wanted = self.vae.vae.config.in_channels, 3 if self.halves == 2 else 4
        if seen != wanted:
            why = ", the depth in bytes, which no gradient passes" if seen == 6 else ""
            raise Mistake(f"this autoencoder sees {seen} channels{why}; it should see {wanted}", where="prior.model",
                          near="ldm3d-4c", fix="a model whose depth is one channel", code=3)  # fmt: skip
        net, channels = self.net.config, self.halves * self.vae.channels
        if (net.in_channels, net.out_channels) != (channels, channels):
            problem = f"its U-Net takes {net.in_channels} channels and gives {net.out_channels}; colour and depth are {channels}"
            raise Mistake(problem, where="prior.model", fix="prior.type=stable_diffusion for colour alone, or another folder", code=3)
        if self.halves == 1 and (self.beside, self.scale, self.shift) != ("depth", 1.0, 0.0):
            raise Mistake("this model knows depth alone, which has no half of its own in x", where="prior.beside",
                          fix="prior.beside=depth prior.scale=1 prior.shift=0")  # fmt: skip

    def _embed(self, prompts: list[str]) -> Embedding:
        return clip_tokens(self.source, prompts)

    def encode(self, image: Float[Tensor, "B H W K"]) -> Float[Tensor, "B C h w"]:
        """K is 4, or 6 with normals. Raises Mistake for other images."""
        if image.shape[-1] != (wanted := 4 if self.beside == "depth" else 6):
            raise Mistake(f"this prior knows colour with {self.beside}, {wanted} channels, but is shown {image.shape[-1]}",
                          where="guidance.sees", fix=f"guidance.sees=rgb+{self.beside}")  # fmt: skip
        if self.halves == 1:
            return self.vae.encode(image)
        colour, other = self.vae.encode(torch.cat([image[..., :3], image[..., 3:].expand(-1, -1, -1, 3)])).chunk(2)
        return torch.cat([colour, (other - self.shift) * self.scale], 1)

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W K"]:
        if self.halves == 1:
            return self.vae.decode(x)
        colour, other = x.chunk(2, 1)
        colour, other = self.vae.decode(torch.cat([colour, other / self.scale + self.shift])).chunk(2)
        return torch.cat([colour, other if self.beside == "normal" else other.mean(-1, keepdim=True)], -1)
