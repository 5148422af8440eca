"""A term: one guidance bound to one place of the waist."""

from typing import final

import torch

from dream3d.interfaces import Guidance
from dream3d.prompt import Prompt
from dream3d.schedule import Ramp, at
from dream3d.sees import choose, rgb
from dream3d.types import Cameras, Render, Step, View


@final
class Term:
    """sees: a buffer (dream3d/sees.py) or {buffer: probability}; views: the camera role it serves (None: all); weight: a factor
    on its gradient; clamp: element-wise limit of the gradient on x (score debiasing, arXiv:2303.15413); chunk: views at a time."""

    def __init__(self, guidance: Guidance, text: Prompt, *, sees: str | dict[str, float] = "rgb", views: str | None = None,
                 weight: Ramp = Ramp(1.0), clamp: Ramp | None = None, chunk: int | None = None):  # fmt: skip
        self.guidance, self.text, self.sees, self.views = guidance, text, sees, views
        self.weight, self.clamp, self.chunk = weight, clamp, chunk

    def pull(self, seen: Render, cameras: Cameras, now: Step) -> None:
        """Add this term's gradient to the leaves of a cut render: encode, formula, back through the encoder."""
        part, cameras = seen.of(self.views, cameras)
        see = choose(self.sees, now)
        for rows in torch.arange(len(cameras)).split(self.chunk or max(len(cameras), 1)):
            if len(rows):
                self._pull(part if len(rows) == len(cameras) else part.at(rows), cameras.at(rows), now, see)

    def _pull(self, part: Render, cameras: Cameras, now: Step, see) -> None:
        view, x = self.view(part, cameras, see)
        gradient = self.guidance.gradient(view, now)
        if self.clamp is not None:
            limit = at(self.clamp, now)
            gradient = gradient.clamp(-limit, limit)
        x.backward(at(self.weight, now) * gradient)

    def view(self, part: Render, cameras: Cameras, see=rgb) -> tuple[View, torch.Tensor]:
        """What the guidance sees, and x with its graph down to the render."""
        x = see(part, self.guidance.encode)
        rows = torch.arange(0, len(cameras), len(cameras) // len(x))  # a picture of several views goes by its first
        cameras = cameras.at(rows)
        source = None if part.source is None else see(part.source, self.guidance.encode).detach()
        return View(x.detach(), part.detach().at(rows), cameras, self.text(cameras), source), x

    def learn(self, now: Step) -> None:
        self.guidance.learn(now)

    def state(self) -> dict:
        return self.guidance.state()

    def restore(self, state: dict) -> None:
        self.guidance.restore(state)
