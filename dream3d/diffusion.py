"""What every diffusion-based formula shares. z = alpha x + sigma eps, t in (0, 1) with 1 pure noise, eps always means noise."""

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.interfaces import Prior
from dream3d.schedule import Times
from dream3d.types import Cameras, Embedding, Step, View


def draw_t(times: Times, cameras: Cameras, now: Step) -> Float[Tensor, " B"]:
    """One t per group of views, uniform in the window of this step."""
    low, high = times.window(now.progress)
    groups = len(cameras) // (cameras.views * cameras.frames)
    return (low + (high - low) * now.uniform(groups, device=cameras.device))[cameras.group]


def per_view(value: Float[Tensor, " B"], x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 1 1 1"]:
    return value.view(-1, *[1] * (x.ndim - 1))


def add_noise(
    prior: Prior, x: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], noise: Float[Tensor, "B C h w"]
) -> Float[Tensor, "B C h w"]:
    """z = alpha x + sigma noise."""
    alpha, sigma = prior.alpha_sigma(t)
    return per_view(alpha, x) * x + per_view(sigma, x) * noise


def x0_from_eps(
    prior: Prior, z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], eps: Float[Tensor, "B C h w"]
) -> Float[Tensor, "B C h w"]:
    """The clean x that a noise prediction implies, (z - sigma eps) / alpha."""
    alpha, sigma = prior.alpha_sigma(t)
    return (z - per_view(sigma, z) * eps) / per_view(alpha, z)


def eps_from_x0(
    prior: Prior, z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], x0: Float[Tensor, "B C h w"]
) -> Float[Tensor, "B C h w"]:
    """The noise that a clean x implies, (z - alpha x0) / sigma."""
    alpha, sigma = prior.alpha_sigma(t)
    return (z - per_view(alpha, z) * x0) / per_view(sigma, z)


def ratio(prior: Prior, t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """r = sigma / alpha, the noise level of z / alpha = x + r eps."""
    alpha, sigma = prior.alpha_sigma(t)
    return sigma / alpha


def jump(
    prior: Prior, z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], to: Float[Tensor, " B"], eps: Float[Tensor, "B C h w"]
) -> Float[Tensor, "B C h w"]:
    """One deterministic step from t to `to`, up or down: DDIM with eta 0 (arXiv:2010.02502, eq. 12), which is Euler's method in
    z / alpha and r; for a rectified flow, Euler's method in z and t."""
    return add_noise(prior, x0_from_eps(prior, z, t, eps), to, eps)


def cfg(cond: Float[Tensor, "B C h w"], uncond: Float[Tensor, "B C h w"], scale: float) -> Float[Tensor, "B C h w"]:
    """Classifier-free guidance, uncond + scale (cond - uncond): 1 is no guidance. Codes that write cond + s (cond - uncond)
    (DreamFusion's form) mean scale = s + 1 here."""
    return uncond + scale * (cond - uncond)


def perp_neg(
    cond: Float[Tensor, "B C h w"], uncond: Float[Tensor, "B C h w"], negatives: list[Float[Tensor, "B C h w"]],
    weights: list[Float[Tensor, " B"]], scale: float,
) -> Float[Tensor, "B C h w"]:  # fmt: skip
    """Perp-Neg (arXiv:2304.04968): of every negative direction only what is perpendicular to the positive one is subtracted, so
    the prompt itself is never weakened. Weights are negative or 0; all 0 is `cfg`."""
    if not negatives:
        return cfg(cond, uncond, scale)
    positive = cond - uncond
    square = inner(positive, positive).clamp(min=1e-6)
    for negative, w in zip(negatives, weights, strict=True):
        away = negative - uncond
        cond = cond + per_view(w.to(cond), cond) * (away - per_view(inner(away, positive) / square, cond) * positive)
    return cfg(cond, uncond, scale)


def inner(a: Float[Tensor, "B C h w"], b: Float[Tensor, "B C h w"]) -> Float[Tensor, " B"]:
    """<a, b> per view."""
    return (a * b).flatten(1).sum(1)


def rescale(x: Float[Tensor, "B C h w"], like: Float[Tensor, "B C h w"], share: float, views: int = 1) -> Float[Tensor, "B C h w"]:
    """`share` of the way to x with the standard deviation of `like`, taken over groups of `views` rows: undoes what a high guidance
    scale does to contrast (arXiv:2305.08891, eq. 15 and 16; over the views of a group as MVDream does, arXiv:2308.16512)."""
    std = [v.unflatten(0, (-1, views)).flatten(1).std(1).repeat_interleave(views) for v in (like, x)]
    return x * per_view(1 + share * (std[0] / std[1].clamp(min=1e-8) - 1), x)


def weight(prior: Prior, t: Float[Tensor, " B"], name: str) -> Float[Tensor, " B"]:
    """w(t): "sds" sigma^2, "uniform" 1, "fantasia3d" alpha sigma^2, "x0" sigma / alpha (a residual of eps becomes one of x0)."""
    alpha, sigma = prior.alpha_sigma(t)
    return {"sds": sigma**2, "uniform": torch.ones_like(t), "fantasia3d": alpha * sigma**2, "x0": sigma / alpha}[name]


def predict(
    prior: Prior, z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], view: View, *rows: str | Embedding, graph: bool = False
) -> tuple[Float[Tensor, "B C h w"], ...]:
    """The prior's eps at (z, t) for each row of text, in one batched call: the only place where guidances meet networks. `graph`
    keeps the graph from z, for the few formulas that differentiate the network in x."""
    n = len(rows)
    text = Embedding.cat([view.text[row] if isinstance(row, str) else row for row in rows])
    again = torch.arange(len(z), device=z.device).repeat(n)
    prior.evaluations += len(again)
    with torch.set_grad_enabled(graph):
        eps = prior.eps(z[again], t[again], text, view.cameras.at(again), view.render.at(again))
    return eps.chunk(n)


def guided(
    prior: Prior, z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], view: View, scale: float,
    rows: tuple[str, str] = ("text", "negative"),
) -> Float[Tensor, "B C h w"]:  # fmt: skip
    """The prior's eps under classifier-free guidance between two rows of text, by Perp-Neg where the prompt has such rows."""
    perp = view.text.perp
    cond, uncond, *negatives = predict(prior, z, t, view, *rows, *perp)
    return perp_neg(cond, uncond, negatives, list(perp.values()), scale) if perp else cfg(cond, uncond, scale)
