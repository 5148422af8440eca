"""Variational Score Distillation: g = w(t) (eps_hat(z_t; y^view, t) - eps_phi(z_t; y, t, c)).

ProlificDreamer, Wang et al. 2023, arXiv:2305.16213, eq. 9 and 10, algorithm 1. phi is a student of the prior that learns to denoise
the renders of the particles (`cameras.subject`), told the camera c and the prompt without its view. The authors' phi predicts v and
is converted; here every student answers eps. The authors divide the gradient by B; the mean over views is taken by the renderer here.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, guided, per_view, weight
from dream3d.interfaces import Guidance
from dream3d.learner import Learner
from dream3d.schedule import Count, Positive, Ramp, Share, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class VSD(Guidance):
    """scale: guidance of the frozen prior; t, w: as in sds; rank, lr, inner, drop: of the student (dream3d/learner.py)."""

    needs: ClassVar[frozenset[str]] = frozenset({"student"})
    owns: ClassVar[tuple[str, ...]] = ("phi",)

    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
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
        (fake,) = self.phi.eps(z, t, view)
        return per_view(weight(self.prior, t, self.w), z) * (real - fake)
