"""Score Distillation via Inversion: g = x - x0_hat(z_t; y, t), where the noise in z_t is the one that DDIM inversion finds for x.

Lukoianov et al. 2024, arXiv:2405.15891, after the authors' code: SDS is DDIM in other variables once its noise is the answer of the
step before, and inverting x recovers that. The inversion runs under a negative guidance scale and adds a little fresh noise. t falls
over the run; their inversion ends up to a tenth of all levels above t and is read at t all the same (jitter), a bias that 0 removes.
Their scales are ours where Perp-Neg is on, as in their recipe; elsewhere their s is s + 1 here. Their walk first moves from entry -99
of the noise table to 1, which changes nothing and costs an answer; here the first move is a whole stride. Their loss is a mean over
x, this gradient a sum. noise: random is SDS with w = sigma / alpha, one t per step.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch
from dream3d.guidance._trajectory import climb, draw, level
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, guided, jump, per_view, x0_from_eps
from dream3d.interfaces import Guidance
from dream3d.schedule import Inside, NonNegative, Ramp, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class SDI(Guidance):
    """scale, inversion: classifier-free guidance of the answer and of the inversion; t: window of noise levels; stride: of the inversion;
    eta: how much of DDPM's fresh noise a move of it adds; jitter: how far above t it ends at most; noise: inverted, or random."""

    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
    inversion: Ramp = Ramp(-7.5)
    t: Times = Times(Ramp(0.98, 0.25), Ramp(0.98, 0.25))
    stride: Inside = 0.1
    eta: NonNegative = 0.3
    jitter: NonNegative = 0.1
    noise: Literal["inverted", "random"] = "inverted"

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        chosen = draw(self.t, now)
        t = level(chosen, view.x)
        if self.noise == "inverted":
            z = self._inverted(view, now, chosen)
        else:
            z = add_noise(self.prior, view.x, t, now.normal(*view.x.shape, device=view.x.device))
        return view.x - x0_from_eps(self.prior, z, t, guided(self.prior, z, t, view, at(self.scale, now)))

    def _inverted(self, view: View, now: Step, t: float) -> Float[Tensor, "B C h w"]:
        last = min(t + self.jitter * now.uniform(1).item(), 0.9995)
        levels = [level(v, view.x) for v in (*climb(t, self.stride)[:-1], last)]
        z = add_noise(self.prior, view.x, levels[0], torch.zeros_like(view.x))
        for a, b in zip(levels, levels[1:], strict=False):
            z = jump(self.prior, z, a, b, guided(self.prior, z, a, view, at(self.inversion, now)))
            z = z + per_view(self.eta * self._fresh(a, b), z) * now.normal(*z.shape, device=z.device)
        return z

    def _fresh(self, a: Float[Tensor, " B"], b: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The deviation of DDPM's step back, from b down to a."""
        (low, sigma_low), (high, sigma_high) = self.prior.alpha_sigma(a), self.prior.alpha_sigma(b)
        return sigma_low / sigma_high * torch.sqrt((1 - (high / low) ** 2).clamp(min=0))
