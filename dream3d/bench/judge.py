"""The judge: which objects a picture shows, in which colour and pattern, seen from which side. Knows the toybox, nothing else.

A small convolutional network, trained by `python -m dream3d.bench.train_judge` on true objects seen badly (scenes.py). An object's
colour is read where the object is seen, so "a red ball on a blue cube" is not "a blue ball on a red cube".
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dream3d.build import place
from dream3d.errors import Mistake
from dream3d.toybox.language import COLOURS, OBJECTS, PATTERNS, VIEW_WORDS

SIDE, BACKDROPS = 64, (0.35, 0.65)  # pixels; greys a render is shown over, so that neither black nor white vanishes
WEIGHTS = "judge/model.safetensors"


@dataclass(frozen=True)
class Seen:
    """What the judge says of B pictures: p(object is there), and for every object p(colour) and p(pattern | plain first)
    if it is there; p(view) is over front, side, back, overhead."""

    present: Float[Tensor, "B O"]
    colour: Float[Tensor, "B O K"]
    pattern: Float[Tensor, "B O P"]
    view: Float[Tensor, "B V"]

    @property
    def objects(self) -> Int[Tensor, " B"]:
        """The object each picture shows most clearly."""
        return self.present.argmax(-1)


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al., arXiv:1512.03385)."""

    def __init__(self, inner: int, outer: int, stride: int = 1):
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outer) for _ in range(2))
        self.skip = nn.Conv2d(inner, outer, 1, stride) if stride > 1 or inner != outer else nn.Identity()

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D i j"]:
        y = self.norms[1](self.second(F.silu(self.norms[0](self.first(x)))))
        return F.silu(y + self.skip(x))


class Judge(nn.Module):
    """Raw scores of pictures of 64 x 64 pixels; `look` and `see` turn them into probabilities."""

    def __init__(self, width: int = 40):
        super().__init__()
        w = width
        self.trunk = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1), Block(24, w, 2), Block(w, 2 * w, 2), Block(2 * w, 3 * w),
                                   Block(3 * w, 3 * w))  # fmt: skip
        self.context = nn.Linear(3 * w, 3 * w)
        self.where = nn.Conv2d(3 * w, len(OBJECTS) + 1, 1)  # the background last
        self.threshold = nn.Parameter(torch.zeros(len(OBJECTS)))
        self.paint = nn.Conv2d(3 * w, len(COLOURS) + 1 + len(PATTERNS), 1)
        self.view = nn.Linear(3 * w, len(VIEW_WORDS))

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Logits: where (B O+1 i j, the background last), present (B O), colour (B O K), pattern (B O P), view (B V)."""
        x = self.trunk(2 * image - 1)
        x = F.silu(x + self.context(x.mean((2, 3)))[..., None, None])
        where = self.where(x)
        maps = where.log_softmax(1).flatten(2)[:, :-1]
        attention = maps.softmax(-1)
        paint = torch.einsum("bon,bkn->bok", attention, self.paint(x).flatten(2))
        present = maps.logsumexp(-1) + self.threshold  # log of the cells it covers
        return where, present, paint[..., : len(COLOURS)], paint[..., len(COLOURS) :], self.view(x.mean((2, 3)))

    @torch.no_grad()
    def look(self, image: Float[Tensor, "B 3 H W"]) -> Seen:
        """Pictures of any size, display sRGB in [0, 1]."""
        if image.shape[-2:] != (SIDE, SIDE):
            image = F.interpolate(image, (SIDE, SIDE), mode="area" if image.shape[-1] > SIDE else "bicubic").clamp(0, 1)
        _, present, colour, pattern, view = self(image.float())
        return Seen(present.sigmoid(), colour.softmax(-1), pattern.softmax(-1), view.softmax(-1))

    def see(self, rgb: Float[Tensor, "B H W 3"], alpha: Float[Tensor, "B H W 1"]) -> Seen:
        """Renders premultiplied over black, shown over two greys; the mean of what is seen."""
        picture = torch.cat([rgb + (1 - alpha) * grey for grey in BACKDROPS]).clamp(0, 1).movedim(-1, 1)
        said = self.look(picture)
        return Seen(*(getattr(said, name).unflatten(0, (len(BACKDROPS), -1)).mean(0) for name in Seen.__dataclass_fields__))


def load(path: Path | None = None) -> Judge:
    """The trained judge. Raises Mistake where its weights are missing or not of this network."""
    path = path or place("assets") / WEIGHTS
    if not path.is_file():
        raise Mistake("the judge's weights are missing", where=str(path), fix="python -m dream3d.bench.train_judge")
    judge = Judge()
    try:
        judge.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        raise Mistake(f"these are not the judge's weights: {str(error).splitlines()[0]}", where=str(path),
                      fix="python -m dream3d.bench.train_judge") from error  # fmt: skip
    return judge.eval()


def card() -> dict:
    """What is known about the weights: data, steps, metrics, licence, the command that made them."""
    return json.loads((place("assets") / WEIGHTS).with_name("card.json").read_text(encoding="utf-8"))
