"""A radiance field in a perceptron over sines and cosines of the position (NeRF, Mildenhall et al., arXiv:2003.08934).

Without view dependence: what a diffusion model paints is a surface's colour, and lights that move with the camera are not in it.
"""

from typing import ClassVar

import torch
from dream3d.renderers._environment import waves
from dream3d.renderers._mlp import MLP
from dream3d.renderers._volume import Volume
from jaxtyping import Float
from torch import Tensor

from dream3d.interfaces import Group, Representation
from dream3d.schedule import Count, Ramp, at
from dream3d.types import Step


class NeRF(Volume, Representation):
    """degree: octaves of the encoding, from one wave across the cube on; width, layers: of the perceptron; lr: per Adam step."""

    memory: ClassVar[str] = (
        "(400 + 4 * width * (layers + 1)) * (1 + 4 * (normals == 'samples' or shading != 'albedo')) * min(chunk, views * side**2 * samples)"
        " + 60 * views * side**2 * samples + 40 * grid**3"
    )

    def __init__(
        self,
        rng: torch.Generator,
        *,
        degree: Count = 4,
        width: Count = 64,
        layers: Count = 4,
        lr: Ramp = Ramp(5e-3, 5e-4, shape="exp"),
        **volume,
    ):
        super().__init__(rng, **volume)
        self.degree, self.lr = degree, lr
        self.net = MLP(rng, 3 + 6 * degree, width, layers, 1 + (self.channels or 3))

    def at(self, x: Float[Tensor, "N 3"], now: Step | None) -> tuple[Float[Tensor, " N"], Float[Tensor, "N K"]]:
        out = self.net(waves(x, self.degree))
        return self.parted(out)

    def rates(self, now: Step) -> list[Group]:
        return [Group(f"net.{name}", p, at(self.lr, now)) for name, p in self.net.named_parameters()]
