"""Small perceptrons that start from a generator's numbers."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class MLP(nn.Module):
    """`layers` hidden layers of `width` with ReLU. The last layer starts small, so that the scene starts as its blob."""

    def __init__(self, rng: torch.Generator, inputs: int, width: int, layers: int, outputs: int):
        super().__init__()
        sizes = [inputs, *[width] * layers, outputs]
        self.weights = nn.ParameterList(
            torch.randn(b, a, generator=rng) * math.sqrt(2 / a) * (0.1 if i == layers else 1)
            for i, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False))
        )
        self.biases = nn.ParameterList(torch.zeros(size) for size in sizes[1:])

    def forward(self, x: Float[Tensor, "N i"]) -> Float[Tensor, "N o"]:
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = nn.functional.linear(x if i == 0 else x.relu(), weight, bias)
        return x
