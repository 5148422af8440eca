"""Pictures of a scene: turntable, thumbnail, contact sheet. Nothing in the files but pixels: same scene, same bytes."""

import errno
import io
import math
import subprocess
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from dream3d import files
from dream3d.cameras import look_at, ring
from dream3d.errors import Mistake
from dream3d.export import views
from dream3d.export.views import WHITE, Colour, frames
from dream3d.interfaces import Representation

FPS = 30


def turntable(
    scene: Representation, path: Path, *, frames: int = 60, size: int = 256, background: Colour = WHITE
) -> None:
    """Once around the object, while what moves does so from time 0 to 1, as an H.264 .mp4 (yuv420p, 30 frames a second, plays in
    every browser). `size` is even."""
    if size % 2 or size < 16:
        raise Mistake(f"a turntable's size is an even number from 16 on, not {size}")
    around = ring(frames, size=size, time=torch.linspace(0, 1, frames))
    encode(views.frames(scene, around, background), Path(path))


def thumbnail(scene: Representation, path: Path, size: int = 256, background: Colour = WHITE) -> None:
    """One three-quarter view from slightly above, as a PNG."""
    angles = torch.tensor([[math.radians(30.0)], [math.radians(20.0)]])
    write_png(frames(scene, look_at(*angles, size=size), background)[0], path)


def contact_sheet(
    scene: Representation, path: Path, views: int = 6, size: int = 256, background: Colour = WHITE
) -> None:
    """Views around the object, starting with its front, in rows of three."""
    pictures = frames(scene, ring(views, size=size), background)
    write_png(_tiled(pictures, min(views, 3), background), path)


def _tiled(pictures: UInt8[ndarray, "B H W 3"], columns: int, background: Colour) -> UInt8[ndarray, "h w 3"]:
    rows, (_, height, width, _) = math.ceil(len(pictures) / columns), pictures.shape
    sheet = np.empty((rows * columns, height, width, 3), np.uint8)
    sheet[:] = np.round(255 * np.array(background)).astype(np.uint8)
    sheet[: len(pictures)] = pictures
    return sheet.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)


def png(picture: UInt8[ndarray, "H W 3"]) -> bytes:
    """The picture as a PNG file without metadata."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def write_png(picture: UInt8[ndarray, "H W 3"], path: Path) -> None:
    files.write_bytes(Path(path), png(picture))


def encode(pictures: UInt8[ndarray, "B H W 3"], path: Path) -> None:
    """One thread and ffmpeg's bitexact switches: the stream depends neither on the machine's cores nor on the date."""
    import imageio_ffmpeg

    _, height, width, _ = pictures.shape
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(FPS), "-i", "-"]
    codec = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-preset", "medium", "-threads", "1"]
    plain = ["-movflags", "+faststart", "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact"]
    with files.replacing(path) as temporary:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *source, *codec, *plain, str(temporary)]
        done = subprocess.run(command, input=pictures.tobytes(), capture_output=True)
        if done.returncode:
            _complain(done.stderr.decode(errors="replace").strip())


def _complain(message: str) -> None:
    if "No space left" in message:
        raise OSError(errno.ENOSPC, "No space left on device")
    raise Mistake(f"ffmpeg could not write the video: {message[-300:]}")
