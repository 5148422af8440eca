"""Clips for tests: a field that moves a mesh or Gaussians, and bodies."""

import dataclasses

import torch
from dream3d.renderers.dynamic_gaussians import DynamicGaussians
from dream3d.renderers.dynamic_mesh import DynamicMesh
from dream3d.renderers.mesh import TriangleMesh

from dream3d.clips import MeshClip
from dream3d.types import Mesh

FACTS = {"prompt": "a ball <b>rolling</b>", "seed": 3}


def ball(faces: int = 320) -> Mesh:
    """Its vertices differ in colour."""
    mesh = TriangleMesh(torch.Generator(), faces=faces).handover()
    return dataclasses.replace(mesh, rgb=torch.rand(mesh.rgb.shape, generator=torch.Generator().manual_seed(3)))


def textured(mesh: Mesh, *, lit: bool = False) -> Mesh:
    """Every triangle with uvs of its own, so that all vertices are doubled; with materials where it is lit."""
    make = torch.Generator().manual_seed(5)
    maps = torch.rand(3, 8, 8, 3, generator=make)
    more = {"orm": maps[1], "bump": 2 * maps[2] - 1} if lit else {}
    return dataclasses.replace(mesh, rgb=None, uv=torch.rand(len(mesh.faces), 3, 2, generator=make), texture=maps[0], **more)


def rolling(cls=DynamicMesh, **settings):
    """A ball, or Gaussians, that a field and a rigid motion have been stirred for."""
    given = {"faces": 320} if cls is DynamicMesh else {"count": 40, "radius": 0.4}
    made = cls(torch.Generator().manual_seed(0), whole="rigid", **given, **settings)
    if cls is DynamicMesh:
        made.init_from(ball())
    make = torch.Generator().manual_seed(1)
    for p in [*made.field.parameters(), *made.whole.parameters()]:
        p.data += 0.1 * torch.randn(p.shape, generator=make)
    if cls is DynamicGaussians:
        made.still.harmonics.data += 0.2 * torch.randn(made.still.harmonics.shape, generator=make)
    return made


def turning(mesh, times) -> MeshClip:
    """A quarter of a turn about z in a second."""
    angle = times * torch.pi / 2
    turn = torch.stack([torch.stack([a.cos(), -a.sin(), 0 * a, a.sin(), a.cos(), 0 * a, 0 * a, 0 * a, 0 * a + 1]) for a in angle])
    return MeshClip(mesh, torch.einsum("tij,vj->tvi", turn.view(-1, 3, 3), mesh.vertices), times)
