"""A student for priors that have no weights of their own: their eps plus a small network that answers zero at first."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.interfaces import Prior
from dream3d.types import Cameras, Embedding, Render


class Residual(nn.Module):
    """base.eps + three convolutions, told the time, and the camera where it is known. The base is shared and stays
    frozen."""

    def __init__(self, base: Prior, *, channels: int):
        super().__init__()
        self.base = base
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.tell = nn.Sequential(nn.Linear(9, channels), nn.SiLU(), nn.Linear(channels, 2 * channels))
            self.first = nn.Conv2d(base.spec.channels, channels, 3, padding=1)
            self.middle = nn.Conv2d(channels, channels, 3, padding=1)
            self.last = nn.Conv2d(channels, base.spec.channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def eps(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """The base's eps, and what was learnt on top of it."""
        with torch.no_grad():
            base = self.base.eps(x, t, text, cameras, render)
        alpha, sigma = self.base.alpha_sigma(t)
        told = self.tell(torch.cat([torch.stack([t, alpha, sigma, sigma.log()], 1), _camera(cameras, t)], 1))
        scale, shift = told[:, :, None, None].chunk(2, 1)
        hidden = F.silu(self.first(x) * (1 + scale) + shift)
        return base + self.last(F.silu(self.middle(hidden)))


def _camera(cameras: Cameras | None, t: Float[Tensor, " B"]) -> Float[Tensor, "B 5"]:
    """Direction as sines and cosines, and a flag that it is known."""
    if cameras is None:
        return t.new_zeros(len(t), 5)
    angles = torch.stack([cameras.azimuth, cameras.elevation], 1)
    return torch.cat([angles.sin(), angles.cos(), torch.ones_like(angles[:, :1])], 1)
