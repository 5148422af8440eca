"""Which Gaussians divide, and into what.

3D Gaussian Splatting (arXiv:2308.04079) divides where the screen-space gradient exceeds a threshold. Under score
distillation that gradient's size depends on the formula, its scale and the prior, by orders of magnitude; so here the
threshold is a quantile: a given share of the Gaussians with the largest gradient.

Two clones in one place show 1 - (1 - p G)^2 = 2 p G - p^2 G^2 where their parent showed o G. p keeps the centre,
1 - (1 - p)^2 = o (Rota Bulo et al., arXiv:2404.06109), but elsewhere the pair is brighter by p^2 G (1 - G): 26 % more
light at o = 0.9. Over the image G integrates to twice what G^2 does, so a pair smaller by k, k^2 (2 p - p^2 / 2) = o,
has its parent's light too. (arXiv:2404.09591 does the same along a line, with sqrt(2) for 2.) What stays different is
the profile, somewhat steeper, by up to 0.05 at o = 0.9 and 0.01 at o = 0.5; and splats narrower than a pixel, whose
width on screen is not their own.
"""

import math

import torch
from dream3d.renderers._backends.project import matrix
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dream3d.types import Step

SHRINK = 1.6  # a split half's scale is its parent's divided by this (3D Gaussian Splatting)


def choose(
    alive: Bool[Tensor, " N"], score: Float[Tensor, " N"], share: float, limit: int
) -> tuple[Int[Tensor, " kept"], Int[Tensor, " parents"]]:
    """Who stays as it is, and who divides: the `share` of the living with the largest positive score, as far as the
    count stays within `limit`. Ties go to the lower index."""
    living = int(alive.sum())
    room = max(0, min(int(share * living), limit - living))
    ranked = torch.where(alive, score, 0).argsort(descending=True, stable=True)[:room]
    parents = ranked[score[ranked] > 0]
    parents = parents[alive[parents]]
    stays = alive.clone()
    stays[parents] = False
    return stays.nonzero()[:, 0], parents


def splits(log_scale: Float[Tensor, "N 3"], split_scale: float) -> Bool[Tensor, " N"]:
    """Whose largest scale exceeds `split_scale` metres; the others are cloned where they divide."""
    return log_scale.exp().amax(-1) > split_scale


def divide(rows: dict[str, Tensor], split_scale: float, now: Step) -> dict[str, Tensor]:
    """Two children of every row, first all first ones. Those who split are drawn from the parent and smaller, clones
    stay in place."""
    twice = {name: torch.cat([value, value]) for name, value in rows.items()}
    split, scale = splits(twice["log_scale"], split_scale), twice["log_scale"].exp()
    noise = now.normal(*scale.shape, device=scale.device)
    offset = (matrix(twice["rotation"]) @ (scale * noise)[..., None])[..., 0]
    half, shrink = _halves(torch.sigmoid(twice["logit"]))
    twice["position"] = twice["position"] + torch.where(split[:, None], offset, 0)
    twice["log_scale"] = twice["log_scale"] - torch.where(split, math.log(SHRINK), shrink)[:, None]
    twice["logit"] = torch.where(split, twice["logit"], half)
    return twice


def _halves(opacity: Float[Tensor, " N"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """The logit of each of two clones and by how much their log scale is less than the parent's."""
    p = 1 - (1 - opacity.clamp(max=1 - 1e-6)).sqrt()
    return torch.logit(p, eps=1e-6), 0.5 * torch.log((2 - p / 2) / (2 - p))
