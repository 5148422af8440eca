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
