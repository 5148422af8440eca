"""Penalties against numbers by hand: sums over pixels or primitives, means over views."""

import math

import pytest
import torch

from dream3d import penalties
from dream3d.errors import Mistake
from dream3d.interfaces import Representation
from dream3d.penalties import Penalties
from dream3d.schedule import Ramp
from dream3d.types import Render, Step


class Nothing(Representation):
    """A scene that penalties are handed, but that none of them looks at."""

    def render(self, cameras, now=None):
        raise NotImplementedError

    def groups(self, now):
        return []

    def handover(self):
        raise NotImplementedError


SCENE, HEIGHT, WIDTH = Nothing(), 3, 5
OPACITY = torch.tensor([0.5, 0.25, 1.0])
SCALE = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.4, 0.6], [0.03, 0.01, 0.02]])


def render(alpha: float = 0.5, views: int = 2, **extras) -> Render:
    a = torch.full((views, HEIGHT, WIDTH, 1), alpha)
    return Render(a.expand(-1, -1, -1, 3), a, a, extras=extras)


@pytest.mark.parametrize("views", [1, 4])
def test_half_opaque_costs_log_two_a_pixel(views):
    assert penalties.opaque(SCENE, render(0.5, views)).item() == pytest.approx(15 * math.log(2))
    assert penalties.opaque(SCENE, render(0.2, views)).item() == pytest.approx(15 * 0.500402, rel=1e-5)
    for clear in (0.0, 1.0):
        assert 0 <= penalties.opaque(SCENE, render(clear, views)).item() < 15 * 0.01


def test_half_opaque_is_pushed_to_the_nearer_end():
    seen = render(0.5).cut()
    seen.alpha.data[0] = 0.7
    seen.alpha.data[1] = 0.3
    penalties.opaque(SCENE, seen).backward()
    assert seen.alpha.grad[0].lt(0).all() and seen.alpha.grad[1].gt(0).all()


@pytest.mark.parametrize("alpha, each", [(0.0, 0.1), (0.5, math.sqrt(0.26)), (1.0, math.sqrt(1.01))])
def test_sparsity_grows_with_alpha(alpha, each):
    for views in (1, 4):
        assert penalties.sparsity(SCENE, render(alpha, views)).item() == pytest.approx(15 * each)


def test_penalties_of_primitives():
    seen = render(opacity=OPACITY, scale=SCALE)
    found = [getattr(penalties, name)(SCENE, seen).item() for name in ("opacity", "scale", "flatness")]
    assert found == pytest.approx([1.75, 0.3 + 0.6 + 0.03, 0.1 + 0.4 + 0.01])


@pytest.mark.parametrize("name, extra", [("opacity", "opacity"), ("scale", "scale"), ("flatness", "scale")])
def test_what_a_renderer_does_not_offer_is_a_mistake(name, extra):
    with pytest.raises(Mistake, match=f"'{name}' needs '{extra}'"):
        Penalties({name: Ramp(1.0)})(SCENE, render(other=OPACITY), Step.make(0, 10, 0))


def test_weights_follow_the_run():
    both = Penalties({"opacity": Ramp(2.0), "flatness": Ramp(0.0, 10.0)})
    seen = render(opacity=OPACITY, scale=SCALE)
    totals = [both(SCENE, seen, Step.make(index, 11, 0)).item() for index in (0, 5, 10)]
    assert totals == pytest.approx([3.5, 3.5 + 5 * 0.51, 3.5 + 10 * 0.51])
    assert Penalties({})(SCENE, seen, Step.make(0, 10, 0)) is None


# --- of surfaces ----------------------------------------------------------------------------------------------------

CUBE = torch.tensor([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
SIDES = torch.tensor([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
                      [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])  # fmt: skip


def test_a_cube_bends_by_its_twelve_right_angles():
    seen = render(vertices=CUBE, faces=SIDES)
    assert penalties.normal_consistency(SCENE, seen).item() == pytest.approx(12, rel=1e-5)
    flat = render(vertices=CUBE * torch.tensor([1.0, 1.0, 0.0]), faces=SIDES[:4])  # two squares that have become lines
    assert penalties.normal_consistency(SCENE, flat).item() == 0
    open_ = render(vertices=CUBE, faces=SIDES[:2])
    assert penalties.normal_consistency(SCENE, open_).item() == pytest.approx(0, abs=1e-6)


def test_a_vertex_off_the_mean_of_its_neighbours():
    """A fan of four around the origin, lifted: it is h above their mean; each of them is as far from the mean of its three."""
    h, ring = 0.3, torch.tensor([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    faces = torch.tensor([[4, 0, 1], [4, 1, 2], [4, 2, 3], [4, 3, 0]])
    vertices = torch.cat([ring, torch.tensor([[0.0, 0, h], [5, 5, 5]])]).requires_grad_()  # the last belongs to no face
    value = penalties.laplacian(SCENE, render(vertices=vertices, faces=faces))
    assert value.item() == pytest.approx(h**2 + 4 * (1 + h**2 / 9), rel=1e-5)
    value.backward()
    assert vertices.grad[4, 2].item() == pytest.approx(2 * h + 8 * h / 9, rel=1e-5) and vertices.grad[5].eq(0).all()


@pytest.mark.parametrize("name", ["laplacian", "normal_consistency"])
def test_penalties_of_surfaces_follow_their_gradient(name):
    """Central differences of a bumpy cube; a step downhill makes it smoother; bit-equal when repeated."""
    start = CUBE.double() + 0.1 * torch.randn(CUBE.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def value(vertices):
        return getattr(penalties, name)(SCENE, render(vertices=vertices, faces=SIDES))

    assert torch.autograd.gradcheck(value, start.requires_grad_())
    gradients = [torch.autograd.grad(value(start), start)[0] for _ in range(3)]
    assert torch.equal(gradients[0], gradients[1]) and torch.equal(gradients[0], gradients[2])
    assert value(start - 1e-3 * gradients[0]) < value(start)
    assert value(start + torch.tensor([1.0, 2.0, 3.0])).item() == pytest.approx(value(start).item())


def test_an_edge_that_the_surface_crosses_costs_what_either_end_says_of_the_other():
    pairs = torch.tensor([[-0.5, 0.2], [1.0, -1.0]], requires_grad=True)
    value = penalties.crossing(SCENE, render(crossing=pairs))
    assert value.item() == pytest.approx(sum(math.log1p(math.exp(x)) for x in (0.5, 0.2, 1.0, 1.0)), rel=1e-5)
    value.backward()
    assert (pairs.grad.sign() == pairs.detach().sign()).all()  # both ends are pulled across


def test_a_weight_of_0_is_no_penalty():
    """So what a recipe asks of one renderer can be taken back for another."""
    ramps = {"fog": Ramp(0.0), "scale": Ramp(0.0, 0.0, begin=0.5), "opacity": Ramp(0.0, 0.1)}
    assert [penalty.__name__ for penalty, _ in Penalties(ramps).terms] == ["opacity"]
