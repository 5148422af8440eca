"""Small representations of one ball, and one that learns to be another."""


import torch
from dream3d.systems import distil

from dream3d import background, build, penalties
from dream3d.cameras import Orbit, ring
from dream3d.optim import Adam
from dream3d.types import Field

VOLUME = {"samples": 24, "grid": 24, "occupancy": 8}
SMALL = {"gaussians": {"count": 300, "settle": 15}, "mesh": {"max_faces": 800, "settle": 15}, "dmtet": {"resolution": 10, "settle": 15},
         "nerf": {**VOLUME, "width": 24, "layers": 2}, "hashgrid": {**VOLUME, "levels": 4, "entries": 4096, "hidden": 16},
         "voxels": {**VOLUME, "resolution": 24}, "triplane": {**VOLUME, "resolution": 16, "width": 8, "hidden": 16}}  # fmt: skip
KINDS = [*SMALL]
RING = ["gaussians:voxels", "gaussians:mesh", "voxels:hashgrid", "hashgrid:nerf", "nerf:triplane", "triplane:gaussians", "voxels:mesh",
        "mesh:dmtet", "dmtet:mesh"]  # fmt: skip


def rng():
    return torch.Generator().manual_seed(0)


def made(kind: str, **settings):
    return build.make("renderers", {"type": kind, **SMALL.get(kind, {}), **settings}, rng())


def ball(side: int = 33, bound: float = 0.8) -> Field:
    axis = torch.linspace(-bound, bound, side)
    x = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    return Field(bound, density=60 * torch.sigmoid((0.5 - x.norm(dim=-1)) / 0.03), rgb=0.5 + 0.4 * torch.sin(4 * x))


def learning(student, teacher, monkeypatch, steps: int = 20, *, cameras=None, **settings) -> distil.Distil:
    monkeypatch.setattr(distil, "taught", lambda *_: (teacher, []))
    usual = cameras or Orbit(24, batch=4), background.Random(), Adam(), penalties.Penalties({})
    return distil.Distil(student, [], *usual, None, steps, 0, "test", teacher="it", **{"rays": 256, **settings})


@torch.no_grad()
def decibels(one, other) -> float:
    cameras = ring(4, size=24)
    a, b = one.render(cameras), other.render(cameras)
    error = (a.rgb - b.rgb - a.alpha + b.alpha).square().mean() + (a.alpha - b.alpha).square().mean() / 3
    return float(-10 * torch.log10(error.clamp(min=1e-12)))
