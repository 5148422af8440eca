"""A mesh laid out flat: one uv per face corner, in charts packed into a square."""

from typing import Literal

import numpy as np
import torch

from dream3d.types import Mesh

PADDING = 4  # texels between islands while packing


def unwrap(mesh: Mesh, texture: int, *, how: Literal["auto", "atlas", "fast"] = "auto") -> Mesh:
    """The mesh with one uv per face corner, in charts packed for a texture of `texture` texels (xatlas)."""
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.numpy().astype(np.float32), mesh.faces.numpy().astype(np.uint32))
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding, pack.bilinear, pack.create_image = texture, PADDING, True, False
    atlas.generate(pack_options=pack)
    origin, corners, uv = atlas[0]
    faces = torch.from_numpy(origin[corners].astype(np.int64))
    return Mesh(mesh.vertices, faces, uv=torch.from_numpy(uv[corners].astype(np.float32)))
