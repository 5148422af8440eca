"""A prior on its own: pictures by deterministic sampling, one per camera. Shows whether a prior or the distillation is at fault."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import guided, jump, x0_from_eps
from dream3d.interfaces import Prior
from dream3d.types import Cameras, Condition, Render, Step, View

HIGH, LOW = 0.999, 0.001  # from almost pure noise down to where x0 is read off
FAINT = 0.02  # alpha below which noise tables are not entered: x0 = (z - sigma eps) / alpha would be the error of eps, many times over


@torch.no_grad()
def sample(
    prior: Prior, text: Condition, cameras: Cameras, *, scale: float = 7.5, steps: int = 25, seed: int = 0,
    told: Callable[[float], None] = lambda share: None,
) -> Float[Tensor, "B H W K"]:  # fmt: skip
    """DDIM with eta 0 (arXiv:2010.02502) under classifier-free guidance; Euler's method for a rectified flow. Images, not clamped, over
    white. `told` hears how much is done."""
    spec, n = prior.spec, len(cameras)
    z = Step.make(0, 1, seed, salt="sample").normal(n, spec.channels, spec.size, spec.size, device=cameras.device)
    view = View(z, _nothing(cameras, spec.pixels), cameras, text)
    times = torch.linspace(_first(prior, cameras.device), LOW, steps, device=cameras.device)
    for i, t in enumerate(times):
        level = t.expand(n)
        eps = guided(prior, z, level, view, scale)
        told((i + 1) / steps)
        if i + 1 < steps:
            z = jump(prior, z, level, times[i + 1].expand(n), eps)
    return prior.decode(x0_from_eps(prior, z, level, eps))


def _first(prior: Prior, device) -> float:
    """The level to begin at: the highest where something of x is left. Flows need no such care: there (z - t eps) / (1 - t) is z - t v."""
    levels = torch.linspace(HIGH, 0.5, 500, device=device)
    seen = prior.alpha_sigma(levels)[0] >= (0 if prior.spec.flow else FAINT)
    return levels[int(seen.to(torch.uint8).argmax())].item()


def _nothing(cameras: Cameras, side: int) -> Render:
    """An empty scene before white, for priors that look at one."""
    blank = torch.zeros(len(cameras), side, side, 1, device=cameras.device)
    white = torch.ones(len(cameras), 3, device=cameras.device)
    three = blank.expand(-1, -1, -1, 3)
    return Render(three + 1, blank, blank, three, extras={"background": white})
