"""Which kernel composites splats, and why. Needs neither torch nor a GPU to answer, so it can be told before a run."""

NAMES = ("numba", "gsplat", "torch")


def kernel(device: str, single: bool, wanted: str = "auto", trouble: str = "") -> tuple[str, str]:
    """(backend, why) on a device type ("cpu", "cuda"), for float32 or not. `trouble` says why gsplat cannot be used, "" if it can.
    What is wanted by name is taken as it is: the backend itself says where it cannot work."""
    if wanted != "auto":
        return wanted, "asked for"
    if device == "cpu":
        return ("numba", "float32 on the CPU") if single else ("torch", "not float32")
    if device == "cuda" and single and not trouble:
        return "gsplat", "float32 on CUDA"
    return "torch", (trouble or f"{device} device") if single else "not float32"
