"""What Gaussians start from and hand over: Gaussians, points, meshes, volumes."""

import pytest
import torch
from dream3d.renderers._backends.project import matrix
from dream3d.renderers._backends.seeds import COVER, FLAT, INSET, from_mesh, spacing
from gaussian_scenes import scene, varied

from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.types import Field, Mesh, Points


def test_handover_and_back_shows_the_same():
    first, second = varied(80, sh_degree=2, label=True), scene(5, sh_degree=2)
    second.init_from(first.handover())
    before, after = (made.render(ring(2, size=24)).buffers() for made in (first, second))
    for name, buffer in before.items():
        torch.testing.assert_close(after[name], buffer, atol=1e-4, rtol=1e-4)


def test_colours_are_handed_over_as_shown():
    """A viewer of splats does not clamp; with harmonics only the sum is clamped, so the terms are kept."""
    made, keeps = scene(2), scene(2, sh_degree=1)
    for each in (made, keeps):
        each.colour.data = torch.tensor([[1.4, 0.5, -0.2], [0.0, 0.3, 1.0]])
    sh, c0 = made.handover().sh, 0.28209479
    torch.testing.assert_close(0.5 + c0 * sh[:, 0], torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.3, 1.0]]))
    torch.testing.assert_close(0.5 + c0 * keeps.handover().sh[:, 0], keeps.colour.data)


def test_degrees_may_differ_between_stages():
    high, low = varied(20, sh_degree=3), scene(1, sh_degree=1)
    low.init_from(high.handover())
    assert low.harmonics.shape == (20, 3, 3) and torch.equal(low.harmonics.data, high.harmonics.data[:, :3])
    high.init_from(low.handover())
    assert high.harmonics.shape == (20, 15, 3) and high.harmonics.data[:, 3:].eq(0).all()


def test_init_from_plain_points():
    made, g = scene(5), torch.Generator().manual_seed(0)
    points = Points(torch.rand(40, 3, generator=g) - 0.5, torch.rand(40, 3, generator=g), label=torch.arange(40) % 2)
    made.init_from(points)
    assert torch.equal(made.position.data, points.position) and torch.equal(made.colour.data, points.rgb)
    torch.testing.assert_close(made.log_scale.exp(), spacing(points.position)[:, None].expand(-1, 3))
    assert made.render(ring(1, size=8)).labels.shape[-1] == 3


def cube() -> Mesh:
    import trimesh

    box = trimesh.creation.box((1.0, 1.0, 1.0))
    vertices = torch.tensor(box.vertices, dtype=torch.float32)
    return Mesh(vertices, torch.tensor(box.faces), rgb=vertices + 0.5, label=torch.arange(12) // 6)


def test_init_from_mesh_covers_the_surface_evenly():
    """Discs lie below the surface by so many of their deviations, evenly on the six sides, with the colours above them."""
    made = scene(1200, settle=0)
    made.init_from(cube())
    position, below = made.position.detach(), INSET * made.log_scale.detach()[0].exp()
    on_face = (position.abs() - (0.5 - below[0])).abs() < 1e-5
    outward = position[..., None] * torch.tensor([-1.0, 1.0]) > 0
    sides = (on_face[..., None] & outward).sum(0).flatten().tolist()
    assert on_face.any(1).all() and all(abs(side - 200) <= 4 for side in sides)
    wide = (COVER * 6 / 1200) ** 0.5
    torch.testing.assert_close(below, INSET * torch.tensor([wide, wide, FLAT * wide]))
    above = torch.where(on_face, position.sign() * 0.5, position)
    torch.testing.assert_close(made.colour, above + 0.5, atol=1e-5, rtol=0)
    assert made.label.tolist().count(0) == 600


def test_a_triangle_is_covered_evenly():
    """Mean at the centroid, 1 % of the sides; a quarter of the points in each of its four like parts."""
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 1]])
    place = from_mesh(Mesh(corners, torch.tensor([[0, 1, 2]])), 2000).position
    assert (place.mean(0)[[0, 2]] - 1 / 3).abs().max() < 0.01 and place[:, 1].min() == place[:, 1].max() > 0
    parts = [place[:, 0] > 0.5, place[:, 2] > 0.5, place[:, 0] + place[:, 2] < 0.5]
    assert all(abs(part.float().mean() - 0.25) < 0.01 for part in parts)


def test_init_from_mesh_reads_its_texture():
    texture = torch.zeros(8, 8, 3)
    texture[:4, :, 0] = 1  # upper half red
    square = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    points = from_mesh(Mesh(square, faces, uv=square[:, [0, 2]][faces], texture=texture), 400)
    height, red = points.position[:, 2], points.rgb[:, 0]
    assert red[height > 0.6].min() > 0.999 and red[height < 0.4].max() < 0.001


@pytest.mark.parametrize("kind", ["density", "distance"])
def test_init_from_field_covers_the_object(kind):
    axis = torch.linspace(-0.75, 0.75, 40)
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).norm(dim=-1)
    values = {"density": 200.0 * (radius < 0.4)} if kind == "density" else {"distance": radius - 0.4}
    made = scene(500, settle=0)
    made.init_from(Field(0.75, rgb=torch.full((40, 40, 40, 3), 0.2), **values))
    thin = matrix(made.rotation)[:, :, 2].detach()  # the discs' axes
    place = made.position.detach() + INSET * made.log_scale[0, 0].exp() * thin
    found = place.norm(dim=-1)
    assert found.min() > 0.36 and found.max() < 0.44 and torch.allclose(made.colour, torch.tensor(0.2)) and len(made) == 500
    facing = ((thin * place).sum(-1) / found).min()
    assert facing > (0.98 if kind == "distance" else 0.7) and made.log_scale.argmin(1).eq(2).all()
    assert place.mean(0).abs().max() < 0.03


@pytest.mark.parametrize(
    "data, words",
    [
        (Field(0.75, density=torch.zeros(4, 4, 4)), "nowhere above 0"),
        (Field(0.75, distance=torch.ones(4, 4, 4)), "no surface"),
        (Field(0.75), "density or distance"),
        (Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.long)), "nothing"),
        (Points(torch.zeros(0, 3), torch.zeros(0, 3)), "nothing"),
    ],
)
def test_what_there_is_nothing_of_is_a_mistake(data, words):
    with pytest.raises(Mistake, match=words):
        scene(3).init_from(data)
