"""What the tiers over latents are worth: pictures from noise beside true ones, errors on what was never shown, and with what belongs to
another picture."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dream3d import files
from dream3d.bench.judge import Judge
from dream3d.cameras import look_at, view_index
from dream3d.interfaces import Prior
from dream3d.priors._views import VIEWS
from dream3d.sampling import sample
from dream3d.toybox.language import COLOURS, OBJECTS
from dream3d.toybox.training import data, goals, measure, store
from dream3d.toybox.training.card import BRIEF, card
from dream3d.toybox.training.data import Feed, Rows
from dream3d.toybox.training.network import Learner
from dream3d.types import Condition

UNSHOWN, STEPS, ROWS, LEVELS = 999_983, 25, 96, 4  # seed of what no training draws; of sampling; pictures, grouped or not; noises for each
TOGETHER, LIFT = 8, math.radians(15)  # groups at once that the judge is shown; their elevation


def unshown(training, count: int, chunk: int = 0) -> Rows:
    """Rows that the training never sees, each of another instance."""
    order = dataclasses.replace(training.feed.order, count=count, views=1, seed=UNSHOWN, early=0)
    return Feed(order, training.device, draw=training.mean.draw).chunk(chunk)


def another(rows: Rows, told: tuple[str, ...]) -> Rows:
    """The same x, told of another row."""
    return rows | {name: rows[name][1:] + rows[name][:1] if isinstance(rows[name], list) else rows[name].roll(-1, 0) for name in told}


@torch.no_grad()
def error(model: Learner, rows: Rows, told: Rows | None = None) -> float:
    """Mean squared error of v at even levels, of x as it is in `rows`, told what is in `told`."""
    x, total = model.target(rows), 0.0
    squared = model.scheduler.alphas_cumprod.to(x)
    for i in range(LEVELS):
        rng = torch.Generator().manual_seed(i)
        noise = torch.randn(x.shape, generator=rng).to(x)
        index = torch.full((len(x),), int((i + 0.5) / LEVELS * len(squared)), device=x.device)
        alpha, sigma = squared[index[0]].sqrt(), (1 - squared[index[0]]).sqrt()
        out = model(alpha * x + sigma * noise, index, told or rows)
        total += (out - (alpha * noise - sigma * x)).square().mean().item() / LEVELS
    return total


@torch.no_grad()
def made(model: Learner, rows: Rows, seed: int = 0) -> Float[Tensor, "B 3 h w"]:
    """Pictures from noise by DDIM without guidance, told what the rows tell."""
    squared = model.scheduler.alphas_cumprod
    like = model.target(rows)
    z = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)).to(like)
    table = torch.linspace(len(squared) - 1, 0, STEPS + 1).long().tolist()
    for now, then in zip(table, [*table[1:], None], strict=True):
        keep = squared[now].to(z)
        v = model(z, torch.full((len(z),), now, device=z.device), rows)
        x, eps = keep.sqrt() * z - (1 - keep).sqrt() * v, (1 - keep).sqrt() * z + keep.sqrt() * v
        z = x if then is None else squared[then].sqrt().to(z) * x + (1 - squared[then]).sqrt().to(z) * eps
    return model.pictures(z)


def true(rows: Rows) -> Float[Tensor, "B 3 h w"]:
    return rows["x"].flatten(0, 1) if rows["x"].ndim == 5 else rows["x"]


def likeness(one: Float[Tensor, "B 3 h w"], other: Float[Tensor, "B 3 h w"]) -> float:
    """PSNR in dB, of pictures in [-1, 1]."""
    return -10 * ((one - other) / 2).square().mean().clamp(min=1e-10).log10().item()


def measured(training, rows_of: int = ROWS) -> dict:
    """How well noise is told from pictures that were never shown, and how much worse if told of another picture; how like true ones made
    ones are, how often the judge names them as it does the true ones, how far they are from other true ones (KID), and what a true picture
    costs to pass the autoencoder."""
    model, count = training.mean, max(2, rows_of // training.mean.group)
    rows, *more = (unshown(training, count, chunk) for chunk in range(3))
    wrong = another(rows, model.told)
    x, by = model.target(rows), measure.judge.load()
    pictures, drawn, coded = true(rows), made(model, rows), model.pictures(x)
    law, like, real, own = (measure.features(_seen(v), by) for v in (*map(true, more), pictures, drawn))
    return {
        "rows": count, "sampling_steps": STEPS, "v_error": round(error(model, rows), 5),
        "v_error_told_of_another": round(error(model, rows, wrong), 5), "v_error_of_nothing": round(_nothing(model, x), 5),
        "psnr_autoencoder": round(likeness(coded, pictures), 2),
        "psnr_made": round(likeness(drawn, pictures), 2),
        "psnr_made_told_of_another": round(likeness(made(model, wrong), pictures), 2),
        "named_as_true": named(drawn, pictures, by), "named_as_true_by_autoencoder": named(coded, pictures, by),
        "kid_x1000": round(1000 * measure.kid(own, law, like), 2),
        "kid_x1000_of_true_renders": round(1000 * measure.kid(real, law, like), 2),
    }  # fmt: skip


def named(one: Float[Tensor, "B 3 h w"], other: Float[Tensor, "B 3 h w"], by: Judge) -> dict[str, float]:
    """Percentages of pictures in [-1, 1] whose object, its colour, and view the judge calls as it does another picture's."""
    a, b = by.look(_seen(one)), by.look(_seen(other))
    rows, what = torch.arange(len(other)), b.objects
    paint = a.colour[rows, what].argmax(-1) == b.colour[rows, what].argmax(-1)
    same = {"object": a.objects == what, "colour": paint, "view": a.view.argmax(-1) == b.view.argmax(-1)}
    return {name: measure.percent(right) for name, right in same.items()}


