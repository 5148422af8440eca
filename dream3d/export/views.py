"""Looking at a finished scene: cameras all around it, and its renders a few at a time, without gradients, on the CPU."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import UInt8
from numpy import ndarray

from dream3d.cameras import DISTANCE, look_at
from dream3d.interfaces import Representation, device_of
from dream3d.types import Cameras, Render

WHITE = (1.0, 1.0, 1.0)
CHUNK = 6  # views per call of render: enough to fill two cores, little memory


def sphere(count: int, *, radius: float, size: int) -> Cameras:
    """`count` cameras spread evenly over the whole sphere (Fibonacci lattice, from below too), each framing a ball of
    `radius` metres around the origin."""
    index = torch.arange(count, dtype=torch.float32)
    elevation = torch.asin(1 - (2 * index + 1) / count)
    azimuth = index * math.pi * (3 - math.sqrt(5))
    return look_at(azimuth, elevation, fovy=2 * math.asin(radius / DISTANCE), size=size)


@torch.no_grad()
def renders(scene: Representation, cameras: Cameras) -> Iterator[tuple[Cameras, Render]]:
    """The cameras in chunks, each with what the scene shows to them."""
    device = device_of(scene)
    for rows in torch.arange(len(cameras)).split(CHUNK):
        part = cameras.at(rows)
        yield part, scene.render(part.to(device)).map(lambda buffer: buffer.float().cpu())


def frames(scene: Representation, cameras: Cameras, background: tuple[float, float, float] = WHITE) -> UInt8[ndarray, "B H W 3"]:
    """What the cameras see over one colour."""
    behind = torch.tensor(background)
    seen = [render.rgb + (1 - render.alpha) * behind for _, render in renders(scene, cameras)]
    return torch.cat(seen).clamp(0, 1).mul(255).round().byte().numpy()
