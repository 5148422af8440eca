"""What trained priors are shown: the toybox as an orbit's cameras see it, over plain colours, with captions of the world's language.

Chunk `i` of a training is a function of seed and `i` alone, so a training goes on where it was stopped without a saved state.
"""

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.cameras import VIEW_WORDS, look_at, view_index
from dream3d.priors._renders import HIGH, LOW
from dream3d.toybox.language import COLOURS, MOTIONS, OBJECTS, PATTERNS, RELATIONS, Thing, Wish, captions
from dream3d.toybox.render import render
from dream3d.toybox.shapes import Dice
from dream3d.toybox.world import Soup, build, instance_seed
from dream3d.types import Cameras, Render

CORE_OBJECTS = ("car", "house", "duck", "robot", "rabbit", "bus", "fish", "mug")
CORE_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
HELD_OUT = frozenset({  # object and colour that no caption joins, nor paint (but a red thing's stripes are pinkish); the first six: core
    ("car", "purple"), ("house", "pink"), ("duck", "blue"), ("robot", "green"), ("rabbit", "orange"), ("bus", "white"),
    ("boat", "yellow"), ("cat", "blue"), ("bear", "green"), ("teapot", "pink"), ("castle", "purple"), ("lamp", "pink"),
    ("snowman", "green"), ("penguin", "red"), ("chair", "blue"), ("rocket", "purple"),
})  # fmt: skip
Rows = dict[str, Any]  # name -> tensors or lists with a row per picture, or per group of pictures; "said": what they are called
SIDES, ABOVE = ((0.0, 90.0), (90.0, 90.0), (180.0, 90.0), (0.0, 360.0)), 60.0  # degrees: middle and width of each word
SEEDS = 40  # bits of an instance's number; the exact prior's own are the first few of the same stream


@dataclass(frozen=True)
class Mix:
    """Shares of what is drawn: core objects and colours first, two objects, no colour, a pattern, and captions that say nothing, no
    view, only the view, or it all in other words; moving: things that move, at any moment; even: instances that are seen as often from
    every side that has a word (an orbit's cameras are overhead one time in eleven)."""

    core: float = 0.5
    pairs: float = 0.05
    plain: float = 0.08
    patterned: float = 0.15
    silent: float = 0.1
    viewless: float = 0.2
    only_view: float = 0.02
    varied: float = 0.5
    moving: float = 0.0
    even: float = 0.5


