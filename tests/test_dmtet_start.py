"""DMTet from something: volumes, meshes and Gaussians of an earlier stage, and grids of one's own."""

import math

import numpy as np
import pytest
import torch
from dmtet_scenes import BALL, boxed, closed, inside, iou, over_white, psnr, scene, shifted, volume
from dream3d.renderers._solid import as_mesh
from dream3d.renderers._tets import lattice

from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.types import Cameras, Field, Mesh, Points


def ball(kind: str, side: int = 49, bound: float = 0.8) -> Field:
    """A ball of 0.45 m around (0.1, 0, 0), painted by place, soft or hard or as a distance."""
    axis = torch.linspace(-bound, bound, side)
    x = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    away = (x - torch.tensor([0.1, 0, 0])).norm(dim=-1) - 0.45
    shape = {
        "soft": {"density": 100 * torch.sigmoid(-away / 0.015)},
        "hard": {"density": 50.0 * (away < 0)},
        "distance": {"distance": away},
    }
    return Field(bound, **shape[kind], rgb=paint(x))


def paint(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([0.5 + 0.5 * torch.sin(5 * x[..., i]) for i in range(3)], -1)


def truth(cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """The painted ball where rays meet it, over white, and its mask; a pixel is the mean of sixteen rays."""
    fine = cameras.sized(4 * cameras.height, 4 * cameras.width)
    origin, direction = fine.rays()
    to = origin - torch.tensor([0.1, 0, 0])
    a, b, c = direction.square().sum(-1), (to * direction).sum(-1), to.square().sum(-1) - 0.45**2
    root = b * b - a * c
    hit = root > 0
    places = origin + direction * ((-b - root.clamp(min=0).sqrt()) / a)[..., None]
    picture = torch.where(hit[..., None], paint(places), 1.0).movedim(-1, 1)
    return torch.nn.functional.avg_pool2d(picture, 4).movedim(1, -1), hit


@pytest.mark.parametrize("kind, threshold", [("soft", "auto"), ("soft", 50.0), ("hard", "auto"), ("distance", "auto")])
def test_a_volume_hands_its_shape_and_colours_over(kind, threshold):
    """The analytic ball: IoU of the solids at least 0.9, and pictures at identical cameras far within 3 dB of what such a surface can
    show: 25 dB against the truth (a ball in the right place without its colours has 17)."""
    made, field = scene(resolution=20, threshold=threshold), ball(kind)
    made.init_from(field)
    mesh = made.handover()
    solid, points = inside(made)
    exact = (points - torch.tensor([0.1, 0, 0])).norm(dim=-1) < 0.45
    assert iou(solid, exact) > 0.9 and closed(mesh)
    assert volume(mesh) == pytest.approx(BALL * 0.9**3, rel=0.05 if kind == "soft" or kind == "distance" else 0.1)
    cameras = ring(4, size=48)
    with torch.no_grad():
        picture = over_white(made.render(cameras))
    assert psnr(picture, truth(cameras)[0]) > (20 if kind == "hard" else 25)
    made._begin(made.distance.detach(), torch.full_like(made.points, 0.5))
    with torch.no_grad():
        grey = over_white(made.render(cameras))
    assert psnr(grey, truth(cameras)[0]) < 18


def test_fog_is_painted_as_a_ray_sees_it():
    """Fog of 7 / m, red for 0.1 m and blue below: of the light that is lost in 12 cells (0.3 m), 1 - exp(-0.7) is lost in the red."""
    axis = torch.linspace(-0.8, 0.8, 65)
    away = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).norm(dim=-1)
    red = (away > 0.4).float()
    mesh = as_mesh(Field(0.8, density=7.0 * (away < 0.5), rgb=torch.stack([red, 0 * red, 1 - red], -1)))
    share = (1 - math.exp(-0.7)) / (1 - math.exp(-2.1))
    torch.testing.assert_close(mesh.rgb.mean(0), torch.tensor([share, 0.0, 1 - share]), atol=0.03, rtol=0)


def test_a_volume_full_to_its_rim_is_closed_there():
    made = scene(resolution=8)
    made.init_from(Field(0.8, density=torch.full((9, 9, 9), 100.0)))
    assert closed(made.handover()) and volume(made.handover()) == pytest.approx(1.6**3, rel=0.25)


def test_a_mesh_hands_over_with_its_colours():
    half = (0.35, 0.45, 0.55)
    made = scene(resolution=24)
    made.init_from(boxed(half, lambda x: (x + 0.6) / 1.2))
    solid, points = inside(made)
    assert iou(solid, (points.abs() < torch.tensor(half)).all(-1)) > 0.9
    mesh = made.handover()
    assert volume(mesh) == pytest.approx(8 * math.prod(half), rel=0.03)
    assert (mesh.rgb - (mesh.vertices + 0.6) / 1.2).abs().mean() < 0.05


def test_a_textured_mesh_and_a_field_of_colours():
    """Left half red, right half blue, by a texture with uvs; the field has to learn it."""
    mesh = boxed((0.4, 0.4, 0.4))
    uv = (mesh.vertices[:, [0, 2]] / 0.8 + 0.5)[mesh.faces]
    texture = torch.zeros(8, 8, 3)
    texture[:, :4, 0] = texture[:, 4:, 2] = 1.0
    painted = Mesh(mesh.vertices, mesh.faces, uv=uv, texture=texture)
    for settings in ({}, {"appearance": "field"}):
        made = scene(resolution=10, **settings)
        made.init_from(painted)
        with torch.no_grad():
            picture = made.render(ring(1, size=32)).rgb[0]  # from the front: left is -x
        assert picture[16, 11, 0] > 0.8 > 0.2 > picture[16, 11, 2] and picture[16, 20, 2] > 0.8 > 0.2 > picture[16, 20, 0]


def test_gaussians_hand_over_where_they_are_opaque():
    rng = torch.Generator().manual_seed(0)
    position = torch.nn.functional.normalize(torch.randn(1500, 3, generator=rng), dim=-1) * 0.4
    one = torch.ones(1500, 1)
    points = Points(position, paint(position), 0.04 * one.expand(-1, 3), torch.cat([one, 0 * position], 1), 0.9 * one[:, 0])
    made = scene(resolution=20)
    made.init_from(points)
    mesh = made.handover()
    assert closed(mesh) and 0.4 < (3 * volume(mesh) / (4 * math.pi)) ** (1 / 3) < 0.53
    assert (mesh.rgb - paint(mesh.vertices)).abs().mean() < 0.15


@pytest.mark.parametrize(
    "data, words",
    [
        (Field(0.8), "density or distance"),
        (Field(0.8, density=torch.zeros(9, 9, 9)), "nowhere above 0"),
        (Field(0.8, density=torch.ones(9, 9, 9)), "nowhere above 5"),
        (Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long)), "no faces"),
        (Mesh(torch.full((3, 3), math.nan), torch.tensor([[0, 1, 2]])), "nowhere"),
        (boxed((2.0, 0.3, 0.3)), "reaches 2 m from the middle, the tetrahedral grid 0.8 m"),
        (shifted(boxed((1e-3, 1e-3, 1e-3)), 0.11), "smaller than a cell"),
        (Points(torch.zeros(4, 3), torch.zeros(4, 3)), "no extent"),
    ],
)
def test_what_has_no_surface_is_a_mistake(data, words):
    with pytest.raises(Mistake) as raised:
        scene(resolution=8, threshold=5.0).init_from(data)
    assert words in str(raised.value)


