"""Gaussians as the .ply of 3D Gaussian Splatting (Kerbl et al. 2023, arXiv 2308.04079), which every splat viewer reads.

Per vertex, little-endian float32, before activation: x y z, nx ny nz (zero), f_dc_0..2 and f_rest_* (spherical
harmonics, rgb = 0.5 + C0 f_dc + ..., the rest channel by channel), opacity (logit), scale_0..2 (logarithm),
rot_0..3 (w x y z). Metres; axes are those of the world, z up, where nothing else is asked.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.export.axes import Up, inward, outward
from dream3d.files import replacing
from dream3d.foreign.upright import comment
from dream3d.types import Points

C0 = 0.28209479177387814  # the constant spherical harmonic
HEADER_LIMIT = 1 << 16
ROWS = 1 << 14
REST = (0, 9, 24, 45)  # f_rest values of degree 0, 1, 2, 3
TYPES = {"float": "<f4", "float32": "<f4", "uchar": "u1", "uint8": "u1"}


def settled(points: Points, up: Up = "z") -> Points:
    """Gaussians as files hold them: float32 on the CPU, in axes where `up` points up, colours as harmonics, quaternions of length one.
    Raises Mistake where the points are no Gaussians (no scale, rotation or opacity), not finite, or of no degree."""
    if points.scale is None or points.rotation is None or points.opacity is None:
        raise Mistake("only points with scale, rotation and opacity are Gaussians")
    sh = (points.rgb[:, None] - 0.5) / C0 if points.sh is None else points.sh
    if 3 * (sh.shape[1] - 1) not in REST:
        raise Mistake(f"splats have no place for {sh.shape[1]} coefficients per colour, only for 1, 4, 9 or 16")
    values = {"position": points.position, "rgb": points.rgb, "scale": points.scale, "opacity": points.opacity, "sh": sh,
              "rotation": torch.nn.functional.normalize(points.rotation, dim=-1)}  # fmt: skip
    values = {name: value.detach().float().cpu() for name, value in values.items()}
    if not all(_finite(value) for value in values.values()):
        raise Mistake("these Gaussians have values that are not finite: the run has diverged", code=5)
    return outward(Points(**values), up)


def _finite(values: Tensor) -> bool:
    """By the ends, which are NaN where anything is: four times as fast as asking every value."""
    return values.numel() == 0 or bool(torch.stack(values.aminmax()).isfinite().all())


def write_ply(points: Points, path: Path, *, up: Up = "z") -> None:
    """What is not z up says so in a comment. Raises Mistake as `settled` does, and for a full disk."""
    points = settled(points, up)
    with replacing(Path(path)) as temporary, open(temporary, "wb") as file:
        for piece in pieces(points, up):
            file.write(piece)


def pieces(points: Points, up: Up = "z") -> Iterator[bytes | Float32[ndarray, "n _"]]:
    """The bytes of a .ply, one after the other, of Gaussians that are `settled` so."""
    lines = ["ply", "format binary_little_endian 1.0", *([comment(up)] if up != "z" else []), f"element vertex {len(points.position)}"]
    yield "\n".join([*lines, *(f"property float {name}" for name in _names(points.sh.shape[1])), "end_header\n"]).encode()
    for begin in range(0, len(points.position), ROWS):
        yield _rows(points, slice(begin, begin + ROWS))


def _names(coefficients: int) -> tuple[str, ...]:
    colours = *_numbered("f_dc", 3), *_numbered("f_rest", 3 * (coefficients - 1))
    return "x", "y", "z", "nx", "ny", "nz", *colours, "opacity", *_numbered("scale", 3), *_numbered("rot", 4)


def _rows(points: Points, some: slice) -> Float32[ndarray, "n _"]:
    """Some of the vertices, in the order of `_names`. By thousands, they stay in the processor's cache."""
    sh = points.sh[some].numpy()
    table = np.zeros((len(sh), 14 + 3 * sh.shape[1]), "<f4")
    table[:, :3], table[:, 6:9] = points.position[some], sh[:, 0]
    table[:, 9:-8].reshape(len(sh), 3, sh.shape[1] - 1)[:] = sh[:, 1:].swapaxes(1, 2)
    table[:, -8] = torch.logit(points.opacity[some].double(), eps=1e-7)  # 1 - 1e-7 is 1 in float32: double
    table[:, -7:-4], table[:, -4:] = points.scale[some].clamp(min=1e-10).log(), points.rotation[some]
    return table


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}_{i}" for i in range(count))


