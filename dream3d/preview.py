"""Preview strips: for a few views, the render, what the prior wants to see (x0-hat) and the gradient that pulls one to the other."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, predict, x0_from_eps
from dream3d.interfaces import device_of
from dream3d.sees import choose
from dream3d.types import Step

T = 0.5  # the noise level of x0-hat
ROWS, SIDE = 4, 160  # views shown, and pixels each is enlarged to at least


def strip(system, index: int) -> Float[Tensor, "h w 3"]:
    """A picture in [0, 1], rows views, columns render | x0-hat at t = 0.5 without guidance | gradient (grey is none), of the first
    term that asks its prior; of the first one, without x0-hat, where none does. Where nothing is asked: render | what it shall be."""
    fixed = Step.make(0, system.steps, system.seed, salt="preview")
    now = Step(index, system.steps, system.seed, fixed.rng)  # the same cameras and noise in every strip
    cameras = system.cameras(now).to(device_of(system.scene))
    with torch.no_grad():
        render = system.background(system.draw(cameras, now), cameras, now)
    if not system.terms:
        return _rows([render.rgb, *([] if render.source is None else [render.source.rgb])])
    asking = [term for term in system.terms if term.guidance.space != "pixel"]
    seen, term = render.cut(), (asking or system.terms)[0]
    term.pull(seen, cameras, now)
    columns = [render.rgb, *([_wanted(term, render, cameras, now)] if asking else [])]
    if seen.rgb.grad is not None:
        columns.append(_centred(seen.rgb.grad))
    return _rows(columns)


def _rows(columns: list[Tensor]) -> Float[Tensor, "h w 3"]:
    """The first views below each other."""
    side = max(columns[0].shape[1], SIDE)
    columns = [_resize(c, side) for c in columns if len(c)]
    rows = [torch.cat([c[i] for c in columns if i < len(c)], 1) for i in range(min(ROWS, *(len(c) for c in columns)))]
    return torch.cat(rows).clamp(0, 1).detach()


def _wanted(term, render, cameras, now: Step) -> Float[Tensor, "B H W C"]:
    part, cameras = render.of(term.views, cameras)
    if not len(cameras):
        return part.rgb  # no view serves it now
    view, _ = term.view(part, cameras, choose(term.sees, now))
    prior, x = term.guidance.prior, view.x
    t = torch.full((len(x),), T, device=x.device)
    z = add_noise(prior, x, t, now.normal(*x.shape, device=x.device))
    (eps,) = predict(prior, z, t, view, "text")
    return prior.decode(x0_from_eps(prior, z, t, eps))[..., :3]


def _centred(gradient: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B H W 3"]:
    """Minus the gradient around grey: brighter where the render should become brighter."""
    largest = (
        gradient.abs().flatten().float().quantile(0.99).clamp(min=1e-12)
        if gradient.numel() < 1 << 24
        else gradient.abs().max()
    )
    return 0.5 - gradient / (2 * largest)


def _resize(image: Float[Tensor, "B H W 3"], side: int) -> Float[Tensor, "B h w 3"]:
    return F.interpolate(image.movedim(-1, 1), (side, side * image.shape[2] // image.shape[1]), mode="nearest").movedim(
        1, -1
    )
