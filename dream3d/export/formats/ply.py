"""Gaussians as the .ply of 3D Gaussian Splatting, which every splat viewer reads."""

from pathlib import Path

from dream3d.export.formats import Ask
from dream3d.export.splat import write_ply
from dream3d.types import Points

FILES = {"splats": "splats.ply"}
UP = "z"
EXTRA = ""


def write(item: Points, path: Path, ask: Ask) -> None:
    write_ply(item, path)
