"""Semantic score distillation: g = 1/K sum_k M_k w(t) (eps_hat(z_t; y_k, t) - eps), every region k under a prompt of its own.

SemanticSDS, Yang et al. 2024, arXiv:2410.09009, and the authors' code. M_k is where the render shows object k (`view.render.labels`,
text row "region/k"), at the resolution of x and grown a little, but only into the background. All prompts share t and noise. Steps of
the whole scene (row "text", under the union of the masks) alternate with steps of the objects. What differs: the authors find labels by
comparing blended CLIP features, here objects carry them; their K unconditional evaluations are one and the same, so there are K + 1
here and not 2 K; their s = 100 in cond + s (cond - uncond) is 101 here; view words are those of the camera, since objects do not turn.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from dream3d.guidance._regions import regions
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, cfg, draw_t, per_view, predict, weight
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Share, Times, Whole, at
from dream3d.types import Step, View


@dataclass(eq=False)
class SemanticSDS(Guidance):
    """scale, t, w: as in sds (Perp-Neg is not served); combine: the authors' mean over the K prompts dilutes each region, sum does
    not; grow: how many pixels of x a region reaches into the background; scene: share of the steps that pull the whole scene."""

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    perp_neg: ClassVar[bool] = False
    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
    t: Times = Times(Ramp(0.02), Ramp(0.98))
    w: Literal["sds", "uniform", "fantasia3d"] = "sds"
    combine: Literal["mean", "sum"] = "mean"
    grow: Whole = 2
    scene: Share = 0.5

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        noise = now.normal(*view.x.shape, device=view.x.device)
        z = add_noise(self.prior, view.x, t, noise)
        rows, masks = self._regions(view, now)
        *conds, uncond = predict(self.prior, z, t, view, *rows, "negative")
        scale, masks = at(self.scale, now), masks.to(z.dtype)
        pulls = (mask * (cfg(cond, uncond, scale) - noise) for mask, cond in zip(masks, conds, strict=True))
        share = 1 / len(rows) if self.combine == "mean" else 1.0
        return per_view(share * weight(self.prior, t, self.w), z) * sum(pulls)

    def _regions(self, view: View, now: Step) -> tuple[list[str], Float[Tensor, "K B 1 h w"]]:
        """The text rows of this step, and where each holds."""
        rows = [f"region/{k}" for k in range(sum(row.startswith("region/") for row in view.text.rows))]
        masks = regions(view.render, len(rows), view.x.shape[-2:], self.grow)
        if int((now.index + 1) * self.scene) > int(now.index * self.scene):
            return ["text"], masks.amax(0, keepdim=True)
        return rows, masks
