"""What theory tests share: views and text rows by hand, reference samplers, and z-tests with a stated error rate."""

import math

import pytest
import torch
from torch import Tensor

from dream3d.cameras import look_at
from dream3d.diffusion import per_view, x0_from_eps
from dream3d.interfaces import Prior
from dream3d.types import Cameras, Condition, Render, Step, View


def seen_from(count: int, size: int = 8, **more) -> Cameras:
    """`count` cameras around the object at 15 degrees of elevation."""
    azimuth = torch.arange(count) * (2 * math.pi / count)
    return look_at(azimuth, torch.full((count,), math.radians(15.0)), size=size, **more)


def view_of(
    prior: Prior, x: Tensor, cameras: Cameras | None = None, background: Tensor | None = None, **rows: str
) -> View:
    """A View of x with one prompt per named row, the same for every view; "text" and "negative" default to
    everything."""
    count, size = len(x), x.shape[-1]
    cameras = seen_from(count, size) if cameras is None else cameras
    rows = {"text": "", "negative": ""} | rows
    text = Condition(
        {name: prior.text([prompt]).at(torch.zeros(count, dtype=torch.long)) for name, prompt in rows.items()}
    )
    blank = torch.zeros(count, size, size, 1)
    extras = {} if background is None else {"background": background}
    return View(x, Render(blank.expand(-1, -1, -1, 3), blank, blank, extras=extras), cameras, text)


def ddim(prior: Prior, z: Tensor, view: View, times: Tensor, *, scale: float = 1.0) -> Tensor:
    """Deterministic DDIM along descending times; the last answer is x0. float64 in, float64 out."""
    for i, now in enumerate(times):
        t = now.expand(len(z))
        eps = prior.eps(z, t, view.text["text"], view.cameras, view.render)
        if scale != 1:
            free = prior.eps(z, t, view.text["negative"], view.cameras, view.render)
            eps = free + scale * (eps - free)
        z0 = x0_from_eps(prior, z, t, eps)
        if i + 1 == len(times):
            return z0
        alpha, sigma = prior.alpha_sigma(times[i + 1].expand(len(z)))
        z = per_view(alpha, z) * z0 + per_view(sigma, z) * eps


def z_scores(samples: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of the sample mean and of the sample variance of normal samples (rows), per coordinate."""
    n = len(samples)
    of_mean = (samples.mean(0) - mean) / (std / n**0.5)
    of_variance = ((samples - mean).square().mean(0) / std**2 - 1) / (2 / n) ** 0.5
    return of_mean, of_variance


def bound(tests: int, error: float = 1e-4) -> float:
    """|z| that `tests` standard normal scores exceed anywhere with probability below `error` (Bonferroni)."""
    return torch.special.ndtri(torch.tensor(1 - error / (2 * tests), dtype=torch.float64)).item()


def step(index: int = 0, total: int = 100, seed: int = 0) -> Step:
    return Step.make(index, total, seed)


@pytest.fixture
def kit():
    """The helpers above under one name."""
    helpers = (seen_from, view_of, ddim, z_scores, bound, step)
    return type("Kit", (), {helper.__name__: staticmethod(helper) for helper in helpers})
