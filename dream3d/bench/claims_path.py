"""Claims about walks along the noise trajectory."""

import dataclasses

import torch

from dream3d.bench.claims_noise import ANY, Numbers
from dream3d.bench.claims_world import draws, formula, own, sampled
from dream3d.diffusion import add_noise, predict, x0_from_eps
from dream3d.types import Step

FINE = 0.02


def tsm_error(world, prompt: int, seed: int) -> Numbers:
    """How far moves of 0.2 lead away from moves of 0.02 on the way to s, from a clean start, root mean square over t = 0.5 and 0.8: of the
    interval (`rows`: nothing but the empty prompt, scale 1), and of the whole gradient as a share of the latter's size."""
    view = world.scene(prompt, seed).view
    empty = view.text["empty"]
    blank = dataclasses.replace(view, text=dataclasses.replace(view.text, rows=view.text.rows | {"text": empty, "negative": empty}))
    found = {}
    for name in ("ism", "tsm"):
        coarse, fine = ([_gradient(world, name, blank, t, stride, 1.0) for t in (0.5, 0.8)] for stride in (0.2, FINE))
        found[f"{name}_interval"] = (torch.stack(coarse) - torch.stack(fine)).square().mean().sqrt().item()
        coarse, fine = ([_gradient(world, name, view, t, stride, 7.5) for t in (0.5, 0.8)] for stride in (0.2, FINE))
        found[f"{name}_whole"] = ((torch.stack(coarse) - torch.stack(fine)).norm() / torch.stack(fine).norm()).item()
    return found


def _gradient(world, name: str, view, t: float, stride: float, scale: float) -> torch.Tensor:
    guidance = formula(world.prior, name, t=ANY, noise=0.0, delta_s=stride, scale=scale, w="uniform")
    return draws(guidance, view, t, count=1)[0]


@torch.no_grad()
def one_step(world, prompt: int, seed: int) -> Numbers:
    """Detail (mean squared difference of neighbouring numbers) of x0_hat after one step from t = 0.8 and after DDIM in 16, from the same
    noised data, and of the data."""
    scene = world.scene(prompt, seed)
    z, t = _noised(world, scene.data, 0.8, own(prompt, seed))
    levels = [0.8 - 0.05 * i for i in range(16)]
    one = x0_from_eps(world.prior, z, t, predict(world.prior, z, t, scene.view, "text")[0])
    many = sampled(world.prior, z, scene.view, levels)
    return {"one": _detail(one), "many": _detail(many), "data": _detail(scene.data)}


def _detail(x: torch.Tensor) -> float:
    return ((x.diff(dim=-1).square().mean() + x.diff(dim=-2).square().mean()) / 2).item()


def _noised(world, x: torch.Tensor, t: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    at_t = torch.full((len(x),), t, dtype=x.dtype)
    return add_noise(world.prior, x, at_t, Step.make(0, 1, seed, salt="noised").normal(*x.shape).to(x)), at_t


@torch.no_grad()
def sdi_ddim(world, prompt: int, seed: int) -> Numbers:
    """DDIM from pure noise (t = 0.98 down to 0.03 in 20 levels, no guidance) against x <- x - g at the same levels from the same first
    x0_hat, g of SDI and of SDI with random noise (SDS with w = sigma / alpha): root mean square distance to DDIM's picture, and that of the
    x0_hat where both begin."""
    view = world.scene(prompt, seed).view
    levels = [0.98 - 0.05 * i for i in range(20)]
    z = Step.make(0, 1, own(prompt, seed), salt="start").normal(*view.x.shape).to(view.x)
    t = torch.full((len(view.x),), levels[0], dtype=view.x.dtype)
    target = sampled(world.prior, z, view, levels)
    start = x0_from_eps(world.prior, z, t, predict(world.prior, z, t, view, "text")[0])
    found = {"start": (start - target).square().mean().sqrt().item()}
    for name in ("inverted", "random"):
        guidance, x = formula(world.prior, "sdi", scale=1.0, inversion=1.0, stride=0.05, eta=0.0, jitter=0.0, noise=name, t=ANY), start
        for k, level in enumerate(levels[1:]):
            x = x - draws(guidance, dataclasses.replace(view, x=x), level, seed=own(prompt, seed, k), count=1)[0].to(x)
        found[name] = (x - target).square().mean().sqrt().item()
    return found
