"""4D score distillation on multi-view clips: g = F / (F - 1) (x - x0_hat') on frames 2 to F, and 0 on the first frame.

Animate3D, Jiang et al. 2024, arXiv:2407.11398, section 3.4 and the authors' code. The first frame of every view shows the object at
rest: it goes into the network clean, at whatever t the others have, and is left out of the loss, for which the factor F / (F - 1)
makes up. x0_hat' = (1 - rescale) x0_hat + rescale f x0_hat with f = std(x0_hat of the prompt alone) / std(x0_hat) over all views and
frames 2 to F of a group (Lin et al. 2023, arXiv:2305.08891). One t per group; the authors' s = 5 in cond + s (cond - uncond) is 6 here.
x has B rows of C h w, frames fastest (`cameras.frames`). `first_frame` in `needs` is a prior that knows the first frames as clean.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, perp_neg, predict, rescale, x0_from_eps
from dream3d.errors import Mistake
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Share, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class MVVideoSDS(Guidance):
    """scale, t: as in sds; rescale: share of the contrast, which guidance added, that is taken back."""

    needs: ClassVar[frozenset[str]] = frozenset({"first_frame"})
    _: KW_ONLY
    scale: Ramp = Ramp(6.0)
    rescale: Share = 0.25
    t: Times = Times(Ramp(0.02), Ramp(0.2))

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        """Raises Mistake where a clip is its first frame and nothing else."""
        frames = view.cameras.frames
        if frames < 2:
            raise Mistake("this formula moves what follows the first frame, but a clip has one frame", where="cameras.frames")
        t = draw_t(self.t, view.cameras, now)
        first = torch.arange(len(view.x), device=view.x.device) % frames == 0
        z = add_noise(self.prior, view.x, t, now.normal(*view.x.shape, device=view.x.device))
        z[first] = view.x[first]
        perp = view.text.perp
        cond, uncond, *negatives = predict(self.prior, z, t, view, "text", "negative", *perp)
        eps = perp_neg(cond, uncond, negatives, list(perp.values()), at(self.scale, now))
        guided, plain = (x0_from_eps(self.prior, z, t, e)[~first] for e in (eps, cond))
        g = torch.zeros_like(z)
        target = rescale(guided, plain, self.rescale, views=view.cameras.views * (frames - 1))
        g[~first] = frames / (frames - 1) * (view.x[~first] - target)
        return g
