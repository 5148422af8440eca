"""Consistency Distillation Sampling: g = w(t1) (eps_hat(z_1; y, t1) - eps_hat(z_2; y, t2)), z_2 one deterministic step below z_1.

Consistent3D, Wu et al. 2024, arXiv:2401.09050, after the authors' code. z_1 = alpha_1 (x + r_1 eps*) with one eps* for all views and
steps; a step of Euler in z / alpha and r = sigma / alpha, which is DDIM, leads from t1 down to t2, which falls over the run. The less
noisy answer teaches the noisier one: the paper's loss, read literally with an identity Jacobian, has the opposite sign and repels. On
a Gaussian x ends at mu - r_1 eps*, so t must fall. The authors' scales 100 to 50 (their cond + s (cond - uncond)) are 101 to 51 here;
their limit of 2 to 8 on the gradient is the term's clamp. Their option to rescale contrast, off and faulty, is left out; Perp-Neg,
which they lack, is served as in sds.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from dream3d.guidance._trajectory import draw, level
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, guided, jump, per_view, weight
from dream3d.interfaces import Guidance
from dream3d.schedule import Inside, NonNegative, Ramp, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class CDS(Guidance):
    """scale: classifier-free guidance at both levels; t: the lower level, t2; gap, perturb: t1 is t2 + gap and up to `perturb` more,
    at most 0.98; w: as in sds."""

    _: KW_ONLY
    scale: Ramp = Ramp(101.0, 51.0)
    t: Times = Times(Ramp(0.7, 0.1, shape="sqrt"), Ramp(0.7, 0.1, shape="sqrt"))
    gap: Inside = 0.1
    perturb: NonNegative = 0.2
    w: Literal["sds", "uniform", "fantasia3d"] = "uniform"

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        lower, scale = draw(self.t, now), at(self.scale, now)
        upper = min(lower + self.gap + self.perturb * now.uniform(1).item(), max(lower, 0.98))
        noise = now.fixed("cds", *view.x.shape[1:], device=view.x.device)
        t1, t2 = level(upper, view.x), level(lower, view.x)
        z1 = add_noise(self.prior, view.x, t1, noise.expand_as(view.x))
        eps1 = guided(self.prior, z1, t1, view, scale)
        eps2 = guided(self.prior, jump(self.prior, z1, t1, t2, eps1), t2, view, scale)
        return per_view(weight(self.prior, t1, self.w), z1) * (eps1 - eps2)
