"""Tri-planes (EG3D, Chan et al., arXiv:2112.07945) and their vector-matrix relative (TensoRF, Chen et al., arXiv:2203.09517), read by a
small perceptron: features of three planes are summed, or those of a plane multiplied by the line across it."""

from typing import Literal

import torch
import torch.nn.functional as F
from dream3d.renderers._mlp import MLP
from dream3d.renderers._volume import Volume
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.interfaces import Group, Representation
from dream3d.schedule import Count, Ramp, at
from dream3d.types import Step

PLANES = ((0, 1, 2), (0, 2, 1), (1, 2, 0))  # the two axes of each plane, and the one across it


class TriPlane(Volume, Representation):
    """kind: "sum" of three planes, or "vm", where a plane times its line is kept apart from the others; resolution: texels a side;
    width: features per plane; hidden: of the perceptron; lr of planes and lines, lr_net of the perceptron."""

    def __init__(
        self,
        rng: torch.Generator,
        *,
        kind: Literal["sum", "vm"] = "sum",
        resolution: Count = 64,
        width: Count = 16,
        hidden: Count = 32,
        lr: Ramp = Ramp(2e-2, 4e-3, shape="exp"),
        lr_net: Ramp = Ramp(2e-3, 5e-4, shape="exp"),
        **volume,
    ):
        super().__init__(rng, **volume)
        self.kind, self.lr, self.lr_net = kind, lr, lr_net
        self.planes = nn.Parameter(0.1 * torch.randn(3, width, resolution, resolution, generator=rng))
        self.lines = nn.Parameter(1 + 0.1 * torch.randn(3, width, resolution, 1, generator=rng)) if kind == "vm" else None
        self.net = MLP(rng, width if kind == "sum" else 3 * width, hidden, 1, 1 + (self.channels or 3))

    def at(self, x: Float[Tensor, "N 3"], now: Step | None) -> tuple[Float[Tensor, " N"], Float[Tensor, "N K"]]:
        flat = torch.stack([x[:, [a, b]] for a, b, _ in PLANES])[:, :, None]
        read = F.grid_sample(self.planes, flat, padding_mode="border", align_corners=True)[..., 0]
        if self.lines is not None:
            along = torch.stack([F.pad(x[:, c : c + 1], (1, 0)) for _, _, c in PLANES])[:, :, None]
            read = (read * F.grid_sample(self.lines, along, padding_mode="border", align_corners=True)[..., 0]).flatten(0, 1)
        else:
            read = read.sum(0)
        out = self.net(read.T)
        return self.parted(out)

    def rates(self, now: Step) -> list[Group]:
        own = [Group("planes", self.planes, at(self.lr, now))]
        own += [] if self.lines is None else [Group("lines", self.lines, at(self.lr, now))]
        return own + [Group(f"net.{name}", p, at(self.lr_net, now)) for name, p in self.net.named_parameters()]
