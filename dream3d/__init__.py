"""dream3d: text to 3D by score distillation. `dream3d.generate("a red car")` makes an asset, `dream3d.load(run)` reads one back."""

import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads cost up to 17x on a busy laptop

__version__ = "0.1.0"

_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "launch.py").is_file():  # guidance/, renderers/, ... lie beside this package, but are named inside it
    __path__.append(str(_checkout))


def __getattr__(name: str):
    """`generate` and `load` import torch, so they are looked up only when they are used."""
    if name not in ("generate", "load"):
        raise AttributeError(f"module 'dream3d' has no attribute {name!r}")
    from dream3d import api

    return getattr(api, name)
