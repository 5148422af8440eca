"""Regression to a denoised target: g = c (x - x0_hat), x0_hat by several DDIM steps from x with noise; on x or on the image it is of.

DreamGaussian's second stage, Tang et al. 2023, arXiv:2309.16653, section 3.3 (render, add a little noise, denoise, mean squared error
on the image), and HiFA, Zhu et al. 2023, arXiv:2305.18766 (x0_hat by k steps, on x and on the decoded image at once: two terms here,
with t: {start: 0.98, end: 0.02, shape: sqrt}). One step on x is SDS. DreamGaussian's 50-step grid takes 10 steps at t = 0.2 and 3 at
0.05; here k steps of equal length divide any t. HiFA through two ports, medium confidence; its weights are the term's.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from dream3d.guidance._trajectory import walk
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, guided, per_view, ratio, x0_from_eps
from dream3d.errors import Mistake
from dream3d.interfaces import Guidance
from dream3d.schedule import Count, Ramp, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class Target(Guidance):
    """scale: classifier-free guidance; t: window of noise levels; k: steps of DDIM; regress: x, or the image; w: x0 1,
    eps alpha / sigma (one step on x is then SDS with w = 1)."""

    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
    t: Times = Times(Ramp(0.2, 0.05), Ramp(0.2, 0.05))
    k: Count = 5
    regress: Literal["x", "image"] = "x"
    w: Literal["x0", "eps"] = "x0"

    def __post_init__(self):
        self.space = "pixel" if self.regress == "image" else "latent"

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t, scale = draw_t(self.t, view.cameras, now), at(self.scale, now)
        x = self._encoded(view.x) if self.regress == "image" else view.x

        def eps(z: Tensor, t: Tensor) -> Tensor:
            return guided(self.prior, z, t, view, scale)

        z = add_noise(self.prior, x, t, now.normal(*x.shape, device=x.device))
        levels = [t * (self.k - i) / self.k for i in range(self.k)]
        z = walk(self.prior, z, levels, eps)
        target = x0_from_eps(self.prior, z, levels[-1], eps(z, levels[-1]))
        c = 1 / ratio(self.prior, t) if self.w == "eps" else torch.ones_like(t)
        return per_view(c, view.x) * (view.x - (self._image(target, view.x) if self.regress == "image" else target))

    def _encoded(self, image: Float[Tensor, "B K H W"]) -> Float[Tensor, "B C h w"]:
        x = self.prior.encode(image.movedim(1, -1))
        if x.shape[1] != self.prior.spec.channels:
            raise Mistake(f"what this term sees has {x.shape[1]} channels, but its prior knows {self.prior.spec.channels}",
                          where="guidance.sees", fix="let it see something else, or choose another prior")  # fmt: skip
        return x

    def _image(self, x0: Float[Tensor, "B C h w"], like: Float[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        image = self.prior.decode(x0).movedim(-1, 1).clamp(0, 1)
        if image.shape[-2:] != like.shape[-2:]:
            image = F.interpolate(image, like.shape[-2:], mode="bilinear", antialias=True)
        return image
