"""Pictures from files: what users hand in, bounded and checked."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dream3d.build import place
from dream3d.errors import Mistake, choices

LARGEST = 4096  # pixels a side: what is larger is a mistake, or an attack


def read_picture(name: str, where: str) -> Float[Tensor, "1 4 H W"]:
    """Display sRGB premultiplied by alpha, and alpha, in [0, 1]; a picture without alpha covers everything. `name` is a path, else a
    picture in assets/photos. Raises Mistake for what is no picture, or a huge one."""
    bundled = place("assets") / "photos"
    path = next((p for p in (Path(name), bundled / name) if name.strip() and _is_file(p)), None)
    if path is None:
        near = choices(name, sorted(p.name for p in bundled.glob("*.png")))
        raise Mistake(f"there is no picture {name!r}", where=where, near=near, fix=f"{where}=PATH of a PNG, JPEG or WebP file")
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as opened:
            if max(opened.size) > LARGEST:
                raise Mistake(f"{name}: at most {LARGEST} pixels a side, but it has {opened.width} x {opened.height}", where=where)
            pixels = np.asarray(_upright(opened).convert("RGBA"), dtype=np.float32) / 255
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise Mistake(f"{name} cannot be read as a picture: {error}", where=where, fix="save it again as PNG") from None
    rgb, alpha = torch.from_numpy(pixels).permute(2, 0, 1)[None].split((3, 1), 1)
    return torch.cat([rgb * alpha, alpha], 1)


def _upright(picture: Image.Image) -> Image.Image:
    """As it is meant to be seen: turned as its camera says, 16 bits of grey as 8 (which PIL would clip)."""
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8))
    return ImageOps.exif_transpose(picture)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
