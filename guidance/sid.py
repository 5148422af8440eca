"""Score identity Distillation: g = d/dx sum D . ((y_real - x) - a D) / mean |x - y_real|, with D = y_real - y_fake.

SiD, Zhou et al. 2024, arXiv:2404.04057, algorithm 1: y are the clean x that prior and student phi see in z = alpha x +
sigma eps, and both networks are differentiated in z. For an optimal phi the loss is (1 - a) E|D|^2, negative at a > 1. a = 1 is the
squared-distance case of SIM (arXiv:2410.16794) up to its weight. With both y taken as constants every a is VSD with w = sigma / alpha.
As the authors' code, the denominator is a constant per view and at least 1e-5. They use no guidance scale; neither does the default.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, cfg, draw_t, per_view, predict, x0_from_eps
from dream3d.interfaces import Guidance
from dream3d.learner import Learner
from dream3d.schedule import Count, Positive, Ramp, Share, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class SiD(Guidance):
    """a: the identity's share (the authors' alpha); scale: of the prior, 1 asks for no unconditional answer; normalise: divide by each
    view's mean |x - y_real|; the rest as in vsd."""

    needs: ClassVar[frozenset[str]] = frozenset({"student"})
    owns: ClassVar[tuple[str, ...]] = ("phi",)

    perp_neg: ClassVar[bool] = False
    _: KW_ONLY
    a: Ramp = Ramp(1.2)
    scale: Ramp = Ramp(1.0)
    normalise: bool = True
    t: Times = Times(Ramp(0.02), Ramp(0.8))
    rank: Count = 4
    lr: Positive = 1e-4
    inner: Count = 1
    drop: Share = 0.1

    def __post_init__(self):
        self.phi = Learner(self.prior, self.prior.student(rank=self.rank), lr=self.lr, inner=self.inner, drop=self.drop)

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t, noise = draw_t(self.t, view.cameras, now), now.normal(*view.x.shape, device=view.x.device)
        self.phi.see(view, now)
        with torch.enable_grad():
            x = view.x.detach().requires_grad_()
            return torch.autograd.grad(self.loss(x, t, noise, view, now).sum(), x)[0]

    def loss(
        self, x: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], noise: Float[Tensor, "B C h w"], view: View, now: Step
    ) -> Float[Tensor, " B"]:
        """Per view, with the graph from x through both networks."""
        z, scale = add_noise(self.prior, x, t, noise), at(self.scale, now)
        real, *free = predict(self.prior, z, t, view, "text", *(("negative",) if scale != 1 else ()), graph=True)
        (fake,) = self.phi.eps(z, t, view, graph=True)
        real, fake = (x0_from_eps(self.prior, z, t, eps) for eps in (cfg(real, *free, scale) if free else real, fake))
        terms = (real - fake) * ((real - x) - at(self.a, now) * (real - fake))
        size = (x - real).detach().abs().flatten(1).mean(1).clamp(min=1e-5) if self.normalise else torch.ones_like(t)
        return (terms / per_view(size, x)).flatten(1).sum(1)
