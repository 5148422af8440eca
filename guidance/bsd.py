"""Balanced Score Distillation: g = alpha (a g1 + (1 - a) g2), the shortest vector between g1 = s (eps_hat(y) - eps_hat(n)) and
g2 = eps_hat(n), per view over all of x: a = clip(<g2 - g1, g2> / |g2 - g1|^2, 0, 1).

PlacidDreamer, Huang et al. 2024, arXiv:2407.13976: multiple-gradient descent between the classifier's score and smoothing, which
never works against either. As in the authors' code the injected noise is not taken out of g2, and w = alpha; their scale is 15 whatever
their command line says; their factor 0.1 belongs into the term's weight. Where g1 and g2 agree the quotient is 0 / 0 and any a is
right: 0 is taken. Their automatic weights are left out, being norms over the batch, which couple its views.
"""

from dataclasses import KW_ONLY, dataclass

from dream3d.guidance._rows import answers
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, inner, per_view
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class BSD(Guidance):
    """scale: of the classifier's score before it is balanced; t: window of noise levels."""

    _: KW_ONLY
    scale: Ramp = Ramp(15.0)
    t: Times = Times(Ramp(0.02), Ramp(0.98, 0.5, until=0.3))

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        z = add_noise(self.prior, view.x, t, now.normal(*view.x.shape, device=view.x.device))
        cond, uncond = answers(self.prior, z, t, view, "text", "negative")
        alpha, _ = self.prior.alpha_sigma(t)
        return per_view(alpha, z) * shortest(at(self.scale, now) * (cond - uncond), uncond)


def shortest(one: Float[Tensor, "B C h w"], two: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    """The shortest vector of the segment between two, per view."""
    apart = two - one
    square = inner(apart, apart)
    share = (inner(apart, two) / square.where(square > 0, 1)).clamp(0, 1)
    return two - per_view(share, two) * apart
