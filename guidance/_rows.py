"""Answers to several rows of text at one noise level, for formulas that combine them in other ways than classifier-free guidance."""

from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import per_view, perp_neg, predict
from dream3d.interfaces import Prior
from dream3d.types import View


def answers(
    prior: Prior, z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], view: View, *rows: str
) -> tuple[Float[Tensor, "B C h w"], ...]:
    """The prior's eps for each row, in one batched call. Where the prompt has Perp-Neg rows, the first row's answer is the one that
    they leave of it relative to the second: guidance between the two is then Perp-Neg at that scale."""
    perp = view.text.perp
    found = predict(prior, z, t, view, *rows, *perp)
    cond, uncond, *others = found[: len(rows)]
    if perp:
        cond = perp_neg(cond, uncond, list(found[len(rows) :]), list(perp.values()), 1.0)
    return cond, uncond, *others


def noise_free(
    prior: Prior, z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], view: View, scale: float, switch: float
) -> Float[Tensor, "B C h w"]:
    """NFSD's delta_D + s (eps_hat(y) - eps_hat(empty)): below `switch` delta_D is eps_hat(empty), from there on the negative prompt's
    answer is subtracted from it."""
    noisy = t >= switch
    rows = ("negative",) if noisy.any() else ()  # what no view needs is not evaluated
    cond, domain, *negative = answers(prior, z, t, view, "text", "empty", *rows)
    g = domain + scale * (cond - domain)
    for eps in negative:
        g = g - per_view(noisy.to(z.dtype), z) * eps
    return g
