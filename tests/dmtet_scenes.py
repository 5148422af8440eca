"""Scenes in tetrahedral grids for tests, and what is asked of them."""

import math

import torch
import trimesh
from dream3d.renderers._signed import signed
from dream3d.renderers.dmtet import DMTet

from dream3d.types import Mesh, Render, Step

BALL = 4 / 3 * math.pi * 0.5**3


def scene(**settings) -> DMTet:
    """What takes something over is as converted, not settled."""
    return DMTet(torch.Generator().manual_seed(0), **{"resolution": 12, "settle": 0, **settings})


def step(index: int = 0, total: int = 100) -> Step:
    return Step.make(index, total, 3)


def volume(mesh: Mesh) -> float:
    a, b, c = mesh.vertices.double()[mesh.faces].unbind(1)
    return (torch.linalg.cross(a, b) * c).sum().item() / 6


def closed(mesh: Mesh) -> bool:
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False).is_watertight


def inside(made: DMTet) -> tuple[torch.Tensor, torch.Tensor]:
    """Which points of a grid the solid contains."""
    axis = torch.linspace(-0.73, 0.73, 25)
    points = torch.cartesian_prod(axis, axis, axis)
    return signed(made.handover(), points, 0.05)[0] < 0, points


def iou(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one & other).sum() / (one | other).sum()).item()


def boxed(half: tuple[float, float, float], rgb=None) -> Mesh:
    shape = trimesh.creation.box([2 * h for h in half])
    vertices = torch.from_numpy(shape.vertices.copy()).float()
    return Mesh(vertices, torch.from_numpy(shape.faces.copy()).long(), rgb=None if rgb is None else rgb(vertices))


def shifted(mesh: Mesh, by: float) -> Mesh:
    return Mesh(mesh.vertices + by, mesh.faces)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return -10 * math.log10((a - b).square().mean().item())


def over_white(render: Render) -> torch.Tensor:
    return render.rgb + 1 - render.alpha
