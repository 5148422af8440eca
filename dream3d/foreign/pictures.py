"""Textures from hostile files: bounded before they are decoded."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from dream3d.errors import Mistake
from dream3d.foreign.files import LIMITS, whole

LARGEST, DECODED = 4096, 8192  # pixels a side: of what is kept, and of what is made smaller
TOTAL = 2 * DECODED**2  # pixels of all textures of one file
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TGA")


class Pictures:
    """Decodes the textures of one file, each once."""

    def __init__(self, path: Path, said: list[str]):
        self.path, self.said, self.spent = path, said, 0

    def pixels(self, source: memoryview | Path) -> UInt8[ndarray, "h w 3"]:
        """At most LARGEST a side: what is larger is made smaller. Raises Mistake for what is no picture."""
        data = whole(source, LIMITS["bytes"]) if isinstance(source, Path) else source
        name = source.name if isinstance(source, Path) else f"a texture in {self.path.name}"
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                self._check(name, *opened.size)
                if max(opened.size) > LARGEST:
                    opened.thumbnail((LARGEST, LARGEST))
                    self.said.append(f"{name} made smaller, to {opened.width} x {opened.height} pixels")
                return _rgb(opened)
        except (Mistake, MemoryError):
            raise
        except Exception as error:  # decoders answer hostile data with exceptions of every kind
            raise Mistake(f"{name} cannot be read as a picture: {error}", where=str(self.path), fix="save it again as PNG") from None

    def _check(self, name: str, width: int, height: int) -> None:
        self.spent += width * height
        if max(width, height) > DECODED:
            problem = f"{name}: at most {DECODED} pixels a side, but it has {width} x {height}"
            raise Mistake(problem, where=str(self.path), fix="scale it down")
        if self.spent > TOTAL:
            raise Mistake(f"the textures of {self.path.name} are too large together", where=str(self.path), fix="scale them down")


def _rgb(picture: Image.Image) -> UInt8[ndarray, "h w 3"]:
    if picture.mode.startswith("I"):  # 16 bits of grey, which PIL would clip
        grey = np.clip(np.asarray(picture).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, -1)
    return np.asarray(picture.convert("RGB"))


def resized(pixels: UInt8[ndarray, "h w 3"], width: int, height: int) -> UInt8[ndarray, "H W 3"]:
    if pixels.shape[:2] == (height, width):
        return pixels
    how = Image.Resampling.BOX if width < pixels.shape[1] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize((width, height), how))
