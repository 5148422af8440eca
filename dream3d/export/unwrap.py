"""A mesh laid out flat: one uv per face corner, in charts packed into a square."""

from typing import Literal

import numpy as np
import torch

from dream3d.export.boxes import boxed
from dream3d.types import Mesh

PADDING = 4  # texels between islands while packing
MANY = 30000  # faces: xatlas takes 2 s of a processor for 20,000, 14 s for 50,000


def unwrap(mesh: Mesh, texture: int, *, how: Literal["auto", "atlas", "fast"] = "auto") -> Mesh:
    """The mesh with one uv per face corner, in charts packed for a texture of `texture` texels: by xatlas (atlas), by projections along the
    axes (fast: see boxes.py), or by the first where there are fewer than MANY faces (auto)."""
    if how == "fast" or how == "auto" and len(mesh.faces) > MANY:
        return _fast(mesh, texture)
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.numpy().astype(np.float32), mesh.faces.numpy().astype(np.uint32))
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding, pack.bilinear, pack.create_image = texture, PADDING, True, False
    atlas.generate(pack_options=pack)
    origin, corners, uv = atlas[0]
    faces = torch.from_numpy(origin[corners].astype(np.int64))
    return Mesh(mesh.vertices, faces, uv=torch.from_numpy(uv[corners].astype(np.float32)))


def _fast(mesh: Mesh, texture: int) -> Mesh:
    corners = mesh.vertices.double().numpy()[mesh.faces.numpy()]
    uv = boxed(corners, mesh.faces.numpy(), texture, PADDING)
    return Mesh(mesh.vertices, mesh.faces, uv=torch.from_numpy(uv.astype(np.float32)))
