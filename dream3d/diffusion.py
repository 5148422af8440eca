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


def cfg(cond: Float[Tensor, "B C h w"], uncond: Float[Tensor, "B C h w"], scale: float) -> Float[Tensor, "B C h w"]:
    """Classifier-free guidance, uncond + scale (cond - uncond): 1 is no guidance. Codes that write cond + s (cond - uncond)
    (DreamFusion's form) mean scale = s + 1 here."""
    return uncond + scale * (cond - uncond)


def weight(prior: Prior, t: Float[Tensor, " B"], name: str) -> Float[Tensor, " B"]:
    """w(t): "sds" sigma^2, "uniform" 1, "fantasia3d" alpha sigma^2."""
    alpha, sigma = prior.alpha_sigma(t)
    return {"sds": sigma**2, "uniform": torch.ones_like(t), "fantasia3d": alpha * sigma**2}[name]


@torch.no_grad()
def predict(
    prior: Prior, z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], view: View, *rows: str | Embedding
) -> tuple[Float[Tensor, "B C h w"], ...]:
    """The prior's eps at (z, t) for each row of text, in one batched call: the only place where guidances meet networks."""
    n = len(rows)
    text = Embedding.cat([view.text[row] if isinstance(row, str) else row for row in rows])
    again = torch.arange(len(z), device=z.device).repeat(n)
    prior.evaluations += len(again)
    eps = prior.eps(z[again], t[again], text, view.cameras.at(again), view.render.at(again))
    return eps.chunk(n)
