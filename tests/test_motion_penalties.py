"""Penalties of motion against numbers by hand: rigid motions cost nothing, stretch does, steady motions are smooth."""

import math

import pytest
import torch
from dream3d.renderers.mesh import TriangleMesh

from dream3d import neighbours, penalties
from dream3d.errors import Mistake
from dream3d.types import Render

SCENE = TriangleMesh(torch.Generator(), faces=20)  # that penalties are handed and do not look at


def moved(rest, positions, **more) -> Render:
    blank = torch.zeros(1, 2, 2, 1)
    extras = {"rest": rest, "shift": torch.stack(positions) - rest, "moments": torch.linspace(0, 1, len(positions)), **more}
    return Render(blank.expand(-1, -1, -1, 3), blank, blank, extras=extras)


def turned(axis) -> torch.Tensor:
    return torch.linalg.matrix_exp(torch.linalg.cross(torch.eye(3, dtype=torch.double), torch.tensor(axis).double().expand(3, 3)))


SHAPES = ["cloud", "mesh", "plane", "line", "pair", "heap"]


def shape(name: str) -> tuple[torch.Tensor, dict]:
    """Places at rest, and the faces between them; among them neighbourhoods without volume, without area, without length."""
    cloud = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    ball = TriangleMesh(torch.Generator(), faces=80).handover()
    match name:
        case "mesh":
            return ball.vertices, {"faces": ball.faces}
        case "plane":
            return cloud * torch.tensor([1.0, 1, 0]), {}
        case "line":
            return cloud * torch.tensor([0.0, 1, 0]), {}
        case "pair":
            return cloud[:2], {}
        case "heap":
            return torch.zeros(12, 3), {}
    return cloud, {}


@pytest.mark.parametrize("name", SHAPES)
def test_what_moves_rigidly_is_as_rigid_as_possible(name):
    """0 to rounding for any turn and shift; positive as soon as something stretches; a gradient that is a number in all of them."""
    rest, more = shape(name)
    rigid = [rest, *((rest.double() @ turned(axis).T).float() + torch.tensor(way)
             for axis, way in (([0, 0, math.pi], [0.0, 0, 0]), ([1.0, -2, 0.5], [3.0, 0, -1]), ([0.1, 0, 0], [0.0, 5, 0])))]  # fmt: skip
    assert penalties.arap(SCENE, moved(rest, rigid, **more)).item() < 1e-9 * len(rest)
    wild = rest + torch.randn(rest.shape, generator=torch.Generator().manual_seed(1))
    for places in (rigid, [rest, wild], [rest, 1.3 * rest], [rest, -rest]):
        seen = moved(rest, places, **more)
        seen.extras["shift"].requires_grad_()
        value = penalties.arap(SCENE, seen)
        value.backward()
        assert value.isfinite() and seen.extras["shift"].grad.isfinite().all()
    assert penalties.arap(SCENE, moved(rest, [rest, wild], **more)) > 0.01
    if name in ("cloud", "mesh"):
        assert penalties.arap(SCENE, moved(rest, [rest, 1.3 * rest], **more)) > 0.01
        assert penalties.arap(SCENE, moved(rest, [rest, -rest], **more)) > 0.1  # a mirror image is no turn


def test_stretch_costs_what_a_hand_says():
    """Two points 1 m apart are pulled to 1.5 m, at one of two moments: each is off by 0.5 m, squared, and it is half of the time. Along a
    mesh's edges it is the mean over them: of a triangle, pulled along one side, both other sides turn."""
    rest = torch.tensor([[0.0, 0, 0], [1, 0, 0]])
    assert penalties.arap(SCENE, moved(rest, [rest, 1.5 * rest])).item() == pytest.approx(2 * 0.25 / 2)
    flat, faces = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2]])
    assert penalties.arap(SCENE, moved(flat, [2 * flat], faces=faces)).item() == pytest.approx((1 + 1) / 2 + 2 * (1 + 2) / 2)


@pytest.mark.parametrize("name", ["cloud", "mesh"])
def test_the_gradient_of_arap_is_that_of_finite_differences(name):
    """Though no derivative of the turns is taken: they are the best ones, where it is 0."""
    rest, more = (v.double() if isinstance(v, torch.Tensor) else v for v in shape(name))
    rest, g = rest[:12] if not more else rest, torch.Generator().manual_seed(1)
    shift = (0.3 * torch.randn(2, *rest.shape, generator=g, dtype=torch.double)).requires_grad_()

    def value(shift):
        return penalties.arap(SCENE, moved(rest, list(rest + shift), **more))

    assert torch.autograd.gradcheck(value, shift, eps=1e-6, atol=1e-6)


