"""What the tiers over latents are shown beside plain pictures: depths and normals, four views of one thing, another side of it, pictures
with holes, clips. Every function is a Draw of data.py; what a family of priors draws itself is drawn here by its own code."""

import dataclasses
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.cameras import VIEW_WORDS, clips, look_at, view_index
from dream3d.priors._views import VIEWS, poses
from dream3d.priors.controlnet import drawn
from dream3d.sees import relative_depth
from dream3d.toybox.language import Wish, captions
from dream3d.toybox.render import render
from dream3d.toybox.shapes import Dice
from dream3d.toybox.training.data import Mix, Order, Rows, backgrounds, caption, orbit, over, pictures, shuffled
from dream3d.toybox.world import Soup
from dream3d.types import Cameras

FRAMES = 8  # of a clip
UNPOSED, UNSEEN = 0.1, 0.1  # share of groups that are told no camera, of other sides that are shown no picture
LIFTED = math.sin(math.radians(30))  # Orthogonal's elevations are up to this
WHOLE = 0.25  # share of pictures that are one hole


def coded(order: Order, chunk: int, soups: list[Soup], device: str = "cpu") -> Rows:
    """pictures; for the chunks that an autoencoder learns from an eighth of the rows is a depth, an eighth normals."""
    if chunk >= order.early:
        return pictures(order, chunk, soups, device)
    _, rng = order.chances(chunk)
    seen = render(soups, orbit(order, rng).to(torch.device(device)), buffers=("rgb", "depth", "normal"))
    x = over(seen, backgrounds(order.count, rng))
    x[1::8] = _grey(seen)[1::8]
    x[5::8] = seen.normal.movedim(-1, 1)[5::8]
    return shuffled({"x": x, "said": [""] * order.count}, rng)


def controls(order: Order, chunk: int, soups: list[Soup], device: str = "cpu") -> Rows:
    """Pictures with their depth and their normals in [0, 1], as ControlNets of the project see them."""
    seen, cameras, rows, rng = _pictured(order, chunk, soups, device, ("rgb", "depth", "normal"))
    more = {what: drawn(what, seen, order.size, cameras) for what in ("depth", "normal")}
    return shuffled(rows | more, rng)


def deep(order: Order, chunk: int, soups: list[Soup], device: str = "cpu") -> Rows:
    """Pictures with their depth as grey in [-1, 1]."""
    seen, _, rows, rng = _pictured(order, chunk, soups, device, ("rgb", "depth"))
    return shuffled(rows | {"depth": _grey(seen)}, rng)


def holed(order: Order, chunk: int, soups: list[Soup], device: str = "cpu") -> Rows:
    """Pictures with a mask (B 1 h w) that is 1 where they are to be painted."""
    _, _, rows, rng = _pictured(order, chunk, soups, device, ("rgb",))
    return shuffled(rows | {"mask": holes(order.count, order.size, rng).to(rows["x"])}, rng)


def holes(count: int, size: int, rng: torch.Generator) -> Float[Tensor, "B 1 h w"]:
    """Boxes, discs, half planes, and everything."""
    kind, x, y, a, b, turn = torch.rand(6, count, 1, 1, generator=rng)
    place = (torch.arange(size) + 0.5) / size
    across, down = place[None, None] - x, place[None, :, None] - y
    box = (across.abs() < 0.1 + 0.3 * a) & (down.abs() < 0.1 + 0.3 * b)
    disc = across.square() + down.square() < (0.1 + 0.35 * a).square()
    plane = across * torch.cos(2 * math.pi * turn) + down * torch.sin(2 * math.pi * turn) > 0
    part = (1 - WHOLE) / 3
    some = torch.where(kind < part, box, torch.where(kind < 2 * part, disc, torch.where(kind < 3 * part, plane, torch.ones_like(box))))
    return some[:, None].float()


