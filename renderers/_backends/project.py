"""Gaussians in the world to splats on the image: EWA projection (Zwicker et al. 2001) by gsplat's rules, in torch.

eps2d 0.3 is added to the screen covariance, and `fade` is by how much that made a splat brighter (Mip-Splatting, Yu et al.,
arXiv:2311.16493; gsplat's "antialiased"), the near plane is 0.01, and the Jacobian is
taken at a point clamped to 1.3 times the field of view (Ye et al., arXiv:2409.06765). One difference: the determinant
is summed from squares (Lagrange's identity), so that long thin splats keep a positive definite conic.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dream3d.types import Cameras

EPS2D, NEAR, MARGIN = 0.3, 0.01, 0.3
FLAT = 1e-6  # pixel^4: a splat seen edge-on has no area, but a gradient


@dataclass(frozen=True)
class Splats:
    """means2d in pixels, conics (xx, xy, yy) in 1 / pixel^2, the factor in (0, 1] on opacity that keeps a splat's light,
    camera z in metres, half the extent in pixels at alpha =
    1/255 (`radii`, 0 where a splat does not touch the image), and which splats do."""

    means2d: Float[Tensor, "B N 2"]
    conics: Float[Tensor, "B N 3"]
    fade: Float[Tensor, "B N"]
    depths: Float[Tensor, "B N"]
    radii: Float[Tensor, "B N"]
    visible: Bool[Tensor, "B N"]


def matrix(rotation: Float[Tensor, "N 4"]) -> Float[Tensor, "N 3 3"]:
    """Rotation matrices of quaternions wxyz of any length but 0; the columns are the Gaussian's axes in the world."""
    w, x, y, z = F.normalize(rotation, dim=-1).unbind(-1)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def project(
    position: Float[Tensor, "N 3"], axes: Float[Tensor, "N 3 3"], opacity: Float[Tensor, " N"], cameras: Cameras
) -> Splats:
    """`axes` columns are the principal axes times their standard deviations: covariance = axes axes^T. Differentiable
    in position and axes."""
    view = cameras.to_camera
    turn = view[:, :3, :3]
    x, y, z = (position @ turn.mT + view[:, None, :3, 3]).unbind(-1)
    front = z > NEAR
    z = torch.where(front, z, 1.0)  # nothing behind the camera may divide by zero, not even in a gradient
    k = cameras.intrinsics[..., None]
    fx, fy, cx, cy = k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2]
    tx = z * (x / z).clamp(*_limits(fx, cx, cameras.width))
    ty = z * (y / z).clamp(*_limits(fy, cy, cameras.height))
    spread = (turn @ axes.movedim(1, 0).flatten(1)).unflatten(-1, (-1, 3))  # B 3 N 3: the axes in each camera
    u = (fx / z)[..., None] * spread[:, 0] - (fx * tx / (z * z))[..., None] * spread[:, 2]
    v = (fy / z)[..., None] * spread[:, 1] - (fy * ty / (z * z))[..., None] * spread[:, 2]
    conics, fade, reach = _conics(u, v, opacity.detach())
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], -1)
    size = means2d.new_tensor([cameras.width, cameras.height])
    inside = ((means2d + reach > 0) & (means2d - reach < size)).all(-1)
    visible = front & inside & (opacity * 255 > 1)
    return Splats(means2d, conics, fade, z, torch.where(visible, reach.amax(-1), 0).detach(), visible)


def _limits(focal: Float[Tensor, "B 1"], centre: Float[Tensor, "B 1"], size: int) -> tuple[Tensor, Tensor]:
    margin = MARGIN * 0.5 * size / focal
    return -centre / focal - margin, (size - centre) / focal + margin


def _conics(
    u: Float[Tensor, "B N 3"], v: Float[Tensor, "B N 3"], opacity: Float[Tensor, " N"]
) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N"], Float[Tensor, "B N 2"]]:
    """The inverse of [u v]^T [u v] + eps2d, the root of the ratio of determinants without and with eps2d, and how far
    alpha >= 1/255 reaches along x and y."""
    uu, uv, vv = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    cross = torch.linalg.cross(u, v)
    area = (cross * cross).sum(-1)
    det = area + EPS2D * (uu + vv) + EPS2D**2
    conics = torch.stack([vv + EPS2D, -uv, uu + EPS2D], -1) / det[..., None]
    scale = (2 * (255 * opacity).clamp(min=1).log()).sqrt()
    with torch.no_grad():
        reach = scale[:, None] * torch.stack([uu + EPS2D, vv + EPS2D], -1).sqrt()
    return conics, ((area + FLAT) / (det + FLAT)).sqrt(), reach


C0 = math.sqrt(1 / (4 * math.pi))
C1 = math.sqrt(3 / (4 * math.pi))
C2 = tuple(math.sqrt(k / math.pi) for k in (15 / 4, 5 / 16, 15 / 16))  # xy yz xz, 3zz - 1, xx - yy
C3 = tuple(math.sqrt(k / math.pi) for k in (35 / 32, 105 / 4, 21 / 32, 7 / 16, 105 / 16))


def harmonics(direction: Float[Tensor, "*B 3"], degree: int) -> Float[Tensor, "*B K"]:
    """The (degree + 1)^2 real spherical harmonics at unit directions, in the order and with the signs of 3D Gaussian
    Splatting."""
    x, y, z = direction.unbind(-1)
    basis = [torch.full_like(x, C0)]
    if degree > 0:
        basis += [-C1 * y, C1 * z, -C1 * x]
    if degree > 1:
        basis += [C2[0] * x * y, -C2[0] * y * z, C2[1] * (3 * z * z - 1), -C2[0] * x * z, C2[2] * (x * x - y * y)]
    if degree > 2:
        xx, yy, zz = x * x, y * y, z * z
        basis += [-C3[0] * y * (3 * xx - yy), C3[1] * x * y * z, -C3[2] * y * (5 * zz - 1), C3[3] * z * (5 * zz - 3),
                  -C3[2] * x * (5 * zz - 1), C3[4] * z * (xx - yy), -C3[0] * x * (xx - 3 * yy)]  # fmt: skip
    return torch.stack(basis, -1)
