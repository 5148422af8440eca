"""dream3d: text to 3D by score distillation. `generate("a red car")` makes an asset, `load(run)` reads one back."""

import os
import tempfile
from pathlib import Path

if "OMP_WAIT_POLICY" not in os.environ:  # before torch: threads that spin until they are wanted cost up to 17x on a busy laptop, and to
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # wake one that sleeps takes longer than most of its work: so a moment's spin (docs/log.md)
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")

__version__ = "0.1.0"

_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "launch.py").is_file():  # guidance/, renderers/, ... lie beside this package, but are named inside it
    __path__.append(str(_checkout))

if not any(os.access(place, os.W_OK) for place in (_checkout / "dream3d", Path.home())):
    _cache = (
        Path(tempfile.gettempdir()) / f"dream3d-{os.getuid()}"
    )  # numba finds no place of its own for compiled kernels
    _cache.mkdir(mode=0o700, exist_ok=True)
    if _cache.stat().st_uid == os.getuid():  # never load what another user left there
        os.environ.setdefault("NUMBA_CACHE_DIR", str(_cache))


def __getattr__(name: str):
    """`generate` and `load` import torch, so they are looked up only when they are used."""
    if name not in ("generate", "load"):
        raise AttributeError(f"module 'dream3d' has no attribute {name!r}")
    from dream3d import api

    return getattr(api, name)
