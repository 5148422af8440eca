"""Where the exact prior's pictures come from: renders of toybox instances, seen the way dream3d.cameras.Orbit looks at
a scene."""

import dataclasses
import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.cameras import DISTANCE, VIEW_WORDS, look_at, view_index
from dream3d.priors._components import Components, loo_bandwidth
from dream3d.toybox import world
from dream3d.toybox.language import Wish
from dream3d.toybox.render import render
from dream3d.types import Cameras, Render

LOW, HIGH = math.sin(math.radians(-10)), math.sin(math.radians(75))  # Orbit's elevations, uniform in area
SIZE_STD, LIGHT_STD = (
    0.02,
    0.035,
)  # what toybox.world varies between instances: how far an object fills its box, its colour's value
CAMERA_STD = math.radians(2.5)  # beyond this a picture is no longer linear in its camera
TANGENTS = ("azimuth", "elevation", "size", "brightness")


def spread(count: int, dimensions: int) -> Float[Tensor, "count n"]:
    """Evenly spread points of the unit cube: Roberts' R sequence (2018), no randomness and no seed."""
    root = 2.0
    for _ in range(40):
        root = (1 + root) ** (1 / (dimensions + 1))
    steps = root ** -torch.arange(1, dimensions + 1, dtype=torch.float64)
    return (0.5 + torch.arange(1, count + 1)[:, None] * steps) % 1


def orbit(points: Float[Tensor, "B n"], size: int, subjects: int) -> Cameras:
    """Cameras as Orbit draws them, from points of the unit cube: azimuth, elevation and, as the third, whom they look
    at."""
    azimuth = (2 * points[:, 0] - 1) * math.pi
    elevation = torch.asin(LOW + (HIGH - LOW) * points[:, 1])
    return look_at(azimuth.float(), elevation.float(), size=size, subject=(points[:, 2] * subjects).long())


def wished(
    wish: Wish, *, size: int, instances: int, renders: int, tangents: int, shows: str = "rgb", bandwidth: float | None = None
) -> Components:
    """`renders` pictures for every view word, weighted by how often that word is due, sorted by word."""
    cameras = orbit(spread(14 * renders + 500, 3), size, instances)
    words = view_index(cameras)
    chosen = torch.cat([(words == i).nonzero()[:renders, 0] for i in range(len(VIEW_WORDS))])
    share = torch.bincount(words, minlength=len(VIEW_WORDS)) / len(words)
    area = (
        2 * math.pi * (HIGH - LOW) * share[words[chosen]] / renders * instances
    )  # that one picture of one instance stands for
    soups = [world.build(wish, world.instance_seed("prior", i)) for i in range(instances)]
    weight, spacing = len(VIEW_WORDS) * share[words[chosen]], area.sqrt() / 12**0.5
    return with_bandwidth(_components(soups, cameras.at(chosen), weight, spacing, tangents, shows), bandwidth)


@lru_cache(1)
def anything(*, size: int, renders: int, tangents: int, shows: str = "rgb", bandwidth: float | None = None) -> Components:
    """A broad sample of the world: every picture another object in another paint from another side. The last one is kept: it is the
    same for every prompt, and most of what a prior takes to make."""
    cameras = orbit(spread(renders, 3), size, renders)
    cameras = dataclasses.replace(cameras, subject=torch.arange(renders))
    soups = [world.build(Wish(), world.instance_seed("prior", i)) for i in range(renders)]
    parts = _components(soups, cameras, torch.ones(renders), torch.full((renders,), math.pi), tangents, shows)
    return with_bandwidth(parts, bandwidth)


def _components(soups, cameras: Cameras, weight: Tensor, spacing: Tensor, tangents: int, shows: str) -> Components:
    width = spacing.clamp(max=CAMERA_STD)
    rows = [_pictures(soups, cameras, shows), *(_tangent(name, soups, cameras, width, shows) for name in TANGENTS[:tangents])]
    rgb = torch.stack([r.rgb.movedim(-1, 1).flatten(2) for r in rows], 1)
    gap = torch.stack([(1.0 if i == 0 else 0.0) - r.alpha.flatten(1) for i, r in enumerate(rows)], 1)
    outward = cameras.centre / cameras.centre.norm(dim=1, keepdim=True)
    return Components.make(rgb, gap, weight=weight, outward=outward, word=view_index(cameras), std=1.0)


def with_bandwidth(parts: Components, bandwidth: float | None) -> Components:
    """The components with this h, or with the one of greatest leave-one-out likelihood."""
    h = loo_bandwidth(parts) if bandwidth is None else bandwidth
    return dataclasses.replace(parts, std=torch.full_like(parts.std, h))


def _pictures(soups, cameras: Cameras, shows: str) -> Render:
    """Colours, or world normals as colours."""
    seen = render(soups, cameras, buffers=(shows, "alpha"))
    return seen if shows == "rgb" else dataclasses.replace(seen, rgb=(seen.normal + seen.alpha) / 2)


def _tangent(name: str, soups, cameras: Cameras, angle: Float[Tensor, " B"], shows: str = "rgb") -> Render:
    """Half the difference between the pictures one standard deviation up and down a parameter."""
    up, down = (_moved(name, soups, cameras, angle, sign, shows) for sign in (1, -1))
    rgb, alpha = ((a - b) / 2 for a, b in ((up.rgb, down.rgb), (up.alpha, down.alpha)))
    return Render(rgb, alpha, torch.zeros_like(alpha))


def _moved(name: str, soups, cameras: Cameras, angle: Float[Tensor, " B"], sign: int, shows: str) -> Render:
    azimuth, elevation, distance = cameras.azimuth, cameras.elevation, torch.full_like(cameras.azimuth, DISTANCE)
    match name:
        case "azimuth":
            azimuth = azimuth + sign * angle / elevation.cos()
        case "elevation":
            elevation = elevation + sign * angle
        case "size":
            distance = distance / (1 + sign * SIZE_STD)
        case "brightness":
            soups = [
                dataclasses.replace(
                    s, colour=s.colour * (1 + sign * LIGHT_STD), second=s.second * (1 + sign * LIGHT_STD)
                )
                for s in soups
            ]
    return _pictures(soups, look_at(azimuth, elevation, distance, size=cameras.height, subject=cameras.subject), shows)
