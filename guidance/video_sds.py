"""Video score distillation: g = w(t) (eps_hat(z_t; y, t) - eps) on clips, with one t per clip.

4D-fy, Bahmani et al. 2023, arXiv:2311.17984, and the authors' code, whose s = 100 in cond + s (cond - uncond) is 101 here. A clip is
`cameras.frames` rows of x, frames fastest, so x stays B C h w; noise is drawn for every frame. Motion amplification is that of Align
Your Gaussians (Ling et al. 2023, arXiv:2312.13763; low confidence, no code was published): every frame's residual is moved away from
the clip's mean residual by the factor gamma, and the mean stays. That paper also leaves the noise out, which is not done here. The
authors of 4D-fy weigh a whole batch by one w(t), right for a single clip; here every clip has its own. Meant for a prior that
answers for all frames together (its `frames`); with any other it is sds frame by frame under a shared t.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, guided, per_view, weight
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class VideoSDS(Guidance):
    """scale, t, w: as in sds; gamma: how much faster than asked for things shall move; 1 changes nothing, 0 stills them."""

    needs: ClassVar[frozenset[str]] = frozenset({"video"})
    _: KW_ONLY
    scale: Ramp = Ramp(101.0)
    gamma: Ramp = Ramp(1.0)
    t: Times = Times(Ramp(0.02), Ramp(0.98))
    w: Literal["sds", "uniform", "fantasia3d"] = "sds"

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        noise = now.normal(*view.x.shape, device=view.x.device)
        z = add_noise(self.prior, view.x, t, noise)
        residual = guided(self.prior, z, t, view, at(self.scale, now)) - noise
        clips = residual.unflatten(0, (-1, view.cameras.frames))
        mean = clips.mean(1, keepdim=True)
        amplified = (mean + at(self.gamma, now) * (clips - mean)).flatten(0, 1)
        return per_view(weight(self.prior, t, self.w), z) * amplified
