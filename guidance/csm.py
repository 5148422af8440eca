"""Classifier Score Matching: g = w(t) s (eps(z_t; y^view, t) - eps(z_t; "", t)) with z_t on ISM's deterministic path from x.

TV-3DG, Yang et al. 2024, arXiv:2410.21299. Low confidence: no code is published, so this is a derivation, and its numbers are ISM's.
It keeps of SDS the classifier's part only, as CSD does, at a z_t that was inverted and not noised: TSM with gamma = 0 and the empty
prompt as its negative. The paper's visual prompts (VPCSM) are the prior's own, which then hears them with every text row but the empty
one (exact_joint's `image`); its calibration is a matter of the renderer and not here.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from dream3d.guidance._trajectory import check_interval, draw, inverted, level
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import jump, per_view, predict, weight
from dream3d.interfaces import Guidance
from dream3d.schedule import Inside, NonNegative, Ramp, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class CSM(Guidance):
    """scale: a factor on the difference; the rest as in ism."""

    perp_neg: ClassVar[bool] = False
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
        z_s, s, eps_s = inverted(self.prior, view, now, t, **path)
        t = level(t, view.x)
        z = jump(self.prior, z_s, s, t, eps_s)
        cond, free = predict(self.prior, z, t, view, "text", "empty")
        return per_view(at(self.scale, now) * weight(self.prior, t, self.w), z) * (cond - free)
