"""Normals of hits where they are hard: uneven faces, sheets of two sides; and starts between cells of a grid."""


import pytest
import torch
import torch.nn.functional as F
from dream3d.renderers._surface import draw
from dream3d.renderers._tets import lattice, march
from dream3d.renderers.dmtet import DMTet
from torch import Tensor

from dream3d.cameras import look_at
from dream3d.types import Field


def hits_of(vertices: Tensor, faces: Tensor, **settings):
    camera, kept = look_at(torch.zeros(1), torch.zeros(1), size=48), []
    draw(vertices, faces, camera, lambda hits: (kept.append(hits) or hits.position, None), **settings)
    return kept[0]


def test_normals_of_vertices_are_weighted_by_area():
    """Beside one edge a large face, beside the other a small one that faces elsewhere."""
    vertices = torch.tensor([[-0.8, 0.0, -0.6], [0.3, 0.0, -0.6], [0.0, 0.0, 0.7], [0.4, 0.4, 0.0]])
    faces = torch.tensor([[0, 1, 2], [1, 3, 2]])
    big, small = (torch.linalg.cross(b - a, c - a) for a, b, c in vertices[faces])
    sums = torch.stack([big, big + small, big + small, small])
    hits = hits_of(vertices, faces)
    assert (hits.face == 0).sum() > 50 and (hits.face == 1).sum() > 10
    wanted = F.normalize((hits.weights[..., None] * F.normalize(sums, dim=-1)[faces[hits.face]]).sum(1), dim=-1)
    torch.testing.assert_close(hits.normal, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("smooth", [True, False])
def test_a_sheet_of_two_sides_has_normals(smooth):
    """Its faces are there twice, with opposite turns: those of its vertices cancel, and say nothing."""
    vertices = torch.tensor([[-0.5, 0.1, -0.5], [0.5, -0.1, -0.5], [0.0, 0.3, 0.5]])
    one = torch.tensor([[0, 1, 2]])
    for faces in (torch.cat([one, one.flip(1)]), torch.cat([one.flip(1), one])):
        hits = hits_of(vertices, faces, smooth=smooth)
        a, b, c = vertices
        wanted = F.normalize(torch.linalg.cross(b - a, c - a), dim=0)
        assert wanted[1] < 0 and len(hits.face) > 100
        torch.testing.assert_close(hits.normal, wanted.expand_as(hits.normal), atol=1e-5, rtol=0)


def test_a_surface_through_vertices_of_the_grid_has_faces_with_an_area():
    """A box whose sides lie on the lattice: distances of exactly nothing would give faces of one point."""
    made = DMTet(torch.Generator().manual_seed(0), resolution=8, bound=0.8)
    x = torch.stack(torch.meshgrid(*[torch.linspace(-0.8, 0.8, 33)] * 3, indexing="ij"), -1)
    made.init_from(Field(0.8, distance=x.abs().amax(-1) - 0.4))
    made._begin((made.points.abs().amax(-1) - 0.4), torch.full_like(made.points, 0.5))
    assert (made.points.abs().amax(-1) == 0.4).any() and made.distance.ne(0).all()
    cut = made.surface()
    a, b, c = cut.vertices[cut.faces].unbind(1)
    assert torch.linalg.cross(b - a, c - a).norm(dim=-1).min() > 0
    made.surface().vertices.sum().backward()
    assert made.distance.grad.isfinite().all()


def test_a_distance_of_nothing_is_outside():
    grid = lattice(0.8, 3)
    distance = torch.where(torch.arange(len(grid.points)) % 3 == 0, 0.0, 1.0)
    assert len(march(grid, grid.points, distance).faces) == 0
    distance[int(grid.points.norm(dim=-1).argmin())] = -1.0
    cut = march(grid, grid.points, distance)
    edges = cut.faces[:, [0, 1, 1, 2, 2, 0]].view(-1, 2)
    assert torch.equal(edges.unique(dim=0), edges.flip(1).unique(dim=0)) and len(edges.unique(dim=0)) == len(edges)
    assert len(cut.vertices) - len(edges) // 2 + len(cut.faces) == 2 and cut.vertices.isfinite().all()
