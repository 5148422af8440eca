"""Composite projected Gaussians by gsplat's CUDA kernels (Ye et al., arXiv:2409.06765): the fast twin of splat_torch on a GPU.

gsplat sorts per tile of 16 x 16 pixels and blends in float32 by the rules that splat_dense states: alpha at most 0.999, none below 1/255,
nothing more once the light behind would be 1e-4 or less; equal depths keep their order, since its radix sort is stable. Two things
are ours: conics that are not positive definite are left out before, and a splat is listed for every tile that alpha = 1/255 reaches
(gsplat's own projection lists three standard deviations, and fewer for faint splats). Its fast-math exponential differs in the last
bits, so a splat at the very edge of 1/255 may fall on the other side. Written for gsplat 1.5 (radii per axis).
"""

import importlib.util
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.errors import Mistake

TILE, PIP = 16, "pip install gsplat"


@lru_cache(1)
def trouble() -> str:
    """Why gsplat cannot be used here, or "" where it can. Imports it, which may compile its kernels."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if importlib.util.find_spec("gsplat") is None:
        return f"gsplat is not installed ({PIP})"
    from gsplat.cuda._backend import _C

    return "" if _C is not None else "gsplat found no CUDA compiler to build its kernels with"


def composite(
    means2d: Float[Tensor, "B N 2"],
    conics: Float[Tensor, "B N 3"],
    opacities: Float[Tensor, "B N"],
    features: Float[Tensor, "B N C"],
    depths: Float[Tensor, "B N"],
    height: int,
    width: int,
) -> tuple[Float[Tensor, "B H W C"], Float[Tensor, "B H W 1"]]:
    """Features and alpha, front to back; float32 on CUDA. See splat_dense.composite for the meaning of every argument."""
    if why := trouble():
        raise Mistake(f"the gsplat backend cannot be used: {why}", where="renderer.backend", near="auto, torch", fix=PIP)
    return blend(means2d, conics, opacities, features, depths, height, width, importlib.import_module("gsplat"))


def blend(means2d, conics, opacities, features, depths, height: int, width: int, gsplat):
    """`composite` by the three functions of `gsplat`, whatever offers them."""
    radii = reach(means2d.detach(), conics.detach(), opacities.detach())
    if not bool(radii.any()):  # nothing to sort: its kernels do not expect that
        return _nothing(means2d, conics, opacities, features, height, width)
    across, down = -(-width // TILE), -(-height // TILE)
    order = depths.detach().contiguous()
    _, ids, flat = gsplat.isect_tiles(means2d.detach(), radii, order, TILE, across, down)
    offsets = gsplat.isect_offset_encode(ids, len(means2d), across, down).reshape(len(means2d), down, across)
    return gsplat.rasterize_to_pixels(means2d, conics, features, opacities, width, height, TILE, offsets, flat)


def reach(
    means2d: Float[Tensor, "B N 2"], conics: Float[Tensor, "B N 3"], opacities: Float[Tensor, "B N"]
) -> Int[Tensor, "B N 2"]:
    """Pixels along x and y within which alpha >= 1/255, rounded up; 0 for what is not drawn."""
    a, b, c = conics.double().unbind(-1)
    det = a * c - b * b
    drawn = (opacities * 255 >= 1) & (a > 0) & (det > 0) & means2d.isfinite().all(-1)
    square = 2 * (255 * opacities.double()).clamp(min=1).log()
    extent = (square[..., None] * torch.stack([c, a], -1) / det.where(drawn, 1)[..., None]).clamp(min=0).sqrt()
    return ((extent + 0.01).ceil().clamp(max=1 << 20) * drawn[..., None]).int()


def _nothing(means2d, conics, opacities, features, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Black, and still connected to its arguments."""
    zero = sum((v * 0).sum() for v in (means2d, conics, opacities, features))
    views, channels = features.shape[0], features.shape[2]
    return features.new_zeros(views, height, width, channels) + zero, features.new_zeros(views, height, width, 1) + zero
