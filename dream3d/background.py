"""What stands behind the scene. Every class here is a `background.type`; a colour is drawn once per group of views."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.errors import Mistake
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


class Environment:
    """What a volume's own network paints behind it (renderer.environment); with probability `plain` a random colour per group instead,
    so that the scene cannot hide in it (ProlificDreamer, arXiv:2305.16213). extras["background"] is then the mean over the view."""

    def __init__(self, *, plain: Share = 0.5):
        self.plain = Random()
        self.share = plain

    def __call__(self, render: Render, cameras: Cameras, now: Step) -> Render:
        if "environment" not in render.extras:
            raise Mistake("this scene paints nothing behind itself", where="background.type", near="random, solid",
                          fix="a volume with renderer.environment=true")  # fmt: skip
        flat, painted = self.plain(render, cameras, now), render.extras["environment"]
        chosen = (now.uniform(len(cameras) // (cameras.views * cameras.frames)) < self.share).to(painted.device)[cameras.group]
        rgb = torch.where(chosen[:, None, None, None], flat.rgb, render.rgb + (1 - render.alpha) * painted)
        mean = torch.where(chosen[:, None], flat.extras["background"], painted.detach().mean((1, 2)))
        return dataclasses.replace(flat, rgb=rgb, extras={**flat.extras, "background": mean})
