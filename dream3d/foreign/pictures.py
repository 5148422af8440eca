"""Textures from hostile files: bounded before they are decoded."""

import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, UnidentifiedImageError

from dream3d.errors import Mistake
from dream3d.foreign.files import LIMITS, whole

LARGEST, DECODED = 4096, 8192  # pixels a side: of what is kept, and of what is made smaller
TOTAL = 6 * DECODED**2  # pixels that are decoded for one file
RECENT = 4  # textures that are kept, for the next material that shows them
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TGA")


class Pictures:
    """Decodes the textures of one file."""

    def __init__(self, path: Path, said: list[str]):
        self.path, self.said, self.spent = path, said, 0
        self.recent: dict[Path | int, tuple[memoryview | Path, UInt8[ndarray, "h w 3"]]] = {}  # the source lives, so its id is its own

    def pixels(self, source: memoryview | Path) -> UInt8[ndarray, "h w 3"]:
        """At most LARGEST a side: what is larger is made smaller. Not to be changed. Raises Mistake for what is no picture."""
        key = source if isinstance(source, Path) else id(source)
        found = self.recent.pop(key, None) or (source, self._decoded(source))
        self.recent[key] = found
        if len(self.recent) > RECENT:
            del self.recent[next(iter(self.recent))]
        return found[1]

    def _decoded(self, source: memoryview | Path) -> UInt8[ndarray, "h w 3"]:
        data = whole(source, LIMITS["bytes"]) if isinstance(source, Path) else source
        name = source.name if isinstance(source, Path) else f"a texture in {self.path.name}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # _check is stricter
                opened = Image.open(io.BytesIO(data), formats=FORMATS)
            with opened:
                self._check(name, *opened.size)
                return _rgb(self._smaller(opened, name) if max(opened.size) > LARGEST else opened)
        except (Mistake, MemoryError):
            raise
        except Image.DecompressionBombError:
            raise self._large(name, "more than that") from None
        except UnidentifiedImageError:
            problem = f"{name} is no picture of a kind that can be read"
            raise Mistake(problem, where=str(self.path), near=", ".join(FORMATS), fix="save it as PNG") from None
        except Exception as error:  # decoders answer hostile data with exceptions of every kind
            raise Mistake(f"{name} cannot be read as a picture: {error}", where=str(self.path), fix="save it again as PNG") from None

    def _smaller(self, picture: Image.Image, name: str) -> Image.Image:
        if "A" in picture.mode or picture.mode in ("P", "1"):
            picture = picture.convert("RGB")  # else texels that are transparent become black, and palettes are not mixed
        picture.thumbnail((LARGEST, LARGEST))
        self.said.append(f"{name} made smaller, to {picture.width} x {picture.height} pixels")
        return picture

    def _large(self, name: str, size: str) -> Mistake:
        return Mistake(f"{name}: at most {DECODED} pixels a side, but it has {size}", where=str(self.path), fix="scale it down")

    def _check(self, name: str, width: int, height: int) -> None:
        if max(width, height) > DECODED:
            raise self._large(name, f"{width} x {height}")
        self.spent += width * height
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
