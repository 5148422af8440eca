"""Colour of a scene on a small mesh: decimate, unwrap (xatlas), project renders from all around onto the texels."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dream3d.export.decimate import decimate
from dream3d.export.views import renders, sphere
from dream3d.interfaces import Representation
from dream3d.types import Mesh

SHARPNESS = 6  # power of the cosine: the most frontal views decide, the others only close gaps
COARSE = 2  # pixels of a render per pixel of the mesh's depth
BLOCK = 1 << 15  # texels at a time, so that they stay in the cache
PADDING = 4  # texels between islands while packing
DILATION = 16  # texels of colour around islands, for mip-maps
SHARE = 0.03  # of the mesh's radius: how far behind the nearest surface a texel may lie and still be seen


def bake(
    mesh: Mesh, scene: Representation, *, faces: int = 10000, texture: int = 1024, views: int = 24, size: int = 512
) -> Mesh:
    """The mesh with about `faces` faces at most, uvs, and a square texture of the scene's colours (light included),
    `texture` texels wide, top row first. Texels that no view sees take the colour of the nearest that one does."""
    mesh = unwrap(decimate(mesh, faces), texture)
    texels, position, normal = _texels(mesh, texture)
    colour = _project_views(scene, position, normal, views, size)
    return Mesh(mesh.vertices, mesh.faces, uv=mesh.uv, texture=_spread(texels, colour, texture))


def unwrap(mesh: Mesh, texture: int) -> Mesh:
    """The mesh with one uv per face corner, in charts packed for a texture of `texture` texels."""
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.numpy().astype(np.float32), mesh.faces.numpy().astype(np.uint32))
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding, pack.bilinear, pack.create_image = texture, PADDING, True, False
    atlas.generate(pack_options=pack)
    origin, corners, uv = atlas[0]
    faces = torch.from_numpy(origin[corners].astype(np.int64))
    return Mesh(mesh.vertices, faces, uv=torch.from_numpy(uv[corners].astype(np.float32)))


def _texels(mesh: Mesh, texture: int) -> tuple[Int[Tensor, " T"], Float[Tensor, "T 3"], Float[Tensor, "T 3"]]:
    """The texels whose centre lies in a face (flat index, row 0 at the bottom), their place and normal in the world."""
    index, face, weights = inside(mesh.uv * texture, texture)
    corners = mesh.faces[face]
    position = (weights[..., None] * mesh.vertices[corners]).sum(1)
    normal = F.normalize((weights[..., None] * vertex_normals(mesh)[corners]).sum(1), dim=-1)
    return index, position, normal


def inside(
    corners: Float[Tensor, "F 3 2"], width: int
) -> tuple[Int[Tensor, " T"], Int[Tensor, " T"], Float[Tensor, "T 3"]]:
    """The texels whose centre lies in a face, corners in texels: flat index in rows of `width` (row 0 at the bottom), the face, and
    barycentric weights."""
    face, x, y = _candidates(corners)
    weights = _barycentric(corners[face], torch.stack([x, y], -1) + 0.5)
    within = (weights >= -1e-6).all(-1)
    return (y * width + x)[within], face[within], weights[within]


def _candidates(uv: Float[Tensor, "F 3 2"]) -> tuple[Int[Tensor, " C"], Int[Tensor, " C"], Int[Tensor, " C"]]:
    """Every (face, x, y) with texel (x, y) in the bounding box of a face."""
    low, high = (uv.amin(1) - 0.5).ceil().long(), (uv.amax(1) - 0.5).floor().long()
    width, height = (high - low + 1).clamp(min=0).unbind(-1)
    count = width * height
    face = torch.arange(len(uv)).repeat_interleave(count)
    rank = torch.arange(len(face)) - (count.cumsum(0) - count)[face]
    return face, low[face, 0] + rank % width[face], low[face, 1] + rank // width[face]


def _barycentric(corners: Float[Tensor, "C 3 2"], point: Float[Tensor, "C 2"]) -> Float[Tensor, "C 3"]:
    """Of points in triangles; all -1 in triangles without area."""
    a, b, p = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], point - corners[:, 0]
    area = _cross(a, b)
    weights = torch.stack([_cross(p, b), _cross(a, p)], -1) / torch.where(area.abs() < 1e-12, torch.nan, area)[:, None]
    return torch.cat([1 - weights.sum(-1, keepdim=True), weights], -1).nan_to_num(-1.0)


def _cross(a: Float[Tensor, "C 2"], b: Float[Tensor, "C 2"]) -> Float[Tensor, " C"]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def vertex_normals(mesh: Mesh) -> Float[Tensor, "V 3"]:
    """Unit normals, weighted by the area of the faces around a vertex; +z where these cancel."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]].double() for i in range(3))
    face = torch.linalg.cross(b - a, c - a).numpy()
    corners, count = mesh.faces.flatten().numpy(), len(mesh.vertices)
    total = [np.bincount(corners, np.repeat(face[:, i], 3), count) for i in range(3)]
    normal = torch.from_numpy(np.stack(total, -1))
    length = normal.norm(dim=-1, keepdim=True)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    return torch.where(length > 1e-20, normal / length.clamp(min=1e-20), up).float()


