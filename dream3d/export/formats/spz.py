"""Gaussians as a .spz of Niantic: a quarter of a .ply, with harmonics a fifth.

Version 3 of the layout, which all its readers know (version 4 has other compression): a gzip stream of a header of 16 bytes, then all
positions (24 bits, fixed point), opacities, colours, log scales (sixteenths), quaternions (the smallest three, ten bits each), and
harmonics, a byte each. Axes are those of OpenGL: y up. Marked as rendered with antialiasing (Mip-Splatting), as ours are.
"""

import math
import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from dream3d.errors import Mistake
from dream3d.export.formats import Ask
from dream3d.export.splat import settled
from dream3d.files import write_bytes
from dream3d.types import Points

FILES = {"splats": "splats.spz"}
UP = "y"
EXTRA = ""
HEADER = struct.Struct("<4sIIBBBB")  # NGSP, version, count, degree, fractional bits, flags, nothing
ANTIALIASED = 1
COLOUR = 0.15  # of a byte's range per unit of a coefficient: colours may lie beyond [0, 1]
BITS = 16  # of a fraction of a metre: 15 micrometres, where all lies within 128 m


def write(item: Points, path: Path, ask: Ask) -> None:
    """With `web`, harmonics are rounded to 5 bits and, from degree 2, 4, as the format's own library does. Raises Mistake for Gaussians
    that are more than 8000 km away."""
    points = settled(item, ask.up or UP)
    sh, bits = points.sh.numpy().astype(np.float64), _bits(points.position.numpy(), path)
    harmonics = _harmonics(sh[:, 1:], (5, 4) if ask.web else (8, 8))
    parts = (_fixed(points.position.numpy(), bits), _bytes(255 * points.opacity.numpy()), _bytes(255 * (0.5 + COLOUR * sh[:, 0])),
             _bytes(16 * (np.log(points.scale.numpy().clip(1e-10)) + 10)), _smallest(points.rotation.numpy()), harmonics)  # fmt: skip
    head = HEADER.pack(b"NGSP", 3, len(sh), math.isqrt(sh.shape[1]) - 1, bits, ANTIALIASED, 0)
    write_bytes(path, _gzip(b"".join([head, *(part.tobytes() for part in parts)])))


def _bits(position: ndarray, path: Path) -> int:
    """How many of 24 are behind the point: as many as BITS, fewer where something lies far away."""
    far = float(np.abs(position).max(initial=0))
    bits = min(BITS, 22 - math.floor(math.log2(max(far, 1))))
    if bits < 0:
        raise Mistake(f"a .spz reaches 8000 km, and a Gaussian lies {far / 1000:.4g} km away", where=str(path), fix="export to ply")
    return bits


def _fixed(position: Float[ndarray, "N 3"], bits: int) -> UInt8[ndarray, "N 9"]:
    """Two's complement, the lowest byte first."""
    whole = (position.astype(np.float64) * 2**bits).round().astype("<i4")
    return np.ascontiguousarray(whole).view(np.uint8).reshape(len(whole), 3, 4)[:, :, :3].reshape(len(whole), 9)


def _smallest(quaternion: Float[ndarray, "N 4"]) -> ndarray:
    """Of x y z w the largest is left out: two bits say which it is, then come sign and nine bits of each of the others."""
    q = np.roll(quaternion.astype(np.float64), -1, 1)
    which = np.abs(q).argmax(1)
    q = q * np.where(np.take_along_axis(q, which[:, None], 1) < 0, -1, 1)
    packed = which.astype(np.uint32)
    for i in range(4):
        size = (511 * np.abs(q[:, i]) * math.sqrt(2)).round().clip(0, 511).astype(np.uint32)
        packed = np.where(which == i, packed, packed << 10 | (q[:, i] < 0).astype(np.uint32) << 9 | size)
    return packed.astype("<u4")


def _harmonics(rest: Float[ndarray, "N K 3"], kept: tuple[int, int]) -> UInt8[ndarray, "N K 3"]:
    """128 is nought and 128 of them one; the last bits are dropped of degree 1 and of the others, so that they compress better."""
    step = np.where(np.arange(rest.shape[1]) < 3, 1 << 8 - kept[0], 1 << 8 - kept[1])[:, None]
    return _bytes((rest * 128 / step).round() * step + 128)


def _bytes(values: ndarray) -> UInt8[ndarray, "..."]:
    return values.round().clip(0, 255).astype(np.uint8)


def _gzip(data: bytes) -> bytes:
    """Without a name, a time and a system, so that the same data give the same file."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    return head + deflate.compress(data) + deflate.flush() + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
