"""What editing formulas share: the same noise on a scene and on what it was before, answered for in one call."""

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import guided
from dream3d.errors import Mistake
from dream3d.interfaces import Prior
from dream3d.types import Embedding, Render, View


def source(view: View) -> Float[Tensor, "B C h w"]:
    """x of the unedited scene. Raises Mistake where none is shown or the prompt has no row for it."""
    if view.source is None:
        raise Mistake(
            "editing compares with the unedited scene, and it was not shown here",
            where="View.source",
            fix="a system that keeps the scene as its stage found it, or a guidance that starts from nothing: sds",
        )
    if "source" not in view.text:
        raise Mistake(
            'editing needs a prompt of the unedited scene: there is no text row "source"',
            where="prompt",
            near=f"rows: {', '.join(view.text.rows)}",
            fix="say what the scene shows before the edit: guidance.source=...",
        )
    return view.source


def guided_pair(
    prior: Prior,
    z: Float[Tensor, "B C h w"],
    before: Float[Tensor, "B C h w"],
    t: Float[Tensor, " B"],
    view: View,
    scale: float,
) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B C h w"]]:
    """The guided eps at z under "text" and at `before`, the noisy source, under "source"; Perp-Neg concerns only the first."""
    both = view.at(torch.arange(len(z), device=z.device).repeat(2))
    text = dataclasses.replace(
        both.text,
        rows=both.text.rows | {"text": Embedding.cat([view.text["text"], view.text["source"]])},
        perp={row: torch.cat([w, torch.zeros_like(w)]) for row, w in view.text.perp.items()},
    )
    both = dataclasses.replace(both, text=text, render=_together(view.render))
    return guided(prior, torch.cat([z, before]), t.repeat(2), both, scale).chunk(2)


def _together(render: Render) -> Render:
    """The views of a render, then those of its source, for priors that read depth or a background."""
    twice = render.at(torch.arange(len(render), device=render.rgb.device).repeat(2))
    old = {} if render.source is None else render.source.buffers()
    pairs = {name: torch.cat([now, old[name]]) for name, now in render.buffers().items() if name in old}
    return dataclasses.replace(twice, source=None, **pairs)
