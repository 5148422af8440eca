"""How alike two pictures are, for formulas in pixel space."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def ssim(a: Float[Tensor, "B C H W"], b: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Structural similarity at every pixel, in [-1, 1], of values in [0, 1]: Gaussian windows of 11 pixels and width 1.5 (Wang et al.
    2004); at the border they are cut off and weigh what is there."""
    offsets = torch.arange(-5, 6, dtype=a.dtype, device=a.device)
    line = torch.exp(-offsets.square() / (2 * 1.5**2))
    channels = a.shape[1]

    def window(x: Tensor) -> Tensor:
        kernel = line.expand(x.shape[1], 1, 1, -1)
        return F.conv2d(F.conv2d(x, kernel, padding=(0, 5), groups=x.shape[1]), kernel.mT, padding=(5, 0), groups=x.shape[1])

    moments = window(torch.cat([a, b, a * a, b * b, a * b], 1)) / window(torch.ones_like(a[:1, :1]))
    mean_a, mean_b, aa, bb, ab = moments.split(channels, 1)
    covariance, variances = ab - mean_a * mean_b, aa - mean_a**2 + bb - mean_b**2
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
