"""Small meshes whose every side is known: a box that stands off the origin, front red, with uvs and a material."""

import torch

from dream3d.types import Mesh

LOW, HIGH = torch.tensor([-0.3, -0.2, -0.1]), torch.tensor([0.3, 0.2, 0.5])  # 0.6 x 0.4 x 0.6 m
SIDES = {"front": (1.0, 0.0, 0.0), "right": (0.0, 1.0, 0.0), "back": (0.0, 0.0, 1.0), "left": (1.0, 1.0, 0.0),
         "top": (0.0, 1.0, 1.0), "bottom": (1.0, 0.0, 1.0)}  # fmt: skip
QUADS = ((0, 1, 5, 4), (1, 3, 7, 5), (3, 2, 6, 7), (2, 0, 4, 6), (4, 5, 7, 6), (2, 3, 1, 0))  # of SIDES, seen from outside
TILE = 8  # texels of a side's square; 4 x 2 of them are the texture


def box(*, textured: bool = True, lit: bool = False) -> Mesh:
    """Twelve triangles, closed. Textured: every side is one square of the texture in its colour; else vertices are red below."""
    corners = torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)], dtype=torch.float32)
    vertices = LOW + corners * (HIGH - LOW)
    faces = torch.tensor([[q[0], q[i], q[i + 1]] for q in QUADS for i in (1, 2)])
    if not textured:
        return Mesh(vertices, faces, rgb=torch.where(vertices[:, 2:] < 0, torch.tensor([1.0, 0.2, 0.0]), torch.tensor([0.0, 0.4, 1.0])))
    texture, uv = torch.zeros(2 * TILE, 4 * TILE, 3), torch.zeros(12, 3, 2)
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]) * 0.8 + 0.1
    for side, colour in enumerate(SIDES.values()):
        column, row = side % 4, side // 4  # row 0 is the top one
        texture[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = torch.tensor(colour)
        place = (square + torch.tensor([column, 1 - row])) / torch.tensor([4.0, 2.0])
        for half, (i, j) in enumerate(((1, 2), (2, 3))):
            uv[2 * side + half] = place[[0, i, j]]
    orm = torch.tensor([1.0, 0.6, 0.2]).expand_as(texture) if lit else None
    bump = torch.tensor([0.0, 0.0, 1.0]).expand_as(texture) if lit else None
    return Mesh(vertices, faces, uv=uv, texture=texture, orm=orm, bump=bump)