def _project_views(
    scene: Representation, position: Float[Tensor, "T 3"], normal: Float[Tensor, "T 3"], views: int, size: int
) -> Float[Tensor, "T 3"]:
    """The colour of each texel: mean over the views that see it, by how frontally they do."""
    radius = float(position.norm(dim=-1).max())
    height = (normal * position).sum(-1)  # of each texel's plane over the origin: cameras below it see its back
    total, weight = torch.zeros(len(position), 3), torch.zeros(len(position), 1)
    for cameras, render in renders(scene, sphere(views, radius=1.05 * radius, size=size)):
        for row, to_pixel in enumerate(cameras.intrinsics @ cameras.to_camera[:, :3]):
            centre = cameras.centre[row]
            front = (normal @ centre > height).nonzero()[:, 0]
            seen = torch.cat([render.rgb[row], render.alpha[row]], -1)
            hidden = _depths(*_pixels(to_pixel, position[front]), cameras.width)
            for part in front.split(BLOCK):
                colour, trust = _see(to_pixel, centre, seen, hidden, position[part], normal[part], SHARE * radius)
                total[part] += trust * colour
                weight[part] += trust
    return _fill(position, total / weight.clamp(min=1e-12), weight[:, 0] > 1e-9)


def _see(
    to_pixel: Float[Tensor, "3 4"],
    centre: Float[Tensor, "3"],
    seen: Float[Tensor, "H W 4"],
    hidden: Float[Tensor, "2 s s"],
    position: Float[Tensor, "T 3"],
    normal: Float[Tensor, "T 3"],
    tolerance: float,
) -> tuple[Float[Tensor, "T 3"], Float[Tensor, "T 1"]]:
    """The colour one view has for each texel, and how far to trust it: not where the mesh hides it, not near edges."""
    pixel, depth = _pixels(to_pixel, position)
    place = 2 * pixel / seen.shape[0] - 1
    colour, alpha = _sample(seen.movedim(-1, 0), place, "bilinear").split([3, 1], -1)
    toward = F.normalize(centre - position, dim=-1)
    cosine = (toward * normal).sum(-1, keepdim=True).clamp(min=0)
    off = (_sample(hidden, place, "nearest") - depth[:, None]) * cosine.clamp(min=0.2) / tolerance
    visible = (off.abs() < 1).all(-1, keepdim=True) * torch.exp(-(off.mean(-1, keepdim=True) ** 2))
    return (colour / alpha.clamp(min=1e-3)).clamp(0, 1), visible * alpha * cosine**SHARPNESS


def _pixels(
    to_pixel: Float[Tensor, "3 4"], position: Float[Tensor, "T 3"]
) -> tuple[Float[Tensor, "T 2"], Float[Tensor, " T"]]:
    """Where a view sees places of the world, and at what depth."""
    local = torch.addmm(to_pixel[:, 3], position, to_pixel[:, :3].T)
    return local[:, :2] / local[:, 2:], local[:, 2]


def _depths(pixel: Float[Tensor, "T 2"], depth: Float[Tensor, " T"], width: int) -> Float[Tensor, "2 s s"]:
    """The mesh's own least and greatest depth among a pixel and its neighbours, from its texels, which are denser than
    coarse pixels. The scene's depth would not do: soft scenes are vague about it."""
    size = width // COARSE
    column, row = (pixel / COARSE).long().clamp(0, size - 1).unbind(-1)
    empty = torch.full((size * size,), torch.inf)
    least = empty.scatter_reduce(0, row * size + column, depth, "amin").view(1, size, size)
    greatest = torch.where(least.isfinite(), least, -torch.inf)
    return torch.cat([-F.max_pool2d(-least, 3, 1, 1), F.max_pool2d(greatest, 3, 1, 1)])


def _sample(maps: Float[Tensor, "C H W"], place: Float[Tensor, "T 2"], mode: str) -> Float[Tensor, "T C"]:
    return F.grid_sample(maps[None], place[None, None], mode=mode, align_corners=False)[0, :, 0].T


def _fill(
    position: Float[Tensor, "T 3"], colour: Float[Tensor, "T 3"], known: Bool[Tensor, " T"]
) -> Float[Tensor, "T 3"]:
    """Texels that no view has seen, coloured like the nearest one in space that was."""
    from scipy.spatial import cKDTree

    if bool(known.all()) or not bool(known.any()):
        return colour
    _, nearest = cKDTree(position[known].numpy()).query(position[~known].numpy())
    colour[~known] = colour[known][torch.from_numpy(nearest)]
    return colour


def _spread(texels: Int[Tensor, " T"], colour: Float[Tensor, "T 3"], texture: int) -> Float[Tensor, "h w 3"]:
    """The texture, top row first, islands dilated; beyond them the mean colour."""
    from scipy import ndimage

    image, empty = np.empty((texture * texture, 3), np.float32), np.ones(texture * texture, bool)
    image[:] = colour.mean(0).numpy()
    image[texels.numpy()], empty[texels.numpy()] = colour.numpy(), False
    image, empty = image.reshape(texture, texture, 3), empty.reshape(texture, texture)
    distance, (row, column) = ndimage.distance_transform_edt(empty, return_indices=True)
    image = np.where((distance <= DILATION)[..., None], image[row, column], image)
    return torch.from_numpy(image[::-1].copy())
