"""The definition of compositing projected Gaussians: every splat at every pixel. The oracle of the twins.

gsplat's rules (Ye et al., arXiv:2409.06765): at a pixel centre, alpha_n = min(0.999, o_n exp(-sigma_n)) with sigma =
(A dx^2 + C dy^2) / 2 + B dx dy; splats with alpha < 1/255 or sigma < 0 are skipped; front to back, a pixel takes no
further splat once the light behind it would be 1e-4 or less. Memory grows with splats times pixels: for tests, in
float64.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def composite(
    means2d: Float[Tensor, "B N 2"],
    conics: Float[Tensor, "B N 3"],
    opacities: Float[Tensor, "B N"],
    features: Float[Tensor, "B N C"],
    depths: Float[Tensor, "B N"],
    height: int,
    width: int,
) -> tuple[Float[Tensor, "B H W C"], Float[Tensor, "B H W 1"]]:
    """Features weighted by alpha and light, and alpha itself. `means2d` in pixels (centres at +0.5); `conics` the
    entries (xx, xy, yy) of the inverse covariance in 1 / pixel^2, a splat whose conic is not positive definite is not
    drawn; `opacities` in [0, 1], 0 for what the camera does not see; `depths` only order (ties: lower index first).
    Differentiable in all but depths."""
    order = depths.detach().argsort(dim=1, stable=True)
    means2d, conics, features = (v.gather(1, order[..., None].expand_as(v)) for v in (means2d, conics, features))
    alpha = _alphas(means2d, conics, opacities.gather(1, order), height, width)
    after = (1 - alpha).cumprod(1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], 1)
    weight = torch.where(after > 1e-4, alpha * before, 0)
    return torch.einsum("bnhw,bnc->bhwc", weight, features), weight.sum(1)[..., None]


def _alphas(
    means2d: Float[Tensor, "B N 2"],
    conics: Float[Tensor, "B N 3"],
    opacities: Float[Tensor, "B N"],
    height: int,
    width: int,
) -> Float[Tensor, "B N H W"]:
    make = {"dtype": means2d.dtype, "device": means2d.device}
    dx = means2d[..., 0, None, None] - (torch.arange(width, **make) + 0.5)
    dy = means2d[..., 1, None, None] - (torch.arange(height, **make) + 0.5)[:, None]
    a, b, c = conics[..., None, None].unbind(2)
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = (opacities[..., None, None] * torch.exp(-sigma)).clamp(max=0.999)
    drawn = (sigma >= 0) & (alpha >= 1 / 255) & (a > 0) & (a * c > b * b)
    return torch.where(drawn, alpha, 0)
