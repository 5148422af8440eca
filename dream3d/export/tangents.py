"""A mesh as one index over positions, normals and uvs, and the tangents that a normal map is told in.

Tangents are those of MikkTSpace (Mikkelsen, "Simulation of Wrinkled Surfaces Revisited", 2008) but for one thing: faces around a vertex
with the same uv and handedness share a tangent also where no edge joins them. glTF's rule: the bitangent is w cross(normal, tangent),
towards the top of the picture; a texel of a normal map is x tangent + y bitangent + z normal.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from dream3d.export.texels import vertex_normals
from dream3d.types import Mesh


@dataclass(frozen=True)
class Corners:
    """`faces` name rows; `origin` is the mesh's own vertex of each; tangents are unit vectors across the normal, then w, +1 or -1."""

    origin: Int[ndarray, " N"]
    faces: Int[ndarray, "F 3"]
    normal: Float[ndarray, "N 3"]
    uv: Float[ndarray, "N 2"] | None = None
    tangent: Float[ndarray, "N 4"] | None = None


def split(mesh: Mesh, *, tangents: bool = False) -> Corners:
    """Vertices are doubled where charts meet, and with `tangents` where the picture is mirrored."""
    corners, normal = mesh.faces.cpu().numpy(), vertex_normals(mesh).numpy()
    if mesh.uv is None:
        return Corners(np.arange(len(mesh.vertices)), corners, normal)
    uv = mesh.uv.detach().cpu().numpy().astype(np.float32)
    hand = _hands(uv.astype(np.float64)) if tangents else np.ones(len(corners), np.int64)
    keys = np.concatenate([corners.reshape(-1, 1), np.repeat(hand, 3)[:, None], (uv.reshape(-1, 2) + 0.0).view(np.int32)], 1)
    order = np.lexsort(keys.T[::-1])
    new = np.concatenate([[True], (np.diff(keys[order], axis=0) != 0).any(1)])
    first = order[new]
    index = np.empty(len(keys), np.int64)
    index[order] = np.cumsum(new) - 1
    origin, index = keys[first, 0].astype(np.int64), index.reshape(-1, 3)
    found = Corners(origin, index, normal[origin], uv.reshape(-1, 2)[first])
    if not tangents:
        return found
    place = mesh.vertices.detach().cpu().numpy().astype(np.float64)[corners]
    along = _along(place, uv.astype(np.float64), index, found.normal.astype(np.float64))
    sign = np.repeat(hand, 3)[first]
    return Corners(origin, index, found.normal, found.uv, np.concatenate([along, sign[:, None]], 1).astype(np.float32))


def _hands(uv: Float[ndarray, "F 3 2"]) -> Int[ndarray, " F"]:
    """+1 where the picture is seen as it is, -1 where it is mirrored."""
    s, t = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    return np.where(s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0] < 0, -1, 1)


def _along(place: Float[ndarray, "F 3 3"], uv: Float[ndarray, "F 3 2"], index: Int[ndarray, "F 3"], normal: Float[ndarray, "N 3"]):
    """Per row, the direction in which u grows: of the faces around it, across the normal, weighted by their angles there."""
    a, b = place[:, 1] - place[:, 0], place[:, 2] - place[:, 0]
    s, t = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    sign = np.sign(s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0])
    face = (a * t[:, 1:] - b * s[:, 1:]) * sign[:, None]
    total = np.zeros((len(normal), 3))
    for k in range(3):
        n = normal[index[:, k]]
        ways = [_unit(_across(v, n)) for v in (place[:, (k + 1) % 3] - place[:, k], place[:, (k + 2) % 3] - place[:, k], face)]
        angle = np.arccos((ways[0] * ways[1]).sum(1).clip(-1, 1))
        for i in range(3):
            total[:, i] += np.bincount(index[:, k], angle * ways[2][:, i], len(normal))
    total = _across(total, normal)
    none = np.linalg.norm(total, axis=1) < 1e-9
    least = np.eye(3)[np.abs(normal[none]).argmin(1)]
    total[none] = _across(least, normal[none])
    return _unit(total)


def _across(v: Float[ndarray, "n 3"], normal: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    return v - normal * (v * normal).sum(1, keepdims=True)


def _unit(v: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    length = np.linalg.norm(v, axis=1, keepdims=True)
    return np.where(length > 1e-12, v / np.maximum(length, 1e-12), 0.0)


def told(
    corners: Corners, face: Int[Tensor, " T"], weights: Float[Tensor, "T 3"], normal: Float[Tensor, "T 3"]
) -> Float[Tensor, "T 3"]:
    """World normals at places on the mesh as a normal map holds them: unit, z at least a little. As a renderer will, rows are
    interpolated without making them unit again."""
    rows = torch.from_numpy(corners.faces)[face]
    n, tangent = (_mixed(torch.from_numpy(v), rows, weights) for v in (corners.normal, corners.tangent))
    along, sign = tangent[:, :3], torch.from_numpy(corners.tangent)[rows[:, 0], 3:]
    up = sign * torch.linalg.cross(n, along)
    # the matrix with columns along, up, n, inverted by its cofactors
    first, second, third = torch.linalg.cross(up, n), torch.linalg.cross(n, along), torch.linalg.cross(along, up)
    local = torch.stack([(first * normal).sum(-1), (second * normal).sum(-1), (third * normal).sum(-1)], -1)
    local *= (along * first).sum(-1, keepdim=True).sign()
    local[:, 2].clamp_(min=0.05)  # nothing is seen that looks away from its own surface
    return torch.nn.functional.normalize(local, dim=-1)


def _mixed(rows: Float[Tensor, "N K"], corner: Int[Tensor, "T 3"], weights: Float[Tensor, "T 3"]) -> Float[Tensor, "T K"]:
    total = weights[:, :1] * rows[corner[:, 0]]
    for k in (1, 2):
        total += weights[:, k : k + 1] * rows[corner[:, k]]
    return total
