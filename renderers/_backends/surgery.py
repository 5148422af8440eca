"""Which Gaussians divide, and into what.

3D Gaussian Splatting (arXiv:2308.04079) divides where the screen-space gradient exceeds a threshold. Under score
distillation that gradient's size depends on the formula, its scale and the prior, by orders of magnitude; so here the
threshold is a quantile: a given share of the Gaussians with the largest gradient. A clone keeps the pair's joint
opacity, 1 - (1 - o')^2 = o (Rota Bulo et al., arXiv:2404.06109), so that cloning does not change the picture.
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


def divide(rows: dict[str, Tensor], split_scale: float, now: Step) -> dict[str, Tensor]:
    """Two children of every row, first all first ones. Parents whose largest scale exceeds `split_scale` metres
    split: children are drawn from the parent and smaller. Others are cloned in place."""
    twice = {name: torch.cat([value, value]) for name, value in rows.items()}
    scale = twice["log_scale"].exp()
    split = scale.amax(-1, keepdim=True) > split_scale
    noise = now.normal(*scale.shape, device=scale.device)
    offset = (matrix(twice["rotation"]) @ (scale * noise)[..., None])[..., 0]
    clone = torch.sigmoid(twice["logit"]).clamp(max=1 - 1e-6)
    clone = torch.logit(1 - (1 - clone).sqrt(), eps=1e-6)
    twice["position"] = twice["position"] + torch.where(split, offset, 0)
    twice["log_scale"] = twice["log_scale"] - math.log(SHRINK) * split
    twice["logit"] = torch.where(split[:, 0], twice["logit"], clone)
    return twice
