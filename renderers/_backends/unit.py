"""Colours stored as they are, shown in [0, 1]."""

import torch
from jaxtyping import Float
from torch import Tensor


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx, pull):
        (x,) = ctx.saved_tensors
        outwards = ((x < 0) & (pull > 0)) | ((x > 1) & (pull < 0))  # a descent step would leave [0, 1] further
        return pull.masked_fill(outwards, 0)


def unit(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """clamp(x, 0, 1) whose gradient still passes where a descent step leads back inside. A plain clamp freezes a
    saturated colour for ever, a sigmoid makes it slow to reach and to leave; inside (0, 1) this is the identity."""
    return _Unit.apply(x)
