"""What is turned looks, from a turned camera, as it did: positions, quaternions, harmonics, clips; and up is up."""

import dataclasses

import pytest
import torch
from dream3d.renderers._backends.project import harmonics, matrix
from gaussian_scenes import varied

from dream3d.cameras import ring
from dream3d.clips import MeshClip, Skin, SplatClip, posed
from dream3d.errors import Mistake
from dream3d.export.axes import TURNS, inward, outward, turned
from dream3d.rig.kinematics import matrices
from dream3d.types import Mesh, Points

UPS = ("y", "-y")


def anyhow(seed: int = 0) -> torch.Tensor:
    """A rotation."""
    g = torch.Generator().manual_seed(seed)
    return matrices(torch.randn(4, generator=g, dtype=torch.float64))


def gaussians(count: int = 30, coefficients: int = 16) -> Points:
    g = torch.Generator().manual_seed(1)
    sh = torch.randn(count, coefficients, 3, generator=g)
    quaternion = torch.nn.functional.normalize(torch.randn(count, 4, generator=g), dim=-1)
    scale, opacity = torch.rand(count, 3, generator=g) / 10 + 0.01, torch.rand(count, generator=g)
    return Points(torch.randn(count, 3, generator=g), torch.rand(count, 3, generator=g), scale, quaternion, opacity, sh)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("turn", [*TURNS, 0, 1])
def test_harmonics_show_in_turned_directions_what_they_showed(degree, turn):
    turn = torch.tensor(TURNS[turn]) if turn in TURNS else anyhow(turn)
    points = gaussians(coefficients=(degree + 1) ** 2)
    there = turned(points, turn)
    d = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(2)), dim=-1)
    before = torch.einsum("dk,nkc->dnc", harmonics(d, degree), points.sh)
    after = torch.einsum("dk,nkc->dnc", harmonics(d @ turn.T.float(), degree), there.sh)
    torch.testing.assert_close(after, before, atol=2e-5, rtol=1e-5)


def test_covariances_and_places_turn():
    turn, points = anyhow(3), gaussians()
    there = turned(points, turn)
    torch.testing.assert_close(there.position, points.position @ turn.T.float())
    spread = [matrix(p.rotation) * p.scale[:, None] for p in (points, there)]
    before, after = (s @ s.mT for s in spread)
    torch.testing.assert_close(after, turn.float() @ before @ turn.T.float(), atol=1e-6, rtol=1e-4)
    assert there.opacity is points.opacity and there.rgb is points.rgb


def test_a_turned_scene_looks_the_same_to_turned_cameras():
    made, turn, cameras = varied(60, sh_degree=3), anyhow(4).float(), ring(2, size=24)
    before = made.render(cameras)
    made.init_from(turned(made.handover(), turn))
    there = cameras.to_world.clone()
    there[:, :3] = turn @ there[:, :3]
    after = made.render(dataclasses.replace(cameras, to_world=there))
    torch.testing.assert_close(after.rgb, before.rgb, atol=2e-4, rtol=0)
    torch.testing.assert_close(after.alpha, before.alpha, atol=2e-4, rtol=0)


def test_up_points_up_and_the_front_stays_the_front():
    mesh = Mesh(torch.tensor([[0.0, 0, 1], [0, -1, 0], [1, 0, 0]]), torch.tensor([[0, 1, 2]]))  # above, in front, to the right
    assert outward(mesh, "y").vertices.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]  # glTF: the front towards +z
    assert outward(mesh, "-y").vertices.tolist() == [[0, -1, 0], [0, 0, -1], [1, 0, 0]]  # the camera looks along +z at it
    assert outward(mesh, "z") is mesh


@pytest.mark.parametrize("up", UPS)
def test_there_and_back(up):
    points = gaussians()
    again = inward(outward(points, up), up)
    torch.testing.assert_close(again.position, points.position, atol=0, rtol=0)
    torch.testing.assert_close(matrix(again.rotation), matrix(points.rotation), atol=1e-6, rtol=0)
    torch.testing.assert_close(again.sh, points.sh, atol=1e-5, rtol=0)


@pytest.mark.parametrize("up", TURNS)
def test_every_turn_is_a_rotation(up):
    turn = torch.tensor(TURNS[up])
    assert torch.equal(turn @ turn.T, torch.eye(3)) and float(torch.linalg.det(turn)) == 1


def skin() -> Skin:
    g = torch.Generator().manual_seed(5)
    mesh = Mesh(torch.randn(12, 3, generator=g), torch.tensor([[0, 1, 2]]))
    weights = torch.rand(12, 3, generator=g).softmax(-1)
    turns = torch.nn.functional.normalize(torch.randn(4, 3, 4, generator=g), dim=-1)
    joints, shift = torch.randn(3, 3, generator=g), torch.randn(4, 3, generator=g)
    return Skin(mesh, ("a", "b", "c"), torch.tensor([-1, 0, 1]), joints, weights, turns, shift, torch.arange(4.0))


def test_a_turned_skin_moves_as_it_did():
    turn, body = anyhow(6).float(), skin()
    torch.testing.assert_close(posed(turned(body, turn)).places, posed(body).places @ turn.T, atol=1e-5, rtol=1e-5)


def test_clips_turn_at_every_moment():
    turn, points = anyhow(7), gaussians(5)
    mesh = Mesh(torch.randn(4, 3), torch.tensor([[0, 1, 2]]))
    clip = turned(MeshClip(mesh, torch.stack([mesh.vertices, 2 * mesh.vertices]), torch.arange(2.0)), turn)
    torch.testing.assert_close(clip.places[1], 2 * turned(mesh, turn).vertices)
    frames = turned(SplatClip((points, points), torch.arange(2.0)), turn).frames
    assert all(torch.equal(frame.sh, turned(points, turn).sh) for frame in frames)


def test_what_is_of_no_degree_does_not_turn():
    with pytest.raises(Mistake, match="5 coefficients"):
        turned(gaussians(coefficients=5), anyhow())
