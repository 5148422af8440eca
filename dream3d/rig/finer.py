"""The same rig with fewer directions, or with more triangles."""

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.rig.types import Rig


def chosen(rig: Rig, shapes: int, expressions: int) -> Rig:
    """With its first shape directions and its first expressions only, at most so many."""
    count = len(rig.shape_names) - rig.expressions
    rows = [*range(min(shapes, count)), *range(count, count + min(expressions, rig.expressions))]
    names = tuple(rig.shape_names[k] for k in rows)
    return dataclasses.replace(rig, shapes=rig.shapes[..., rows], joint_shapes=rig.joint_shapes[..., rows], shape_names=names,
                               expressions=min(expressions, rig.expressions))  # fmt: skip


def finer(rig: Rig) -> Rig:
    """Every triangle in four, by the middles of its edges: as it looks and moves as before."""
    sides = torch.stack([rig.faces, rig.faces.roll(-1, 1)], -1).sort(-1).values.flatten(0, 1)
    edges, index = torch.unique(sides, dim=0, return_inverse=True)
    middle = len(rig.vertices) + index.view(-1, 3)
    (a, b, c), (ab, bc, ca) = rig.faces.unbind(1), middle.unbind(1)
    faces = _four(a, b, c, ab, bc, ca)
    rows = {name: _with_middles(getattr(rig, name), edges) for name in ("vertices", "weights", "shapes", "bends")}
    return dataclasses.replace(rig, faces=faces, uv=None if rig.uv is None else _cut(rig.uv), **rows)


def _with_middles(rows: Tensor, edges: Int[Tensor, "E 2"]) -> Tensor:
    return torch.cat([rows, rows[edges].mean(1)])


def _cut(uv: Float[Tensor, "F 3 2"]) -> Float[Tensor, "G 3 2"]:
    (a, b, c), (ab, bc, ca) = uv.unbind(1), ((uv + uv.roll(-1, 1)) / 2).unbind(1)
    return _four(a, b, c, ab, bc, ca)


def _four(a: Tensor, b: Tensor, c: Tensor, ab: Tensor, bc: Tensor, ca: Tensor) -> Tensor:
    """The corners of four triangles for each, in their order."""
    rows = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
    return torch.stack([torch.stack(row, 1) for row in rows], 1).flatten(0, 1)
