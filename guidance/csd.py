"""Classifier Score Distillation: g = w(t) (a eps_hat(y) + b eps_hat(y_neg) + n eps_hat(empty) + k eps), all at one z_t.

Yu et al. 2023, arXiv:2310.19415: (a, b, n, k) = (1, 0, -1, 0) is the score of the implicit
classifier alone, (1, -1, 0, 0) that against the negative prompt; the defaults go from one to the other over half of the run, as the
authors' first stage. DreamMat (arXiv:2405.17176) has (1.05, -1 to -0.5, 0 to -0.5, 0). The authors' code divides this stage's g by
its norm over the whole batch, which is left out: it couples the views of a batch and erases w(t), and Adam is blind to such a factor
but for its fluctuation. The negative prompt is not evaluated while b is 0. Perp-Neg acts on the prompt's row relative to the empty
one, scaled by `positive`; theirs has a scale of its own.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from dream3d.guidance._rows import answers
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, per_view, weight
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class CSD(Guidance):
    """positive, negative, empty, noise: coefficients of the prompt, the negative prompt, the empty prompt and eps; t, w: as in sds."""

    _: KW_ONLY
    positive: Ramp = Ramp(1.0)
    negative: Ramp = Ramp(0.0, -1.0, until=0.5)
    empty: Ramp = Ramp(-1.0, 0.0, until=0.5)
    noise: Ramp = Ramp(0.0)
    t: Times = Times(Ramp(0.02), Ramp(0.98, 0.5, until=0.5, shape="constant"))
    w: Literal["sds", "uniform", "fantasia3d", "x0"] = "uniform"

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        noise = now.normal(*view.x.shape, device=view.x.device)
        z = add_noise(self.prior, view.x, t, noise)
        a, b, n, k = (at(share, now) for share in (self.positive, self.negative, self.empty, self.noise))
        cond, uncond, *negative = answers(self.prior, z, t, view, "text", "empty", *(("negative",) if b else ()))
        g = a * cond + n * uncond + k * noise + sum(b * eps for eps in negative)
        return per_view(weight(self.prior, t, self.w), z) * g
