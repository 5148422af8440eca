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

    def __init__(self, vae: nn.Module, size: int, tiny: nn.Module | None = None):
        super().__init__()
        config = vae.config
        self.vae, self.tiny, self.size, self.channels = vae, tiny, size, config.latent_channels
        self.scale, self.shift = config.scaling_factor, getattr(config, "shift_factor", None) or 0.0
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        self.pixels = size * self.factor
        if tiny is not None and tiny.config.latent_channels != config.latent_channels:
            raise Mistake(f"this distilled encoder has {tiny.config.latent_channels} channels, the model {config.latent_channels}",
                          where="prior.tiny", near="taesd for SD 1 and 2, taesdxl for SDXL, taesd3 for SD 3", code=3)  # fmt: skip

    @staticmethod
    def read(source: Source, pixels: int | None, own: int, tiny: str | None, slicing: bool) -> "Autoencoder":
        """The autoencoder of a model; `own` is the side of x that its network was trained at, `pixels` what is asked for."""
        vae = source.get("vae")
        factor = 2 ** (len(vae.config.block_out_channels) - 1)
        if pixels is not None and pixels % (8 * factor):
            near = ", ".join(str(8 * factor * max(1, pixels // (8 * factor) + i)) for i in (0, 1))
            raise Mistake(f"{pixels} pixels are not a multiple of {8 * factor}", where="prior.size", near=near)
        if slicing:
            vae.enable_slicing()
        from diffusers import AutoencoderTiny

        small = None if tiny is None else network(AutoencoderTiny, _hub.locate(tiny, "autoencoder", "prior.tiny").path, source.dtype)
        return Autoencoder(vae, own if pixels is None else pixels // factor, small)

    def encode(self, image: Float[Tensor, "B H W K"]) -> Float[Tensor, "B C h w"]:
        x = image.movedim(-1, 1)
        if x.shape[-2:] != (self.pixels, self.pixels):
            x = F.interpolate(x, (self.pixels, self.pixels), mode="bilinear", antialias=True)
        net = self.vae if self.tiny is None else self.tiny
        x = (2 * x - 1).to(next(net.parameters()).dtype)
        if self.tiny is not None:
            return self.tiny.encode(x).latents.float()
        return (self.vae.encode(x).latent_dist.mode().float() - self.shift) * self.scale

    @torch.no_grad()
    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W K"]:
        z = (x.float() / self.scale + self.shift).to(next(self.vae.parameters()).dtype)
        return (self.vae.decode(z).sample.float().movedim(1, -1) + 1) / 2
