"""What stands behind the scene. Every class here is a `background.type`; a colour is drawn once per group of views."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.schedule import Share
from dream3d.types import Cameras, Render, Step


def composite(render: Render, colour: Float[Tensor, "B 3"]) -> Render:
    """The render over a colour per view. The colour stays readable in extras["background"]."""
    rgb = render.rgb + (1 - render.alpha) * colour[:, None, None]
    source = None if render.source is None else composite(render.source, colour)
    return dataclasses.replace(render, rgb=rgb, source=source, extras={**render.extras, "background": colour})


class Solid:
    """One colour, display sRGB in [0, 1]."""

    def __init__(self, *, color: tuple[Share, Share, Share] = (1.0, 1.0, 1.0)):
        self.color = color

    def __call__(self, render: Render, cameras: Cameras, now: Step) -> Render:
        return composite(render, render.rgb.new_tensor(self.color).expand(len(render), 3))


class Random:
    """A random colour per group: the scene cannot use the background as its own paint. With probability `white`, white."""

    def __init__(self, *, white: Share = 0.0):
        self.white = white

    def __call__(self, render: Render, cameras: Cameras, now: Step) -> Render:
        groups = len(cameras) // (cameras.views * cameras.frames)
        colour = now.uniform(groups, 3)
        colour = torch.where(now.uniform(groups, 1) < self.white, torch.ones(3), colour)
        return composite(render, colour.to(render.rgb)[cameras.group])
