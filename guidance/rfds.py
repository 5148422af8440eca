"""Rectified-flow distillation: g = v_hat - (eps - x), and its reverse form, which first moves the noise to what the flow says it was.

Yang et al. 2024, arXiv:2406.03293 (RFDS and RFDS-Rev). On z = (1 - tau) x + tau eps, v_hat = eps_hat - x0_hat is the guided velocity.
Any z = alpha x + sigma eps is one by the factor alpha + sigma at tau = sigma / (alpha + sigma), so that g = (alpha + sigma) / alpha
(eps_hat - eps): it needs no prior that was trained as a flow. Reverse: eps + (1 - tau) (v + x - eps), v of the prompt alone, replaces
eps before z is made again. The authors' loss is a mean over x, divided by the batch once more and by a random factor per step;
none of it is here. Stable Diffusion 3 shifts its levels, t = shift u / (1 + (shift - 1) u) with u uniform in the window `t`; their indices
.3 to .98 of a falling list are u in [0.02, 0.7]. InstaFlow: scale 50, shift 1, u from 0.02 to 0.98. Their scale is in this form.
"""

from dataclasses import KW_ONLY, dataclass

from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, guided, per_view, predict, ratio, x0_from_eps
from dream3d.interfaces import Guidance
from dream3d.schedule import Positive, Ramp, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class RFDS(Guidance):
    """scale: classifier-free guidance; t: window of noise levels before the shift; shift: towards noisy levels, 1 none; reverse: the
    noise is refined first, at the price of one more evaluation."""

    _: KW_ONLY
    scale: Ramp = Ramp(100.0)
    t: Times = Times(Ramp(0.02), Ramp(0.7))
    shift: Positive = 3.0
    reverse: bool = False

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        u = draw_t(self.t, view.cameras, now)
        t = self.shift * u / (1 + (self.shift - 1) * u)
        noise = now.normal(*view.x.shape, device=view.x.device)
        if self.reverse:
            z = add_noise(self.prior, view.x, t, noise)
            (eps,) = predict(self.prior, z, t, view, "text")
            clean = per_view(1 / (1 + ratio(self.prior, t)), z)  # 1 - tau
            noise = noise + clean * self._residual(view.x, z, t, eps, noise)
        z = add_noise(self.prior, view.x, t, noise)
        return self._residual(view.x, z, t, guided(self.prior, z, t, view, at(self.scale, now)), noise)

    def _residual(
        self, x: Tensor, z: Tensor, t: Float[Tensor, " B"], eps: Tensor, noise: Tensor
    ) -> Float[Tensor, "B C h w"]:
        """v_hat - (noise - x)."""
        return (eps - x0_from_eps(self.prior, z, t, eps)) - (noise - x)
