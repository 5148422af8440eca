"""Labelled pictures for the judge: true objects, seen badly. Other instances than any prior or test knows (`judge` stream)."""

import dataclasses
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dream3d.cameras import look_at, view_index
from dream3d.toybox.language import COLOURS, OBJECTS, PATTERNS, RELATIONS, Thing, Wish
from dream3d.toybox.render import render
from dream3d.toybox.shapes import Dice
from dream3d.toybox.world import build, instance_seed

SIDE = 64  # pixels of a picture the judge sees
_FRONTED = """
    snowman car house mug boat duck robot cat rabbit bear penguin fish bus train plane sofa castle cactus flower
"""
FRONTED = tuple(_FRONTED.split())  # objects whose front and back differ
SEEN, HIDDEN = 0.08, 0.02  # share of the silhouette above which an object counts as seen, below which as hidden
VIEWS, CELLS = 4, 8  # of every scene; of every picture's side


@dataclass(frozen=True)
class Examples:
    """B pictures (rgb over a background, in [0, 1]) and what is on them. An index of -1 says nothing is to be learned."""

    image: Float[Tensor, "B 3 H W"]
    cells: Float[Tensor, "B C i j"]  # share of every object, background last, in a grid of CELLS x CELLS
    present: Float[Tensor, "B O"]  # 1 seen, 0 not there, -1 hardly seen
    colour: Int[Tensor, "B O"]
    pattern: Int[Tensor, "B O"]
    view: Int[Tensor, " B"]

    def __len__(self) -> int:
        return len(self.image)


