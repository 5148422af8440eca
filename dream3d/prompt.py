"""From prompts to text rows: every string is embedded once, then each view picks its rows by where its camera stands."""

import torch
from jaxtyping import Int
from torch import Tensor

from dream3d.cameras import VIEW_WORDS, view_index
from dream3d.interfaces import Prior
from dream3d.options import Words
from dream3d.types import Cameras, Condition


class Prompt:
    """Rows "text" (view-dependent), "bare", "empty", "negative" and the view words. Subject i is given prompt i modulo their
    number: particles share one prompt, several prompts take turns. `regions` are prompts for parts of the picture, the
    same for every subject: rows "region/k", view-dependent as "text" is. So is "source", what a scene to be edited shows now."""

    def __init__(self, prior: Prior, prompts: list[str], negative: str, words: Words, regions: list[str] | None = None,
                 source: str | None = None):  # fmt: skip
        regions = regions or []
        self.words, self.prompts = words, len(prompts)
        self.further = [*(f"region/{k}" for k in range(len(regions))), *(["source"] if source else [])]
        told = [*prompts, *regions, *([source] if source else [])]
        texts = [[p, *(f"{p}, {word} view" for word in VIEW_WORDS)] for p in told]
        self.strings = [*(t for row in texts for t in row), negative, ""]
        self.embedding = prior.text(self.strings)
        self.stride = 1 + len(VIEW_WORDS)

    def __call__(self, cameras: Cameras) -> Condition:
        n = len(cameras)
        bare = torch.zeros(n, dtype=torch.long) if cameras.subject is None else cameras.subject.cpu()
        bare = bare % self.prompts * self.stride
        view = view_index(cameras, front=self.words.front, overhead=self.words.overhead).cpu()
        told = 1 + view if self.words.views else torch.zeros_like(view)
        picks = {"text": bare + told, "bare": bare}
        picks |= {row: (self.prompts + k) * self.stride + told for k, row in enumerate(self.further)}
        picks |= {"negative": self._constant(n, -2), "empty": self._constant(n, -1)}
        picks |= {word: bare + 1 + i for i, word in enumerate(VIEW_WORDS)}
        words = {name: tuple(self.strings[i] for i in index.tolist()) for name, index in picks.items()}
        rows = {name: self.embedding.at(index.to(self.embedding.tokens.device)) for name, index in picks.items()}
        return Condition(rows, words=words)

    def _constant(self, n: int, row: int) -> Int[Tensor, " n"]:
        return torch.full((n,), len(self.strings) + row)
