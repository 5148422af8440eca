"""Which face every pixel shows, by nvdiffrast's CUDA rasteriser: only where a user installed it and asks for it by name.

nvdiffrast (Laine et al., arXiv:2011.03277) is licensed for non-commercial use only, so nothing here depends on it, nothing installs it and
"auto" never chooses it. Only its z-buffer is used: interpolation and the ends of surfaces stay ours, so pictures mean the same.

Its conventions, as documented: clip space is OpenGL's (z/w = -1 at the near plane), row 0 is at y/w = -1, so that our y, which goes down,
needs no flip; a pixel holds (u, v, z/w, face + 1), where u and v weigh the first and the second corner, and zeros where no face is.
What differs: corners are rounded to a fraction of a pixel, so a centre that close to an edge may fall on the other side; ties are its own.
"""

import importlib
from functools import lru_cache
from importlib import metadata
from types import ModuleType

import torch
from dream3d.renderers._backends.raster_torch import NEAR
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.errors import Mistake

TILE = 8  # pixels: both sides of what it draws are multiples of this


def absent() -> str:
    """Why nvdiffrast is not there, as far as that shows without importing it; "" where it is."""
    try:
        metadata.version("nvdiffrast")
    except metadata.PackageNotFoundError:
        return "nvdiffrast is not installed (its licence allows non-commercial use only: read it, then install it yourself)"
    return ""


@lru_cache(1)
def trouble() -> str:
    """Why nvdiffrast cannot be used here, or "" where it can. Imports it where it is installed."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if why := absent():
        return why
    try:
        importlib.import_module("nvdiffrast.torch").RasterizeCudaContext()
    except Exception as error:  # whatever a compiler or another package does
        return f"nvdiffrast does not work: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
    return ""


def rasterize(
    points: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], intrinsics: Float[Tensor, "B 3 3"], height: int, width: int
) -> tuple[Int[Tensor, "B H W"], Float[Tensor, "B H W 3"]]:
    """(face or -1, barycentric weights or 0) at the pixel centres; float32 on CUDA, else Mistake. See raster_torch.rasterize."""
    why = trouble() or ("" if points.is_cuda and points.dtype == torch.float32 else "it needs CUDA and float32")
    if why:
        raise Mistake(f"the nvdiffrast backend cannot be used: {why}", where="renderer.backend", near="auto, torch")
    return ask(points, faces, intrinsics, height, width, importlib.import_module("nvdiffrast.torch"), _context(points.device))


@lru_cache(8)
def _context(device: torch.device):
    return importlib.import_module("nvdiffrast.torch").RasterizeCudaContext(device=device)


def ask(
    points: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    intrinsics: Float[Tensor, "B 3 3"],
    height: int,
    width: int,
    nvdiffrast: ModuleType,
    context,
) -> tuple[Int[Tensor, "B H W"], Float[Tensor, "B H W 3"]]:
    """`rasterize` by the function of `nvdiffrast`, or of whatever else offers it."""
    tall, wide = (-(-side // TILE) * TILE for side in (height, width))
    if len(faces) == 0 or points.numel() == 0:
        return faces.new_full((len(points), height, width), -1), points.new_zeros(len(points), height, width, 3)
    clip = clipped(points.detach(), intrinsics, tall, wide)
    out, _ = nvdiffrast.rasterize(context, clip.contiguous(), faces.int().contiguous(), resolution=[tall, wide], grad_db=False)
    out = out[:, :height, :width]
    seen, u, v = out[..., 3].long() - 1, out[..., 0], out[..., 1]
    weights = torch.stack([u, v, 1 - u - v], -1)
    return seen.to(faces.dtype), torch.where(seen[..., None] >= 0, weights, 0)


def clipped(points: Float[Tensor, "B V 3"], intrinsics: Float[Tensor, "B 3 3"], height: int, width: int) -> Float[Tensor, "B V 4"]:
    """Clip coordinates: x/w and y/w from -1 to 1 over the picture, w the depth, z/w from -1 at the near plane to 1 at infinity. The near
    plane lies just before the nearest point, at NEAR or beyond: so the depth buffer tells most apart."""
    on = points @ intrinsics.mT
    w = points[..., 2]
    near = (0.99 * w.amin(1, keepdim=True)).clamp(min=NEAR)
    return torch.stack([2 * on[..., 0] / width - w, 2 * on[..., 1] / height - w, w - 2 * near, w], -1)
