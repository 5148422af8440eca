"""VSD under any f-divergence: g = w(t) h(rho) / h(1) (eps_hat(z_t; y^view, t) - eps_phi(z_t; y, t, c)), rho = p_t(z) / q_t(z).

f-distill, Xu et al. 2025, arXiv:2502.15681, theorem 1: the gradient of D_f(p || q) = E_q[f(rho)] is VSD's times h(rho) = f''(rho) rho^2,
of renders q and prior p: 1 for reverse KL, which is VSD; rho for forward KL, which covers modes; bounded for Jensen-Shannon. Uni-Instruct
(arXiv:2505.20755) takes it to text-to-3D. The ratio is exact where prior and student offer a density, else a discriminator's
(dream3d/discriminator.py) whose real pictures the prior draws itself, since text-to-3D has no data. The authors divide h by its mean
over a batch and a bin of t; here by h(1), so that every divergence starts as VSD and no view weighs another. |log rho| is limited.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, guided, per_view, weight
from dream3d.discriminator import Densities, Discriminator
from dream3d.interfaces import Guidance
from dream3d.learner import Learner
from dream3d.schedule import Count, Positive, Ramp, Share, Times, at
from dream3d.types import Step, View

H = {"reverse-kl": torch.ones_like, "forward-kl": lambda u: u, "js": lambda u: 2 * u / (1 + u), "hellinger": torch.sqrt,
     "jeffreys": lambda u: (1 + u) / 2, "pearson": torch.square}  # h(u) / h(1)  # fmt: skip


@dataclass(eq=False)
class FDistill(Guidance):
    """divergence: which f; ratio: who knows rho; limit: of |log rho|; width, judge, every, draws: the discriminator's channels, learning
    rate, interval and DDIM steps; the rest as in vsd."""

    needs: ClassVar[frozenset[str]] = frozenset({"student"})
    owns: ClassVar[tuple[str, ...]] = ("phi", "critic")

    _: KW_ONLY
    divergence: Literal["reverse-kl", "forward-kl", "js", "hellinger", "jeffreys", "pearson"] = "js"
    ratio: Literal["discriminator", "exact"] = "discriminator"
    limit: Positive = 3.0
    scale: Ramp = Ramp(7.5)
    t: Times = Times(Ramp(0.02), Ramp(0.98))
    w: Literal["sds", "uniform", "fantasia3d"] = "sds"
    rank: Count = 4
    lr: Positive = 1e-4
    inner: Count = 1
    drop: Share = 0.1
    width: Count = 32
    judge: Positive = 1e-3
    every: Count = 10
    draws: Count = 10

    def __post_init__(self):
        self.phi = Learner(self.prior, self.prior.student(rank=self.rank), lr=self.lr, inner=self.inner, drop=self.drop)
        learnt = {"width": self.width, "lr": self.judge, "every": self.every, "draws": self.draws}
        exact = self.ratio == "exact"
        self.critic = Densities(self.prior, self.phi.student) if exact else Discriminator(self.prior, **learnt)

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        z = add_noise(self.prior, view.x, t, now.normal(*view.x.shape, device=view.x.device))
        self.phi.see(view, now)
        real = guided(self.prior, z, t, view, at(self.scale, now))
        (fake,) = self.phi.eps(z, t, view)
        h = H[self.divergence](self.critic.log_ratio(z, t, view).clamp(-self.limit, self.limit).exp())
        return per_view(weight(self.prior, t, self.w) * h, z) * (real - fake)

    def learn(self, now: Step) -> None:
        self.critic.learn(self.phi.views(now), now)
        self.phi.learn(now)
