"""VSD with a random guidance scale: g = w(t) (cfg(eps_hat; kappa) - cfg(eps_phi; kappa)), kappa ~ U(low, high) once per step.

SNOOPI's PG-SB, Nguyen et al. 2024, arXiv:2412.02687: proper guidance for one-step students, here instead of VSD's fixed
scale. Without a published code this follows a digest of the paper, with low confidence in two points: one kappa serves both networks,
and phi learns under its prompt only, so that its unconditional answer is what it shares with it. The mean gradient is linear in kappa.
Their kappa is this framework's scale.
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
class RandomCFG(Guidance):
    """low, high: of kappa; student: whether phi is guided too, by the same kappa (else it is VSD's); the rest as in vsd."""

    needs: ClassVar[frozenset[str]] = frozenset({"student"})
    owns: ClassVar[tuple[str, ...]] = ("phi",)

    _: KW_ONLY
    low: Ramp = Ramp(0.5)
    high: Ramp = Ramp(4.0)
    student: bool = True
    t: Times = Times(Ramp(0.02), Ramp(0.98))
    w: Literal["sds", "uniform", "fantasia3d"] = "sds"
    rank: Count = 64
    lr: Positive = 1e-3
    inner: Count = 1
    drop: Share = 0.1

    def __post_init__(self):
        self.phi = Learner(self.prior, self.prior.student(rank=self.rank), lr=self.lr, inner=self.inner, drop=self.drop)

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        z = add_noise(self.prior, view.x, t, now.normal(*view.x.shape, device=view.x.device))
        low, high = at(self.low, now), at(self.high, now)
        kappa = low + (high - low) * now.uniform(1).item()
        self.phi.see(view, now)
        real = guided(self.prior, z, t, view, kappa)
        fake, *free = self.phi.eps(z, t, view, "bare", *(("negative",) if self.student else ()))
        fake = cfg(fake, *free, kappa) if free else fake
        return per_view(weight(self.prior, t, self.w), z) * (real - fake)
