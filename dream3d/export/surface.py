"""A closed surface around whatever a scene renders: depth seen from all around, fused into a signed distance on a grid.

Truncated signed distances averaged over views (Curless and Levoy, "A Volumetric Method for Building Complex Models from
Range Images", SIGGRAPH 1996) with their space carving: what no view has seen empty is inside. Three things differ.
Distances are measured to the tangent plane of the seen surface, not along the ray, so that grazing views agree with
frontal ones. A voxel that several views see clearly empty takes no negative distance: thin parts seen from both sides
stay thin. And pixels are empty only together with their neighbours, so that the half pixel of a silhouette never eats
into the object.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.export.views import renders, sphere
from dream3d.interfaces import Representation
from dream3d.types import Cameras, Mesh, Render

OPAQUE = 0.5  # less alpha than this is air
REACH = 3.0  # voxels around a surface within which its distance counts
SMALLEST = 0.02  # components below this share of the biggest one's volume are specks
SMOOTH = 0.6  # voxels
AIR = 0.05  # weight of a view that sees a voxel empty, against 1 for a frontal view of a surface


@dataclass(frozen=True)
class Depths:
    """What each view knows: depth of its surface (infinite in air), the least depth among a pixel and its neighbours,
    the factor that turns a difference of depth into a distance to the tangent plane, and the cosine of its angle."""

    cameras: Cameras
    depth: Float[Tensor, "B H W"]
    least: Float[Tensor, "B H W"]
    slope: Float[Tensor, "B H W"]
    cosine: Float[Tensor, "B H W"]


class NoSurface(Mistake):
    """The scene has nothing that a mesh could be made of."""


def surface(
    scene: Representation, *, resolution: int = 128, views: int = 48, size: int = 256, bound: float = 0.8
) -> Mesh:
    """A watertight mesh of the scene inside [-bound, bound]^3, from `views` renders of `size` pixels; specks are
    dropped and hidden hollows filled. Raises Mistake where nothing is at least half opaque."""
    from scipy import ndimage

    cameras = sphere(views, radius=math.sqrt(3) * bound, size=size)
    seen = [_depths(part, render) for part, render in renders(scene, cameras)]
    if not any(bool(part.depth.isfinite().any()) for part in seen):
        raise NoSurface("there is no surface to export: nothing in the scene is more than half opaque")
    volume = solid(ndimage.gaussian_filter(_fuse(seen, resolution, bound).numpy(), SMOOTH))
    return march(volume, bound)


def _depths(cameras: Cameras, render: Render) -> Depths:
    alpha = render.alpha[..., 0]
    depth = render.depth[..., 0] / alpha.clamp(min=OPAQUE)
    depth = torch.where((alpha > OPAQUE) & (depth > 1e-3), depth, torch.inf)  # flat scenes have no depth
    origin, direction = cameras.rays()
    normal = _normals(origin + direction * depth[..., None])
    slope = (normal * direction).sum(-1).abs()
    return Depths(cameras, depth, -F.max_pool2d(-depth, 3, 1, 1), slope, slope / direction.norm(dim=-1))


def _normals(points: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B H W 3"]:
    """Unit normals by central differences; zero beside air."""
    across, down = points.roll(-1, 2) - points.roll(1, 2), points.roll(-1, 1) - points.roll(1, 1)
    return F.normalize(torch.linalg.cross(across, down).nan_to_num(0, 0, 0), dim=-1)


def _fuse(seen: list[Depths], resolution: int, bound: float) -> Float[Tensor, "X Y Z"]:
    """Signed distance in voxels, cut at REACH, positive outside. In slabs, so that everything stays in the cache."""
    axis = torch.linspace(-bound, bound, resolution)
    views = sum(len(part.depth) for part in seen)
    return torch.cat([_slab(seen, x, axis, max(views // 16, 1)) for x in axis.split(4)])


def _slab(seen: list[Depths], x: Float[Tensor, " X"], axis: Float[Tensor, " Y"], enough: int) -> Float[Tensor, "X Y Z"]:
    voxel = float(axis[1] - axis[0])
    outside, inside, weight_out, weight_in, empty = torch.zeros(5, len(x), len(axis), len(axis))
    for part in seen:
        for row in range(len(part.depth)):
            index, z = _project(part.cameras, row, x, axis)
            distance = (part.depth[row].take(index) - z) * part.slope[row].take(index) / voxel
            weight = part.cosine[row].take(index).square() * (distance.abs() < REACH)
            distance = distance.clamp(-REACH, REACH).nan_to_num(0.0)
            front = weight * (distance >= 0)
            back = (weight - front) * (1 + distance / REACH)
            outside += front * distance
            inside += back * distance
            weight_out += front
            weight_in += back
            empty += z < part.least[row].take(index) - REACH * voxel
    carved = empty >= enough
    total = outside + AIR * REACH * empty + torch.where(carved, 0.0, inside)
    weight = weight_out + AIR * empty + torch.where(carved, 0.0, weight_in)
    return torch.where(weight > 1e-6, total / weight.clamp(min=1e-6), -REACH)


def _project(
    cameras: Cameras, row: int, x: Float[Tensor, " X"], axis: Float[Tensor, " Y"]
) -> tuple[Int[Tensor, "X Y Z"], Float[Tensor, "X Y Z"]]:
    """The pixel (flat index) and the camera depth of every voxel of a slab."""
    k, m = cameras.intrinsics[row], cameras.to_camera[row]
    pixels = k @ m[:3]
    u, v, z = (p[0] * x[:, None, None] + p[1] * axis[:, None] + (p[2] * axis + p[3]) for p in pixels)
    column = (u / z).long().clamp(0, cameras.width - 1)
    return (v / z).long().clamp(0, cameras.height - 1) * cameras.width + column, z


def solid(volume: Float[ndarray, "X Y Z"]) -> Float[ndarray, "X+2 Y+2 Z+2"]:
    """The same with air around it, without specks and without hollows that the outside does not reach."""
    from scipy import ndimage

    volume = np.pad(volume, 1, constant_values=REACH)
    volume = np.where(np.abs(volume) < 1e-3, 1e-3, volume)  # a corner exactly on the surface would make empty triangles
    parts, count = ndimage.label(volume < 0)
    if count == 0:
        raise NoSurface("there is no surface to export: what the scene shows is smaller than a voxel")
    sizes = np.bincount(parts.ravel())[1:]
    keep = np.isin(parts, 1 + np.flatnonzero(sizes >= SMALLEST * sizes.max()))
    holes = ndimage.binary_fill_holes(keep) & ~keep
    return np.where(holes, -np.abs(volume), np.where(keep, volume, np.abs(volume))).astype(np.float32)


def march(volume: Float[ndarray, "X Y Z"], bound: float) -> Mesh:
    from skimage.measure import marching_cubes

    voxel = 2 * bound / (volume.shape[0] - 3)
    vertices, faces, _, _ = marching_cubes(volume, 0.0, spacing=(voxel,) * 3)
    return Mesh(torch.from_numpy(vertices - voxel - bound).float(), torch.from_numpy(faces.astype(np.int64)))
