"""What formulas share that walk along the noise trajectory: DDIM (arXiv:2010.02502) up from a render or down from noise, with one
network answer per move. Their t is one number for the whole batch, as the authors' is."""

from collections.abc import Callable
from itertools import pairwise
from math import ceil

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, jump, predict
from dream3d.errors import Mistake
from dream3d.interfaces import Prior
from dream3d.schedule import Ramp, Times
from dream3d.types import Step, View

START = 0.0005  # the first entry of a table of 1000: where walks up start and walks down end
OFFSET = 0.1  # LucidDreamer adds one number per view and channel, this strong, to the noise it starts from
Levels = list[Float[Tensor, " B"]]


def draw(times: Times, now: Step) -> float:
    """One t for this step, uniform in its window."""
    low, high = times.window(now.progress)
    return low + (high - low) * now.uniform(1).item()


def check_interval(delta_t: Ramp) -> None:
    """Raises Mistake for an interval that would put s above t."""
    if lowest := min(0.0, *(delta_t(progress) for progress in (0.0, 1.0))):
        raise Mistake(f"s = t - delta_t lies below t, but delta_t is {lowest:g}", where="guidance.delta_t",
                      near="guidance.delta_t=0.1", fix="0 or above")  # fmt: skip


def level(t: float, x: Float[Tensor, "B C h w"]) -> Float[Tensor, " B"]:
    """The same t for every view, in the precision of x, single at least."""
    return torch.full((len(x),), t, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)


def climb(to: float, stride: float) -> list[float]:
    """START, START + stride, ... and `to` itself, by a shorter last move."""
    moves = ceil((to - START) / stride - 1e-6)  # no move for what rounding leaves over
    return [*(START + i * stride for i in range(moves)), to]


def walk(
    prior: Prior, z: Float[Tensor, "B C h w"], levels: Levels, eps: Callable[[Tensor, Tensor], Tensor]
) -> Float[Tensor, "B C h w"]:
    """z taken along the levels, up or down; `eps` is asked at (z, t) before each move, and not at the last level."""
    for t, to in pairwise(levels):
        z = jump(prior, z, t, to, eps(z, t))
    return z


def inverted(
    prior: Prior, view: View, now: Step, t: float, *, delta_t: float, delta_s: float, noise: float
) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, " B"], Float[Tensor, "B C h w"]]:
    """The render taken up to s = t - delta_t under the empty prompt, in moves of delta_s: z_s, s and eps(z_s, s). It starts at the
    lowest level with `noise` (1: as much as belongs there, as LucidDreamer's code does; 0: none, as its paper says)."""
    s = max(t - delta_t, START)
    drawn = now.normal(*view.x.shape, device=view.x.device)
    drawn = drawn + OFFSET * now.normal(*view.x.shape[:2], *[1] * (view.x.ndim - 2), device=view.x.device)
    levels = [level(v, view.x) for v in climb(s, delta_s)]

    def empty(z: Tensor, t: Tensor) -> Tensor:
        return predict(prior, z, t, view, "empty")[0]

    z = walk(prior, add_noise(prior, view.x, levels[0], noise * drawn), levels, empty)
    return z, levels[-1], empty(z, levels[-1])
