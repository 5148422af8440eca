"""Inpainting models of the Stable Diffusion family (9 input channels), through diffusers: the network sees x, where it may paint and the
picture around that, both from the render: extras["mask"] (1: to be painted) and what it shows elsewhere. Without a mask all is painted."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.interfaces import Prior
from dream3d.priors._stable import Stable
from dream3d.types import Cameras, Embedding, Render


class Inpaint(Stable, Prior):
    """As stable_diffusion."""

    offers: ClassVar[dict[str, str]] = {"student": "True", "inpaint": "True"}

    family, pipelines = "inpaint", ("StableDiffusionInpaintPipeline",)

    def __init__(self, *, model: str = "sd-2-inpainting", config: str | None = None, **rest):
        super().__init__(model, config, **rest)

    def _fits(self) -> None:
        if (given := self.net.config.in_channels) != 2 * self.vae.channels + 1:
            problem = f"an inpainting U-Net takes {2 * self.vae.channels + 1} channels, this one {given}"
            raise Mistake(problem, where="prior.model", fix="prior.type=stable_diffusion, or another folder", code=3)

    def answer(
        self,
        net: nn.Module,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        mask, around = self._known(x, render)
        low = torch.cat([x, mask, around], 1).to(next(net.parameters()).dtype)
        out = net(low, self.table.index(t), encoder_hidden_states=text.tokens.to(low.dtype)).sample
        return self.table.to_eps(out.float(), x.float(), t)

    def _known(self, x: Tensor, render: Render | None) -> tuple[Float[Tensor, "B 1 h w"], Float[Tensor, "B C h w"]]:
        """Where to paint, at the size of x, and the latent of the picture with grey there."""
        side = self.spec.pixels
        if render is None or "mask" not in render.extras:
            mask, image = x.new_ones(len(x), side, side, 1), x.new_zeros(len(x), side, side, 3)
        else:
            image, mask = (_sized(v, side) for v in (render.rgb, render.extras["mask"]))
            mask = (mask >= 0.5).to(image)
        with torch.no_grad():
            around = self.encode(image * (1 - mask) + 0.5 * mask)
        return F.interpolate(mask.movedim(-1, 1), x.shape[-2:]), around


def _sized(image: Float[Tensor, "B H W K"], side: int) -> Float[Tensor, "B h w K"]:
    return F.interpolate(image.movedim(-1, 1), (side, side), mode="bilinear", antialias=True).movedim(1, -1)
