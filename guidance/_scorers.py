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
        present, colour, pattern = F.logsigmoid(present), colour.log_softmax(-1), pattern.log_softmax(-1)
        return torch.stack([self._one(text, present[i], colour[i], pattern[i]) for i, text in enumerate(words)]).to(image.dtype)

    def _one(
        self, text: str, present: Float[Tensor, " O"], colour: Float[Tensor, "O K"], pattern: Float[Tensor, "O P"]
    ) -> Float[Tensor, ""]:
        """The score of one picture from the judge's log-probabilities."""
        things = parse(text, unknown="ignore").things
        if not things:
            raise Mistake(f"the judge knows no object in {text[:60]!r}", where="prompt", near=", ".join(OBJECTS[:8]))
        score = present.new_zeros(())
        for thing in things:
            row = OBJECTS.index(thing.name)
            score = score + present[row]
            score = score + (colour[row, list(COLOURS).index(thing.colour)] if thing.colour else 0)
            score = score + (pattern[row, 1 + PATTERNS.index(thing.pattern)] if thing.pattern else 0)  # plain first
        return score


SCORERS: dict[str, type] = {"judge": ToyJudge}
