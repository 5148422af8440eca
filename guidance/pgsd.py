"""Personalised geometry-aware score distillation: g = w(t) (eps_psi(z_t; y^view, k, t) - eps_phi(z_t; y, k, t, c)).

TextureDreamer, Yeh et al. 2024, arXiv:2401.09416: psi is a model personalised to a few pictures of one object, phi the model it
was before (`prior.original`), of which nothing learns but what a camera c means (no LoRA: rank 0), by VSD's regression. k, rendered
normals, reaches both networks through `render`. No guidance scale. No code is published; this follows the paper. What personalises is
the prior's business: a prior with the capability "original" offers the frozen prior it came from, for the same text rows.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, per_view, predict, weight
from dream3d.interfaces import Guidance
from dream3d.learner import Learner
from dream3d.schedule import Count, Positive, Ramp, Share, Times
from dream3d.types import Step, View


@dataclass(eq=False)
class PGSD(Guidance):
    """t, w: as in sds; lr, inner, drop: of the student (dream3d/learner.py)."""

    needs: ClassVar[frozenset[str]] = frozenset({"student", "original"})
    owns: ClassVar[tuple[str, ...]] = ("phi",)

    perp_neg: ClassVar[bool] = False
    _: KW_ONLY
    t: Times = Times(Ramp(0.02), Ramp(0.98))
    w: Literal["sds", "uniform", "fantasia3d"] = "sds"
    lr: Positive = 1e-4
    inner: Count = 1
    drop: Share = 0.1

    def __post_init__(self):
        student = self.prior.original.student(rank=0)
        self.phi = Learner(self.prior, student, lr=self.lr, inner=self.inner, drop=self.drop)

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        z = add_noise(self.prior, view.x, t, now.normal(*view.x.shape, device=view.x.device))
        self.phi.see(view, now)
        (real,), (fake,) = predict(self.prior, z, t, view, "text"), self.phi.eps(z, t, view)
        return per_view(weight(self.prior, t, self.w), z) * (real - fake)
