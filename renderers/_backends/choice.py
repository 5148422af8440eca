"""Which kernel composites splats, and why. Imports neither torch nor gsplat, so it can be told before a run."""

from collections.abc import Callable
from importlib import metadata

from dream3d.errors import Mistake

PIP = "pip install 'gsplat>=1.5,<1.6'"


def absent() -> str:
    """Why gsplat is not there, as far as that shows without importing it; "" where it is. 1.4 takes other radii; 1.6 lets a splat hide
    0.99 of the light instead of 0.999, and draws something else than our kernels."""
    try:
        version = metadata.version("gsplat")
    except metadata.PackageNotFoundError:
        return f"gsplat is not installed; {PIP}"
    return "" if version.split(".")[:2] == ["1", "5"] else f"gsplat {version} is not 1.5; {PIP}"


def kernel(device: str, single: bool, wanted: str = "auto", trouble: Callable[[], str] = absent) -> tuple[str, str]:
    """(backend, why) on a device type ("cpu", "cuda"), for float32 or not. `trouble` says why gsplat cannot be used, "" if it can; it is
    called only where gsplat would be chosen. A backend wanted by name is never replaced: Mistake where it cannot work."""
    if wanted == "numba" and not (device == "cpu" and single):
        raise Mistake("the numba backend needs the CPU and float32", where="renderer.backend", near="auto, torch")
    if wanted == "gsplat" and not (device == "cuda" and single):
        raise Mistake("the gsplat backend needs CUDA and float32", where="renderer.backend", near="auto, torch",
                      fix=f"device=cuda on a machine with CUDA, and {PIP}")  # fmt: skip
    if wanted == "gsplat" and (why := trouble()):
        raise Mistake(f"the gsplat backend cannot be used: {why}", where="renderer.backend", near="auto, torch", fix=PIP)
    if wanted != "auto":
        return wanted, "asked for"
    if not single:
        return "torch", "not float32"
    if device == "cpu":
        return "numba", "float32 on the CPU"
    if device != "cuda":
        return "torch", f"{device} device"
    why = trouble()
    return ("torch", f"on cuda, {why}") if why else ("gsplat", "float32 on CUDA")
