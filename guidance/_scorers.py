"""Differentiable scorers of pictures against words, and the ascent that any of them allows.

A scorer is a function (pictures B 3 H W in [0, 1], words per view) -> one number per view, larger is better. One of your own, such as
an image and text model, becomes a guidance in a plug-in that returns `-ascent(scorer, view.x, words)`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dream3d.bench import judge
from dream3d.errors import Mistake
from dream3d.interfaces import device_of, freeze
from dream3d.toybox.language import COLOURS, OBJECTS, PATTERNS, parse

Scorer = Callable[[Float[Tensor, "B 3 H W"], tuple[str, ...]], Float[Tensor, " B"]]


def ascent(scorer: Scorer, x: Float[Tensor, "B 3 H W"], words: tuple[str, ...]) -> Float[Tensor, "B 3 H W"]:
    """d score / d x per view. The scorer's own parameters collect nothing."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(scorer(leaf, words).sum(), leaf)[0]


class ToyJudge:
    """log p of every object that the words name, in its colour and pattern, by the judge of dream3d/bench. Words it does not know are
    passed over; raises Mistake where no object is left."""

    def __init__(self):
        with torch.random.fork_rng(devices=[]):  # a network is drawn before its weights are read
            self.judge = freeze(judge.load())

    def __call__(self, image: Float[Tensor, "B 3 H W"], words: tuple[str, ...]) -> Float[Tensor, " B"]:
        if image.shape[-2:] != (judge.SIDE, judge.SIDE):
            image = F.interpolate(image, (judge.SIDE, judge.SIDE), mode="bilinear", antialias=True)
        if device_of(self.judge) != image.device:
            self.judge = self.judge.to(image.device)
        _, present, colour, pattern, _ = self.judge(image.to(self.judge.threshold.dtype))
        logs = F.logsigmoid(present), colour.log_softmax(-1), pattern.log_softmax(-1)
        each = {text: i for i, text in enumerate(dict.fromkeys(words))}
        rows = torch.tensor([each[text] for text in words], device=image.device)
        asked = (torch.stack(table).to(present)[rows] for table in zip(*map(_asked, each), strict=True))
        return sum((weight * log).flatten(1).sum(1) for weight, log in zip(asked, logs, strict=True)).to(image.dtype)


def _asked(text: str) -> tuple[Float[Tensor, " O"], Float[Tensor, "O K"], Float[Tensor, "O P"]]:
    """Ones where a text asks: for an object, for its colour, for its pattern."""
    things = parse(text, unknown="ignore").things
    if not things:
        raise Mistake(f"the judge knows no object in {text[:60]!r}", where="prompt", near=", ".join(OBJECTS[:8]))
    present, colour, pattern = (torch.zeros(len(OBJECTS), *size) for size in ((), (len(COLOURS),), (1 + len(PATTERNS),)))
    for thing in things:
        row = OBJECTS.index(thing.name)
        present[row] += 1
        if thing.colour:
            colour[row, list(COLOURS).index(thing.colour)] += 1
        if thing.pattern:
            pattern[row, 1 + PATTERNS.index(thing.pattern)] += 1  # plain comes first
    return present, colour, pattern


SCORERS: dict[str, type] = {"judge": ToyJudge}
