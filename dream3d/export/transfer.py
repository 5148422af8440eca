"""What a fine mesh looks like, at places of a coarser one of the same surface: colours, materials, and the directions it faces."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.export.rays import Tree
from dream3d.export.tangents import Corners, split
from dream3d.export.texels import between, sampled, vertex_normals
from dream3d.types import Mesh

REACH = 0.02  # of the longest side of the box: how far the two surfaces may be apart along a normal
GREY = 0.5


class Fine:
    """A mesh to look at, with the tree over its faces."""

    def __init__(self, mesh: Mesh, *, density: float = math.inf):
        """density: texels per metre that are asked of it; pictures with many more are shrunk first."""
        self.mesh, self.tree, self.normals = mesh, Tree(mesh), vertex_normals(mesh)
        self.size = float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max())
        self.corners: Corners | None = split(mesh, tangents=True) if mesh.bump is not None else None
        self.maps = {name: _shrunk(mesh, getattr(mesh, name), density) for name in ("texture", "orm", "bump")}

    def meet(self, place: Float[Tensor, "n 3"], normal: Float[Tensor, "n 3"]) -> tuple[Int[Tensor, " n"], Float[Tensor, "n 3"]]:
        """Where the surface lies along these unit normals, ahead or behind; the nearest place where it does not."""
        face, weights = self.tree.along(place, normal, REACH * self.size)
        lost = (face < 0).nonzero()[:, 0]
        if len(lost):
            face[lost], weights[lost] = self.tree.nearest(place[lost])
        return face, weights

    def colour(self, face: Int[Tensor, " n"], weights: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Display sRGB: of the texture, the vertices, or grey."""
        if self.maps["texture"] is not None:
            return sampled(self.maps["texture"], self._uv(face, weights)).clamp(0, 1)
        if self.mesh.rgb is not None:
            return between(self.mesh.rgb.float(), self.mesh.faces, face, weights).clamp(0, 1)
        return torch.full_like(weights, GREY)

    def material(self, face: Int[Tensor, " n"], weights: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"] | None:
        """Occlusion, roughness, metalness; None where it has none."""
        return None if self.maps["orm"] is None else sampled(self.maps["orm"], self._uv(face, weights)).clamp(0, 1)

    def normal(self, face: Int[Tensor, " n"], weights: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Unit, in the world: between those of the vertices, with the bumps of its own normal map."""
        normal = between(self.normals, self.mesh.faces, face, weights)
        if self.corners is None:
            return F.normalize(normal, dim=-1)
        rows = torch.from_numpy(self.corners.faces)
        tangent = between(torch.from_numpy(self.corners.tangent), rows, face, weights)
        along, hand = tangent[:, :3], torch.from_numpy(self.corners.tangent)[rows[face, 0], 3:]
        x, y, z = sampled(self.maps["bump"], self._uv(face, weights)).split(1, -1)
        return F.normalize(x * along + y * hand * torch.linalg.cross(normal, along) + z * normal, dim=-1)

    def _uv(self, face: Int[Tensor, " n"], weights: Float[Tensor, "n 3"]) -> Float[Tensor, "n 2"]:
        return (weights[..., None] * self.mesh.uv[face]).sum(1)


def _shrunk(mesh: Mesh, image: Float[Tensor, "h w 3"] | None, density: float) -> Float[Tensor, "r c 3"] | None:
    """With about `density` texels per metre where it has many more: each texel asked for is then the mean of what it covers."""
    if image is None or mesh.uv is None:
        return None
    corners, uv = mesh.vertices[mesh.faces].double(), mesh.uv.double()
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1).sum()
    s, t = (uv[:, 1] - uv[:, 0]), (uv[:, 2] - uv[:, 0])
    share = (s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).abs().sum()
    height, width = image.shape[:2]
    factor = math.sqrt(float(share) * height * width / max(float(area), 1e-30)) / density
    if factor < 1.5:
        return image
    size = [max(1, round(side / factor)) for side in (height, width)]
    return F.interpolate(image.movedim(-1, 0)[None].float(), size, mode="bilinear", antialias=True)[0].movedim(0, -1)
