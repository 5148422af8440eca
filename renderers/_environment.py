"""What is behind a scene, as a network of the direction (DreamFusion, Poole et al., arXiv:2209.14988; ProlificDreamer)."""

import torch
from dream3d.renderers._mlp import MLP
from jaxtyping import Float
from torch import Tensor, nn


class Environment(nn.Module):
    """Directions to display sRGB in [0, 1], grey at first."""

    def __init__(self, rng: torch.Generator, *, degree: int = 4, width: int = 32):
        super().__init__()
        self.degree = degree
        self.net = MLP(rng, 3 + 6 * degree, width, 1, 3)

    def forward(self, way: Float[Tensor, "R 3"]) -> Float[Tensor, "R 3"]:
        return self.net(waves(torch.nn.functional.normalize(way, dim=-1), self.degree)).sigmoid()


def waves(x: Float[Tensor, "N d"], degree: int) -> Float[Tensor, "N e"]:
    """x and sines and cosines of 2^k pi x, k = 0 ... degree - 1 (NeRF, arXiv:2003.08934, equation 4)."""
    angles = (x[..., None] * torch.pi * 2.0 ** torch.arange(degree, device=x.device)).flatten(-2)
    return torch.cat([x, angles.sin(), angles.cos()], -1)
