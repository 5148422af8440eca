"""Score Jacobian Chaining: g = (x - D(y; r)) / r = eps_hat - eps, or with the noise left in it, g = (y - D(y; r)) / r = eps_hat.

Wang et al. 2022, arXiv:2212.00774, eq. 14 to 16 (perturb-and-average scoring). y = x + r eps is z / alpha with r = sigma / alpha, and
D = y - r eps_hat the denoiser, so that in eps the weight is 1, which stresses small t more than sigma^2 does. Both forms have the same
mean; subtracting the noise is quieter on a Gaussian only where sigma^2 > alpha^2 S^2. The authors draw from the model's thousand levels
without the ten cleanest and the thirty noisiest, which is the window here; their scale is in this form of guidance.
"""

from dataclasses import KW_ONLY, dataclass

from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, guided, per_view, ratio, x0_from_eps
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class SJC(Guidance):
    """scale: classifier-free guidance; t: window of noise levels; subtract: whether the noise is taken out again (the authors'
    variance reduction)."""

    _: KW_ONLY
    scale: Ramp = Ramp(100.0)
    t: Times = Times(Ramp(0.01), Ramp(0.97))
    subtract: bool = True

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        noise = now.normal(*view.x.shape, device=view.x.device)
        z, r = add_noise(self.prior, view.x, t, noise), per_view(ratio(self.prior, t), view.x)
        denoised = x0_from_eps(self.prior, z, t, guided(self.prior, z, t, view, at(self.scale, now)))
        around = view.x if self.subtract else view.x + r * noise
        return (around - denoised) / r
