"""What a term looks at: buffers of a render as the x of its guidance. Every function here is a value of `sees`.

Each gets the render and the guidance's `encode` (image in [0, 1] to x) and returns x, with as many rows as the render has views
or a whole fraction of them.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.types import Render, Step

Encode = Callable[[Float[Tensor, "B H W K"]], Float[Tensor, "B C h w"]]


def rgb(part: Render, encode: Encode) -> Float[Tensor, "B C h w"]:
    return encode(part.rgb)


def normal(part: Render, encode: Encode) -> Float[Tensor, "B C h w"]:
    """World normals as colours, grey where there is nothing."""
    _need(part, "normal")
    return encode(part.normal / 2 + 0.5)


def depth(part: Render, encode: Encode) -> Float[Tensor, "B C h w"]:
    """Relative depth as grey: near is 1, far 0, the background 0."""
    return encode(relative_depth(part).expand(-1, -1, -1, 3))


def features(part: Render, encode: Encode) -> Float[Tensor, "B C h w"]:
    """Latent renders are already what the prior sees (Latent-NeRF, arXiv:2211.07600)."""
    _need(part, "features")
    return part.features.movedim(-1, 1)


def normal_alpha(part: Render, encode: Encode) -> Float[Tensor, "B 4 h w"]:
    """Normals and mask straight as a four-channel latent, an eighth of the size (Fantasia3D's coarse stage, arXiv:2303.13873)."""
    _need(part, "normal")
    image = torch.cat([part.normal, part.alpha], -1).movedim(-1, 1)
    return F.interpolate(image, scale_factor=1 / 8, mode="bilinear", antialias=True)


def rgb_depth(part: Render, encode: Encode) -> Float[Tensor, "B C h w"]:
    """Colour and relative depth for a prior that knows both (HumanGaussian, arXiv:2311.17061)."""
    return encode(torch.cat([part.rgb, relative_depth(part)], -1))


def rgb_normal(part: Render, encode: Encode) -> Float[Tensor, "B C h w"]:
    """Colour and world normals as colours for a prior that knows both."""
    _need(part, "normal")
    return encode(torch.cat([part.rgb, part.normal / 2 + 0.5], -1))


def rgb_alpha(part: Render, encode: Encode) -> Float[Tensor, "B 4 h w"]:
    """Colour and mask, for comparisons with pictures that have one."""
    return encode(torch.cat([part.rgb, part.alpha], -1))


def grid(part: Render, encode: Encode) -> Float[Tensor, "B C h w"]:
    """Four views in a row become one 2 x 2 picture (BoostDream, arXiv:2401.16764): a quarter of the rows."""
    if len(part) % 4:
        raise Mistake(
            f"a grid is made of four views, but there are {len(part)}", where="guidance.sees", fix="cameras.batch=4"
        )
    top, bottom = (torch.cat([part.rgb[i::4], part.rgb[i + 1 :: 4]], 2) for i in (0, 2))
    return encode(torch.cat([top, bottom], 1))


grid.views = 4  # a chunk may not tear them apart


SEES: dict[str, Callable] = {
    "rgb": rgb, "normal": normal, "depth": depth, "features": features,
    "normal+alpha": normal_alpha, "rgb+depth": rgb_depth, "rgb+normal": rgb_normal, "rgb+alpha": rgb_alpha,
    "grid": grid,
}  # fmt: skip


def choose(sees: str | dict[str, float], now: Step) -> Callable:
    """One name, or one drawn from {name: probability}."""
    if isinstance(sees, str):
        return SEES[sees]
    shares = torch.tensor(list(sees.values()))
    pick = int((now.uniform(1) * shares.sum() >= shares.cumsum(0)).sum())
    return SEES[list(sees)[min(pick, len(sees) - 1)]]


def relative_depth(part: Render) -> Float[Tensor, "B H W 1"]:
    inside = part.alpha > 0.5
    z = part.depth / part.alpha.clamp(min=1e-6)
    near = z.detach().masked_fill(~inside, torch.inf).amin((1, 2, 3), keepdim=True)
    far = z.detach().masked_fill(~inside, -torch.inf).amax((1, 2, 3), keepdim=True)
    relative = ((far - z) / (far - near).clamp(min=1e-6)).nan_to_num(0, 0, 0).clamp(0, 1)
    return relative * part.alpha


def _need(part: Render, buffer: str) -> None:
    if getattr(part, buffer) is None:
        raise Mistake(f"this renderer draws no {buffer!r}", where="guidance.sees", near=", ".join(part.buffers()))