def read_ply(path: Path, *, up: Up = "z") -> Points:
    """Gaussians in the layout above, or plain points with red green blue; `up` is the file's axis that points up. Nothing in the file
    is trusted: sizes are compared with the file's length before anything is allocated; only float and uchar vertex data are accepted."""
    path = Path(path)
    if not path.is_file():
        raise Mistake(f"there is no file {path}")
    with path.open("rb") as file:
        head = file.read(HEADER_LIMIT)
        end = re.search(rb"\nend_header\r?\n", head)
        if end is None:
            raise _broken(path, f"no end_header in its first {HEADER_LIMIT >> 10} KiB")
        count, dtype = _header(head[: end.start()], path)
        length = os.fstat(file.fileno()).st_size - end.end()
        if length != count * dtype.itemsize:
            raise _broken(path, f"{count} vertices of {dtype.itemsize} bytes announced, {length} bytes there")
        file.seek(end.end())
        rows = np.frombuffer(file.read(length), dtype)
    columns = {name: torch.from_numpy(rows[name].astype(np.float32)) for name in dtype.names}
    if "f_dc_0" in columns:
        return inward(gaussians(columns, path), up)
    position, colour = (_block(columns, names, path) for names in (("x", "y", "z"), ("red", "green", "blue")))
    return inward(Points(position, colour / 255 if dtype["red"] == np.uint8 else colour), up)


def _header(text: bytes, path: Path) -> tuple[int, np.dtype]:
    """The number of vertices and the layout of one."""
    lines = [line.split() for line in text.decode("ascii", "replace").splitlines()]
    lines = [words for words in lines if words and words[0] not in ("comment", "obj_info")]
    if lines[:2] != [["ply"], ["format", "binary_little_endian", "1.0"]]:
        raise _broken(path, "not a binary_little_endian .ply")
    if len(lines) < 4 or lines[2][:2] != ["element", "vertex"] or not re.fullmatch(r"\d{1,12}", lines[2][-1]):
        raise _broken(path, "no vertices in it")
    fields = []
    for words in lines[3:]:
        if len(words) != 3 or words[0] != "property" or words[1] not in TYPES:
            raise _broken(path, f"'{' '.join(words)[:60]}' is none of the float and uchar properties of vertices")
        fields.append((words[2], TYPES[words[1]]))
    if len({name for name, _ in fields}) != len(fields):
        raise _broken(path, "a property is there twice")
    return int(lines[2][-1]), np.dtype(fields)


def _block(columns: dict[str, Tensor], names: tuple[str, ...], path: Path) -> Tensor:
    """Some of the columns side by side."""
    if missing := [name for name in names if name not in columns]:
        raise _broken(path, f"no property {missing[0]!r}")
    block = torch.stack([columns[name] for name in names], -1)
    if not bool(block.isfinite().all()):
        raise _broken(path, "values that are not finite")
    return block


def gaussians(columns: dict[str, Tensor], path: Path) -> Points:
    """Gaussians from the columns of a file, before activation, float32. Raises Mistake for what lacks or is not finite."""
    rest = sum(name.startswith("f_rest_") for name in columns)
    if rest not in REST:
        raise _broken(path, f"{rest} f_rest values; 0, 9, 24 or 45 make a degree")
    first = _block(columns, _numbered("f_dc", 3), path)
    more = _block(columns, _numbered("f_rest", rest), path).unflatten(1, (3, -1)).mT if rest else first[:, None][:, :0]
    return Points(
        position=_block(columns, ("x", "y", "z"), path),
        rgb=(0.5 + C0 * first).clamp(0, 1),
        scale=_block(columns, _numbered("scale", 3), path).exp(),
        rotation=torch.nn.functional.normalize(_block(columns, _numbered("rot", 4), path), dim=-1),
        opacity=_block(columns, ("opacity",), path)[:, 0].sigmoid(),
        sh=torch.cat([first[:, None], more], 1),
    )


def _broken(path: Path, why: str) -> Mistake:
    return Mistake(f"cannot read {path.name}: {why}", where=str(path), fix="export it again, from the program that made it")
