"""A reference picture for the views of one role: loss = l2 / 2 |x - y|^2 + ssim sum (1 - SSIM(x, y)) + mask / 2 |a - a_y|^2.

The reconstruction of the reference view in image-to-3D, as in DreamGaussian, Tang et al. 2023, arXiv:2309.16653, section 3.2 (squared
errors of colour and mask; their weights, on means over pixels, grow during the run), and the structural similarity that Gaussian
splatting is fitted with (Kerbl et al. 2023, arXiv:2308.04079, eq. 7). Sums over pixels, not means, as every gradient here is. The
picture y is laid over the very background of the render, so a random background already tells object from emptiness; a term with
`sees: rgb+alpha` compares the masks themselves too. No network is asked. `views: photo` with cameras of type reference is its view.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from dream3d.guidance._image import ssim
from jaxtyping import Float
from torch import Tensor

from dream3d.interfaces import Guidance
from dream3d.pictures import read_picture
from dream3d.schedule import Ramp, at
from dream3d.types import Step, View


@dataclass(eq=False)
class Photo(Guidance):
    """image: a PNG, JPEG or WebP file, or a picture of assets/photos; transparent where there is no object, and around what is no
    square. l2, ssim, mask: weights; mask needs sees: rgb+alpha."""

    space: ClassVar[str] = "pixel"
    perp_neg: ClassVar[bool] = False
    _: KW_ONLY
    image: str
    l2: Ramp = Ramp(1.0)
    ssim: Ramp = Ramp(0.0)
    mask: Ramp = Ramp(1.0)

    def __post_init__(self):
        picture = read_picture(self.image, "guidance.image")  # at start-up, before any work
        more = [max(picture.shape[-2:]) - side for side in picture.shape[-2:]]
        self.picture = F.pad(picture, [more[1] // 2, more[1] - more[1] // 2, more[0] // 2, more[0] - more[0] // 2])

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        with torch.enable_grad():
            x = view.x.detach().requires_grad_()
            return torch.autograd.grad(self.loss(x, view, now), x)[0]

    def loss(self, x: Float[Tensor, "B C h w"], view: View, now: Step) -> Float[Tensor, ""]:
        """Summed over the views; x holds colours, and alpha as a fourth channel where the term sees it."""
        l2, share, mask = (at(weight, now) for weight in (self.l2, self.ssim, self.mask))
        y = self.over(view, x)
        loss = l2 / 2 * (x[:, :3] - y[:, :3]).square().sum() + mask / 2 * (x[:, 3:] - y[:, 3 : x.shape[1]]).square().sum()
        return loss + share * (1 - ssim(x[:, :3], y[:, :3])).sum() if share else loss

    def over(self, view: View, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 4 h w"]:
        """The picture as large as x over each view's background (white where there is none), and its mask."""
        picture = F.interpolate(self.picture.to(x), x.shape[-2:], mode="bilinear", antialias=True)
        colour = view.render.extras.get("background", x.new_ones(len(x), 3)).to(x)
        rgb, alpha = picture.expand(len(x), -1, -1, -1).split((3, 1), 1)
        return torch.cat([rgb + (1 - alpha) * colour[:, :, None, None], alpha], 1)
