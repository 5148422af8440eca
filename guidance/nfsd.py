"""Noise-Free Score Distillation: g = w(t) (delta_D + s (eps_hat(y) - eps_hat(empty))), where delta_D is eps_hat(empty) for t below
0.2 and eps_hat(empty) - eps_hat(y_neg) from there on. The injected noise is never subtracted.

Katzir et al. 2023, arXiv:2310.17590. The authors published no formula in code; this follows the paper and two re-implementations,
with w = sigma^2 as those have it. The switch is made for every view by its own t: several views of a batch differ in t. Their 200 of
1000 steps is t = 0.2. s is this framework's scale. Perp-Neg, which they lack, acts on the prompt's row.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from dream3d.guidance._rows import noise_free
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, per_view, weight
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Share, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class NFSD(Guidance):
    """scale: of the condition's direction; switch: t from which the negative prompt is subtracted; t, w: as in sds."""

    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
    switch: Share = 0.2
    t: Times = Times(Ramp(0.02), Ramp(0.98))
    w: Literal["sds", "uniform", "fantasia3d", "x0"] = "sds"

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        z = add_noise(self.prior, view.x, t, now.normal(*view.x.shape, device=view.x.device))
        g = noise_free(self.prior, z, t, view, at(self.scale, now), self.switch)
        return per_view(weight(self.prior, t, self.w), z) * g
