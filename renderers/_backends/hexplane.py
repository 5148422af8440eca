"""A field over space and time: six planes whose features are multiplied, and a small network that reads the product.

HexPlane (Cao and Johnson 2023, arXiv:2301.09632), multiplied over all six and at several resolutions as in 4D Gaussian Splatting
(Wu et al. 2023, arXiv:2310.08528).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SPACE, TIME = ((0, 1), (0, 2), (1, 2)), ((0, 3), (1, 3), (2, 3))  # xy xz yz, xt yt zt
SPREAD = 0.3  # of the features of the planes of space around 1


class HexPlane(nn.Module):
    """`outputs` numbers at every position in [-bound, bound]^3 (beyond, those of the border) and time in [0, 1]; all of them 0 at first,
    as the network's last layer is. `levels` sets of planes, the first `side` x `side` or `side` x `moments` texels of `channels` numbers,
    each next one twice as fine in space."""

    def __init__(
        self, rng: torch.Generator, *, outputs: int, side: int, moments: int, channels: int, levels: int, hidden: int, bound: float
    ):
        super().__init__()
        self.bound = bound
        sides = [side * 2**level for level in range(levels)]
        self.space = nn.ParameterList(1 + SPREAD * torch.randn(3, channels, s, s, generator=rng) for s in sides)
        self.time = nn.ParameterList(torch.ones(3, channels, moments, s) for s in sides)
        inputs = levels * channels
        self.into = nn.Parameter(torch.randn(inputs, hidden, generator=rng) * (2 / inputs) ** 0.5)
        self.shift = nn.Parameter(torch.zeros(hidden))
        self.out = nn.Parameter(torch.zeros(hidden + 1, outputs))  # its last row goes everywhere

    def features(self, position: Float[Tensor, "N 3"], time: Float[Tensor, ""]) -> Float[Tensor, "N K"]:
        moment = (2 * time - 1).expand(len(position), 1)
        where = torch.cat([position / self.bound, moment], 1)  # in [-1, 1], as grid_sample has it
        space, when = (torch.stack([where[:, pair] for pair in pairs])[:, None] for pairs in (SPACE, TIME))
        look = {"mode": "bilinear", "padding_mode": "border", "align_corners": True}
        product = [
            F.grid_sample(s, space, **look).prod(0) * F.grid_sample(t, when, **look).prod(0)
            for s, t in zip(self.space, self.time, strict=True)
        ]
        return torch.cat(product)[:, 0].T

    def forward(self, position: Float[Tensor, "N 3"], time: Float[Tensor, ""]) -> Float[Tensor, "N outputs"]:
        hidden = F.relu(self.features(position, time) @ self.into + self.shift)
        return hidden @ self.out[:-1] + self.out[-1]
