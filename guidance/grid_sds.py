"""Multi-view SDS on a grid: several views tiled to one picture, g = w(t) (eps_hat(z_t; y, t) - eps) on it, sliced back to the views.

BoostDream, Yu et al. 2024, arXiv:2401.16764, section 3.3. Low confidence: no code was found, so this is a derivation from the paper's
text. Tiling and slicing are linear and belong to what the term looks at (`sees: grid`, four views of a group, 90 degrees apart with
cameras of type orthogonal), hence one t and one noise for the whole picture, and a prior that can relate the tiles to each other. The
paper conditions a ControlNet on the tiled normals of the coarse asset: with a prior that reads `view.render` it is handed the
buffers of the first tile only. A picture of a single view (`sees: rgb`) gives SDS.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, guided, per_view, weight
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class GridSDS(Guidance):
    """scale, t, w: as in sds. The picture is told the words for its first view: text.views=false tells it none."""

    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
    t: Times = Times(Ramp(0.02), Ramp(0.98))
    w: Literal["sds", "uniform", "fantasia3d"] = "sds"

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        noise = now.normal(*view.x.shape, device=view.x.device)
        z = add_noise(self.prior, view.x, t, noise)
        w = weight(self.prior, t, self.w)
        return per_view(w, z) * (guided(self.prior, z, t, view, at(self.scale, now)) - noise)
