"""Category-score distillation: g = w(t) (cfg(z_t; y^view, s) - eps_hat(z_t; category)), VSD with the frozen prior for a student.

Sparse3D, Zou et al. 2023, arXiv:2308.14078. Low confidence: neither code nor the formula could be read, and this is a derivation from
the abstract. Their guided branch is a network that also sees epipolar features of the input views; here it is the prior itself. The
"fake" branch is the prior under the row "bare", the prompt without its view word. Scale and w are placeholders taken from VSD.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from dream3d.guidance._rows import answers
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, cfg, draw_t, per_view, weight
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class CSDS(Guidance):
    """scale: guidance of the prompt's branch; t, w: as in sds."""

    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
    t: Times = Times(Ramp(0.02), Ramp(0.98))
    w: Literal["sds", "uniform", "fantasia3d", "x0"] = "sds"

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        z = add_noise(self.prior, view.x, t, now.normal(*view.x.shape, device=view.x.device))
        cond, uncond, category = answers(self.prior, z, t, view, "text", "negative", "bare")
        return per_view(weight(self.prior, t, self.w), z) * (cfg(cond, uncond, at(self.scale, now)) - category)
