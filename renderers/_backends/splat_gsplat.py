"""Composite projected Gaussians by gsplat's CUDA kernels (Ye et al., arXiv:2409.06765): the fast twin of splat_torch on a GPU.

gsplat lists the splats of every tile of 16 x 16 pixels front to back and blends them in float32 by the rules that splat_dense states:
alpha at most 0.999 (no gradient to what is cut off there), none below 1/255 or where sigma < 0, nothing more once the light behind
would be 1e-4 or less. So it stands in the sources of 1.5.0 to 1.5.3; 1.6 cuts at 0.99 and is refused (`choice.absent`).

Ours: conics that are not positive definite are not listed. A splat is listed for every tile that alpha = 1/255 reaches (gsplat's own
projection stops at 3.33 standard deviations, too). Tiles are sorted by the splats' ranks in depth, stably, so that ties and negative
depths come in our order.

What differs: a fast exponential (to about 1e-6), so a splat that close to an edge may fall on the other side; the backward regains the
light from 1 - alpha of the image, to 6e-4 where only 1e-4 of it was left; gradients are summed by atomics, not the same bytes twice.
"""

import importlib
from functools import lru_cache
from types import ModuleType

import torch
import torch.nn.functional as F
from dream3d.renderers._backends.choice import absent, kernel
from jaxtyping import Float, Int
from torch import Tensor

TILE = 16
CHANNELS = 32  # of one call: beyond, many GPUs lack the shared memory for the backward


@lru_cache(1)
def trouble() -> str:
    """Why gsplat cannot be used here, or "" where it can. Imports it where it is installed, which compiles its kernels (once, minutes)."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if why := absent():
        return why
    try:
        compiled = importlib.import_module("gsplat.cuda._backend")._C
    except Exception as error:  # whatever a compiler or another package does
        return f"gsplat's kernels do not build: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
    return "" if compiled is not None else "gsplat finds no nvcc to build its kernels; install the CUDA toolkit"


def composite(
    means2d: Float[Tensor, "B N 2"],
    conics: Float[Tensor, "B N 3"],
    opacities: Float[Tensor, "B N"],
    features: Float[Tensor, "B N C"],
    depths: Float[Tensor, "B N"],
    height: int,
    width: int,
) -> tuple[Float[Tensor, "B H W C"], Float[Tensor, "B H W 1"]]:
    """Features and alpha, front to back; float32 on CUDA, else Mistake. See splat_dense.composite for the meaning of every argument."""
    kernel(means2d.device.type, means2d.dtype == torch.float32, "gsplat", trouble)
    return blend(means2d, conics, opacities, features, depths, height, width, importlib.import_module("gsplat"))


def blend(
    means2d: Float[Tensor, "B N 2"],
    conics: Float[Tensor, "B N 3"],
    opacities: Float[Tensor, "B N"],
    features: Float[Tensor, "B N C"],
    depths: Float[Tensor, "B N"],
    height: int,
    width: int,
    gsplat: ModuleType,
) -> tuple[Float[Tensor, "B H W C"], Float[Tensor, "B H W 1"]]:
    """`composite` by the three functions of `gsplat`, or of whatever else offers them."""
    views, across, down = len(means2d), -(-width // TILE), -(-height // TILE)
    rank = depths.detach().argsort(dim=1, stable=True).argsort(dim=1).float()
    radii = reach(means2d.detach(), conics.detach(), opacities.detach())
    _, ids, rows = gsplat.isect_tiles(means2d.detach(), radii, rank, TILE, across, down)
    if len(rows) == 0:  # no splat, or none in the image
        zero = sum(v[:, :0].sum() for v in (means2d, conics, opacities, features))  # still connected, whatever the values are
        return tuple(features.new_zeros(views, height, width, n) + zero for n in (features.shape[2], 1))
    offsets = gsplat.isect_offset_encode(ids, views, across, down)
    lists = width, height, TILE, offsets, rows
    parts = [gsplat.rasterize_to_pixels(means2d, conics, part, opacities, *lists) for part in _parts(features)]
    return torch.cat([image for image, _ in parts], -1)[..., : features.shape[2]], parts[0][1]


def _parts(features: Float[Tensor, "B N C"]) -> list[Float[Tensor, "B N c"]]:
    """At most CHANNELS each, the last one filled up with zeros to a power of two: gsplat compiles those."""
    parts = features.split(CHANNELS, -1)
    return [F.pad(part, (0, (1 << max(part.shape[2] - 1, 0).bit_length()) - part.shape[2])) for part in parts]


def reach(
    means2d: Float[Tensor, "B N 2"], conics: Float[Tensor, "B N 3"], opacities: Float[Tensor, "B N"]
) -> Int[Tensor, "B N 2"]:
    """Pixels along x and y within which alpha >= 1/255, rounded up; 0 for what is not drawn."""
    a, b, c = conics.double().unbind(-1)
    det = a * c - b * b
    drawn = (opacities * 255 >= 1) & (a > 0) & (det > 0) & means2d.isfinite().all(-1)
    square = 2 * (255 * opacities.double()).clamp(min=1).log()
    extent = (square[..., None] * torch.stack([c, a], -1) / det[..., None]).sqrt()
    slack = 0.01 + 1e-6 * (extent + means2d.abs())  # gsplat divides into tiles in float32
    return torch.where(drawn[..., None], (extent + slack).ceil().clamp(max=1 << 30), 0).int()
