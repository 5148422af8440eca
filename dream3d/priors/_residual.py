"""A student for priors that have no weights of their own: their eps plus a small network that answers zero at first."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.interfaces import Prior
from dream3d.types import Cameras, Embedding, Render


class Residual(nn.Module):
    """base.eps + three convolutions over z and base.eps, told the time, and the camera where it is known. With no
    channels it does not look at z: only a colour for each time and camera is learnt. The base is shared and stays
    frozen."""

    def __init__(self, base: Prior, *, channels: int):
        super().__init__()
        self.base = base
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            colours = base.spec.channels
            self.tell = nn.Sequential(nn.Linear(9, channels or 32), nn.SiLU(), nn.Linear(channels or 32, 2 * channels or colours))
            self.looks = channels > 0
            if self.looks:
                self.first = nn.Conv2d(2 * colours, channels, 3, padding=1)
                self.middle = nn.Conv2d(channels, channels, 3, padding=1)
            self.last = nn.Conv2d(channels, colours, 3, padding=1) if self.looks else self.tell[-1]
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
        base = self.base.eps(x, t, text, cameras, render)
        alpha, sigma = self.base.alpha_sigma(t)
        told = self.tell(torch.cat([torch.stack([t, alpha, sigma, sigma.log()], 1), _camera(cameras, t)], 1).float())
        told = told[:, :, None, None]
        if not self.looks:
            return base + told
        scale, shift = told.chunk(2, 1)
        hidden = F.silu(self.first(torch.cat([x, base], 1).float()) * (1 + scale) + shift)
        return base + self.last(F.silu(self.middle(hidden)))


def _camera(cameras: Cameras | None, t: Float[Tensor, " B"]) -> Float[Tensor, "B 5"]:
    """Direction as sines and cosines, and a flag that it is known."""
    if cameras is None:
        return t.new_zeros(len(t), 5)
    angles = torch.stack([cameras.azimuth, cameras.elevation], 1)
    return torch.cat([angles.sin(), angles.cos(), torch.ones_like(angles[:, :1])], 1)