def test_penalties_of_motion_sum_over_primitives_and_not_over_moments():
    rest, more = shape("mesh")
    once, thrice = (penalties.arap(SCENE, moved(rest, [1.2 * rest] * count, **more)).item() for count in (1, 3))
    assert once == pytest.approx(thrice) and once > 0
    seen = moved(rest, [rest, rest, rest])
    seen.extras["shift"] = torch.tensor([0.0, 1.0, 0.0])[:, None, None] * torch.tensor([0.0, 0, 0.2]).expand_as(rest)
    assert penalties.smoothness(SCENE, seen).item() == pytest.approx(len(rest) * (0.4 / 0.5**2) ** 2, rel=1e-5)


@pytest.mark.parametrize("times", [[0, 0.5, 1], [0, 0.03, 0.1], [0.2, 0.3, 0.5, 0.55, 1], [0, 1 / 7, 2 / 7, 3 / 7, 4 / 7, 5 / 7, 6 / 7, 1]])
def test_an_acceleration_costs_the_same_in_clips_of_any_length(times):
    """t^2 metres: 2 metres per clip squared, whenever it is looked at, and by however many moments."""
    rest, times = shape("cloud")[0].double(), torch.tensor(times, dtype=torch.double)
    seen = moved(rest, [rest + t**2 * torch.tensor([0.0, 1, 0]).double() for t in times])
    seen.extras["moments"] = times
    assert penalties.smoothness(SCENE, seen).item() == pytest.approx(4 * len(rest), rel=1e-6)


def test_neighbours_are_found_anew_where_something_rests_elsewhere():
    rest, more = shape("cloud")
    first = neighbours.neighbours(rest, None)
    assert neighbours.neighbours(rest.clone(), None)[1] is first[1]  # the same place, the same neighbours
    moved = rest.clone()
    moved[0] = -3 * rest[0]
    again = neighbours.neighbours(moved, None)
    away = (moved[:, None] - moved).norm(dim=-1).fill_diagonal_(torch.inf)
    for k in range(len(rest)):
        assert {*again[1][again[0] == k].tolist()} == {*away[k].argsort()[:8].tolist()}
    assert not torch.equal(again[1], first[1]) and neighbours.neighbours(rest, None)[1] is first[1]


def test_turns_are_those_of_singular_values():
    """Those of closed form, those that are not, and what has none: all are rotations that fit as well as Kabsch's."""
    g = torch.Generator().manual_seed(0)
    some = torch.randn(200, 3, 3, generator=g, dtype=torch.double)
    flat = some * torch.tensor([1, 1, 1e-9], dtype=torch.double)
    thin = some * torch.tensor([1, 1e-3, 1e-5], dtype=torch.double)
    line = some * torch.tensor([1, 1e-9, 0], dtype=torch.double)
    mirror = -torch.eye(3, dtype=torch.double).expand(200, 3, 3)
    pairs = torch.stack([some, 1e-12 * some, flat, thin, line, mirror, 0 * some])
    turns, best = neighbours.rotations(pairs), torch.stack([neighbours.kabsch(row) for row in pairs])
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3, dtype=torch.double).expand_as(turns), atol=1e-7, rtol=0)
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(7, 200, dtype=torch.double))
    size = pairs.square().sum((-2, -1)).sqrt().clamp(min=1e-30)
    gain, most = (((r * pairs).sum((-2, -1)) / size) for r in (turns, best))
    assert (most - gain).max() < 1e-8 and torch.equal(torch.linalg.matrix_rank(pairs[2], atol=1e-6), torch.full((200,), 2))


def test_a_steady_motion_is_smooth_at_any_moments():
    rest, times = shape("cloud")[0], torch.tensor([0.0, 0.1, 0.5, 1.0])
    seen = moved(rest, [rest + t * torch.tensor([1.0, 2, 3]) for t in times])
    seen.extras["moments"] = times
    assert penalties.smoothness(SCENE, seen).item() < 1e-9
    assert penalties.smoothness(SCENE, moved(rest, [rest, 1.1 * rest, rest])) > 0
    with pytest.raises(Mistake, match="compares three moments, but cameras see 2"):
        penalties.smoothness(SCENE, moved(rest, [rest, rest]))
    with pytest.raises(Mistake, match="'arap' needs 'rest'"):
        penalties.arap(SCENE, Render(*(torch.zeros(1, 2, 2, c) for c in (3, 1, 1))))
