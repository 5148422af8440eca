"""A field over space and time: a perceptron over sines and cosines (Fourier features as in NeRF, Mildenhall et al., arXiv:2003.08934)."""

import torch
from dream3d.renderers._environment import waves
from dream3d.renderers._mlp import MLP
from jaxtyping import Float
from torch import Tensor, nn

LAYERS = 2
CLIP = 0.5  # of the first octave, which has a wave in 2


class Fourier(nn.Module):
    """`outputs` numbers at every position and time in [0, 1], from `octaves` octaves of each, the first one wave across [-bound, bound]
    metres and a quarter of one across the clip (with more there is much room between moments that are never seen); all of them 0 at
    first, as the last of the layers of `hidden` units is."""

    def __init__(self, rng: torch.Generator, *, outputs: int, octaves: int, hidden: int, bound: float):
        super().__init__()
        self.bound, self.octaves = bound, octaves
        self.perceptron = MLP(rng, 4 + 8 * octaves, hidden, LAYERS, outputs)
        self.perceptron.weights[-1].data.zero_()

    def forward(self, position: Float[Tensor, "N 3"], time: Float[Tensor, ""]) -> Float[Tensor, "N outputs"]:
        moment = ((time - 0.5) * CLIP).expand(len(position), 1)
        return self.perceptron(waves(torch.cat([position / self.bound, moment], 1), self.octaves))