# --- grids of the user's --------------------------------------------------------------------------------------------


def test_a_grid_of_ones_own(tmp_path):
    """A fine ball of cells with some inverted; a surface that would leave it is closed on it."""
    grid = lattice(0.7, 10)
    cells = grid.cells[grid.points[grid.cells].norm(dim=-1).amax(1) < 0.66]
    wrong = cells.clone()
    wrong[:7] = wrong[:7, [1, 0, 2, 3]]
    path = tmp_path / "ball.npz"
    np.savez(path, vertices=grid.points.numpy(), tets=wrong.numpy())
    made = scene(grid=str(path))
    assert "7 inverted cells turned" in made.about and len(made.cells) == len(cells)
    assert volume(made.handover()) == pytest.approx(BALL, rel=0.05)
    made.distance.data.fill_(-1.0)
    assert closed(made.handover())
    with pytest.raises(Mistake, match="renderer.grid|no file"):
        scene(grid=str(tmp_path / "other.npz"))


def test_a_shell_around_a_body_stays_around_it(tmp_path):
    grid = lattice(0.8, 12)
    away = grid.points[grid.cells].norm(dim=-1)
    path = tmp_path / "shell.npz"
    np.savez(path, vertices=grid.points.numpy(), tets=grid.cells[(away.amin(1) > 0.3) & (away.amax(1) < 0.7)].numpy())
    made = scene(grid=str(path))
    for fill, low, high in ((1.0, 0.25, 0.5), (-1.0, 0.5, 0.72)):  # nothing but the body; all of the shell
        made.distance.data.fill_(fill)
        mesh = made.handover()
        radius = mesh.vertices.norm(dim=-1)
        assert closed(mesh) and volume(mesh) > 0 and low < radius.min() and radius.max() < high