@dataclass(frozen=True)
class Order:
    """A chunk of pictures, or groups of pictures: `count` of them, `views` of every instance, `size` pixels a side; early: so many
    chunks come first from which an autoencoder learns."""

    count: int
    views: int
    size: int
    seed: int
    mix: Mix = Mix()
    early: int = 0

    @property
    def scenes(self) -> int:
        return -(-self.count // self.views)

    def dice(self, chunk: int) -> Dice:
        return Dice((self.seed << 40) + chunk)

    def chances(self, chunk: int) -> tuple[Dice, torch.Generator]:
        """What else a chunk leaves to chance, once its instances are drawn."""
        dice = self.dice(chunk)
        dice.seed(dice.getrandbits(60) ^ 1)
        return dice, torch.Generator().manual_seed(dice.getrandbits(60))


def random_wish(dice: Dice, mix: Mix) -> Wish:
    """One object, seldom two different ones or one that moves; never a held-out pair."""
    first = _thing(dice, mix)
    if mix.moving and dice.chance(mix.moving):
        return Wish((first,), motion=dice.pick(tuple(MOTIONS)))
    if not dice.chance(mix.pairs):
        return Wish((first,))
    second = first
    while second.name == first.name:
        second = _thing(dice, mix)
    return Wish((first, second), dice.pick(RELATIONS))


def _thing(dice: Dice, mix: Mix) -> Thing:
    names, colours = (CORE_OBJECTS, CORE_COLOURS) if dice.chance(mix.core) else (OBJECTS, tuple(COLOURS))
    name, colour = dice.pick(names), dice.pick(colours)
    while (name, colour) in HELD_OUT:
        colour = dice.pick(colours)
    return Thing(name, None if dice.chance(mix.plain) else colour, dice.pick(PATTERNS) if dice.chance(mix.patterned) else None)


def caption(wish: Wish, view: str, dice: Dice, mix: Mix) -> str:
    """One way to say what a picture shows; the plainest most often."""
    if dice.chance(mix.silent):
        return ""
    if dice.chance(mix.only_view):
        return captions(Wish(), view)[0]
    said = captions(wish, None if dice.chance(mix.viewless) else view)
    return dice.pick(said) if dice.chance(mix.varied) else said[0]


def scenes(order: Order, chunk: int) -> list[Soup]:
    """The instances of a chunk."""
    dice = order.dice(chunk)
    return [build(random_wish(dice, order.mix), instance_seed("prior", dice.getrandbits(SEEDS))) for _ in range(order.scenes)]


def pictures(order: Order, chunk: int, soups: list[Soup], device: str = "cpu") -> Rows:
    """x (B 3 h w) in [-1, 1] and a caption for each, in random order."""
    dice, rng = order.chances(chunk)
    cameras = orbit(order, rng)
    words = [VIEW_WORDS[i] for i in view_index(cameras).tolist()]
    said = [caption(soups[i].wish, word, dice, order.mix) for i, word in zip(cameras.subject.tolist(), words, strict=True)]
    seen = render(soups, cameras.to(torch.device(device)), buffers=("rgb",))
    return shuffled({"x": over(seen, backgrounds(order.count, rng)), "said": said}, rng)


def orbit(order: Order, rng: torch.Generator) -> Cameras:
    """Cameras as dream3d.cameras.Orbit draws them, azimuth stratified over the views of an instance, or its views' words in turn."""
    u, v = torch.rand(2, order.count, generator=rng)
    place = torch.arange(order.count)
    azimuth, height = (2 * (place % order.views + u) / order.views - 1) * math.pi, LOW + (HIGH - LOW) * v
    even = (torch.rand(order.scenes, generator=rng) < order.mix.even)[place // order.views]
    azimuth, height = (torch.where(even, a, b) for a, b in zip(_even(order.count, rng), (azimuth, height), strict=True))
    time = {"time": torch.rand(order.count, generator=rng)} if order.mix.moving else {}
    return look_at(azimuth, torch.asin(height), size=order.size, subject=place // order.views, **time)


def _even(count: int, rng: torch.Generator) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Azimuths and sines of elevations: one of VIEW_WORDS after the other, anywhere within it."""
    u, v, flip = torch.rand(3, count, generator=rng)
    word = torch.arange(count) % len(VIEW_WORDS)
    middle, width = torch.tensor(SIDES)[word].T
    top = math.sin(math.radians(ABOVE))
    azimuth = torch.deg2rad(middle + width * (u - 0.5)) * torch.where(flip < 0.5, 1.0, -1.0)
    return azimuth, torch.where(word == len(VIEW_WORDS) - 1, top + (HIGH - top) * v, LOW + (top - LOW) * v)


def over(seen: Render, colour: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3 h w"]:
    """What is seen, over one colour each, in [-1, 1]."""
    return (2 * (seen.rgb + (1 - seen.alpha) * colour.to(seen.rgb)[:, None, None]) - 1).movedim(-1, 1)


def shuffled(rows: Rows, rng: torch.Generator) -> Rows:
    """The rows in random order: a step sees many instances."""
    order = torch.randperm(len(rows["said"]), generator=rng)
    return {name: value[order.to(value.device)].contiguous() if isinstance(value, Tensor) else [value[i] for i in order.tolist()]
            for name, value in rows.items()}  # fmt: skip


def backgrounds(count: int, rng: torch.Generator) -> Float[Tensor, "B 3"]:
    """Half any colour, a quarter grey, the others white: what recipes put behind a scene."""
    kind, colour = torch.rand(count, 1, generator=rng), torch.rand(count, 3, generator=rng)
    grey = colour[:, :1].expand(-1, 3)
    return torch.where(kind < 0.5, colour, torch.where(kind < 0.75, grey, torch.ones(count, 3)))


Draw = Callable[[Order, int, list[Soup], str], Rows]


class Feed:
    """Chunk after chunk, drawn on the device. With `workers`, so many other processes draw the next ones meanwhile, each on one core; the
    pictures are the same but for the renderer's rounding where the device is no CPU."""

    def __init__(self, order: Order, device: str = "cpu", workers: int = 0, draw: Draw = pictures):
        self.order, self.device, self.draw, self.most = order, device, draw, workers + 2
        self.pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_alone) if workers else None
        self.ahead: dict[int, Future] = {}

    def chunk(self, index: int) -> Rows:
        if self.pool is None:
            return self.draw(self.order, index, scenes(self.order, index), self.device)
        for i in range(index, index + self.most):
            if i not in self.ahead:
                self.ahead[i] = self.pool.submit(_drawn, self.draw, self.order, i)
        rows = self.ahead.pop(index).result()
        return {name: torch.from_numpy(v).to(self.device) if isinstance(v, np.ndarray) else v for name, v in rows.items()}

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)


def _alone() -> None:
    """One core for each process. Ctrl-C is not for it, but for the training, which ends it; it does not outlive one that was killed."""
    import numba

    torch.set_num_threads(1)
    numba.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_with, args=(parent_process(),), daemon=True).start()


def _with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _drawn(draw: Draw, order: Order, chunk: int) -> Rows:
    """A chunk on its way to another process: arrays, for which no shared memory has to suffice."""
    rows = draw(order, chunk, scenes(order, chunk), "cpu")
    return {name: value.numpy() if isinstance(value, Tensor) else value for name, value in rows.items()}


def core_pairs() -> Iterator[tuple[str, str]]:
    """Every object and colour of the core vocabulary."""
    return ((name, colour) for name in CORE_OBJECTS for colour in CORE_COLOURS)
