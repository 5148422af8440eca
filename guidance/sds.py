"""Score Distillation Sampling: g = w(t) (eps_hat(z_t; y, t) - eps).

DreamFusion, Poole et al. 2022, arXiv:2209.14988, eq. 3. The official code was not released; the scale here follows
uncond + s (cond - uncond), so the paper's and threestudio's s = 100 is 101 here. w: x0 makes it a regression, g = x - x0_hat, and
rescale then gives some of the guided x0_hat's contrast back (Lin et al. 2023, arXiv:2305.08891), as MVDream does.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, eps_from_x0, per_view, perp_neg, predict, rescale, weight, x0_from_eps
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Share, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class SDS(Guidance):
    """scale: classifier-free guidance; t: window of noise levels; w: sds sigma^2, uniform 1, fantasia3d alpha sigma^2, x0 sigma / alpha;
    rescale: share of the contrast that guidance added to x0_hat and that is taken back, with any w."""

    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
    t: Times = Times(Ramp(0.02), Ramp(0.98))
    w: Literal["sds", "uniform", "fantasia3d", "x0"] = "sds"
    rescale: Share = 0.0

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        noise = now.normal(*view.x.shape, device=view.x.device)
        z = add_noise(self.prior, view.x, t, noise)
        perp = view.text.perp
        cond, uncond, *negatives = predict(self.prior, z, t, view, "text", "negative", *perp)
        eps = perp_neg(cond, uncond, negatives, list(perp.values()), at(self.scale, now))
        if self.rescale:
            guided, plain = (x0_from_eps(self.prior, z, t, e) for e in (eps, cond))
            x0 = rescale(guided, plain, self.rescale, views=view.cameras.views * view.cameras.frames)
            eps = eps_from_x0(self.prior, z, t, x0)
        return per_view(weight(self.prior, t, self.w), z) * (eps - noise)
