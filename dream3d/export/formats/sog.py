"""Gaussians as a .sog of PlayCanvas: pictures in a zip, for the web; a quarter of a .ply, with harmonics a ninth.

Version 2: meta.json and lossless WebP pictures, a texel per Gaussian: positions (16 bits between the ends, of sign(x) ln(1 + |x|)),
quaternions (the smallest three), indices into a table of 256 log scales and one of 256 colours, opacities; harmonics are an index into a
palette of at most 65536, whose values are indices into a third table. Gaussians lie along a Z-curve, so that neighbours are alike.
"""

import io
import json
import math
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from PIL import Image

import dream3d
from dream3d.errors import Mistake
from dream3d.export.formats import Ask
from dream3d.export.formats._palette import codes, palette
from dream3d.export.splat import settled
from dream3d.files import write_bytes
from dream3d.types import Points

FILES = {"splats": "splats.sog"}
UP = "-y"
EXTRA = ""
SIDE = 16383  # texels, of a WebP
ROW = 64  # entries of the palette beside each other
LARGEST = 1 << 16  # entries of a palette


def write(item: Points, path: Path, ask: Ask) -> None:
    """With `web`, a quarter of the palette. Raises Mistake where there is nothing to write."""
    points = settled(item, ask.up or UP)
    if not len(points.position):
        raise Mistake("there are no Gaussians to write", where=str(path))
    order = along(points.position.numpy())
    files, meta = _pictures(points, order, LARGEST // 4 if ask.web else LARGEST)
    about = {"version": 2, "asset": {"generator": f"dream3d {dream3d.__version__}", "extras": ask.facts}, "count": len(order),
             "antialias": True, "model": "antialiased"}  # fmt: skip
    text = json.dumps(about | meta, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    write_bytes(path, _zip({"meta.json": text} | {f"{name}.webp": data for name, data in files.items()}))


def along(position: Float[ndarray, "N 3"]) -> Int[ndarray, " N"]:
    """The order in which a Z-curve comes by: sorted by the bits of x, y and z (10 each), the highest of all three first."""
    low, high = position.min(0).astype(np.float64), position.max(0).astype(np.float64)
    cell = ((position - low) / np.maximum(high - low, 1e-30) * 1023).astype(np.int64)
    key = sum((cell[:, axis] >> bit & 1) << 3 * bit + axis for bit in range(10) for axis in range(3))
    return np.argsort(key, kind="stable")


def _pictures(points: Points, order: Int[ndarray, " N"], most: int) -> tuple[dict[str, bytes], dict]:
    position, sh = points.position.numpy()[order].astype(np.float64), points.sh.numpy()[order]
    bent = np.sign(position) * np.log1p(np.abs(position))
    ends = bent.min(0), bent.max(0)
    steps = ((bent - ends[0]) / np.maximum(ends[1] - ends[0], 1e-30) * 65535).round().astype(np.uint16)
    scales, scale_table = codes(np.log(points.scale.numpy()[order].clip(1e-10)))
    colours, colour_table = codes(sh[:, 0])
    opacity = (255 * points.opacity.numpy()[order]).round().clip(0, 255)[:, None].astype(np.uint8)
    which, short = smallest(points.rotation.numpy()[order])
    turns = np.concatenate([(255 * short).round().clip(0, 255), 252 + which[:, None]], 1)
    pictures = {"means_l": steps & 255, "means_u": steps >> 8, "scales": scales, "quats": turns,
                "sh0": np.concatenate([colours, opacity], 1)}  # fmt: skip
    files = {name: _picture(values) for name, values in pictures.items()}
    meta = {"means": {"mins": ends[0].tolist(), "maxs": ends[1].tolist(), "files": ["means_l.webp", "means_u.webp"]},
            "scales": {"codebook": scale_table, "files": ["scales.webp"]}, "quats": {"files": ["quats.webp"]},
            "sh0": {"codebook": colour_table, "files": ["sh0.webp"]}}  # fmt: skip
    if sh.shape[1] > 1:
        entries, label = palette(sh[:, 1:].reshape(len(sh), -1), most)
        values, table = codes(entries)
        files |= {"shN_centroids": _palette(values), "shN_labels": _picture(np.stack([label & 255, label >> 8], 1))}
        meta["shN"] = {"count": len(entries), "bands": math.isqrt(sh.shape[1]) - 1, "codebook": table,
                       "files": ["shN_centroids.webp", "shN_labels.webp"]}  # fmt: skip
    return files, meta


def smallest(quaternion: Float[ndarray, "N 4"]) -> tuple[Int[ndarray, " N"], Float[ndarray, "N 3"]]:
    """Which of w x y z is the largest, and the others with it above nought, from [-sqrt(1/2), sqrt(1/2)] to [0, 1]."""
    q = quaternion.astype(np.float64)
    which = np.abs(q).argmax(1)[:, None]
    q = q * np.where(np.take_along_axis(q, which, 1) < 0, -1, 1)
    others = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])[which[:, 0]]
    return which[:, 0], np.take_along_axis(q, others, 1) / math.sqrt(2) + 0.5


def _palette(values: UInt8[ndarray, "P K3"]) -> bytes:
    """ROW entries in a row of texels, of each its coefficients beside each other."""
    count, coefficients = len(values), values.shape[1] // 3
    texels = np.zeros((math.ceil(count / ROW) * ROW, coefficients, 3), np.uint8)
    texels[:count] = values.reshape(count, coefficients, 3)
    return webp(texels.reshape(-1, ROW * coefficients, 3))


def _picture(values: ndarray) -> bytes:
    """A texel per row of one to four values, in a picture that is about square; what is left over is nought."""
    width = math.ceil(math.sqrt(len(values)) / 4) * 4
    height = math.ceil(len(values) / width)
    if width > SIDE:
        raise Mistake(f"{len(values)} Gaussians are more than a .sog has place for", fix="export to ply or spz")
    texels = np.zeros((width * height, 4 if values.shape[1] == 4 else 3), np.uint8)
    texels[: len(values), : values.shape[1]] = values
    return webp(texels.reshape(height, width, -1))


def webp(texels: UInt8[ndarray, "h w c"]) -> bytes:
    """Lossless, also where it is transparent."""
    out = io.BytesIO()
    Image.fromarray(texels).save(out, "WEBP", lossless=True, exact=True, quality=75, method=4)
    return out.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    """As they are: pictures are packed already. Without times, so that the same files give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return out.getvalue()
