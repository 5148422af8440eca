"""How much of the sky each place of a mesh sees: ambient occlusion, by rays (cosine-weighted, glTF's occlusionTexture).

Occlusion is smooth, so rays leave from a coarse picture of the mesh's texture, and the fine one is interpolated from that.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from dream3d.export.rays import Tree
from dream3d.export.texels import between, texels, vertex_normals
from dream3d.types import Mesh

RAYS = 64
SIDE = 512  # texels of the coarse picture, at most
REACH = 0.5  # of the longest side of the box: what is further away hides nothing
SHIFT = 1e-3  # of it: rays start above the surface


def occlusion(mesh: Mesh, fine: Mesh, tree: Tree, index: Int[Tensor, " T"], texture: int, *, rays: int = RAYS) -> Float[Tensor, " T"]:
    """The share of light from all around, cosine-weighted, that comes to each texel `index` (row 0 at the bottom) of a mesh with uvs:
    1 is open. Light is kept off by the faces of `fine`, over which the `tree` is."""
    side = min(texture, SIDE)
    coarse, face, weights = texels(mesh, side)
    if len(coarse) == 0:
        return torch.ones(len(index))
    place = between(mesh.vertices, mesh.faces, face, weights)
    on, at = tree.nearest(place)
    place = between(fine.vertices, fine.faces, on, at)
    normal = F.normalize(between(vertex_normals(fine), fine.faces, on, at), dim=-1)
    size = float((fine.vertices.amax(0) - fine.vertices.amin(0)).max())
    share = tree.open(place, normal, cosine(rays), REACH * size, SHIFT * size)
    return _finer(coarse, share, side, index, texture)


def cosine(count: int) -> Float[ndarray, "K 3"]:
    """Directions about +z, as dense as the cosine: a Fibonacci lattice on the disc below them, one in each of `count` equal shares."""
    i = np.arange(count)
    radius, turn = np.sqrt((i + 0.5) / count), 2 * math.pi * (i * 0.6180339887498949 % 1)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), np.sqrt(1 - radius**2)], -1)


def _finer(
    coarse: Int[Tensor, " S"], share: Float[Tensor, " S"], side: int, index: Int[Tensor, " T"], texture: int
) -> Float[Tensor, " T"]:
    """Interpolated among the coarse texels that are known, smoothed over 3 x 3 of them against the rays' noise; else the nearest's."""
    from scipy import ndimage

    known = torch.zeros(side * side)
    known[coarse] = 1
    value = torch.zeros(side * side)
    value[coarse] = share
    both = torch.stack([value, known]).view(1, 2, side, side)
    value, near = F.avg_pool2d(both, 3, 1, 1)[0]
    value = torch.where(known.view(side, side) > 0, value / near.clamp(min=1e-6), 0)
    known = known.view(side, side)
    x, y = (index % texture + 0.5) / texture, (index // texture + 0.5) / texture
    at = torch.stack([2 * x - 1, 2 * y - 1], -1)[None, None]
    mixed, sure = F.grid_sample(torch.stack([value, known])[None], at, padding_mode="border", align_corners=False)[0, :, 0]
    row, column = ndimage.distance_transform_edt(known.numpy() == 0, return_distances=False, return_indices=True)
    spread = value[torch.from_numpy(row).long(), torch.from_numpy(column).long()]
    own = spread[(y * side).long().clamp(max=side - 1), (x * side).long().clamp(max=side - 1)]
    return torch.where(sure > 0.1, mixed / sure.clamp(min=1e-6), own).clamp(0, 1)