def examples(count: int, seed: int) -> Examples:
    """`count` pictures, the same for the same seed; one in sixteen shows nothing the world knows."""
    dice, rng = Dice(seed), torch.Generator().manual_seed(seed % 2**63)
    scenes = -(-count // VIEWS)
    wishes = [random_wish(dice) for _ in range(scenes)]
    soups = [build(wish, instance_seed("judge", dice.getrandbits(40))) for wish in wishes]
    cameras = dataclasses.replace(_cameras(count, rng), subject=torch.arange(count) // VIEWS)
    shown = render(soups, cameras, buffers=("rgb", "labels"))
    labels = _labels([wishes[i] for i in cameras.subject.tolist()], shown.labels, view_index(cameras))
    moved = _move(torch.cat([shown.rgb, shown.alpha, shown.labels[..., :-1]], -1).movedim(-1, 1), rng)
    picture, weights = moved[:, :4], moved[:, 4:]
    nothing = torch.rand(count, generator=rng) < 1 / 16
    picture[nothing], weights[nothing] = clouds(int(nothing.sum()), rng), 0.0
    cells = _cells([wishes[i] for i in cameras.subject.tolist()], weights)
    return Examples(over(blemish(picture, rng), backdrop(count, rng)), cells, *_blank(labels, nothing))


def random_wish(dice: Dice) -> Wish:
    """One object, or in half of all cases two different ones with a relation; most with a colour, many with a pattern."""
    first, second = _thing(dice), _thing(dice)
    if first.name == second.name or dice.chance(0.5):
        return Wish((first,))
    return Wish((first, second), dice.pick(RELATIONS))


def _thing(dice: Dice) -> Thing:
    colour = dice.pick(tuple(COLOURS)) if dice.chance(0.9) else None
    return Thing(dice.pick(OBJECTS), colour, dice.pick(PATTERNS) if dice.chance(0.4) else None)


def _cameras(count: int, rng: torch.Generator):
    u, v, d, near = torch.rand(4, count, generator=rng)
    elevation = torch.where(near < 0.6, 5 + 20 * v, 95 * v - 10)  # most of them near the ring that is judged
    return look_at(2 * math.pi * u, torch.deg2rad(elevation), 2.8 + 0.4 * d, size=SIDE)


def _labels(wishes: list[Wish], weights: Float[Tensor, "B H W S"], view: Int[Tensor, " B"]):
    shares = weights[..., :-1].sum((1, 2))
    shares = shares / shares.sum(-1, keepdim=True).clamp(min=1e-6)
    present = torch.zeros(len(wishes), len(OBJECTS))
    colour, pattern = (torch.full(present.shape, -1) for _ in range(2))
    for row, wish in enumerate(wishes):
        for thing, share in zip(wish.things, shares[row].tolist(), strict=False):
            o = OBJECTS.index(thing.name)
            present[row, o] = 1 if share > SEEN else -1 if share > HIDDEN else 0
            if share > SEEN:
                colour[row, o] = list(COLOURS).index(thing.colour) if thing.colour else -1
                pattern[row, o] = PATTERNS.index(thing.pattern) + 1 if thing.pattern else 0
    fronted = torch.tensor([any(thing.name in FRONTED for thing in wish.things) for wish in wishes])
    return present, colour, pattern, torch.where(fronted | (view == 3), view, -1)


def _cells(wishes: list[Wish], weights: Float[Tensor, "B S H W"]) -> Float[Tensor, "B C i j"]:
    shares = F.adaptive_avg_pool2d(weights, CELLS)
    cells = torch.zeros(len(wishes), len(OBJECTS) + 1, CELLS, CELLS)
    for row, wish in enumerate(wishes):
        for i, thing in enumerate(wish.things):
            cells[row, OBJECTS.index(thing.name)] = shares[row, i]
    cells[:, -1] = 1 - cells.sum(1)
    return cells.clamp(0, 1)


def _blank(labels, nothing: Bool[Tensor, " B"]):
    present, colour, pattern, view = labels
    row = nothing[:, None]
    return present * ~row, colour.where(~row, -1), pattern.where(~row, -1), view.where(~nothing, -1)


# --- seen badly -----------------------------------------------------------------------------------------------------------------


def blemish(picture: Float[Tensor, "B 4 H W"], rng: torch.Generator) -> Float[Tensor, "B 4 H W"]:
    """What a scene of splats does to a picture: soft, hazy, speckled, its colours a little off. Premultiplied."""
    return _tint(_speckle(_haze(_soften(picture, rng), rng), rng), rng).clamp(0, 1)


def _move(picture, rng):
    """Nearer or farther, and not quite in the middle; whatever channels there are."""
    b = len(picture)
    zoom, shift = 0.75 + 0.4 * torch.rand(b, generator=rng), 0.12 * (2 * torch.rand(b, 2, generator=rng) - 1)
    affine = torch.cat([torch.diag_embed(torch.stack([zoom, zoom], -1)), shift[..., None]], -1)
    return F.grid_sample(picture, F.affine_grid(affine, list(picture.shape), align_corners=False), align_corners=False)


def _soften(picture, rng):
    """A third as drawn, a third blurred, a third of fewer pixels."""
    kind = torch.randint(3, (len(picture), 1, 1, 1), generator=rng)
    x = torch.arange(-3.0, 4.0)
    kernel = torch.exp(-0.5 * (x / (0.5 + float(torch.rand(1, generator=rng)))) ** 2)
    kernel = (kernel / kernel.sum()).expand(4, 1, 1, -1)
    blurred = F.conv2d(F.conv2d(picture, kernel, padding=(0, 3), groups=4), kernel.mT, padding=(3, 0), groups=4)
    side = int(torch.randint(28, 56, (1,), generator=rng))
    coarse = F.interpolate(picture, side, mode="area")
    coarse = F.interpolate(coarse, picture.shape[-1], mode="bilinear", align_corners=False)
    return torch.where(kind == 0, picture, torch.where(kind == 1, blurred, coarse))


def _haze(picture, rng):
    """Faint blobs in the object's own mean colour around it, thin places within it."""
    b = len(picture)
    own = picture[:, :3].sum((2, 3)) / picture[:, 3:].sum((2, 3)).clamp(min=1e-3)
    fog = F.interpolate(torch.rand(b, 2, 8, 8, generator=rng), picture.shape[-1], mode="bicubic", align_corners=False)
    amount = torch.rand(b, 2, 1, 1, generator=rng) ** 3
    near = F.interpolate(F.interpolate(picture[:, 3:], 5, mode="area"), fog.shape[-1], mode="bilinear", align_corners=False)
    thin = 1 - 0.35 * amount[:, :1] * fog[:, :1].clamp(0, 1)
    picture = picture * thin
    more = (1 - picture[:, 3:]) * 0.5 * amount[:, 1:] * (near * fog[:, 1:]).clamp(0, 1)
    return picture + more * torch.cat([own[..., None, None].expand(-1, -1, *more.shape[2:]), torch.ones_like(more)], 1)


def _speckle(picture, rng):
    amount = 0.12 * torch.rand(len(picture), 1, 1, 1, generator=rng) ** 2
    noise = torch.randn(len(picture), 3, SIDE // 2, SIDE // 2, generator=rng)
    noise = F.interpolate(noise, SIDE, mode="bilinear", align_corners=False)
    rgb = (picture[:, :3] + amount * noise * picture[:, 3:]).clamp(min=0)
    return torch.cat([torch.minimum(rgb, picture[:, 3:]), picture[:, 3:]], 1)


def _tint(picture, rng):
    b = len(picture)
    gain = 0.9 + 0.2 * torch.rand(b, 1, 1, 1, generator=rng) + 0.06 * (torch.rand(b, 3, 1, 1, generator=rng) - 0.5)
    grey = picture[:, :3].mean(1, keepdim=True)
    strength = 0.85 + 0.35 * torch.rand(b, 1, 1, 1, generator=rng)
    rgb = ((grey + strength * (picture[:, :3] - grey)) * gain).clamp(min=0)
    return torch.cat([torch.minimum(rgb, picture[:, 3:]), picture[:, 3:]], 1)


def clouds(count: int, rng: torch.Generator) -> Float[Tensor, "n 4 H W"]:
    """Pictures of nothing: a few, or many, coloured blobs."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIDE)] * 2, indexing="ij")
    pictures = torch.zeros(count, 4, SIDE, SIDE)
    for picture in pictures:
        blobs = 1 + int(40 * torch.rand(1, generator=rng) ** 2)
        for cx, cy, s, r, *colour in torch.rand(blobs, 7, generator=rng).tolist():
            width, height = 0.04 + 0.3 * s, (0.04 + 0.3 * s) * (0.4 + 0.5 * r)
            distance = ((x - cx + 0.5) / width) ** 2 + ((y - cy + 0.5) / height) ** 2
            weight = (1.5 * torch.exp(-0.5 * distance)).clamp(max=1)
            picture[:3] += weight * (torch.tensor(colour)[:, None, None] - picture[:3])
            picture[3] += weight * (1 - picture[3])
    return pictures


def backdrop(count: int, rng: torch.Generator) -> Float[Tensor, "B 3 H W"]:
    """Backgrounds: one colour, or two in a soft field; a third of them grey."""
    a, b = torch.rand(2, count, 3, 1, 1, generator=rng)
    grey = torch.rand(count, 1, 1, 1, generator=rng) < 1 / 3
    a, b = (torch.where(grey, c[:, :1].expand_as(c), c) for c in (a, b))
    field = torch.rand(count, 1, 4, 4, generator=rng) * (torch.rand(count, 1, 1, 1, generator=rng) < 0.4)
    return a + (b - a) * F.interpolate(field, SIDE, mode="bicubic", align_corners=False).clamp(0, 1)


def over(picture: Float[Tensor, "B 4 H W"], backdrop: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    return (picture[:, :3] + (1 - picture[:, 3:]) * backdrop).clamp(0, 1)
