"""The autoencoder of a latent prior: images in [0, 1] to x and back, with the posterior's mean, differentiable. Optionally a distilled
encoder (AutoencoderTiny), far cheaper on the way of the gradient."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.priors import _hub
from dream3d.priors._pipeline import Source, network


class Autoencoder(nn.Module):
    """x = (mean - shift) scale of the network's posterior; x is `size` wide; `tiny`: a distilled autoencoder that answers in x itself."""

    packed: int = 1  # latents of how many places are one entry of x

    def __init__(self, vae: nn.Module, size: int, tiny: nn.Module | None = None):
        super().__init__()
        config = vae.config
        self.vae, self.tiny, self.size, self.channels = vae, tiny, size, self.packed * config.latent_channels
        self.scale, self.shift = getattr(config, "scaling_factor", 1.0), getattr(config, "shift_factor", None) or 0.0
        self.factor = self.side(vae)
        self.pixels = size * self.factor
        if tiny is not None and tiny.config.latent_channels != config.latent_channels:
            raise Mistake(f"this distilled encoder has {tiny.config.latent_channels} channels, the model {config.latent_channels}",
                          where="prior.tiny", near="taesd for SD 1 and 2, taesdxl for SDXL, taesd3 for SD 3", code=3)  # fmt: skip

    @staticmethod
    def side(vae: nn.Module) -> int:
        """Pixels per side of one entry of x."""
        return 2 ** (len(vae.config.block_out_channels) - 1)

    @classmethod
    def read(
        cls, source: Source, pixels: int | None, own: int | list[int] | None, tiny: str | None, slicing: bool
    ) -> "Autoencoder":
        """The autoencoder of a model; `own` is the side of x that its network was trained at, as far as its config tells, `pixels` what
        is asked for."""
        vae = source.get("vae")
        factor = cls.side(vae)
        if pixels is not None and pixels % (8 * factor):
            raise multiple(pixels, 8 * factor)
        if slicing:
            vae.enable_slicing()
        from diffusers import AutoencoderTiny

        small = None if tiny is None else network(AutoencoderTiny, _hub.locate(tiny, "autoencoder", "prior.tiny").path, source.dtype)
        if pixels is None and own is None:
            raise Mistake("this model does not tell its size", where="prior.size", near=f"prior.size={64 * factor}", code=3)
        return cls(vae, (own if isinstance(own, int) else min(own)) if pixels is None else pixels // factor, small)

    def encode(self, image: Float[Tensor, "B H W K"]) -> Float[Tensor, "B C h w"]:
        net = self.vae if self.tiny is None else self.tiny
        x = shown(image, self.pixels, net.config.in_channels).to(next(net.parameters()).dtype)
        if self.tiny is not None:
            return self.tiny.encode(x).latents.float()
        return self.to_x(self.vae.encode(x).latent_dist.mode().float())

    @torch.no_grad()
    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W K"]:
        z = self.from_x(x.float()).to(next(self.vae.parameters()).dtype)
        return (self.vae.decode(z).sample.float().movedim(1, -1) + 1) / 2

    def to_x(self, mean: Float[Tensor, "B c H W"]) -> Float[Tensor, "B C h w"]:
        """What the autoencoder calls a latent as the network knows it."""
        return (mean - self.shift) * self.scale

    def from_x(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B c H W"]:
        return x / self.scale + self.shift


def shown(image: Float[Tensor, "B H W K"], pixels: int, channels: int) -> Float[Tensor, "B K S S"]:
    """An image in [0, 1] as an autoencoder sees it: in [-1, 1], of its size. Raises Mistake for other channels than it knows."""
    if image.shape[-1] != channels:
        raise Mistake(f"this prior knows pictures of {channels} channels, but is shown {image.shape[-1]}", where="guidance.sees",
                      fix="let it see something else, or choose another prior")  # fmt: skip
    x = image.movedim(-1, 1)
    if x.shape[-2:] != (pixels, pixels):
        x = F.interpolate(x, (pixels, pixels), mode="bilinear", antialias=True)
    return 2 * x - 1


def multiple(pixels: int, step: int) -> Mistake:
    """What is wrong with a size that a network cannot halve as often as it does."""
    near = ", ".join(str(step * i) for i in (pixels // step, pixels // step + 1) if i)
    return Mistake(f"{pixels} pixels are not a multiple of {step}", where="prior.size", near=near)
