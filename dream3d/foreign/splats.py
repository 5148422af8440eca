"""Gaussians in the small files of the web: .splat (32 bytes each) and Niantic's .spz (versions 2 to 4). Nothing in a file is trusted: how
much it unpacks to is told by its header, compared with its length, and never exceeded."""

import importlib
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from dream3d.errors import Mistake
from dream3d.export.splat import C0
from dream3d.foreign.files import LIMITS, broken, whole
from dream3d.foreign.pieces import Budget, Piece

RECORD = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])
HEADER, STREAM = struct.Struct("<4sIIBBBB"), struct.Struct("<QQ")
PACKED = 32  # bytes of the header of version 4
RATIO = 100  # a file that unpacks to more times its length holds nothing
COLOUR = 0.15  # of a byte's range per unit
REST = (0, 3, 8, 15, 24)  # coefficients per colour above degree 0, of degrees 0 to 4
BEHIND = 1 << 16  # bytes behind the Gaussians
EDGE = 1e-6  # opacities are written as logits
Columns = dict[str, ndarray]


def read_splat(path: Path, said: list[str]) -> tuple[list[Piece], Columns]:
    """No mesh, and the columns as a .ply of Gaussians has them, before activation."""
    data = whole(path, LIMITS["bytes"])
    if len(data) % RECORD.itemsize:
        raise broken(path, f"{len(data)} bytes are not 32 for each Gaussian")
    Budget(path).take("vertices", len(data) // RECORD.itemsize)
    rows = np.frombuffer(data, RECORD)
    colour = (rows["rgba"][:, :3] / 255 - 0.5) / C0
    with np.errstate(invalid="ignore"):
        scale = np.log(np.where(rows["scale"] < 1e-10, 1e-10, rows["scale"]))  # what is not a number stays so, and is refused
    return [], columns(rows["position"], colour, logit(rows["rgba"][:, 3] / 255), scale, rows["rotation"] / 128 - 1)


def read_spz(path: Path, said: list[str]) -> tuple[list[Piece], Columns]:
    """The same of a .spz. Raises Mistake also where version 4 needs a package for its compression that is not there."""
    data = whole(path, LIMITS["bytes"])
    gzip = zlib.decompressobj(31) if data[:2] == b"\x1f\x8b" else None
    try:
        head = data[: HEADER.size] if gzip is None else gzip.decompress(data, HEADER.size)
        if len(head) < HEADER.size:
            raise broken(path, "it ends within its header")
        magic, version, count, degree, bits, _, streams = HEADER.unpack(head)
        if magic != b"NGSP" or version not in ((4,) if gzip is None else (2, 3)):
            raise broken(path, f"no .spz of version 2, 3 or 4, but {version if magic == b'NGSP' else 'something else'}")
        if degree >= len(REST) or bits > 24:
            raise broken(path, f"harmonics of degree {degree}, and {bits} of 24 bits behind the point")
        Budget(path).take("vertices", count)
        sizes = [count * n for n in (9, 1, 3, 3, 3 if version == 2 else 4, 3 * REST[degree])]
        if sum(sizes) > RATIO * len(data):
            raise broken(path, f"{count} Gaussians are promised, in {len(data)} bytes")
        parts = _gzipped(gzip, sizes) if gzip else _streams(data, sizes if degree else sizes[:-1], streams, path)
    except zlib.error as error:
        raise broken(path, str(error)[:80]) from None
    if [len(part) for part in parts] != sizes[: len(parts)]:
        raise broken(path, f"it ends before its {count} Gaussians do")
    return [], _unpacked([np.frombuffer(part, np.uint8).reshape(count, -1) for part in parts if len(part)], bits, version, said)


def _gzipped(gzip: Any, sizes: list[int]) -> list[bytes]:
    """Never more than the sizes; what comes behind, as extensions do, is left. The sum of all bytes is checked where it comes soon."""
    data = gzip.decompress(gzip.unconsumed_tail, max(sum(sizes), 1))
    gzip.decompress(gzip.unconsumed_tail, BEHIND)
    ends = np.cumsum([0, *sizes])
    return [data[a:b] for a, b in zip(ends, ends[1:], strict=False)]


def _streams(data: bytes, sizes: list[int], count: int, path: Path) -> list[bytes]:
    """Of version 4: a table of lengths, then a Zstandard frame each."""
    table = int.from_bytes(data[16:20], "little")
    if count != len(sizes) or table < PACKED or table + count * STREAM.size > len(data):
        raise broken(path, "its table of streams is not where it says")
    at, parts = table + count * STREAM.size, []
    for i, size in enumerate(sizes):
        packed, unpacked = STREAM.unpack_from(data, table + i * STREAM.size)
        if unpacked != size or packed > len(data) - at:
            raise broken(path, f"stream {i} is not as long as its Gaussians ask for")
        parts.append(_zstd(data[at : at + packed], size, path))
        at += packed
    return parts


def _zstd(data: bytes, size: int, path: Path) -> bytes:
    """At most that many bytes."""
    try:
        maker = importlib.import_module("compression.zstd").ZstdDecompressor  # from Python 3.14 on
        unpack = lambda: maker().decompress(data, size)  # noqa: E731
    except ModuleNotFoundError:
        try:
            maker = importlib.import_module("zstandard").ZstdDecompressor
        except ModuleNotFoundError:
            raise Mistake(f"{path.name} is a .spz of version 4, which needs Zstandard", where=str(path), near="version 3, or a .ply",
                          fix="pip install zstandard") from None  # fmt: skip
        unpack = lambda: maker().stream_reader(data).read(size)  # noqa: E731
    try:
        return unpack()
    except Exception as error:  # either package has errors of its own
        raise broken(path, str(error)[:80]) from None


def _unpacked(parts: list[UInt8[ndarray, "N _"]], bits: int, version: int, said: list[str]) -> Columns:
    if not parts:
        return {}
    position, opacity, colour, scale, rotation = parts[:5]
    fixed = np.zeros((len(position), 3, 4), np.uint8)
    fixed[:, :, 1:] = position.reshape(-1, 3, 3)
    place = (fixed.reshape(len(fixed), 12).view("<i4") >> 8) / 2.0**bits
    rest = parts[5].reshape(len(position), -1, 3) if len(parts) > 5 else None
    if rest is not None and rest.shape[1] > 15:
        said.append("harmonics of degree 4 are left out")
        rest = rest[:, :15]
    quaternion = _first_three(rotation) if version == 2 else _smallest_three(rotation)
    return columns(place, (colour / 255 - 0.5) / COLOUR, logit(opacity[:, 0] / 255), scale / 16 - 10, quaternion,
                   None if rest is None else rest / 128 - 1)  # fmt: skip


def _first_three(packed: UInt8[ndarray, "N 3"]) -> Float[ndarray, "N 4"]:
    xyz = packed / 127.5 - 1
    return np.concatenate([np.sqrt((1 - (xyz * xyz).sum(1, keepdims=True)).clip(0)), xyz], 1)


def _smallest_three(packed: UInt8[ndarray, "N 4"]) -> Float[ndarray, "N 4"]:
    """Which of x y z w is left out, then sign and nine bits of each of the others; as w x y z."""
    bits = np.ascontiguousarray(packed).view("<u4")[:, 0]
    which, q = bits >> 30, np.zeros((len(bits), 4))
    for i in reversed(range(4)):
        here = which != i
        q[here, i] = np.where(bits >> 9 & 1, -1, 1)[here] * (bits & 511)[here] / 511 / math.sqrt(2)
        bits = np.where(here, bits >> 10, bits)
    np.put_along_axis(q, which[:, None].astype(np.int64), np.sqrt((1 - (q * q).sum(1)).clip(0))[:, None], 1)
    return np.roll(q, 1, 1)


def columns(
    position: ndarray, colour: ndarray, opacity: ndarray, scale: ndarray, rotation: ndarray, rest: ndarray | None = None
) -> Columns:
    """As a .ply of Gaussians names them: all before activation, `colour` and `rest` (N, K, 3) harmonics."""
    found = dict(zip("xyz", position.T, strict=True)) | {"opacity": opacity}
    many = {"f_dc": colour, "scale": scale, "rot": rotation}
    if rest is not None:
        many["f_rest"] = rest.swapaxes(1, 2).reshape(len(rest), -1)
    return found | {f"{name}_{i}": column for name, block in many.items() for i, column in enumerate(block.T)}


def logit(share: Float[ndarray, " N"]) -> Float[ndarray, " N"]:
    share = share.astype(np.float64).clip(EDGE, 1 - EDGE)
    return np.log(share / (1 - share))
