"""Camera paths: a few views that somebody chose, the smooth way through them, and a film of it by our own renderer."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d import files
from dream3d.cameras import FOVY
from dream3d.errors import Mistake
from dream3d.types import Cameras

FPS = 30
MOST = 1000  # views of a path
LIMIT = 1 << 20  # bytes of a file


@dataclass(frozen=True)
class View:
    """Where a camera is, what it looks at (metres), its lens (degrees, the picture's height), the moment of the scene in [0, 1]."""

    position: tuple[float, float, float]
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    fovy: float = FOVY
    time: float = 0.0


def save(views: list[View], path: Path) -> None:
    files.write_json(path, {"version": 1, "views": [vars(view) for view in views]})


def load(path: Path) -> list[View]:
    """Raises Mistake for what is no camera path."""
    try:
        if path.stat().st_size > LIMIT:
            raise ValueError(f"more than {LIMIT >> 20} MiB")
        rows = json.loads(path.read_text(encoding="utf-8"))["views"]
        if not isinstance(rows, list) or len(rows) > MOST:
            raise ValueError(f"not a list of at most {MOST} views")
        return [_view(**row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Mistake(f"{path.name} is no camera path: {error}", where=str(path)) from None


def _view(position, target=(0.0, 0.0, 0.0), fovy=FOVY, time=0.0) -> View:
    numbers = [*position, *target, fovy, time]
    if len(position) != 3 or len(target) != 3 or not all(type(n) in (int, float) and abs(n) < 1e4 for n in numbers):
        raise ValueError("a view has a position and a target of three numbers, fovy and time")
    if not 0 < fovy < 180 or not 0 <= time <= 1:
        raise ValueError("fovy is in (0, 180) and time in [0, 1]")
    return View(tuple(map(float, position)), tuple(map(float, target)), float(fovy), float(time))


def cameras(views: list[View], count: int, *, size: tuple[int, int], closed: bool = False) -> Cameras:
    """`count` cameras evenly along a Catmull-Rom spline through the views (`closed`: and back to the first, which is not seen twice).
    `size` is (height, width). z stays up."""
    if not views:
        raise Mistake("a camera path needs a view", where="the camera path", fix="add one")
    rows = torch.tensor([[*v.position, *v.target, v.fovy, v.time] for v in views], dtype=torch.float64)
    smooth = _spline(rows, count, closed)
    smooth[:, 7] = smooth[:, 7].clamp(0, 1)
    smooth[:, 6] = smooth[:, 6].clamp(1, 179)
    return _made(smooth.float(), size)


def _spline(rows: Float[Tensor, "K n"], count: int, closed: bool) -> Float[Tensor, "T n"]:
    """Uniform Catmull-Rom; the ends of an open one go on as they came."""
    if len(rows) == 1:
        return rows.repeat(count, 1)
    pieces = len(rows) if closed else len(rows) - 1
    at = torch.arange(count, dtype=rows.dtype) * (pieces / (count if closed else max(count - 1, 1)))
    first = at.floor().clamp(max=pieces - 1).long()
    u = (at - first)[:, None]
    if closed:
        p = [rows[(first + k) % len(rows)] for k in (-1, 0, 1, 2)]
    else:
        long = torch.cat([2 * rows[:1] - rows[1:2], rows, 2 * rows[-1:] - rows[-2:-1]])
        p = [long[first + k] for k in (0, 1, 2, 3)]
    return 0.5 * (2 * p[1] + (p[2] - p[0]) * u + (2 * p[0] - 5 * p[1] + 4 * p[2] - p[3]) * u**2 + (3 * (p[1] - p[2]) + p[3] - p[0]) * u**3)


def _made(rows: Float[Tensor, "T 8"], size: tuple[int, int]) -> Cameras:
    position, target, fovy, time = rows[:, :3], rows[:, 3:6], torch.deg2rad(rows[:, 6]), rows[:, 7]
    forward = torch.nn.functional.normalize(target - position, dim=-1)
    flat = forward[:, :2].norm(dim=-1, keepdim=True)
    azimuth = torch.atan2(-forward[:, 0], forward[:, 1])  # of the camera around what it looks at
    along = torch.where(flat > 1e-6, forward[:, :2] / flat.clamp(min=1e-6), torch.tensor([0.0, 1.0]))
    right = torch.stack([along[:, 1], -along[:, 0], torch.zeros_like(azimuth)], -1)
    down = torch.linalg.cross(forward, right)
    to_world = torch.eye(4).repeat(len(rows), 1, 1)
    to_world[:, :3] = torch.stack([right, down, forward, position], -1)
    return seen(to_world, fovy, size, azimuth=azimuth, elevation=torch.asin(-forward[:, 2].clamp(-1, 1)), time=time)


def seen(
    to_world: Float[Tensor, "B 4 4"],
    fovy: Float[Tensor, " B"],
    size: tuple[int, int],
    *,
    azimuth: Float[Tensor, " B"],
    elevation: Float[Tensor, " B"],
    time: Float[Tensor, " B"],
) -> Cameras:
    """Cameras of any pose; fovy in radians, over the height."""
    height, width = size
    focal = 0.5 * height / torch.tan(fovy / 2)
    k = torch.zeros(len(fovy), 3, 3)
    k[:, 0, 0] = k[:, 1, 1] = focal
    k[:, 0, 2], k[:, 1, 2], k[:, 2, 2] = width / 2, height / 2, 1.0
    return Cameras(to_world, k, height, width, azimuth, elevation, time=time)


def frames_of(seconds: float) -> int:
    """Frames of a film."""
    if not (math.isfinite(seconds) and 0 < seconds <= 600):
        raise Mistake(f"{seconds} seconds are no length of a film", near="1 to 600")
    return max(1, round(seconds * FPS))
