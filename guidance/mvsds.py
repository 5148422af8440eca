"""Multi-view score distillation: g = x - x0_hat', where x0_hat' is the guided x0_hat with some of its contrast taken back.

MVDream, Shi et al. 2023, arXiv:2308.16512, section 3.3. The guided x0_hat and f = std(x0_hat of the prompt alone) / std(x0_hat), taken
over all views of a group at once, give x0_hat' = (1 - rescale) x0_hat + rescale f x0_hat (Lin et al. 2023, arXiv:2305.08891). All
views of a group share one t; their noise is independent. Without rescaling this is SDS with w = sigma / alpha. Meant for a prior that
answers for several views together (its `views`, and cameras of type orthogonal); with any other it is this formula view by view. The
authors divide the sum by the number of views, which the renderer does here; Perp-Neg, which they lack, is served as in sds.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, perp_neg, predict, rescale, x0_from_eps
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Share, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class MVSDS(Guidance):
    """scale: classifier-free guidance; rescale: share of the contrast that is taken back; t: window of noise levels (the authors'
    shrinks over four fifths of the run)."""

    needs: ClassVar[frozenset[str]] = frozenset({"views"})
    _: KW_ONLY
    scale: Ramp = Ramp(50.0)
    rescale: Share = 0.5
    t: Times = Times(Ramp(0.98, 0.02, until=0.8), Ramp(0.98, 0.5, until=0.8))

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        z = add_noise(self.prior, view.x, t, now.normal(*view.x.shape, device=view.x.device))
        perp = view.text.perp
        cond, uncond, *negatives = predict(self.prior, z, t, view, "text", "negative", *perp)
        eps = perp_neg(cond, uncond, negatives, list(perp.values()), at(self.scale, now))
        guided, plain = (x0_from_eps(self.prior, z, t, e) for e in (eps, cond))
        return view.x - rescale(guided, plain, self.rescale, views=view.cameras.views * view.cameras.frames)
