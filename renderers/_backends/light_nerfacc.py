"""The light that sections of rays take, by nerfacc's kernels (Li et al., arXiv:2305.04966): the fast twin of light_torch on a GPU.

They take packed samples, so that what was never evaluated costs nothing here either. It is all that nerfacc serves: its sums along rays
are torch's own, and its walk through an occupancy grid takes steps of one length, where ours are even shares of each ray and begin at
places that the run's seed says. nerfacc builds its kernels at first use and has not been maintained since 2024, so they are asked for two
rays with a known answer and derivative before they are trusted.
"""

import importlib
from collections.abc import Callable
from functools import lru_cache
from importlib import metadata
from types import ModuleType

import torch
from dream3d.renderers._backends.light_torch import OPAQUE
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.errors import Mistake

PIP = "pip install 'nerfacc>=0.5.3,<0.6'"


def absent() -> str:
    """Why nerfacc is not there, as far as that shows without importing it; "" where it is."""
    try:
        version = metadata.version("nerfacc")
    except metadata.PackageNotFoundError:
        return f"nerfacc is not installed; {PIP}"
    return "" if version.split(".")[:2] == ["0", "5"] else f"nerfacc {version} is not 0.5; {PIP}"


@lru_cache(1)
def trouble() -> str:
    """Why nerfacc cannot be used here, or "" where it can. Imports it where it is installed, which compiles its kernels (once, minutes)."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if why := absent():
        return why
    try:
        sound = _sound(importlib.import_module("nerfacc"), "cuda")
    except Exception as error:  # whatever a compiler or another package does
        return f"nerfacc's kernels do not build: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
    return "" if sound else "nerfacc's kernels do not answer what its documentation says"


def _sound(nerfacc: ModuleType, device: str) -> bool:
    alpha = torch.tensor([[0.0, 0.5, 0.25, 0.75], [0, 0.5, 0, 0]], device=device, requires_grad=True)
    weights = ask(alpha, torch.tensor([1, 2, 3, 5], device=device), nerfacc)
    weights[:, 1:].sum().backward()
    wanted = [[0, 0.5, 0.125, 0.28125], [0, 0.5, 0, 0]], [[0, 0.1875, 0.125, 0.375], [0, 1, 0, 0]]
    return all(torch.allclose(found, found.new_tensor(rows)) for found, rows in zip((weights, alpha.grad), wanted, strict=True))


def kernel(device: str, single: bool, wanted: str = "auto", trouble: Callable[[], str] = trouble) -> tuple[str, str]:
    """(backend, why) on a device type, for float32 or not; nerfacc is looked at only where it would be chosen. A backend wanted by name is
    never replaced: Mistake where it cannot work."""
    fits = device == "cuda" and single
    why = trouble() if fits and wanted != "torch" else ""
    if wanted == "nerfacc" and (why or not fits):
        problem = f"the nerfacc backend cannot be used: {why or 'it needs CUDA and float32'}"
        raise Mistake(problem, where="renderer.light", near="auto, torch", fix="renderer.light=auto")
    if wanted != "auto":
        return wanted, "asked for"
    if not fits or why:
        return "torch", f"on cuda, {why}" if why else f"{'float32' if single else 'not float32'} on {device}"
    return "nerfacc", "float32 on CUDA"


def weigh(alpha: Float[Tensor, "R S"], index: Int[Tensor, " n"]) -> Float[Tensor, "R S"]:
    """See light_torch.weigh; float32 on CUDA, else Mistake."""
    kernel(alpha.device.type, alpha.dtype == torch.float32, "nerfacc")
    return ask(alpha, index, importlib.import_module("nerfacc"))


def ask(alpha: Float[Tensor, "R S"], index: Int[Tensor, " n"], nerfacc: ModuleType) -> Float[Tensor, "R S"]:
    """`weigh` by `nerfacc`, or whatever else offers its function."""
    if len(index) == 0:
        return alpha
    counts = torch.bincount(index // alpha.shape[1], minlength=len(alpha))
    packed = torch.stack([counts.cumsum(0) - counts, counts], -1)
    some = alpha.flatten()[index]
    left = nerfacc.render_transmittance_from_alpha(some.clamp(max=OPAQUE), packed_info=packed)
    return torch.zeros_like(alpha).flatten().index_put((index,), some * left).view(alpha.shape)
