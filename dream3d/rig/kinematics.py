"""How a rig bends: rotations, chains of joints, linear blend skinning (SMPL, Loper et al. 2015, equations 2 to 10).

At rest nothing moves, to the bit: what is blended are the differences from rest, so that weights need not sum to one more exactly than
they do.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dream3d.rig.check import order
from dream3d.rig.types import Rig

SMALL = 1e-4  # radians squared: below, series


def rotations(angles: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3 3"]:
    """Rotation matrices of axis times angle, radians (Rodrigues); exactly the identity at 0, with its derivative."""
    square = angles.square().sum(-1)[..., None, None]
    little = square < SMALL
    some = torch.where(little, 1.0, square)  # neither branch may divide by zero, not even in a gradient
    angle = some.sqrt()
    one = torch.where(little, 1 - square / 6 * (1 - square / 20), angle.sin() / angle)
    two = torch.where(little, 0.5 - square / 24 * (1 - square / 30), 2 * (angle / 2).sin().square() / some)
    cross = _cross(angles)
    return torch.eye(3).to(angles) + one * cross + two * (cross @ cross)


def _cross(v: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3 3"]:
    """The matrix that takes the cross product with v."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


def chain(
    rig: Rig, joints: Float[Tensor, "J 3"], turns: Float[Tensor, "J 3 3"]
) -> tuple[Float[Tensor, "J 3 3"], Float[Tensor, "J 3"]]:
    """Where joints that stand at `joints` take a point at rest, x -> G x + a, each turned as its parent is and then by its own."""
    whole: dict[int, tuple[Tensor, Tensor]] = {-1: (torch.eye(3).to(turns), torch.zeros(3).to(turns))}
    for k in order(rig.parents):
        above, moved = whole[rig.parents[k]]
        turned = above @ turns[k]
        whole[k] = turned, moved + (above - turned) @ joints[k]  # the joint itself goes where its parent takes it
    rows = [whole[k] for k in range(len(rig.parents))]
    return torch.stack([g for g, _ in rows]), torch.stack([a for _, a in rows])


def shaped(rig: Rig, shape: Float[Tensor, " K"]) -> tuple[Float[Tensor, "V 3"], Float[Tensor, "J 3"]]:
    """Vertices and joints of a shape, at rest."""
    return rig.vertices + rig.shapes @ shape, rig.joints + rig.joint_shapes @ shape


def skinned(
    rig: Rig, vertices: Float[Tensor, "V 3"], joints: Float[Tensor, "J 3"], turns: Float[Tensor, "J 3 3"]
) -> Float[Tensor, "V 3"]:
    """Vertices at rest, bent: corrected by what the pose adds (SMPL's pose directions), then blended. In the rig's own axes and unit."""
    vertices = vertices + bent(rig, turns)
    matrix, moved = blends(rig, joints, turns)
    return vertices + (matrix @ vertices[..., None])[..., 0] + moved


def bent(rig: Rig, turns: Float[Tensor, "J 3 3"]) -> Float[Tensor, "V 3"] | float:
    """What a pose adds to the vertices at rest."""
    if rig.bends.shape[-1] == 0:
        return 0.0
    return rig.bends @ (turns[1:] - torch.eye(3).to(turns)).flatten()


def blends(
    rig: Rig, joints: Float[Tensor, "J 3"], turns: Float[Tensor, "J 3 3"]
) -> tuple[Float[Tensor, "V 3 3"], Float[Tensor, "V 3"]]:
    """What takes each vertex from rest, x -> x + M x + a."""
    whole, moved = chain(rig, joints, turns)
    rows = torch.cat([(whole - torch.eye(3).to(whole)).flatten(1), moved], 1)
    blended = rig.weights @ rows
    return blended[:, :9].unflatten(-1, (3, 3)), blended[:, 9:]


def unskinned(
    rig: Rig, vertices: Float[Tensor, "V 3"], joints: Float[Tensor, "J 3"], turns: Float[Tensor, "J 3 3"]
) -> Float[Tensor, "V 3"]:
    """Bent vertices at rest again: the inverse of `skinned`. Where blending has crushed the space around a vertex, the nearest."""
    matrix, moved = blends(rig, joints, turns)
    whole = matrix + torch.eye(3).to(matrix)
    return (torch.linalg.pinv(whole) @ (vertices - moved)[..., None])[..., 0] - bent(rig, turns)


# --- quaternions, wxyz ----------------------------------------------------------------------------------------------


def quaternion(angles: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 4"]:
    """Of axis times angle."""
    angle = angles.norm(dim=-1, keepdim=True)
    return torch.cat([(angle / 2).cos(), torch.sinc(angle / (2 * torch.pi)) / 2 * angles], -1)


def matrices(q: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3 3"]:
    """Rotation matrices of quaternions of any length but 0."""
    q = F.normalize(q, dim=-1)
    cross = _cross(q[..., 1:])
    return torch.eye(3).to(q) + 2 * (q[..., :1, None] * cross + cross @ cross)


def quaternions(turn: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 4"]:
    """Of rotation matrices, differentiable; w may be negative. Of the four rows of 4 q q^T the longest is normalised."""
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in turn.unbind(-2))
    rows = [1 + a + e + i, h - f, c - g, d - b,
            h - f, 1 + a - e - i, b + d, c + g,
            c - g, b + d, 1 - a + e - i, f + h,
            d - b, c + g, f + h, 1 - a - e + i]  # fmt: skip
    table = torch.stack(rows, -1).unflatten(-1, (4, 4))
    best = table.detach().diagonal(dim1=-2, dim2=-1).argmax(-1)
    return F.normalize(table[torch.arange(len(best), device=best.device), best], dim=-1)


def product(p: Float[Tensor, "*p 4"], q: Float[Tensor, "*q 4"]) -> Float[Tensor, "*r 4"]:
    """Hamilton products p q: first q turns, then p."""
    (w, u), (s, v) = (one.split([1, 3], -1) for one in torch.broadcast_tensors(p, q))
    return torch.cat([w * s - (u * v).sum(-1, keepdim=True), w * v + s * u + torch.linalg.cross(u, v)], -1)


def between(p: Float[Tensor, "n 4"], q: Float[Tensor, "n 4"], share: float) -> Float[Tensor, "n 4"]:
    """`share` of the shorter way from p to q, at a steady pace (slerp)."""
    q = torch.where((p * q).sum(-1, keepdim=True) < 0, -q, q)
    angle = 2 * torch.atan2((p - q).norm(dim=-1, keepdim=True), (p + q).norm(dim=-1, keepdim=True))
    near = angle < 1e-4
    sine = torch.where(near, 1.0, angle.sin())
    one, two = (torch.where(near, s, (s * angle).sin() / sine) for s in (1 - share, share))
    return F.normalize(one * p + two * q, dim=-1)
