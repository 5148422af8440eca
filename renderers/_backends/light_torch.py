"""The light that sections of rays take, in torch: the twin of light_nerfacc."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

OPAQUE = 1 - 1e-6  # nothing takes more: the light behind it has a gradient


def weigh(alpha: Float[Tensor, "R S"], index: Int[Tensor, " n"]) -> Float[Tensor, "R S"]:
    """The share of a ray's light that each section takes, front to back, if each takes `alpha` of what reaches it; only those at the
    ascending flat places `index` take any."""
    return alpha * transmittance(alpha)


def transmittance(alpha: Float[Tensor, "R S"]) -> Float[Tensor, "R S"]:
    """What is left of the light before each section."""
    left = torch.cumprod(1 - alpha.clamp(max=OPAQUE), 1)
    return torch.cat([torch.ones_like(left[:, :1]), left[:, :-1]], 1)
