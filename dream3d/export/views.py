"""Looking at a finished scene: cameras all around it, its renders a few at a time, without gradients, on the CPU."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import UInt8
from numpy import ndarray

from dream3d.cameras import DISTANCE, look_at
from dream3d.errors import Mistake
from dream3d.interfaces import Representation, device_of
from dream3d.types import Cameras, Render

Colour = tuple[float, float, float]
WHITE: Colour = (1.0, 1.0, 1.0)
CHUNK, PIXELS = 6, 1 << 18  # views per call of render, and pixels where one has no more: enough to fill two cores, little memory


def sphere(count: int, *, radius: float, size: int) -> Cameras:
    """`count` cameras spread evenly over the whole sphere (Fibonacci lattice, from below too), each framing a ball of
    `radius` metres around the origin."""
    index = torch.arange(count, dtype=torch.float32)
    elevation = torch.asin(1 - (2 * index + 1) / count)
    azimuth = index * math.pi * (3 - math.sqrt(5))
    return look_at(azimuth, elevation, fovy=2 * math.asin(radius / DISTANCE), size=size)


@torch.no_grad()
def renders(scene: Representation, cameras: Cameras) -> Iterator[tuple[Cameras, Render]]:
    """The cameras in chunks, each with what the scene shows to them. Raises Mistake where that is not finite."""
    device = device_of(scene)
    chunk = min(CHUNK, max(1, PIXELS // (cameras.height * cameras.width)))
    for rows in torch.arange(len(cameras)).split(chunk):
        part = cameras.at(rows)
        render = scene.render(part.to(device)).map(lambda buffer: buffer.float().cpu())
        if not all(bool(buffer.sum().isfinite()) for buffer in (render.rgb, render.alpha, render.depth)):
            raise Mistake("the scene renders values that are not finite: the run has diverged", code=5)
        yield part, render


def frames(scene: Representation, cameras: Cameras, background: Colour = WHITE) -> UInt8[ndarray, "B H W 3"]:
    """What the cameras see over one colour."""
    behind = torch.tensor(background)
    seen = [render.rgb + (1 - render.alpha) * behind for _, render in renders(scene, cameras)]
    return torch.cat(seen).clamp(0, 1).mul(255).round().byte().numpy()
