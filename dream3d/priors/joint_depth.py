"""Colour and depth denoised together, through diffusers: what HumanGaussian (Liu et al. 2023, arXiv:2311.17061) guides with, and LDM3D
(Stan et al. 2023, arXiv:2305.10853). Images have four channels, rgb and relative depth (near 1, far 0), as a term's `sees: rgb+depth` makes
them.

Two kinds of pipeline folders. A Stable Diffusion one whose U-Net has twice the channels of its autoencoder: x is the latent of the colour,
then that of the depth as a grey picture. An LDM3D one of four channels: its autoencoder knows both, and x has no halves, so anpg's `depth`
must stay 1. What differs from HumanGaussian: there the U-Net has a branch of its own for colour and for depth and is shown a skeleton;
its depth latents have the colour's mean and deviation, which depth_scale = 0.86 and depth_shift = 0.0432 do here.
"""

from typing import ClassVar

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
    """As stable_diffusion; depth_scale, depth_shift: the depth's half of x is (latent - shift) scale."""

    offers: ClassVar[dict[str, str]] = {"student": "True", "depth": "True"}

    def __init__(
        self,
        *,
        model: str = "ldm3d-4c",
        config: str | None = None,
        size: Count | None = None,
        depth_scale: Positive = 1.0,
        depth_shift: float = 0.0,
        precision: Precision = "auto",
        slicing: bool = False,
        channels_last: bool = False,
        compile: bool = False,
    ):
        super().__init__()
        self.source = opened(model, "joint_depth", (WHOLE, HALVES), precision, config)
        self.halves = 2 if self.source.pipeline == HALVES else 1
        self.scale, self.shift = depth_scale, depth_shift
        self.table = Table(self.source.get("scheduler"))
        self.net = prepared(self.source.get("unet"), Knobs(channels_last, compile))
        self.vae = Autoencoder.read(self.source, size, self.net.config.sample_size, None, slicing)
        self._check()
        can, channels = offered(self.offers, {}), self.halves * self.vae.channels
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
        if self.halves == 1 and (self.scale, self.shift) != (1.0, 0.0):
            raise Mistake("x has no half of its own for the depth here", where="prior.depth_scale", fix="depth_scale=1, depth_shift=0")

    def _embed(self, prompts: list[str]) -> Embedding:
        return clip_tokens(self.source, prompts)

    def encode(self, image: Float[Tensor, "B H W K"]) -> Float[Tensor, "B C h w"]:
        """K is 4. Raises Mistake for images without depth."""
        if image.shape[-1] != 4:
            raise Mistake(f"this prior knows colour with depth, four channels, but is shown {image.shape[-1]}", where="guidance.sees",
                          fix="guidance.sees=rgb+depth")  # fmt: skip
        if self.halves == 1:
            return self.vae.encode(image)
        colour, depth = self.vae.encode(torch.cat([image[..., :3], image[..., 3:].expand(-1, -1, -1, 3)])).chunk(2)
        return torch.cat([colour, (depth - self.shift) * self.scale], 1)

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W 4"]:
        if self.halves == 1:
            return self.vae.decode(x)
        colour, depth = x.chunk(2, 1)
        colour, depth = self.vae.decode(torch.cat([colour, depth / self.scale + self.shift])).chunk(2)
        return torch.cat([colour, depth.mean(-1, keepdim=True)], -1)
