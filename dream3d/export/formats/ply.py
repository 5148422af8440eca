"""Gaussians as the .ply of 3D Gaussian Splatting, which every splat viewer reads; a mesh as .ply with colours and texture."""

from pathlib import Path

from dream3d.export.formats import Ask
from dream3d.export.mesh_ply import write_mesh_ply
from dream3d.export.splat import write_ply
from dream3d.types import Mesh, Points

FILES = {"splats": "splats.ply", "mesh": "mesh.ply"}
UP = "z"
EXTRA = ""


def write(item: Points | Mesh, path: Path, ask: Ask) -> None:
    if isinstance(item, Mesh):
        write_mesh_ply(item, path, ask)
    else:
        write_ply(item, path, up=ask.up or UP)
