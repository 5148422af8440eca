"""A differentiable score of the render itself, climbed: g = - d score(x + eps, words) / d x, in pixel space.

As CLIP's similarity was in Dream Fields, Jain et al. 2021, arXiv:2112.01455, before score distillation. The scorer comes from a small
table (guidance/_scorers.py, which also says how to plug in one of your own); so far that is the project's judge, log p(object) +
log p(colour | object) + log p(pattern | object) for all that the prompt names. What a network scores highly need not look like
anything: gradients of scores are best mixed, as one term of several, with a prior's, and a little noise on the picture keeps them from
noise of their own. Whoever climbs the judge must not be measured by it: figures of `bench quality` then say nothing.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from dream3d.guidance._scorers import SCORERS, ascent
from jaxtyping import Float
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, at
from dream3d.types import Step, View


@dataclass(eq=False)
class Reward(Guidance):
    """scorer: judge, log-probabilities of the toybox's judge; noise: standard deviation of what is added to the picture, in [0, 1];
    row: the words to score, bare as the prompt says them, text with the view's word."""

    space: ClassVar[str] = "pixel"
    perp_neg: ClassVar[bool] = False
    _: KW_ONLY
    scorer: Literal["judge"] = "judge"
    noise: Ramp = Ramp(0.05)
    row: Literal["bare", "text"] = "bare"

    def __post_init__(self):
        self.score = SCORERS[self.scorer]()

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B 3 h w"]:
        if view.x.shape[1] != 3:
            raise Mistake(f"what this term sees has {view.x.shape[1]} channels, but a scorer looks at pictures of 3",
                          where="guidance.sees", fix="guidance.sees=rgb")  # fmt: skip
        shaken = view.x + at(self.noise, now) * now.normal(*view.x.shape, device=view.x.device).to(view.x.dtype)
        return -ascent(self.score, shaken, view.text.words[self.row])
