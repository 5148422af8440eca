"""Which kernel reads hash grids, and why. Imports no torch, so it can be told before a run."""

from collections.abc import Callable

from dream3d.errors import Mistake


def kernel(device: str, single: bool, wanted: str = "auto", trouble: Callable[[], str] = lambda: "") -> tuple[str, str]:
    """(backend, why) on a device type ("cpu", "cuda"), for float32 or not. `trouble` says why our CUDA kernels cannot be used, "" if they
    can; it is called only where they would be chosen. A backend wanted by name is never replaced: Mistake where it cannot work."""
    if wanted == "numba" and not (device == "cpu" and single):
        raise Mistake("the numba backend needs the CPU and float32", where="renderer.backend", near="auto, torch")
    if wanted == "cuda" and not (device == "cuda" and single):
        raise Mistake("the cuda backend needs CUDA and float32", where="renderer.backend", near="auto, torch",
                      fix="device=cuda on a machine with CUDA")  # fmt: skip
    if wanted == "cuda" and (why := trouble()):
        raise Mistake(f"the cuda backend cannot be used: {why}", where="renderer.backend", near="auto, torch")
    if wanted != "auto":
        return wanted, "asked for"
    if not single:
        return "torch", "not float32"
    if device == "cpu":
        return "numba", "float32 on the CPU"
    if device != "cuda":
        return "torch", f"{device} device"
    why = trouble()
    return ("torch", f"on cuda, {why}") if why else ("cuda", "float32 on CUDA")
