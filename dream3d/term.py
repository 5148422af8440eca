"""A term: one guidance bound to one place of the waist."""

import dataclasses
import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.interfaces import Guidance
from dream3d.prompt import Prompt
from dream3d.schedule import Count, NonNegative, Ramp, at
from dream3d.sees import SEES, choose, rgb
from dream3d.types import Cameras, Render, Step, View


@final
class Term:
    """sees: a buffer (dream3d/sees.py) or {buffer: probability}; views: the camera role it serves (None: all); weight: a
    factor on its gradient; clamp: element-wise limit of the gradient on x (score debiasing, arXiv:2303.15413); chunk: views
    at a time, rounded up to whole groups (noise is then drawn chunk by chunk)."""

    def __init__(self, guidance: Guidance, text: Prompt, *, sees: str | dict[str, NonNegative] = "rgb", views: str | None = None,
                 weight: Ramp = Ramp(1.0), clamp: Ramp | None = None, chunk: Count | None = None):  # fmt: skip
        self.guidance, self.text, self.sees, self.views = guidance, text, sees, views
        self.weight, self.clamp, self.chunk = weight, clamp, chunk
        if clamp is not None and min(clamp(0.0), clamp(1.0)) < 0:
            raise Mistake("a limit cannot be negative", where="guidance.clamp", near="guidance.clamp=2", fix="0 or above; null is no limit")

    def pull(self, seen: Render, cameras: Cameras, now: Step) -> None:
        """Add this term's gradient to the leaves of a cut render: encode, formula, back through the encoder."""
        see, index = choose(self.sees, now), cameras.serving(self.views)
        if now.index == 0 and isinstance(self.sees, dict) and len(index):
            self._check_all(seen.at(index))
        unit = math.lcm(cameras.views * cameras.frames, getattr(see, "views", 1))  # what may not be torn apart
        chunk = -(-(self.chunk or len(index)) // unit) * unit
        for rows in index.split(max(chunk, 1)):
            if len(rows):
                self._pull(seen.at(rows), cameras.at(rows), now, see)

    def _pull(self, part: Render, cameras: Cameras, now: Step, see) -> None:
        view, x = self.view(part, cameras, see)
        gradient = self.guidance.gradient(view, now)
        if self.clamp is not None:
            limit = at(self.clamp, now)
            gradient = gradient.clamp(-limit, limit)
        x.backward(at(self.weight, now) * gradient)

    def view(self, part: Render, cameras: Cameras, see=rgb) -> tuple[View, Tensor]:
        """What the guidance sees, and x with its graph down to the render."""
        x = see(part, self.guidance.encode)
        self._check(x)
        merged = len(cameras) // len(x)  # a picture of several views goes by its first
        if merged > 1 and cameras.frames > 1:
            raise Mistake("a picture of several views holds one moment of each, but here are clips", where=f"guidance.sees: {self.sees}",
                          fix="cameras.frames=1, or let the term see something else")  # fmt: skip
        rows = torch.arange(0, len(cameras), merged, device=cameras.device)
        cameras = dataclasses.replace(cameras.at(rows), views=max(1, cameras.views // merged))
        source = None if part.source is None else see(part.source, self.guidance.encode).detach()
        return View(x.detach(), part.detach().at(rows), cameras, self.text(cameras), source), x

    @torch.no_grad()
    def _check_all(self, part: Render) -> None:
        """What chance may choose in the middle of a run has to fit at its start."""
        for name, share in self.sees.items():
            if share > 0:
                self._check(SEES[name](part, self.guidance.encode))

    def _check(self, x: Float[Tensor, "B C h w"]) -> None:
        if self.guidance.space != "pixel" and x.shape[1] != self.guidance.prior.spec.channels:
            raise Mistake(
                f"what this term sees has {x.shape[1]} channels, but its prior knows {self.guidance.prior.spec.channels}",
                where=f"guidance.sees: {self.sees}",
                fix="let it see something else, or choose another prior",
            )

    def learn(self, now: Step) -> None:
        self.guidance.learn(now)

    def state(self) -> dict:
        return self.guidance.state()

    def restore(self, state: dict) -> None:
        self.guidance.restore(state)
