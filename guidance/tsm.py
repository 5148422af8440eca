"""Trajectory Score Matching: g = w(t) (eps_hat(z_t; y, t) - eps(z_mu; "", mu)), mu = s + sqrt(1 - gamma^2) (t - s), both from one z_s.

Dreamer XL, Miao et al. 2024, arXiv:2405.11252, after the authors' code. ISM up to z_s; from there one DDIM move goes to z_t and
another to z_mu, so that what the inversion did wrong is in both. gamma = 1 is ISM (at one evaluation more), gamma = 0 is CSM. The
paper may be read as going on from z_mu to z_t; the code goes to z_t from z_s, which is kept. The code asks the network twice at z_s
and limits moves to delta_s even where delta_t is longer, so that z_mu lies at another level than it is told: neither is kept.
Weights, scale and start as in ism. Their clipping of pixel gradients is `clip: {rgb: 0.05}` of a recipe.
"""

from dataclasses import KW_ONLY, dataclass
from math import sqrt
from typing import Literal

from dream3d.guidance._trajectory import check_interval, draw, inverted, level
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import guided, jump, per_view, predict, weight
from dream3d.interfaces import Guidance
from dream3d.schedule import Inside, NonNegative, Ramp, Share, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class TSM(Guidance):
    """gamma: how far mu stays behind t, from 0 (at t) to 1 (at s); the rest as in ism."""

    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
    gamma: Share = 0.3
    t: Times = Times(Ramp(0.02), Ramp(0.98, 0.5, until=0.3))
    delta_t: Ramp = Ramp(0.1, 0.08, until=0.3)
    delta_s: Inside = 0.2
    noise: NonNegative = 1.0
    w: Literal["x0", "sds", "uniform", "fantasia3d"] = "x0"

    def __post_init__(self):
        check_interval(self.delta_t)

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw(self.t, now)
        path = {"delta_t": at(self.delta_t, now), "delta_s": self.delta_s, "noise": self.noise}
        z_s, s, eps_s = inverted(self.prior, view, now, t, **path)
        t = level(t, view.x)
        mu = s + sqrt(1 - self.gamma**2) * (t - s)
        z, z_mu = (jump(self.prior, z_s, s, to, eps_s) for to in (t, mu))
        (target,) = predict(self.prior, z_mu, mu, view, "empty")
        eps = guided(self.prior, z, t, view, at(self.scale, now))
        return per_view(weight(self.prior, t, self.w), z) * (eps - target)
