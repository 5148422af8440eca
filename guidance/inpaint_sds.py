"""Inpainting score distillation inside a box of the world: g = M w(t) (eps_hat(z_t; y, M, E(x (1 - M))) - eps).

DI-SDS of Localized Gaussian Splatting Editing, Xiao et al. 2024, arXiv:2408.00083. Low confidence: no code was published and the
formula is derived from the text: an inpainting network that is told the mask M and the picture outside it, depth read from the render
where the prior has a ControlNet for it, guidance as ever, and the gradient only inside M, since the scene around stays fixed. M is the
silhouette of the box in each view. The prior finds it in view.render.extras["mask"] and hides what lies inside by itself. A box
around everything is sds with an inpainting network.
"""

import dataclasses
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, guided, per_view, weight
from dream3d.errors import Mistake
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Times, at
from dream3d.types import Cameras, Step, View


@dataclass(eq=False)
class InpaintSDS(Guidance):
    """low, high: two opposite corners of the box, x y z in metres; scale, t, w: as in sds."""

    needs: ClassVar[frozenset[str]] = frozenset({"inpaint"})
    _: KW_ONLY
    low: tuple[float, float, float] = (-0.75, -0.75, -0.75)
    high: tuple[float, float, float] = (0.75, 0.75, 0.75)
    scale: Ramp = Ramp(7.5)
    t: Times = Times(Ramp(0.02), Ramp(0.98))
    w: Literal["sds", "uniform", "fantasia3d"] = "sds"

    def __post_init__(self):
        if not all(low < high for low, high in zip(self.low, self.high, strict=True)):
            raise Mistake("there is nothing in this box", where="guidance.low, guidance.high", near="low: [-0.75, -0.75, 0]",
                          fix="low: the smallest x, y and z, high: the largest")  # fmt: skip

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        noise = now.normal(*view.x.shape, device=view.x.device)
        z = add_noise(self.prior, view.x, t, noise)
        masked = self.told(view)
        inside = self.silhouette(view.cameras.sized(*view.x.shape[-2:])).to(z)[:, None]
        g = guided(self.prior, z, t, masked, at(self.scale, now)) - noise
        return inside * per_view(weight(self.prior, t, self.w), z) * g

    def told(self, view: View) -> View:
        """The view with the mask where an inpainting prior looks for it, as large as its render."""
        height, width = view.render.rgb.shape[1:3]
        mask = self.silhouette(view.cameras.sized(height, width)).to(view.render.rgb)[..., None]
        render = dataclasses.replace(view.render, extras={**view.render.extras, "mask": mask})
        return dataclasses.replace(view, render=render)

    def silhouette(self, cameras: Cameras) -> Float[Tensor, "B H W"]:
        """1 where the ray through a pixel's centre meets the box in front of the camera, else 0."""
        origin, direction = cameras.rays()
        direction = torch.where(direction.abs() < 1e-9, 1e-9, direction)
        a, b = ((origin.new_tensor(corner) - origin) / direction for corner in (self.low, self.high))
        enter, leave = torch.minimum(a, b).amax(-1), torch.maximum(a, b).amin(-1)
        return (leave > enter.clamp(min=0)).float()