def _seen(x: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
    return ((x + 1) / 2).clamp(0, 1).float().cpu()


def _nothing(model: Learner, x: Tensor) -> float:
    """The error of the answer 0."""
    squared = model.scheduler.alphas_cumprod
    keep = torch.stack([squared[int((i + 0.5) / LEVELS * len(squared))] for i in range(LEVELS)]).mean().item()
    return keep + (1 - keep) * x.square().mean().item()


def grid(training, path: Path, count: int = 4) -> None:
    """True pictures and made ones that were told the same, a pair of lines for a group, or for four pictures."""
    model, rows = training.mean, unshown(training, count)
    both = [v.unflatten(0, (-1, max(model.group, count))) for v in (true(rows), made(model, rows))]
    lines = [torch.cat(list(line), -1) for pair in zip(*both, strict=True) for line in pair]
    picture = (torch.cat(lines, -2).movedim(0, -1).float().cpu().clamp(-1, 1) + 1) * 127.5
    with files.replacing(path) as temporary:
        Image.fromarray(picture.round().numpy().astype(np.uint8)).save(temporary)


def finish(training, name: str, preset: str, out: Path | None, brief: bool = False) -> None:
    """Measure the moving average and write metrics.json; into `out` (None: nowhere) the folder with its card."""
    metrics = measured(training, 4 if brief else ROWS) | judged(training, *BRIEF if brief else (data.CORE_OBJECTS, data.CORE_COLOURS))
    files.write_json(training.out / "metrics.json", {"step": training.step, **metrics})
    print(json.dumps(metrics, indent=2), goals.said(name, metrics), sep="\n")
    if out is not None:
        store.free(out)
        told = {"kind": training.mean.family, "pictures": training.step * training.place.batch * training.mean.group, "base": training.base}
        with store.anew(out) as part:
            training.mean.publish(part)
            files.write_json(part / "card.json", card(training, name, preset, metrics) | told)


def judged(training, names: Sequence[str], colours: Sequence[str]) -> dict:
    """What the judge says of pictures that the published folder's own prior makes under guidance: of a text alone, or of four views."""
    family = training.mean.family
    if family not in _families():
        return {}
    with store.anew(training.out / "pipeline") as part:
        training.mean.publish(part)
    prior = _families()[family](model=str(training.out / "pipeline"), precision="float32").to(training.device)
    ask = measure.evaluate if family == "stable_diffusion" else together
    return {"judge": ask(prior, names, colours)}


def _families() -> dict[str, type[Prior]]:
    """Whose pictures the judge is shown. Not by their names in configurations: what checks these is not on every training machine."""
    from dream3d.priors.mvdream import MVDream
    from dream3d.priors.stable_diffusion import StableDiffusion

    return {"stable_diffusion": StableDiffusion, "mvdream": MVDream}


def together(prior: Prior, names: Sequence[str], colours: Sequence[str], *, scale: float = measure.SCALE) -> dict:
    """Percentages of single views that the judge names right, and of groups whose four views it calls one object of one colour (`agree`),
    of held-out pairs apart from the others."""
    asked = [(name, colour) for name in names for colour in colours]
    turn = torch.arange(VIEWS) * (2 * math.pi / VIEWS)
    by, right, one = measure.judge.load(), [], []
    for first in range(0, len(asked), TOGETHER):
        part = asked[first : first + TOGETHER]
        said = [f"a {colour} {name}" for name, colour in part for _ in range(VIEWS)]
        text, nothing = prior.text(said), prior.text([""] * len(said))
        cameras = look_at(turn.repeat(len(part)), torch.full((len(said),), LIFT), size=prior.spec.pixels, views=VIEWS)
        cameras = cameras.to(text.tokens.device)
        told = Condition({"text": text, "bare": text, "negative": nothing, "empty": nothing})
        seen = by.look(sample(prior, told, cameras, scale=scale, steps=STEPS, seed=first).movedim(-1, 1).clamp(0, 1).cpu())
        what = torch.tensor([OBJECTS.index(name) for name, _ in part]).repeat_interleave(VIEWS)
        paint = torch.tensor([list(COLOURS).index(colour) for _, colour in part]).repeat_interleave(VIEWS)
        every = torch.arange(len(what))
        side = seen.view.argmax(-1) == view_index(cameras).cpu()
        right.append(torch.stack([seen.objects == what, seen.colour[every, what].argmax(-1) == paint, side], 1))
        called = torch.stack([seen.objects, seen.colour[every, seen.objects].argmax(-1)], 1).unflatten(0, (-1, VIEWS))
        one.append((called == called[:, :1]).flatten(1).all(1))
    held, every, agree = torch.tensor([pair in data.HELD_OUT for pair in asked]), torch.cat(right).unflatten(0, (-1, VIEWS)), torch.cat(one)

    def shares(chosen: Tensor) -> dict[str, int | float]:
        names = {name: measure.percent(every[chosen][..., i]) for i, name in enumerate(("object", "colour", "view"))}
        return {"groups": int(chosen.sum()), "agree": measure.percent(agree[chosen]), **names}

    return {"guidance": scale} | {name: shares(v) for name, v in (("seen", ~held), ("held_out", held)) if v.any()}
