"""What a trained prior makes on its own, held against the world: does the judge name it right, and is it spread as true pictures are?

Samples are 25 steps of DDIM under guidance (dream3d.sampling). The same is asked of true renders of unseen instances (`test` stream):
that is the most the judge can say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dream3d import files
from dream3d.bench import judge
from dream3d.bench.scenes import FRONTED
from dream3d.cameras import VIEW_WORDS, look_at, view_index
from dream3d.interfaces import Prior
from dream3d.priors._renders import orbit, spread
from dream3d.sampling import sample
from dream3d.toybox.language import COLOURS, OBJECTS, RELATIONS, Thing, Wish, captions
from dream3d.toybox.render import render
from dream3d.toybox.shapes import Dice
from dream3d.toybox.training.data import HELD_OUT, Mix, backgrounds, random_wish
from dream3d.toybox.world import build, instance_seed
from dream3d.types import Condition

SCALE, STEPS, TOGETHER = 4.0, 25, 64  # of guidance; of sampling; pictures at once
DOUBLES = 192  # prompts of two objects
OFTEN = 12  # instances of each held-out pair and side: they are few, and of 3 each views are known to give or take 11 points
Case = tuple[str, str, str]  # object, colour, view


@dataclass(frozen=True)
class Verdict:
    """What the judge says of B pictures, each of which should show one case: right or wrong, and features of what it saw; fronted: of
    which a view can be told at all."""

    object: Tensor
    colour: Tensor
    view: Tensor
    features: Float[Tensor, "B D"]
    fronted: Tensor

    def shares(self, chosen: Tensor) -> dict[str, float]:
        """Percentages among the chosen ones; of views only where an object has a front (left out where none has)."""
        parts = {"object": chosen, "colour": chosen, "view": chosen & self.fronted}
        return {name: percent(getattr(self, name)[part]) for name, part in parts.items() if part.any()}


def opened(folder: Path | str, device: str = "cpu") -> Prior:
    """The prior as recipes open it, in single precision."""
    from dream3d.priors.toybox import Toybox

    return Toybox(model=str(folder), precision="float32").to(device)


def draw(prior: Prior, prompts: Sequence[str], *, scale: float = SCALE, steps: int = STEPS, seed: int = 0) -> Float[Tensor, "B 3 h w"]:
    """One picture per prompt, in [0, 1]."""
    device, out = prior.table.device, []
    for first in range(0, len(prompts), TOGETHER):
        said = list(prompts[first : first + TOGETHER])
        nothing = prior.text([""] * len(said))
        text = Condition({"text": prior.text(said), "bare": prior.text(said), "negative": nothing, "empty": nothing})
        cameras = look_at(torch.zeros(len(said)), torch.zeros(len(said)), size=prior.spec.pixels).to(device)
        out.append(sample(prior, text, cameras, scale=scale, steps=steps, seed=seed + first).movedim(-1, 1).clamp(0, 1).cpu())
    return torch.cat(out)


def cases(names: Sequence[str], colours: Sequence[str], repeat: int = 1) -> list[Case]:
    """Every object, colour and view, `repeat` times."""
    return [(name, colour, view) for name in names for colour in colours for view in VIEW_WORDS for _ in range(repeat)]


def prompt(case: Case) -> str:
    return captions(_wish(case), case[2])[0]


def _wish(case: Case) -> Wish:
    return Wish((Thing(case[0], case[1]),))


def truth(asked: Sequence[Case], size: int, first: int = 0) -> Float[Tensor, "B 3 h w"]:
    """True renders of the same cases: unseen instances, from directions that deserve the view's word, over training's backgrounds."""
    return _truth([_wish(case) for case in asked], [view for _, _, view in asked], size, first)


def _truth(wishes: Sequence[Wish], views: Sequence[str], size: int, first: int) -> Float[Tensor, "B 3 h w"]:
    cameras = orbit(spread(40 * len(wishes) + 400, 3), size, 1)
    words = view_index(cameras)
    pools = {word: (words == i).nonzero()[:, 0].tolist() for i, word in enumerate(VIEW_WORDS)}
    chosen = torch.tensor([pools[view][i % len(pools[view])] for i, view in enumerate(views)])
    seen = cameras.at(chosen)
    seen = type(seen)(**{**vars(seen), "subject": torch.arange(len(wishes))})
    soups = [build(wish, instance_seed("test", first + i)) for i, wish in enumerate(wishes)]
    shown = render(soups, seen, buffers=("rgb",))
    colour = backgrounds(len(wishes), torch.Generator().manual_seed(first))
    return (shown.rgb + (1 - shown.alpha) * colour[:, None, None]).movedim(-1, 1)


@torch.no_grad()
def judged(pictures: Float[Tensor, "B 3 h w"], asked: Sequence[Case], by: judge.Judge) -> Verdict:
    """The judge's word on every picture."""
    said = [by.look(part) for part in pictures.split(256)]
    present, colour, view = (torch.cat([getattr(s, name) for s in said]) for name in ("present", "colour", "view"))
    what = torch.tensor([OBJECTS.index(name) for name, _, _ in asked])
    paint = torch.tensor([list(COLOURS).index(c) for _, c, _ in asked])
    side = torch.tensor([VIEW_WORDS.index(v) for _, _, v in asked])
    rows = torch.arange(len(asked))
    fronted = torch.tensor([name in FRONTED for name, _, _ in asked])
    return Verdict(present.argmax(-1) == what, colour[rows, what].argmax(-1) == paint, view.argmax(-1) == side,
                   features(pictures, by), fronted)  # fmt: skip


