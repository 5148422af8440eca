"""Noise schedules that priors share, and how a network's own parametrisation becomes eps."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Form = Literal["eps", "v", "flow"]


def scaled_linear(start: float = 0.00085, end: float = 0.012, steps: int = 1000) -> Float[Tensor, " T"]:
    """Cumulated alpha^2 of Stable Diffusion 1 and 2 (Rombach et al. 2021, arXiv:2112.10752): betas whose roots are
    linear. float64."""
    betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0)


def look_up(table: Float[Tensor, " T"], t: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """alpha and sigma of the table's entry floor(t T), in the precision of t."""
    squared = table[(t * len(table)).long().clamp(0, len(table) - 1)]
    return squared.sqrt().to(t.dtype), (1 - squared).sqrt().to(t.dtype)


def to_eps(
    form: Form,
    out: Float[Tensor, "B C h w"],
    z: Float[Tensor, "B C h w"],
    alpha: Float[Tensor, "B 1 1 1"],
    sigma: Float[Tensor, "B 1 1 1"],
) -> Float[Tensor, "B C h w"]:
    """eps from what a network answers at z: eps itself, v = alpha eps - sigma x0, or the flow velocity eps - x0 (alpha
    = 1 - sigma)."""
    if form == "v":
        return alpha * out + sigma * z
    return out if form == "eps" else z + alpha * out
