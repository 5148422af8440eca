"""Asynchronous Score Distillation: g = w(t) (cfg(z_t, t; s) - eps_hat(z_t+; y, t+)), both noised by the same eps, t+ >= t.

ScaleDreamer, Ma et al. 2024, arXiv:2407.02040. A frozen network's error falls with t, so its answer a little later stands in for
VSD's student: t+ = t + u min(plus (t - t_low), t_last - t) with u uniform, or 1, and t_low the lower end of the window at this step.
The authors round t+ down to whole steps of a thousand; here it is continuous. Their scale is in this form of guidance. One t and one
u per group of views, noise per view. With equal rows what is left can repel at small t, where the guided part must dominate.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, guided, per_view, predict, weight
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Share, Times, at
from dream3d.types import Step, View

LAST = 0.9995  # t of the noisiest of a thousand levels


@dataclass(eq=False)
class ASD(Guidance):
    """scale: guidance at t; plus: how much later t+ is, as a share of t's height above the window; jitter: whether u is random;
    t, w: as in sds."""

    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
    plus: Share = 0.1
    jitter: bool = True
    t: Times = Times(Ramp(0.5, 0.02), Ramp(0.98, 0.5))
    w: Literal["sds", "uniform", "fantasia3d", "x0"] = "sds"

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        noise = now.normal(*view.x.shape, device=view.x.device)
        later = self._later(t, view, now)
        z, after = (add_noise(self.prior, view.x, at_t, noise) for at_t in (t, later))
        real = guided(self.prior, z, t, view, at(self.scale, now))
        (fake,) = predict(self.prior, after, later, view, "text")
        return per_view(weight(self.prior, t, self.w), z) * (real - fake)

    def _later(self, t: Float[Tensor, " B"], view: View, now: Step) -> Float[Tensor, " B"]:
        """t+ per view, the same within a group."""
        low, _ = self.t.window(now.progress)
        reach = (self.plus * (t - low)).clamp(min=0).minimum((LAST - t).clamp(min=0))
        if not self.jitter:
            return t + reach
        group = view.cameras.group
        return t + reach * now.uniform(int(group[-1]) + 1, device=t.device)[group]
