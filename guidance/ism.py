"""Interval Score Matching: g = w(t) (eps_hat(z_t; y, t) - eps(z_s; "", s)), s = t - delta_t, both on one deterministic path from x.

LucidDreamer, Liang et al. 2023, arXiv:2311.11284, after the authors' code: DDIM takes x to z_s under the empty prompt in moves of
delta_s, and one more takes it to z_t, where the negative prompt is the unconditional row. Their code starts from x with the noise of
the lowest level, plus a tenth of it shared by all pixels; noise: 0 is the paper's clean start, which leaves no randomness but t. Their
w is lambda sigma / alpha: lambda, 0.1 in their recipes, is the term's weight. Their scale needs no conversion; t is not rounded here.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from dream3d.guidance._trajectory import check_interval, draw, inverted, level
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import guided, jump, per_view, weight
from dream3d.interfaces import Guidance
from dream3d.schedule import Inside, NonNegative, Ramp, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class ISM(Guidance):
    """scale: classifier-free guidance at t; t: window of noise levels; delta_t: the interval; delta_s: the longest move on the way to s;
    noise: how noisy the start is; w: x0 sigma / alpha, or as in sds. t, delta_t and delta_s are shares of all noise levels."""

    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
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
        z, s, target = inverted(self.prior, view, now, t, **path)
        t = level(t, view.x)
        z = jump(self.prior, z, s, t, target)
        eps = guided(self.prior, z, t, view, at(self.scale, now))
        return per_view(weight(self.prior, t, self.w), z) * (eps - target)
