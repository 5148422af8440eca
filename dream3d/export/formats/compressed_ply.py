"""Gaussians as a .compressed.ply of PlayCanvas: a quarter of a .ply, which SuperSplat and its kin open without unpacking.

In chunks of 256 along a Z-curve: per chunk the ends of positions, log scales and colours as float32; per Gaussian four words of 32 bits,
with positions and log scales (11, 10, 11 bits between those ends), the quaternion (the smallest three, 10 bits each) and colour and opacity
(8 each); then a byte per harmonic, for [-4, 4].
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt32
from numpy import ndarray

from dream3d.export.formats import Ask
from dream3d.export.formats.sog import along, smallest
from dream3d.export.splat import C0, settled
from dream3d.files import write_bytes
from dream3d.types import Points

FILES = {"splats": "splats.compressed.ply"}
UP = "-y"
EXTRA = ""
CHUNK = 256
AXES, COLOURS, WORDS = "xyz", "rgb", ("position", "rotation", "scale", "color")


def write(item: Points, path: Path, ask: Ask) -> None:
    points = settled(item, ask.up or UP)
    order = along(points.position.numpy()) if len(points.position) else np.zeros(0, np.int64)
    sh, rest = points.sh.numpy()[order], 3 * (points.sh.shape[1] - 1)
    place, place_ends = _between(points.position.numpy()[order])
    scale, scale_ends = _between(np.log(points.scale.numpy()[order].clip(1e-9)))
    colour, colour_ends = _between(0.5 + C0 * sh[:, 0])
    rgba = np.concatenate([colour, points.opacity.numpy()[order][:, None]], 1)
    which, short = smallest(points.rotation.numpy()[order])
    turns = which.astype(np.uint32) << 30 | _packed(short, (10, 10, 10))
    words = [_packed(place, (11, 10, 11)), turns, _packed(scale, (11, 10, 11)), _packed(rgba, (8, 8, 8, 8))]
    more = sh[:, 1:].swapaxes(1, 2).reshape(len(sh), rest)
    harmonics = (256 * (more / 8 + 0.5)).clip(0, 255).astype(np.uint8)  # not rounded: of a step its middle counts
    chunks = np.concatenate([place_ends, scale_ends, colour_ends], 1).astype("<f4")
    body = chunks.tobytes() + np.stack(words, 1).astype("<u4").tobytes() + harmonics.tobytes()
    write_bytes(path, _header(len(chunks), len(sh), rest) + body)


def _header(chunks: int, count: int, rest: int) -> bytes:
    ends = [f"property float {end}_{name}" for prefix, axes in (("", AXES), ("scale_", AXES), ("", COLOURS))
            for end in ("min", "max") for name in (prefix + axis for axis in axes)]  # fmt: skip
    lines = ["ply", "format binary_little_endian 1.0", f"element chunk {chunks}", *ends]
    lines += [f"element vertex {count}", *(f"property uint packed_{word}" for word in WORDS)]
    if rest:
        lines += [f"element sh {count}", *(f"property uchar f_rest_{i}" for i in range(rest))]
    return "\n".join([*lines, "end_header\n"]).encode()


def _between(values: Float[ndarray, "N 3"]) -> tuple[Float[ndarray, "N 3"], Float[ndarray, "C 6"]]:
    """Where values are between the ends of their chunk, in [0, 1], and those ends."""
    first = np.arange(0, len(values), CHUNK)
    low, high = (end.reduceat(values, first) if len(first) else values for end in (np.minimum, np.maximum))
    low, high = low.astype(np.float32), high.astype(np.float32)
    chunk = np.arange(len(values)) // CHUNK
    wide = np.where(high > low, high - low, 1).astype(np.float64)
    return (values - low[chunk]) / wide[chunk], np.concatenate([low, high], 1)


def _packed(shares: Float[ndarray, "N D"], bits: tuple[int, ...]) -> UInt32[ndarray, " N"]:
    """Numbers in [0, 1], the first in the highest bits."""
    word = np.zeros(len(shares), np.uint32)
    for share, size in zip(shares.T, bits, strict=True):
        word = word << size | (share * (2**size - 1)).round().clip(0, 2**size - 1).astype(np.uint32)
    return word
