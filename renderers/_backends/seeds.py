"""Where Gaussians start: a ball, points of an earlier stage, a mesh's surface, a volume. Everything ends as Points."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.types import Field, Mesh, Points

GREY = 0.5
COVER, FLAT, SOLID = 0.25, 0.1, 0.95  # a disc's variance in shares of the area that is its own; its thickness; its opacity
INSET = 1.2  # standard deviations that discs lie below the surface, so that soft rims end where silhouettes do


def spacing(position: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    """Root mean square distance to the three nearest others, as in 3D Gaussian Splatting; 0.05 for a point alone."""
    count = min(4, len(position))
    if count < 2:
        return torch.full_like(position[:, 0], 0.05)
    place = position.detach().cpu().double().numpy()
    near = torch.from_numpy(cKDTree(place).query(place, k=count)[0])[:, 1:]
    return near.square().mean(1).sqrt().clamp(min=1e-4).to(position)


def ball(count: int, radius: float, rng: torch.Generator) -> Points:
    """Uniform in a ball around the origin, grey with a little noise so that no two start alike."""
    direction = F.normalize(torch.randn(count, 3, generator=rng), dim=-1)
    position = radius * direction * torch.rand(count, 1, generator=rng) ** (1 / 3)
    return Points(position, GREY + 0.05 * torch.randn(count, 3, generator=rng).clamp(-3, 3))


def start(data: Points | Mesh | Field, count: int) -> Points:
    """The data as points; meshes and the surfaces of volumes are sampled at `count` places, evenly and without chance."""
    if isinstance(data, Field):
        from dream3d.renderers._solid import as_mesh  # which colours meshes by this file

        data = as_mesh(data)
    if len(data.faces if isinstance(data, Mesh) else data.position) == 0:
        raise Mistake("gaussians cannot start from nothing: the earlier stage handed over an empty scene")
    return from_mesh(data, count) if isinstance(data, Mesh) else data


def from_mesh(mesh: Mesh, count: int) -> Points:
    """Discs evenly spread by area, just below the surface, nearly opaque, with the mesh's colours and labels."""
    corners = mesh.vertices[mesh.faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    face, u = _spread(area, count), _sequence(count, 2).to(corners)
    root = u[:, :1].sqrt()
    weight = torch.cat([1 - root, root * (1 - u[:, 1:]), root * u[:, 1:]], 1)[..., None]
    label = None if mesh.label is None else mesh.label[face]
    normal = F.normalize(torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[face], dim=-1)
    wide = (COVER * area.sum() / (2 * count)).sqrt().clamp(min=1e-4)
    scale = torch.stack([wide, wide, FLAT * wide]).expand(count, 3)
    opacity = torch.full_like(area[face], SOLID)
    place = (corners[face] * weight).sum(1) - INSET * wide * normal
    return Points(place, colours(mesh, face, weight), scale, _turned(normal), opacity, label=label)


def _turned(normal: Float[Tensor, "N 3"]) -> Float[Tensor, "N 4"]:
    """Quaternions that turn z into a unit vector."""
    x, y, z = normal.unbind(1)
    turned = torch.stack([1 + z, -y, x, torch.zeros_like(x)], 1)
    return F.normalize(torch.where(z[:, None] < -1 + 1e-6, torch.tensor([0.0, 1.0, 0.0, 0.0]).to(turned), turned), dim=-1)


def colours(mesh: Mesh, face: Int[Tensor, " n"], weight: Float[Tensor, "n 3 1"]) -> Float[Tensor, "n 3"]:
    """A mesh's display sRGB at places in its faces (barycentric weights), grey where it has none."""
    if mesh.texture is not None and mesh.uv is not None:
        uv = (mesh.uv[face] * weight).sum(1) * 2 - 1
        grid = torch.stack([uv[:, 0], -uv[:, 1]], -1)[None, None]  # uv starts at the lower left, an image at the upper
        image = mesh.texture.movedim(-1, 0)[None]
        return F.grid_sample(image, grid, padding_mode="border", align_corners=False)[0, :, 0].T
    if mesh.rgb is not None:
        return (mesh.rgb[mesh.faces[face]] * weight).sum(1)
    return torch.full_like(weight[:, :, 0], GREY)


def _spread(mass: Float[Tensor, " n"], count: int) -> Int[Tensor, " count"]:
    """`count` indices in proportion to mass, by systematic sampling: no index is off its share by more than one."""
    total = mass.double().cumsum(0)
    marks = (torch.arange(count, device=mass.device, dtype=torch.double) + 0.5) / count * total[-1]
    return torch.searchsorted(total, marks).clamp(max=len(mass) - 1)


def _sequence(count: int, dimensions: int) -> Float[Tensor, "count dimensions"]:
    """Roberts' quasi-random sequence in [0, 1): powers of the root of x^(d+1) = x + 1."""
    root = 2.0
    for _ in range(40):
        root = (1 + root) ** (1 / (dimensions + 1))
    steps = torch.tensor([root ** -(k + 1) for k in range(dimensions)], dtype=torch.double)
    return ((0.5 + torch.arange(1, count + 1)[:, None] * steps) % 1).float()
