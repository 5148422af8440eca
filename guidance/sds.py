"""Score Distillation Sampling: g = w(t) (eps_hat(z_t; y, t) - eps).

DreamFusion, Poole et al. 2022, arXiv:2209.14988, eq. 3. The official code was not released; the scale here follows
uncond + s (cond - uncond), so the paper's and threestudio's s = 100 is 101 here.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, guided, per_view, weight
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class SDS(Guidance):
    """scale: classifier-free guidance; t: window of noise levels; w: sds sigma^2, uniform 1, fantasia3d alpha sigma^2."""

    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
    t: Times = Times(Ramp(0.02), Ramp(0.98))
    w: Literal["sds", "uniform", "fantasia3d"] = "sds"

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        noise = now.normal(*view.x.shape, device=view.x.device)
        z = add_noise(self.prior, view.x, t, noise)
        w = weight(self.prior, t, self.w)
        return per_view(w, z) * (guided(self.prior, z, t, view, at(self.scale, now)) - noise)
