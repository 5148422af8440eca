"""How something moves, measured in pictures: affine optical flow from moment to moment in a few views, and how near it is to the flows of
true objects that move in known ways.

Flow: Bergen et al., "Hierarchical Model-Based Motion Estimation", ECCV 1992: six numbers a picture that explain the next one best, by
Gauss-Newton from coarse to fine. Nothing is asked of a scene but its pictures.
"""

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dream3d.bench.rings import GREY, Look
from dream3d.cameras import clips, ring
from dream3d.toybox.language import MOTIONS, Wish, parse
from dream3d.toybox.render import render
from dream3d.toybox.world import build, instance_seed
from dream3d.types import Cameras, Render

VIEWS, MOMENTS, SIDE, ELEVATION = 4, 13, 64, 15.0
CELLS, ROUNDS = (8, 4, 2), 4  # pixels that are one at each level, steps on it
DAMPING = 1e-3  # of the curvature: what has no texture stays
REACH = 8.0  # pixels from an object's middle at which its bending counts as much as its way
SAMPLES = 4  # true objects of every motion
STILL = "still"


@dataclass(frozen=True)
class Reading:
    """Which of the known motions a track is nearest to (or STILL), how far it is from each (root mean square pixels), and of the prompted
    one: the cosine between the two tracks, and how much of the true one there is (1: as far; 0: none of it)."""

    nearest: str
    distance: dict[str, float]
    agreement: float
    amount: float


def cameras() -> Cameras:
    """Every view a clip of its own."""
    return clips(ring(VIEWS, elevation=ELEVATION, size=SIDE), MOMENTS)


def track(look: Look) -> Float[Tensor, "V T K"]:
    """Where the flow has carried what is seen, and how it has bent it, by each moment after the first: sums of flows, in pixels."""
    with torch.no_grad():
        seen = look(cameras())
    over = torch.cat([seen.rgb + GREY * (1 - seen.alpha), seen.alpha], -1).movedim(-1, 1).unflatten(0, (VIEWS, MOMENTS))
    flows = flow(over[:, :-1].flatten(0, 1), over[:, 1:].flatten(0, 1)).unflatten(0, (VIEWS, MOMENTS - 1))
    return (flows * flows.new_tensor([1.0, 1.0, *[REACH] * 4])).cumsum(1)


def flow(one: Float[Tensor, "P C H W"], other: Float[Tensor, "P C H W"]) -> Float[Tensor, "P 6"]:
    """The affine flow from one picture to another, of which the last channel is alpha: the way of the first one's middle in pixels (right,
    down), and the matrix (row by row) by which what is around the middle bends."""
    alpha = one[:, -1:].flatten(2)
    middle = (alpha * _places(one, 1)).sum(2) / alpha.sum(2).clamp(min=1e-6)
    found = one.new_zeros(len(one), 6)
    for size in CELLS:
        a, b = (_blurred(F.avg_pool2d(picture, size)) for picture in (one, other))
        for _ in range(ROUNDS):
            found = found + _step(a, b, size, middle, found)
    return found


def _step(a: Tensor, b: Tensor, size: int, middle: Float[Tensor, "P 2"], found: Float[Tensor, "P 6"]) -> Float[Tensor, "P 6"]:
    """A Gauss-Newton step of the squared difference between a picture and the other one, fetched along the flow."""
    place, (height, width) = _places(a, size), a.shape[-2:]
    around = place - middle[..., None]  # P 2 N
    moved = place + found[:, :2, None] + found[:, 2:].view(-1, 2, 2) @ around
    where = (2 * moved / (size * moved.new_tensor([[width], [height]])) - 1).mT.unflatten(1, (height, width))
    fetched = F.grid_sample(b, where, padding_mode="border", align_corners=False)
    dx, dy = (torch.gradient(fetched, spacing=float(size), dim=dim)[0].flatten(2) for dim in (3, 2))  # P C N
    x, y = around[:, None].unbind(2)
    slope = torch.stack([dx, dy, dx * x, dx * y, dy * x, dy * y], -1).flatten(1, 2)
    curve, error = slope.mT @ slope, (a - fetched).flatten(1)[..., None]
    scale = curve[:, 0, 0] + curve[:, 1, 1] + 1e-6
    held = DAMPING * scale[:, None] * curve.new_tensor([1.0, 1.0, *[REACH**2] * 4])
    return torch.linalg.solve(curve + torch.diag_embed(held), slope.mT @ error)[..., 0]


def _places(like: Float[Tensor, "P C H W"], size: int) -> Float[Tensor, "2 N"]:
    """Middles of cells of `size` pixels, in pixels."""
    y, x = torch.meshgrid(*(size * (torch.arange(side) + 0.5) for side in like.shape[-2:]), indexing="ij")
    return torch.stack([x, y]).flatten(1).to(like)


def _blurred(image: Float[Tensor, "P C H W"]) -> Float[Tensor, "P C H W"]:
    kernel = image.new_tensor([0.25, 0.5, 0.25]).expand(image.shape[1], 1, 1, -1)
    image = F.pad(image, (1,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(image, kernel, groups=image.shape[1]), kernel.mT, groups=image.shape[1])


# --- against the truth ----------------------------------------------------------------------------------------------


class Motions:
    """True objects of a prompt that move in every way there is: `samples` of each, of the stream `split`."""

    def __init__(self, prompt: str, samples: int = SAMPLES, split: str = "test"):
        self.wish = parse(prompt)
        self.tracks = {motion: torch.stack([track(true(self.wish, motion, split, i)) for i in range(samples)]) for motion in MOTIONS}

    def read(self, mine: Float[Tensor, "V T K"]) -> Reading:
        """A track against them; of each motion the nearest object counts."""
        apart = {motion: (tracks - mine).square().mean((1, 2, 3)).sqrt() for motion, tracks in self.tracks.items()}
        distance = {motion: round(found.min().item(), 4) for motion, found in apart.items()}
        distance[STILL] = round(mine.square().mean().sqrt().item(), 4)
        meant = self.tracks[self.wish.motion][int(apart[self.wish.motion].argmin())]
        product, size = (mine * meant).sum().item(), meant.square().sum().item()
        cosine = product / max((mine.square().sum().item() * size) ** 0.5, 1e-9)
        return Reading(min(distance, key=distance.get), distance, round(cosine, 4), round(product / max(size, 1e-9), 4))


def true(wish: Wish, motion: str | None, split: str, index: int) -> Look:
    """An object of a wish that moves like this, or not at all."""
    soup = build(dataclasses.replace(wish, motion=motion), instance_seed(split, index))

    def look(where: Cameras) -> Render:
        return render([soup], where, buffers=("rgb", "alpha"))

    return look


@lru_cache(4)
def motions(prompt: str) -> Motions:
    return Motions(prompt)
