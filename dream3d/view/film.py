"""A film of a scene along a camera path: .mp4 or an animated .webp."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from dream3d import files
from dream3d.errors import Mistake
from dream3d.export import video, views
from dream3d.interfaces import Representation
from dream3d.types import Cameras

KINDS = ("mp4", "webp")
MOST = 1 << 30  # bytes of all pictures


def film(
    scene: Representation,
    cameras: Cameras,
    path: Path,
    *,
    kind: Literal["mp4", "webp"] = "mp4",
    tell: Callable[[float], None] = lambda share: None,
) -> Path:
    """`tell` hears the share that is drawn. Raises Mistake for sides that are odd and for films that do not fit into memory."""
    if cameras.height % 2 or cameras.width % 2:
        raise Mistake(f"a film's sides are even numbers, not {cameras.width} x {cameras.height}")
    if 3 * len(cameras) * cameras.height * cameras.width > MOST:
        raise Mistake("this film is too large", fix="fewer seconds, or a smaller size", code=4)
    seen = []
    for rows in torch.arange(len(cameras)).split(views.CHUNK):
        tell(len(seen) * views.CHUNK / len(cameras))
        seen.append(views.frames(scene, cameras.at(rows)))
    pictures = np.concatenate(seen)
    if kind == "mp4":
        video.encode(pictures, Path(path))
        return path
    with files.replacing(Path(path)) as temporary:
        first, *rest = (Image.fromarray(picture) for picture in pictures)
        first.save(temporary, "WEBP", save_all=True, append_images=rest, duration=round(1000 / video.FPS), loop=0, quality=85, method=4)
    return path