@torch.no_grad()
def features(pictures: Float[Tensor, "B 3 h w"], by: judge.Judge) -> Float[Tensor, "B D"]:
    """What the judge's last layer of places sees, mean over places."""
    way = "area" if pictures.shape[-1] > judge.SIDE else "bicubic"
    fine = F.interpolate(pictures, (judge.SIDE, judge.SIDE), mode=way).clamp(0, 1)
    return torch.cat([by.trunk(2 * part - 1).mean((2, 3)) for part in fine.split(256)])


def percent(right: Tensor) -> float:
    return round(100 * right.float().mean().item(), 1)


def kid(one: Float[Tensor, "N D"], other: Float[Tensor, "N D"], like: Float[Tensor, "L D"]) -> float:
    """Kernel Inception Distance (Binkowski et al. 2018, arXiv:1801.01401): the unbiased squared MMD under (x.y / D + 1)^3, here on the
    judge's features, scaled to the unit variance of `like`: pictures of neither set, or the estimate has a bias again. Row i of both may
    show the same thing, so such pairs are left out between the sets as within them (the U-statistic of Gretton et al. 2012, eq. 4)."""
    mean, std = like.mean(0), like.std(0).clamp(min=1e-6)
    x, y = (((v - mean) / std).double() for v in (one, other))

    def between(a: Tensor, b: Tensor) -> Tensor:
        kernel = (a @ b.T / a.shape[1] + 1) ** 3
        return (kernel.sum() - kernel.trace()) / (len(a) * (len(a) - 1))

    return (between(x, x) + between(y, y) - 2 * between(x, y)).item()


def evaluate(prior: Prior, names: Sequence[str], colours: Sequence[str], *, repeat: int = 1, scale: float = SCALE) -> dict:
    """The judge's percentages for samples and for true renders, held-out pairs apart from the others; KID, and what it is between two
    sets of true renders."""
    extra = [c for c in cases(names, colours, OFTEN * repeat) if c[:2] in HELD_OUT]
    asked = [*(c for c in cases(names, colours, repeat) if c[:2] not in HELD_OUT), *extra]
    held = torch.tensor([c[:2] in HELD_OUT for c in asked])
    by, size = judge.load(), prior.spec.pixels
    made = judged(draw(prior, [prompt(c) for c in asked], scale=scale), asked, by)
    real, more, like = (judged(truth(asked, size, i * len(asked)), asked, by) for i in range(3))
    law, scale_of = more.features[~held], like.features[~held]
    return {
        "samples": len(asked), "sampling_steps": STEPS, "guidance": scale, "objects": sorted({c[0] for c in asked}),
        "seen": made.shares(~held), **({"held_out": made.shares(held)} if held.any() else {}), "true_renders": real.shares(~held),
        "by_view": {v: percent(made.view[torch.tensor([c[2] == v for c in asked]) & ~held & made.fronted]) for v in VIEW_WORDS},
        "kid_x1000": round(1000 * kid(made.features[~held], law, scale_of), 2),
        "kid_x1000_of_true_renders": round(1000 * kid(real.features[~held], law, scale_of), 2),
    }  # fmt: skip


def doubles(count: int) -> list[Wish]:
    """Two different objects of named colours, no held-out pair, the relations in turn."""
    dice, mix = Dice(0), Mix(core=0.0, pairs=1.0, plain=0.0, patterned=0.0)
    drawn = [random_wish(dice, mix).things for _ in range(count)]
    return [Wish(things, RELATIONS[i % len(RELATIONS)]) for i, things in enumerate(drawn)]


def true_doubles(wishes: Sequence[Wish], size: int) -> Float[Tensor, "B 3 h w"]:
    """Unseen instances from the front, where neither hides the other beside it."""
    return _truth(wishes, ["front"] * len(wishes), size, 0)


def both(pictures: Float[Tensor, "B 3 h w"], wishes: Sequence[Wish], by: judge.Judge) -> dict[str, float]:
    """Percentages of pictures whose two objects are what the judge sees first, whose two colours it names right, and both; and of the
    last by relation."""
    said = by.look(pictures)
    what = torch.tensor([[OBJECTS.index(thing.name) for thing in wish.things] for wish in wishes])
    paint = torch.tensor([[list(COLOURS).index(thing.colour) for thing in wish.things] for wish in wishes])
    objects = (said.present.topk(2, -1).indices.sort(-1).values == what.sort(-1).values).all(-1)
    rows = torch.arange(len(wishes))[:, None]
    colours = (said.colour[rows, what].argmax(-1) == paint).all(-1)
    right = {"objects": objects, "colours": colours, "both": objects & colours}
    right |= {name: right["both"][torch.tensor([wish.relation == name for wish in wishes])] for name in RELATIONS}
    return {name: percent(one) for name, one in right.items()}


def evaluate_doubles(prior: Prior, *, count: int = DOUBLES, scale: float = SCALE) -> dict:
    """The judge's percentages for prompts of two objects, seen from the front, and for true renders of the same."""
    wishes, by = doubles(count), judge.load()
    made = draw(prior, [captions(wish, "front")[0] for wish in wishes], scale=scale)
    return {"samples": count, **both(made, wishes, by), "true_renders": both(true_doubles(wishes, prior.spec.pixels), wishes, by)}


def grid(prior: Prior, prompts: Sequence[str], path: Path, *, scale: float = SCALE) -> None:
    """A picture: a row per prompt, a column per view word."""
    said = [f"{text}, {view} view" for text in prompts for view in VIEW_WORDS]
    made = draw(prior, said, scale=scale).unflatten(0, (len(prompts), -1))
    picture = torch.cat([torch.cat(list(row), -1) for row in made], -2).movedim(0, -1)
    with files.replacing(path) as temporary:
        Image.fromarray((picture.numpy() * 255).round().astype(np.uint8)).resize([4 * s for s in picture.shape[1::-1]],
                                                                                 Image.Resampling.NEAREST).save(temporary)  # fmt: skip