def views(order: Order, chunk: int, soups: list[Soup], device: str = "cpu") -> Rows:
    """Four views of one thing, 90 degrees apart, as Orthogonal looks: x (G 4 3 h w), pose (G 4 16); a tenth is told no pose."""
    dice, rng = order.chances(chunk)
    u, v = torch.rand(2, order.count, generator=rng)
    turn = ((u[:, None] + torch.arange(VIEWS) / VIEWS) * 2 * math.pi).flatten()
    elevation = torch.asin(LIFTED * v).repeat_interleave(VIEWS)
    cameras = look_at(turn, elevation, size=order.size, subject=_subject(order).repeat_interleave(VIEWS), views=VIEWS)
    words = [VIEW_WORDS[i] for i in view_index(cameras).tolist()]
    said = [_told(soups[i // order.views].wish, words[VIEWS * i : VIEWS * (i + 1)], dice, order.mix) for i in range(order.count)]
    x = _grouped(order, soups, cameras, VIEWS, rng, device)
    known = torch.rand(order.count, generator=rng) >= UNPOSED
    return shuffled({"x": x, "said": said, "pose": poses(cameras).unflatten(0, (-1, VIEWS)).to(x), "known": known.to(x.device)}, rng)


def moments(order: Order, chunk: int, soups: list[Soup], device: str = "cpu") -> Rows:
    """Clips of things that move, seen by a camera that stands still: x (G 8 3 h w)."""
    dice, rng = order.chances(chunk)
    still = dataclasses.replace(orbit(order, rng), time=None)
    words = [VIEW_WORDS[i] for i in view_index(still).tolist()]
    said = [caption(soups[i].wish, word, dice, order.mix) for i, word in zip(still.subject.tolist(), words, strict=True)]
    return shuffled({"x": _grouped(order, soups, clips(still, FRAMES), FRAMES, rng, device), "said": said}, rng)


def sides(order: Order, chunk: int, soups: list[Soup], device: str = "cpu") -> Rows:
    """x, what a thing looks like, beside a picture of it from elsewhere (from the front, mostly), over white, and the pose between them
    as Zero-1-to-3 tells it; a tenth is shown no picture."""
    _, rng = order.chances(chunk)
    to, lift, back = orbit(order, rng), *torch.rand(2, order.count, generator=rng)
    elevation = torch.deg2rad(-10 + 50 * lift)
    away = torch.deg2rad(90 * (2 * back - 1))
    beside = look_at(away, elevation, size=order.size, subject=to.subject)
    white = torch.ones(order.count, 3)
    x, picture = (over(render(soups, c.to(torch.device(device)), buffers=("rgb",)), white) for c in (to, beside))
    shown = torch.rand(order.count, generator=rng) >= UNSEEN
    told = {"picture": picture, "pose": turned(to, beside).to(x), "shown": shown.to(x.device)}
    return shuffled({"x": x, "said": [""] * order.count} | told, rng)


def turned(to: Cameras, beside: Cameras) -> Float[Tensor, "B 4"]:
    """Where views stand from pictures, as dream3d.priors.zero123 tells its network; all are equally far."""
    turn = to.azimuth - beside.azimuth
    return torch.stack([beside.elevation - to.elevation, turn.sin(), turn.cos(), torch.zeros_like(turn)], -1)


def _pictured(order: Order, chunk: int, soups: list[Soup], device: str, buffers: tuple[str, ...]):
    """What pictures draws, with more buffers and not yet in random order: the render, its cameras, the rows and what is left of chance."""
    dice, rng = order.chances(chunk)
    cameras = orbit(order, rng)
    words = [VIEW_WORDS[i] for i in view_index(cameras).tolist()]
    said = [caption(soups[i].wish, word, dice, order.mix) for i, word in zip(cameras.subject.tolist(), words, strict=True)]
    cameras = cameras.to(torch.device(device))
    seen = render(soups, cameras, buffers=buffers)
    return seen, cameras, {"x": over(seen, backgrounds(order.count, rng)), "said": said}, rng


def _grouped(
    order: Order, soups: list[Soup], cameras: Cameras, group: int, rng: torch.Generator, device: str
) -> Float[Tensor, "G V 3 h w"]:
    """Pictures in groups, each over one colour."""
    seen = render(soups, cameras.to(torch.device(device)), buffers=("rgb",))
    return over(seen, backgrounds(order.count, rng).repeat_interleave(group, 0)).unflatten(0, (-1, group))


def _subject(order: Order) -> Int[Tensor, " G"]:
    return torch.arange(order.count) // order.views


def _told(wish: Wish, words: list[str], dice: Dice, mix: Mix) -> list[str]:
    """One way to say a thing for all its views, each with its word or all without."""
    if dice.chance(mix.silent):
        return [""] * len(words)
    viewless = dice.chance(mix.viewless)
    every = [captions(wish, None if viewless else word) for word in words]
    way = dice.pick(range(len(every[0]))) if dice.chance(mix.varied) else 0
    return [said[way] for said in every]


def _grey(seen) -> Float[Tensor, "B 3 h w"]:
    return 2 * relative_depth(seen).expand(-1, -1, -1, 3).movedim(-1, 1) - 1
