"""Places on a surface, (face, barycentric weights), and pictures that lie on it by uvs: (0, 0) is the lower left, row 0 the top."""

import torch
import torch.nn.functional as F
from dream3d.renderers._backends.seeds import _sequence, _spread
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.export.texture import inside
from dream3d.types import Mesh

GREY = 0.5
EDGE = 1e-4  # how far beyond the unit square a uv may lie by rounding


class Atlas:
    """Which texels of a square of `size` matter. Rows from the bottom; `index` (T) lists texels that a face covers or has a corner in,
    with one place on the surface for each; `nearest` (size^2) says for every texel which row of that list is nearest. Where uvs leave
    the unit square the texture `repeats`, and every texel matters."""

    def __init__(self, uv: Float[Tensor, "F 3 2"], size: int):
        from scipy import ndimage

        self.uv, self.size = uv, size
        if not bool(uv.isfinite().all()):
            raise Mistake("uvs must be finite numbers")
        self.repeats = beyond(uv)
        if self.repeats:
            self.index = self.nearest = torch.arange(size * size)
            self.face, self.weights = torch.zeros_like(self.index), torch.full((size * size, 3), 1 / 3)
            return
        index, face, weights = inside(uv * size, size)
        x, y = (uv * size).long().clamp(0, size - 1).flatten(0, 1).unbind(-1)
        corner = torch.arange(len(x))
        every = torch.cat([index.clamp(0, size * size - 1), y * size + x])
        order = every.argsort(stable=True)
        first = order[torch.cat([torch.ones(1, dtype=torch.bool), every[order].diff() > 0])[: len(order)]]
        self.index = every[first]
        self.face = torch.cat([face, corner // 3])[first]
        self.weights = torch.cat([weights, torch.eye(3)[corner % 3]])[first]
        empty = torch.ones(size * size, dtype=torch.bool)
        empty[self.index] = False
        row = torch.zeros(size * size, dtype=torch.long)
        row[self.index] = torch.arange(len(self.index))
        y, x = ndimage.distance_transform_edt(empty.view(size, size).numpy(), return_distances=False, return_indices=True)
        self.nearest = row[torch.from_numpy(y).long() * size + torch.from_numpy(x).long()].flatten()


def beyond(uv: Float[Tensor, "F 3 2"]) -> bool:
    """Whether a texture repeats."""
    return bool((uv < -EDGE).any() or (uv > 1 + EDGE).any())


def taps(uv: Float[Tensor, "n 2"], size: int, repeats: bool) -> tuple[Int[Tensor, "n 4"], Float[Tensor, "n 4"]]:
    """The four texels around uvs, rows from the bottom, and their bilinear weights."""
    place = uv * size - 0.5
    low = place.detach().floor()
    part = place - low
    near = low.long()[:, None] + torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], device=uv.device)
    x, y = (near % size if repeats else near.clamp(0, size - 1)).unbind(-1)
    (a, b), (c, d) = (1 - part).unbind(-1), part.unbind(-1)
    return y * size + x, torch.stack([a * b, c * b, a * d, c * d], -1)


def between(rows: Float[Tensor, "V K"], corners: Int[Tensor, "n 3"], weights: Float[Tensor, "n 3"]) -> Float[Tensor, "n K"]:
    """Rows per vertex at places with these corners."""
    taken = rows.index_select(0, corners.flatten()).view(*corners.shape, rows.shape[1])
    return (weights[..., None] * taken).sum(1)


def painted(mesh: Mesh, face: Int[Tensor, " n"], weights: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """The colour of a mesh at places on it; grey where it has none."""
    if mesh.texture is not None and mesh.uv is not None:
        return sampled(mesh.texture, uv_at(mesh, face, weights))
    if mesh.rgb is not None:
        return between(mesh.rgb, mesh.faces[face], weights)
    return torch.full_like(weights, GREY)


def sampled(image: Float[Tensor, "h w 3"], uv: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
    """A picture at uvs, top row first; uvs beyond the unit square see it repeat."""
    uv = torch.where((uv < -EDGE) | (uv > 1 + EDGE), uv - uv.floor(), uv)
    at = 2 * torch.stack([uv[:, 0], 1 - uv[:, 1]], -1) - 1
    return F.grid_sample(image.movedim(-1, 0)[None], at[None, None], padding_mode="border", align_corners=False)[0, :, 0].T


def places(mesh: Mesh, count: int) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3"]]:
    """Evenly spread over the surface, without chance."""
    corners = mesh.vertices[mesh.faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    face, u = _spread(area, count), _sequence(count, 2)
    root = u[:, :1].sqrt()
    return face, torch.cat([1 - root, root * (1 - u[:, 1:]), root * u[:, 1:]], 1)


def tangents(corners: Float[Tensor, "n 3 3"], uv: Float[Tensor, "n 3 2"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Unit directions of the face in which u grows, and across it that in which v does; zero where the uvs have no area."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    (s, t), (p, q) = (uv[:, 1] - uv[:, 0]).unbind(-1), (uv[:, 2] - uv[:, 0]).unbind(-1)
    turn = (s * q - t * p).sign()[:, None]
    along = F.normalize((q[:, None] * a - t[:, None] * b) * turn, dim=-1)
    up = torch.linalg.cross(F.normalize(torch.linalg.cross(a, b), dim=-1), along) * turn
    return along, up


def uv_at(mesh: Mesh, face: Int[Tensor, " n"], weights: Float[Tensor, "n 3"]) -> Float[Tensor, "n 2"]:
    """The uvs of places."""
    return (weights[..., None] * mesh.uv[face]).sum(1)


def resized(image: Float[Tensor, "h w 3"] | None, size: int) -> Float[Tensor, "s s 3"] | None:
    """A picture, smoothed where it shrinks."""
    if image is None or image.shape[:2] == (size, size):
        return image
    return F.interpolate(image.movedim(-1, 0)[None], (size, size), mode="bilinear", antialias=True)[0].movedim(0, -1)
