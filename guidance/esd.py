"""Entropic Score Distillation: g = w(t) (eps_hat(z_t; y^view, t) - lambda eps_phi(z_t; y, t) - (1 - lambda) eps_phi(z_t; y, t, c)).

Taming Mode Collapse, Wang et al. 2024, arXiv:2401.00909, eq. 12: VSD that also raises the entropy of what the views show, by a student
that now and then is not told the camera. lambda = 0 is VSD. The authors' code calls 1 - lambda guidance_scale_lora (0.5 there).
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, cfg, draw_t, guided, per_view, weight
from dream3d.interfaces import Guidance
from dream3d.learner import Learner
from dream3d.schedule import Count, Positive, Ramp, Share, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class ESD(Guidance):
    """entropy: lambda, from 0 (VSD) to 1 (a student that never knows the camera); the rest as in vsd."""

    needs: ClassVar[frozenset[str]] = frozenset({"student"})
    owns: ClassVar[tuple[str, ...]] = ("phi",)

    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
    entropy: Ramp = Ramp(0.5)
    t: Times = Times(Ramp(0.02), Ramp(0.98))
    w: Literal["sds", "uniform", "fantasia3d"] = "sds"
    rank: Count = 4
    lr: Positive = 1e-4
    inner: Count = 1
    drop: Share = 0.1

    def __post_init__(self):
        self.phi = Learner(self.prior, self.prior.student(rank=self.rank), lr=self.lr, inner=self.inner, drop=self.drop)

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        z = add_noise(self.prior, view.x, t, now.normal(*view.x.shape, device=view.x.device))
        self.phi.see(view, now)
        real = guided(self.prior, z, t, view, at(self.scale, now))
        (told,), (untold,) = self.phi.eps(z, t, view), self.phi.eps(z, t, view, camera=False)
        return per_view(weight(self.prior, t, self.w), z) * (real - cfg(untold, told, at(self.entropy, now)))
