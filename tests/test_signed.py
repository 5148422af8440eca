"""Signed distances of meshes: exact for a box, right for parts that overlap, holes, hairs and huge faces."""

import math

import pytest
import torch
import trimesh
from dream3d.renderers._signed import _closest, signed, winding
from dream3d.renderers._tets import lattice

from dream3d.errors import Mistake
from dream3d.types import Mesh


def mesh(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(torch.from_numpy(shape.vertices.copy()).float(), torch.from_numpy(shape.faces.copy()).long())


@pytest.mark.parametrize("linked", [True, False])
def test_distance_to_a_box_is_exact_for_either_orientation(linked):
    grid, half = lattice(0.8, 10), torch.tensor([0.4, 0.45, 0.5])
    box, q = mesh(trimesh.creation.box((0.8, 0.9, 1.0))), grid.points.abs() - half
    exact = q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)
    for faces in (box.faces, box.faces.flip(1)):
        distance, face, weights = signed(Mesh(box.vertices, faces), grid.points, 0.05, grid.edges if linked else None)
        torch.testing.assert_close(distance, exact, atol=1e-5, rtol=0)
        places = (weights[..., None] * box.vertices[faces[face]]).sum(1)
        torch.testing.assert_close((places - grid.points).norm(dim=-1), exact.abs(), atol=1e-5, rtol=0)
        assert (weights >= -1e-6).all()


def test_overlapping_parts_and_a_hole_leave_inside_inside():
    one, other = trimesh.creation.icosphere(3, 0.4), trimesh.creation.icosphere(3, 0.4)
    other.apply_translation((0.3, 0, 0))
    both = mesh(trimesh.util.concatenate([one, other]))
    x = torch.tensor([[0.15, 0, 0], [-0.3, 0, 0], [0.6, 0, 0], [0.8, 0, 0], [0.15, 0.4, 0]])
    inside = [True, True, True, False, False]
    assert (signed(both, x, 0.05)[0] < 0).tolist() == inside
    holed = Mesh(both.vertices, both.faces[torch.arange(len(both.faces)) % 97 > 0])
    assert (signed(holed, x, 0.05)[0] < 0).tolist() == inside


def test_winding_numbers_count():
    ball = mesh(trimesh.creation.icosphere(4, 0.5))
    corners = ball.vertices.double()[ball.faces]
    rng = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(500, 3, generator=rng, dtype=torch.float64), dim=-1)
    scale = torch.rand(500, 1, generator=rng, dtype=torch.float64)
    assert (winding(corners, x * 0.48 * scale) - 1).abs().max() < 0.02
    assert winding(corners, x * (0.52 + scale)).abs().max() < 0.02
    half = corners[corners.mean(1)[:, 2] > 0]
    assert winding(half, torch.zeros(1, 3, dtype=torch.float64)).item() == pytest.approx(0.5, abs=0.02)


def test_a_distance_needs_a_mesh():
    x = torch.zeros(2, 3)
    with pytest.raises(Mistake, match="no faces"):
        signed(Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.long)), x, 0.1)
    with pytest.raises(Mistake, match="nowhere"):
        signed(Mesh(torch.full((3, 3), torch.nan), torch.tensor([[0, 1, 2]])), x, 0.1)
    line = Mesh(torch.tensor([[1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0]]), torch.tensor([[0, 1, 2]]))  # a face without an area
    assert signed(line, x, 0.1)[0].tolist() == pytest.approx([1.0, 1.0])


def test_thousands_of_huge_faces_stay_bounded():
    """A fan of 3000 faces, each as large as the mesh, thick or as thin as a hair: quick, and still on the right side."""
    turn = torch.linspace(0, 2 * math.pi, 3001)[:-1]
    rim = torch.stack([turn.cos(), turn.sin(), 0 * turn], -1)
    ends = torch.tensor([[0.0, 0.0, 5.0], [0.0, 0.0, -5.0]])
    i = torch.arange(3000)
    j = (i + 1) % 3000
    faces = torch.cat([torch.stack([i, j, 0 * i + 3000], -1), torch.stack([j, i, 0 * i + 3001], -1)])
    x = torch.tensor([[0.0, 0, 0], [0.5, 0, 1], [0.9, 0, 2], [0.0, 2, 0]])
    distance = signed(Mesh(torch.cat([rim, ends]), faces), x, 1e-3)[0]
    slope = 5 / math.sqrt(26)  # the cones x + |z| / 5 = 1; the last place is nearest to their rim
    exact = torch.tensor([-slope, -0.3 * slope, 0.3 * slope, 1.0])
    torch.testing.assert_close(distance, exact, atol=2e-3, rtol=0)


def test_the_nearest_of_uneven_faces_is_found():
    """Against the distance to every face, where small ones lie beside large ones."""
    ball, plate = trimesh.creation.icosphere(subdivisions=3, radius=0.2), trimesh.creation.box((1.0, 1.0, 0.1))
    ball.apply_translation((0.0, 0.0, 0.3))
    uneven = mesh(trimesh.util.concatenate([ball, plate]))
    x = 1.2 * torch.rand(300, 3, generator=torch.Generator().manual_seed(0)) - 0.6
    found, _, _ = signed(uneven, x, 0.1)
    every = _closest(uneven.vertices[uneven.faces].double()[None].expand(300, -1, -1, -1), x.double()[:, None])
    exact = ((every[..., None] * uneven.vertices[uneven.faces].double()).sum(-2) - x.double()[:, None]).norm(dim=-1).amin(1)
    off = found.abs() - exact
    assert off.abs().max() < 1e-5
