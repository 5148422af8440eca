"""Bodies for tests of the skinned representation."""

import dataclasses

import torch
from dream3d.renderers.skinned import Skinned

from dream3d import build
from dream3d.schedule import Ramp
from dream3d.types import Mesh, Step

STILL = {f"lr_{name}": Ramp(0.0) for name in ("shape", "displacement", "colour", "offset", "scale", "rotation", "opacity")}
ALL = {"lr_pose": Ramp(0.01), "lr_shape": Ramp(0.02)}


def scene(**settings) -> Skinned:
    return build.make("renderers", {"type": "skinned", "count": 300, **settings}, torch.Generator().manual_seed(0))


def step(index: int = 0) -> Step:
    return Step.make(index, 20, 3)


def coloured(made: Skinned) -> Skinned:
    """With a colour for every direction."""
    rgb = made.body.given.mesh().vertices + 0.5
    made.surface.paint(Mesh(made.vertices().detach(), made.body.faces, rgb=rgb.clamp(0, 1)))
    return made


def double(value):
    changed = {k: v.double() for k, v in vars(value).items() if isinstance(v, torch.Tensor) and v.is_floating_point()}
    return dataclasses.replace(value, **changed)
