"""From prompts to text rows: every string is embedded once, then each view picks its rows by where its camera stands."""

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dream3d import debias
from dream3d.cameras import VIEW_WORDS, view_index
from dream3d.interfaces import Prior
from dream3d.options import Words
from dream3d.types import Cameras, Condition

FRONT, SIDE, BACK, OVERHEAD = range(4)  # in VIEW_WORDS


class Prompt:
    """Rows "text" (view-dependent), "bare", "empty", "negative" and the view words. Subject i is given prompt i modulo their
    number: particles share one prompt, several prompts take turns. `regions` are prompts for parts of the picture, the
    same for every subject: rows "region/k", view-dependent as "text" is. So is "source", what a scene to be edited shows now."""

    def __init__(self, prior: Prior, prompts: list[str], negative: str, words: Words, regions: list[str] | None = None,
                 source: str | None = None):  # fmt: skip
        self.prior, self.words, self.prompts = prior, words, len(prompts)
        self.further = [*(f"region/{k}" for k in range(len(regions or []))), *(["source"] if source else [])]
        self.strings = strings(prompts, negative, words, regions, source)
        self.embedding = prior.text(self.strings)
        if self.embedding.image is not None:  # an image prompt is not for what a prompt is guided away from
            guided = torch.arange(len(self.strings), device=self.embedding.image.device) < len(self.strings) - 2
            self.embedding = dataclasses.replace(self.embedding, image=self.embedding.image * guided[:, None, None])
        self.stride = 1 + len(VIEW_WORDS)

    def __call__(self, cameras: Cameras) -> Condition:
        n, words = len(cameras), self.words
        bare = torch.zeros(n, dtype=torch.long) if cameras.subject is None else cameras.subject.cpu()
        bare = bare % self.prompts * self.stride
        view = view_index(cameras, front=words.front, overhead=words.overhead).cpu()
        told = 1 + view if words.views else torch.zeros_like(view)
        firsts = {"text": bare} | {row: torch.full_like(bare, (self.prompts + k) * self.stride) for k, row in enumerate(self.further)}
        picks = {row: first + told for row, first in firsts.items()} | {"bare": bare}
        picks |= {"negative": self._constant(n, -2), "empty": self._constant(n, -1)}
        picks |= {word: bare + 1 + i for i, word in enumerate(VIEW_WORDS)}
        said = {name: tuple(self.strings[i] for i in index.tolist()) for name, index in picks.items()}
        rows = {name: self._row(index) for name, index in picks.items()}
        if words.views and words.blend:
            one, other, share = between(cameras, words.overhead)
            rows |= {row: self.prior.blend(self._row(first + 1 + one), self._row(first + 1 + other), share)
                     for row, first in firsts.items()}  # fmt: skip
        perp = {word: words.perp_neg * w for word, w in perp_weights(cameras, words.overhead).items()} if words.perp_neg else {}
        return Condition(rows, perp, said)

    def _row(self, index: Int[Tensor, " n"]):
        return self.embedding.at(index.to(self.embedding.tokens.device))

    def _constant(self, n: int, row: int) -> Int[Tensor, " n"]:
        return torch.full((n,), len(self.strings) + row)


def strings(prompts: list[str], negative: str, words: Words, regions: list[str] | None = None, source: str | None = None) -> list[str]:
    """All that a prior is told: every prompt, region and source bare and with each view's words, the negative, nothing."""
    told = [*prompts, *(regions or []), *([source] if source else [])]
    texts = [[p, *(f"{said}, {word} view" for word, said in debias.per_view(p, words).items())] for p in told]
    return [*(t for row in texts for t in row), negative, ""]


def between(cameras: Cameras, overhead: float) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"], Float[Tensor, " B"]]:
    """Which two of VIEW_WORDS a camera stands between, and how far it is from the first: linear in azimuth from front over side to
    back; above `overhead` degrees of elevation overhead alone."""
    turn, above = _turn(cameras), _above(cameras, overhead)
    first = (turn >= 1).long()
    share = torch.where(above, 0.0, turn - first)
    return *(torch.where(above, OVERHEAD, row).cpu() for row in (first, first + 1)), share


def perp_weights(cameras: Cameras, overhead: float) -> dict[str, Float[Tensor, " B"]]:
    """The weights of Perp-Neg's negative rows (arXiv:2304.04968; the curves a exp(-b r) + c are threestudio's): between front and side
    both words are held back, the nearer the camera is to the other; behind, side and front; above, nothing."""
    turn, above = _turn(cameras), _above(cameras, overhead)
    ahead, r = turn < 1, torch.where(turn < 1, 1 - turn, 2 - turn)  # r: 1 at the first of the two words, 0 at the second
    front = torch.where(ahead, _curve(r, 4.0, -2.426), _curve(r, 1.0, 0.967))
    side = torch.where(ahead, _curve(1 - r, 4.0, -2.426), _curve(r, 1.0, -0.606))
    return {"front": -torch.where(above, 0.0, front), "side": -torch.where(above, 0.0, side)}


def _curve(r: Float[Tensor, " B"], a: float, c: float) -> Float[Tensor, " B"]:
    return a * torch.exp(-0.5 * r) + c


def _turn(cameras: Cameras) -> Float[Tensor, " B"]:
    """|azimuth| in quarter turns: 0 front, 1 side, 2 back."""
    return torch.rad2deg(torch.atan2(cameras.azimuth.sin(), cameras.azimuth.cos())).abs() / 90


def _above(cameras: Cameras, overhead: float):
    return torch.rad2deg(cameras.elevation) > overhead
