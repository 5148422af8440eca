"""Posterior Distillation Sampling: g = zeta(x; y) - zeta(x_src; y_src), the same noises on the scene and on its source, where
zeta = (z_p - c0 x0_hat - c1 z_t) / deviation is the noise that takes z_t to z_p, one ancestral step to the cleaner p.

Koo et al. 2024, arXiv:2311.13831. With a = alpha_t / alpha_s and beta = sigma_t^2 - a^2 sigma_s^2 of the step from s to t,
c0 = alpha_p beta / sigma_t^2, c1 = a sigma_p^2 / sigma_t^2, deviation^2 = beta sigma_p^2 / sigma_t^2. The true posterior has s = p
(`consistent`), and then x itself drops out: g is DDS up to a factor. The authors' scheduler takes p two of a thousand levels below t
and beta from one, which leaves a pull psi (x - x_src) back to the source, strongest at small t. That is what their results were made
with, and the default here. The noise of z_p cancels, so none is drawn. t is the middle of a thousandth, since differences of the noise
table need whole steps. Their scale is in this form of guidance; their loss is a mean over x, here it is a sum.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from dream3d.guidance._pair import guided_pair, source
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, per_view, x0_from_eps
from dream3d.errors import Mistake
from dream3d.interfaces import Guidance
from dream3d.schedule import Count, Ramp, Times, at
from dream3d.types import Step, View

LEVELS = 1000


@dataclass(eq=False)
class PDS(Guidance):
    """scale: guidance of both branches; stride: thousandths from t down to p; consistent: beta of that step instead of one
    thousandth's; t: window of noise levels. Needs the unedited scene and a prompt for it."""

    edits: ClassVar[bool] = True

    _: KW_ONLY
    scale: Ramp = Ramp(100.0)
    stride: Count = 2
    consistent: bool = False
    t: Times = Times(Ramp(0.02), Ramp(0.98))

    def __post_init__(self):
        lowest = min(self.t.window(progress)[0] for progress in (0.0, 1.0))
        if lowest * LEVELS < self.stride + 1:
            raise Mistake(f"from t = {lowest:g} there are no {self.stride} thousandths down", where="guidance.t",
                          fix=f"start the window at {(self.stride + 1) / LEVELS:g} or above, or lower guidance.stride")  # fmt: skip

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        before = source(view)
        t = ((draw_t(self.t, view.cameras, now) * LEVELS).floor() + 0.5) / LEVELS
        noise = now.normal(*view.x.shape, device=view.x.device)
        z, old = (add_noise(self.prior, x, t, noise) for x in (view.x, before))
        target, unedited = guided_pair(self.prior, z, old, t, view, at(self.scale, now))
        return self._zeta(view.x, z, t, target) - self._zeta(before, old, t, unedited)

    def _zeta(self, x: Tensor, z: Tensor, t: Float[Tensor, " B"], eps: Tensor) -> Float[Tensor, "B C h w"]:
        """zeta without the noise of z_p."""
        x0 = x0_from_eps(self.prior, z, t, eps)
        kept, clean, noisy, deviation = (per_view(c, x) for c in self._coefficients(t))
        return (kept * x - clean * x0 - noisy * z) / deviation

    def _coefficients(self, t: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], ...]:
        """alpha_p, c0, c1 and the deviation, in float64: beta is a small difference."""
        levels = (0, self.stride, self.stride if self.consistent else 1)
        (alpha, sigma), (alpha_p, sigma_p), (alpha_s, sigma_s) = (
            self.prior.alpha_sigma(t.double() - level / LEVELS) for level in levels
        )
        a = alpha / alpha_s
        beta = sigma**2 - (a * sigma_s) ** 2
        c0, c1, deviation = alpha_p * beta / sigma**2, a * (sigma_p / sigma) ** 2, beta.sqrt() * sigma_p / sigma
        return tuple(c.to(t.dtype) for c in (alpha_p, c0, c1, deviation))
