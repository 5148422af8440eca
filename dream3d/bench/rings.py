"""Subjects of judgement: whatever renders for cameras, looked at from a ring of azimuths."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dream3d.cameras import ring
from dream3d.export.views import renders
from dream3d.interfaces import Representation
from dream3d.toybox.render import render
from dream3d.toybox.world import Soup
from dream3d.types import Cameras, Render

Look = Callable[[Cameras], Render]  # buffers premultiplied over black, as a representation gives them
AZIMUTHS, ELEVATION, SIDE = 24, 15.0, 64
GREY = 0.5  # behind pictures that are compared


@dataclass(frozen=True)
class Ring:
    """What a subject shows to the 24 cameras, first from the front, then growing in azimuth by 15 degrees."""

    cameras: Cameras
    render: Render

    @property
    def mask(self) -> Float[Tensor, "V H W"]:
        return (self.render.alpha[..., 0] > 0.5).float()

    @property
    def pictures(self) -> Float[Tensor, "V D"]:
        """Small pictures over grey with their silhouettes, as rows of which mean squared differences are taken."""
        over = self.render.rgb + GREY * (1 - self.render.alpha)
        return F.avg_pool2d(torch.cat([over, self.render.alpha], -1).movedim(-1, 1), 2).flatten(1)

    def at(self, step: int) -> "Ring":
        """Every `step`-th view."""
        index = torch.arange(0, len(self.cameras), step)
        return Ring(self.cameras.at(index), self.render.at(index))


def cameras(size: int = SIDE) -> Cameras:
    return ring(AZIMUTHS, elevation=ELEVATION, size=size)


def shoot(look: Look) -> Ring:
    where = cameras()
    with torch.no_grad():
        return Ring(where, look(where).map(lambda buffer: buffer.detach().float().cpu()))


def of_scene(scene: Representation) -> Look:
    """A representation, a few views at a time. Raises Mistake where its renders are not finite."""

    def look(where: Cameras) -> Render:
        parts = [part for _, part in renders(scene, where)]
        buffers = [{k: v for k, v in part.buffers().items() if k in ("rgb", "alpha", "depth")} for part in parts]
        return Render(**{k: torch.cat([b[k] for b in buffers]) for k in buffers[0]})

    return look


def of_soup(soup: Soup) -> Look:
    """A true object."""
    return lambda where: render([soup], where, buffers=("rgb", "alpha", "depth", "labels"))


def turn(index: int) -> float:
    """Radians of `index` steps around the ring."""
    return index * 2 * math.pi / AZIMUTHS
