"""The truth about a prompt: instances of the toybox that no prior has seen, and how close a subject comes to the nearest of them.

A subject may be any instance and may face anywhere: every measure here takes the best instance and the best turn about z.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from dream3d.bench.rings import AZIMUTHS, Ring, cameras, shoot, turn
from dream3d.bench.scenes import FRONTED
from dream3d.cameras import look_at
from dream3d.toybox.language import Wish, parse
from dream3d.toybox.render import render
from dream3d.toybox.world import Soup, build, instance_seed
from dream3d.types import Cameras

INSTANCES = 32
STEP = 2  # every second view of the ring: the 12 from which shape and recognition are judged
POINTS = 4000  # of a visible surface
SHOWN = 2 / 3  # of an object that has to show before it has to be recognised: what is half hidden nobody can name


@dataclass(frozen=True)
class Match:
    """The nearest true instance: which, turned by how many ring steps, and the silhouette IoU, mean over the 12 views."""

    instance: int
    turn: int
    iou: float


class Truth:
    """True instances of one prompt, seen from the ring. `instances` of them, of the stream `split`."""

    def __init__(self, prompt: str, instances: int = INSTANCES, split: str = "test"):
        self.wish: Wish = parse(prompt)
        self.soups = [build(self.wish, instance_seed(split, i)) for i in range(instances)]
        where = _repeated(cameras(), instances)
        seen = render(self.soups, where, buffers=("rgb", "alpha", "labels"))
        rings = [Ring(where, seen.at(rows)) for rows in torch.arange(len(where)).split(AZIMUTHS)]
        self.masks = torch.stack([r.mask for r in rings])
        self.pictures = torch.stack([r.pictures for r in rings])
        self.visible = self._visible(seen.labels[..., :-1].sum((1, 2)), where).unflatten(0, (instances, AZIMUTHS))
        self.fronted = any(thing.name in FRONTED for thing in self.wish.things)

    def _visible(self, shown: Float[Tensor, "B S"], where: Cameras) -> Float[Tensor, "B S"]:
        """How much of every thing each view shows, as a share of what it would show of the thing alone."""
        if len(self.wish.things) < 2:
            return torch.ones_like(shown)
        alone = [render([_only(soup, i) for soup in self.soups], where, buffers=("alpha",)).alpha.sum((1, 2, 3))
                 for i in range(len(self.wish.things))]  # fmt: skip
        return shown / torch.stack(alone, -1).clamp(min=1e-6)

    def match(self, ring: Ring) -> Match:
        """The nearest instance by silhouette."""
        mine = ring.mask[::STEP].flatten(1)
        turned = [self.masks[:, (torch.arange(0, AZIMUTHS, STEP) + s) % AZIMUTHS].flatten(2) for s in range(AZIMUTHS)]
        iou = torch.stack([_iou(mine, theirs) for theirs in turned])
        best = int(iou.argmax())
        return Match(best % len(self.soups), best // len(self.soups), iou.max().item())

    def required(self, match: Match) -> list[list[int]]:
        """For each of the 12 views, the things (indices into wish.things) of which the matching instance shows at least two thirds."""
        visible = self.visible[match.instance].roll(-match.turn, 0)[::STEP]
        return [[i for i, share in enumerate(row) if share >= SHOWN] for row in visible.tolist()]

    def ring(self, match: Match) -> Ring:
        """The matching instance, turned as the subject is."""
        return self.instance(match.instance, match.turn)

    def instance(self, index: int, steps: int = 0) -> Ring:
        return shoot(lambda where: render([self.soups[index]], _turned(where, steps), buffers=("rgb", "alpha", "depth", "labels")))

    @cached_property
    def front_back(self) -> float:
        """Root mean squared difference between the front and the back of an instance, mean over instances."""
        return (self.pictures[:, 0] - self.pictures[:, AZIMUTHS // 2]).square().mean(-1).sqrt().mean().item()

    def view_gap(self, ring: Ring) -> float:
        """How much better the views fit any truth one by one than one truth together, in units of front against back: 0 for a
        coherent object, large for one that shows its front twice."""
        distance = _distances(ring.pictures, self.pictures.flatten(0, 1)).unflatten(1, (-1, AZIMUTHS))
        view, one = torch.arange(AZIMUTHS), distance.amin((1, 2)).mean()
        together = torch.stack([distance[view, :, (view + s) % AZIMUTHS].mean(0) for s in range(AZIMUTHS)]).min()
        return ((together - one) / self.front_back).item()

    @cached_property
    def variance(self) -> float:
        """Variance between true instances, each pair turned to fit."""
        return variance(list(self.pictures[:16]))


def variance(pictures: list[Float[Tensor, "V D"]]) -> float:
    """Half the mean squared distance of all pairs of rings after the best turn: the variance they would have on one axis."""
    pairs = [(a, b) for i, a in enumerate(pictures) for b in pictures[:i]]
    return 0.5 * sum(_apart(a, b) for a, b in pairs) / len(pairs)


def _apart(a: Float[Tensor, "V D"], b: Float[Tensor, "V D"]) -> float:
    square = _distances(a, b).square()
    view = torch.arange(len(a))
    return min(square[view, (view + s) % len(a)].mean().item() for s in range(len(a)))


def _distances(a: Float[Tensor, "A D"], b: Float[Tensor, "N D"]) -> Float[Tensor, "A N"]:
    return torch.cdist(a, b) / a.shape[1] ** 0.5


def chamfer(ring: Ring, truth: Ring) -> float:
    """Mean distance in metres between the surfaces that two rings show, half from each side. Infinite where one is empty."""
    mine, theirs = surface(ring), surface(truth)
    if len(mine) == 0 or len(theirs) == 0:
        return float("inf")
    return float(cKDTree(theirs).query(mine)[0].mean() + cKDTree(mine).query(theirs)[0].mean()) / 2


def surface(ring: Ring) -> Float[np.ndarray, "P 3"]:
    """Visible surface points in the world, POINTS of them evenly taken, from where pixels are more than half covered."""
    origin, direction = ring.cameras.rays()
    solid = ring.render.alpha[..., 0] > 0.5
    depth = ring.render.depth / ring.render.alpha.clamp(min=1e-6)
    points = (origin + depth * direction)[solid]
    return points[:: max(1, len(points) // POINTS)].double().numpy()


def _iou(mine: Float[Tensor, "V P"], theirs: Float[Tensor, "K V P"]) -> Float[Tensor, " K"]:
    both = torch.einsum("vp,kvp->kv", mine, theirs)
    either = mine.sum(-1) + theirs.sum(-1) - both
    return (both / either.clamp(min=1)).mean(-1)


def _repeated(where: Cameras, count: int) -> Cameras:
    rows = where.at(torch.arange(len(where)).repeat(count))
    return dataclasses.replace(rows, subject=torch.arange(count).repeat_interleave(len(where)))


def _only(soup: Soup, thing: int) -> Soup:
    """One of a soup's objects where it stands, without the others."""
    mine = soup.thing == thing
    rows = ("kind", "pose", "shape", "colour", "second", "pattern", "part", "thing", "frame")
    return dataclasses.replace(soup, **{name: getattr(soup, name)[mine] for name in rows})


def _turned(where: Cameras, steps: int) -> Cameras:
    """The same cameras moved around z, which is the object turned the other way; what they see, in the first ones' frame."""
    return look_at(where.azimuth + turn(steps), where.elevation, size=where.height)

