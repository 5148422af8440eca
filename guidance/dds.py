"""Delta Denoising Score: g = cfg(z_t; y, s) - cfg(z_src_t; y_src, s), the same t and noise on the scene and on its source.

Hertz et al. 2023, arXiv:2304.07090, eq. 5 (w = 1, as in the authors' notebook); ED-NeRF (arXiv:2310.02712) uses it in a scene. What
the frozen network gets wrong about both cancels. Their steps 50 to 949 are t in [0.05, 0.949]; their scale is in this form of
guidance; their loss scale 2000 / (H W) belongs into the term's weight.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from dream3d.guidance._pair import guided_pair, source
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, per_view, weight
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class DDS(Guidance):
    """scale: classifier-free guidance of both branches; t, w: as in sds. Needs the unedited scene and a prompt for it."""

    edits: ClassVar[bool] = True

    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
    t: Times = Times(Ramp(0.05), Ramp(0.949))
    w: Literal["sds", "uniform", "fantasia3d", "x0"] = "uniform"

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        before = source(view)
        t = draw_t(self.t, view.cameras, now)
        noise = now.normal(*view.x.shape, device=view.x.device)
        z, old = (add_noise(self.prior, x, t, noise) for x in (view.x, before))
        target, unedited = guided_pair(self.prior, z, old, t, view, at(self.scale, now))
        return per_view(weight(self.prior, t, self.w), z) * (target - unedited)
