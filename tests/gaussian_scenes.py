"""Gaussians for tests: plain ones, varied ones, one step of learning."""

import dataclasses

import torch
from dream3d.renderers.gaussians import Gaussians

from dream3d.cameras import ring
from dream3d.optim import Adam
from dream3d.types import Cameras, Render, Step


def step(index: int = 0, total: int = 100) -> Step:
    return Step.make(index, total, 3)


def scene(count: int = 200, **settings) -> Gaussians:
    return Gaussians(torch.Generator().manual_seed(0), count=count, **settings)


def varied(count: int = 200, *, seed: int = 0, label: bool = False, **settings) -> Gaussians:
    """Every parameter away from its special starting value."""
    made, g = scene(count, **settings), torch.Generator().manual_seed(seed)
    for name in ("log_scale", "rotation", "logit", "colour", "harmonics"):
        value = getattr(made, name).data
        value += (0.1 if name in ("colour", "harmonics") else 0.5) * torch.randn(value.shape, generator=g)
    if label:
        made.label = torch.arange(count) % 3
        made.objects.fill_(3)
    return made


def cotangents(render: Render) -> dict:
    g = torch.Generator().manual_seed(5)
    return {name: torch.randn(b.shape, generator=g, dtype=torch.float64).to(b) for name, b in render.buffers().items()}


def double(cameras: Cameras) -> Cameras:
    return dataclasses.replace(cameras, **{k: v.double() for k, v in vars(cameras).items() if isinstance(v, torch.Tensor)})


def move(made: Gaussians, adam: Adam, now: Step) -> Render:
    render = made.render(ring(2, size=16), now)
    render.backward(cotangents(render))
    adam.step(made.groups(now))
    made.refine(render, adam, now)
    return render
