"""Gaussians of a .sog of PlayCanvas (version 2): meta.json and pictures in a zip. Nothing in a file is trusted: what the zip, the pictures
and the Gaussians unpack to is compared with the file's length before memory is taken, and only what meta.json names is read."""

import io
import json
import math
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from PIL import Image

from dream3d.errors import Mistake
from dream3d.foreign.files import LIMITS, broken, whole
from dream3d.foreign.pieces import Budget, Piece
from dream3d.foreign.splats import RATIO, Columns, columns, logit

TEXEL, SIDE = 16, 16383  # bytes of a Gaussian at least, unpacked; texels of a WebP
COEFFICIENTS = (0, 3, 8, 15)
SHORT = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


def read_sog(path: Path, said: list[str]) -> tuple[list[Piece], Columns]:
    """No mesh, and the columns as a .ply of Gaussians has them, before activation."""
    data = whole(path, LIMITS["bytes"])
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [], _Scene(path, archive, len(data)).columns()
    except (Mistake, MemoryError):
        raise
    except Exception as error:  # zips and decoders answer hostile data with exceptions of every kind
        raise broken(path, f"{type(error).__name__}: {error}"[:80]) from None


class _Scene:
    def __init__(self, path: Path, archive: zipfile.ZipFile, length: int):
        self.path, self.archive = path, archive
        if sum(entry.file_size for entry in archive.infolist()) > RATIO * length:
            raise broken(path, f"it unpacks to more than {RATIO} times its length")
        self.meta = json.loads(self._bytes("meta.json", LIMITS["json"]))
        self.count = self.meta["count"] if isinstance(self.meta, dict) else None
        if not isinstance(self.count, int) or isinstance(self.count, bool) or self.count < 0 or self.meta.get("version") != 2:
            raise broken(path, "its meta.json is not that of version 2", fix="convert it with splat-transform")
        if self.count * TEXEL > RATIO * length:
            raise broken(path, f"{self.count} Gaussians are promised, in {length} bytes")
        Budget(path).take("vertices", self.count)

    def columns(self) -> Columns:
        if not self.count:
            return {}
        low, high = (self._numbers("means", name, 3) for name in ("mins", "maxs"))
        bent = low + (high - low) * (self._rows("means", 0)[:, :3] + 256.0 * self._rows("means", 1)[:, :3]) / 65535
        with np.errstate(over="ignore"):
            position = np.sign(bent) * np.expm1(np.abs(bent))
        colour = self._rows("sh0", 0)
        more = self._harmonics() if self.meta.get("shN") else None
        scale, rotation = self._looked("scales", self._rows("scales", 0)[:, :3]), self._quaternions()
        return columns(position, self._looked("sh0", colour[:, :3]), logit(colour[:, 3] / 255), scale, rotation, more)

    def _quaternions(self) -> Float[ndarray, "N 4"]:
        """Of w x y z the fourth byte says which is left out; where it says nothing, there is no turn."""
        rows, q = self._rows("quats", 0), np.zeros((self.count, 4))
        which = np.maximum(rows[:, 3].astype(np.int64) - 252, 0)
        np.put_along_axis(q, SHORT[which], (rows[:, :3] / 127.5 - 1) / math.sqrt(2), 1)
        np.put_along_axis(q, which[:, None], np.sqrt((1 - (q * q).sum(1)).clip(0))[:, None], 1)
        return np.where(rows[:, 3:] < 252, np.eye(4)[0], q)

    def _harmonics(self) -> Float[ndarray, "N K 3"]:
        bands, count = (self._part("shN").get(name) for name in ("bands", "count"))
        if bands not in (1, 2, 3) or not isinstance(count, int):
            raise broken(self.path, f"harmonics of {str(bands)[:20]} bands")
        each, entries = COEFFICIENTS[bands], self._picture("shN", 0, 1 << 16)
        rows, wide = entries.shape[0], entries.shape[1]
        label = self._rows("shN", 1)[:, :2] @ np.array([1, 256])
        if wide != 64 * each or label.max() >= min(count, 64 * rows):
            raise broken(self.path, "its palette is smaller than its labels say")
        palette = entries.reshape(rows * 64, each, 4)[:, :, :3]
        return self._looked("shN", palette[label])

    def _looked(self, part: str, index: Int[ndarray, "*n"]) -> Float[ndarray, "*n"]:
        table = self._numbers(part, "codebook", None)
        if int(index.max(initial=0)) >= len(table):
            raise broken(self.path, f"an index of {part} beyond its {len(table)} values")
        return table[index]

    def _rows(self, part: str, number: int) -> ndarray:
        """Four bytes for each Gaussian."""
        texels = self._picture(part, number, self.count).reshape(-1, 4)
        if len(texels) < self.count:
            raise broken(self.path, f"{len(texels)} texels of {part} for {self.count} Gaussians")
        return texels[: self.count]

    def _picture(self, part: str, number: int, most: int) -> ndarray:
        """Of about as many texels as there is a use for, at most."""
        names = self._part(part).get("files")
        if not isinstance(names, list) or len(names) <= number or not isinstance(names[number], str):
            raise broken(self.path, f"{part} names no picture")
        data = self._bytes(names[number], LIMITS["bytes"] >> 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the next line is stricter
            opened = Image.open(io.BytesIO(data), formats=("WEBP", "PNG"))
        with opened:
            width, height = opened.size
            if max(width, height) > SIDE or width * height > 16 * most + 4096:
                raise broken(self.path, f"{width} x {height} texels of {part}")
            return np.asarray(opened.convert("RGBA")).astype(np.int32)

    def _numbers(self, part: str, name: str, count: int | None) -> Float[ndarray, " n"]:
        values = self._part(part).get(name)
        right = isinstance(values, list) and len(values) <= 256 and all(type(value) in (int, float) for value in values)
        if not right or count not in (None, len(values)) or not np.isfinite(found := np.array(values, np.float64)).all():
            raise broken(self.path, f"{name} of {part} are no numbers")
        return found

    def _part(self, name: str) -> dict[str, Any]:
        part = self.meta.get(name)
        if not isinstance(part, dict):
            raise broken(self.path, f"its meta.json says nothing of {name}")
        return part

    def _bytes(self, name: str, most: int) -> bytes:
        """A file of the zip, never more than it says."""
        if name not in self.archive.namelist():
            raise broken(self.path, f"there is no {name[:40]!r} in it")
        size = self.archive.getinfo(name).file_size
        if size > most:
            raise broken(self.path, f"{name[:40]!r} is larger than {most >> 20} MiB")
        with self.archive.open(name) as file:
            return file.read(size)
