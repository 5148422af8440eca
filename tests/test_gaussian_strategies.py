"""Other ways for Gaussians to come and go: into gaps (GSGEN), out by size alone (HumanGaussian), under a cap."""

import math

import pytest
import torch
from dream3d.renderers._backends.strategies import gaps, importance
from dream3d.renderers.gaussians import NAMES, Gaussians
from gaussian_scenes import move, scene, step, varied

from dream3d import config
from dream3d.errors import Mistake
from dream3d.optim import Adam

NEVER_PRUNED = {"prune_opacity": 0.0, "prune_scale": 9.0}


def _at(places, scales, **settings) -> Gaussians:
    """Round or not, one Gaussian at every place, told apart by colour; every gap may be filled at once."""
    made = scene(len(places), **{"densify": "compactness", "densify_share": 1.0, **NEVER_PRUNED, **settings})
    made.position.data = torch.tensor(places, dtype=torch.float)
    made.log_scale.data = torch.tensor(scales, dtype=torch.float).log().reshape(len(places), -1).expand(-1, 3).clone()
    made.colour.data = torch.linspace(0.1, 0.9, len(places))[:, None].repeat(1, 3)
    return made


def _due(made: Gaussians, adam: Adam | None = None, index: int = 20, score=None) -> Adam:
    adam = adam or Adam()
    made.pull, made.seen = torch.zeros(len(made)) if score is None else score, torch.ones(len(made))
    made._densify(adam, step(index))
    return adam


# --- into gaps --------------------------------------------------------------------------------------------------------------------


def test_a_gap_between_two_gets_one_child_in_its_middle():
    """Centres 1 m apart, radii 0.1 and 0.3: 0.6 m are free, from -0.4 to 0.2, and the child's deviation is a sixth of that."""
    made = _at([[-0.5, 0, 0], [0.5, 0, 0]], [0.1, 0.3])
    adam = Adam()
    move(made, adam, step(0))
    before = {name: getattr(made, name).detach().clone() for name in NAMES}
    moments = {name: [part.clone() for part in adam.moments[name]] for name in ("position", "logit", "colour")}
    made.position.data[:, 0], made.position.data[:, 1:] = torch.tensor([-0.5, 0.5]), 0  # the step has moved them
    made.log_scale.data = torch.tensor([[0.1] * 3, [0.3] * 3]).log()
    _due(made, adam)
    assert len(made) == 3
    torch.testing.assert_close(made.position[2], torch.tensor([-0.1, 0.0, 0.0]))
    torch.testing.assert_close(made.log_scale[2].exp(), torch.full((3,), 0.1))
    assert torch.equal(made.colour[2], before["colour"][0]) and torch.equal(made.logit[2], before["logit"][0])
    for name, old in moments.items():
        for part, was in zip(adam.moments[name], old, strict=True):
            assert torch.equal(part[:2], was) and part[2].eq(0).all() and len(part) == 3


def test_the_radius_is_that_of_the_ellipsoid_towards_the_other():
    """Semi-axes 0.4 along x and 0.1 across; the way is 30 degrees off x: r = 1 / sqrt((cos / 0.4)^2 + (sin / 0.1)^2). The other one is
    the same turned by 90 degrees about z."""
    angle = math.radians(30)
    there = [math.cos(angle), math.sin(angle), 0]
    made = _at([[0, 0, 0], there], [[0.4, 0.1, 0.1], [0.4, 0.1, 0.1]])
    made.rotation.data = torch.tensor([[1.0, 0, 0, 0], [math.sqrt(0.5), 0, 0, math.sqrt(0.5)]])
    one = 1 / math.hypot(math.cos(angle) / 0.4, math.sin(angle) / 0.1)
    two = 1 / math.hypot(math.sin(angle) / 0.4, math.cos(angle) / 0.1)
    _due(made)
    free = 1 - one - two
    torch.testing.assert_close(made.log_scale[2].exp(), torch.full((3,), free / 6))
    torch.testing.assert_close(made.position[2], (one + free / 2) * torch.tensor(there))


@pytest.mark.parametrize("scale", [0.5, 0.6, 2.0])
def test_nothing_comes_where_spheres_touch(scale):
    made = _at([[-0.5, 0, 0], [0.5, 0, 0]], [scale, scale])
    _due(made)
    assert len(made) == 2


@pytest.mark.parametrize("neighbours, middles", [(2, 4), (3, 6)])
def test_every_pair_is_filled_once(neighbours, middles):
    """A square: each corner has two near neighbours and a far one, each side and diagonal is named twice."""
    corners = [[1.0, 1, 0], [1, -1, 0], [-1, -1, 0], [-1, 1, 0]]
    made = _at(corners, [0.1] * 4, neighbours=neighbours)
    pairs, gap, middle = gaps({name: getattr(made, name).detach() for name in NAMES}, None, neighbours)
    assert len(pairs) == middles and pairs[:, 0].lt(pairs[:, 1]).all()
    sides = {(0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0)}
    assert {tuple(place) for place in middle[:, :2].tolist()} == (sides if neighbours == 2 else sides | {(0.0, 0.0)})
    assert sorted(gap.tolist()) == pytest.approx([1.8] * 4 + [2 * math.sqrt(2) - 0.2] * (middles - 4))


def test_a_share_is_filled_first_between_the_most_opaque():
    """Three pairs far from each other, one neighbour each; a third of six may come."""
    made = _at([[0, 0, 0], [1, 0, 0], [0, 9, 0], [1, 9, 0], [0, 0, 9], [1, 0, 9]], [0.1] * 6, neighbours=1, densify_share=0.34)
    made.logit.data = torch.tensor([1.0, 1.0, 3.0, -3.0, 2.0, 2.0])
    _due(made)
    assert made.position[6:].tolist() == [pytest.approx([0.5, 0, 9]), pytest.approx([0.5, 0, 0])]


def test_labels_are_inherited_and_gaps_between_two_objects_stay():
    made = _at([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]], [0.1] * 4, neighbours=2)
    made.label, made.objects = torch.tensor([0, 0, 1, 1]), torch.tensor(2)
    _due(made)
    assert made.position[4:, 0].tolist() == pytest.approx([0.5, 2.5]) and made.label.tolist() == [0, 0, 1, 1, 0, 1]


def test_both_divides_by_gradient_and_fills_what_is_left_open():
    made = _at([[0, 0, 0], [1, 0, 0]], [0.1, 0.1], densify="both", densify_share=0.5, split_scale=9.0)
    made.label, made.objects = torch.tensor([1, 1]), torch.tensor(2)
    _due(made, score=torch.tensor([0.0, 1.0]))
    assert made.position[:, 0].tolist()[:3] == [0, 1, 1]  # one stays, two clones
    assert len(made) == 4 and 0 < made.position[3, 0] < 1 and made.label.tolist() == [1] * 4


@pytest.mark.parametrize("places", [[[0, 0, 0]], [[0, 0, 0]] * 3])
def test_alone_or_all_in_one_place_there_is_no_gap(places):
    made = _at(places, [0.1] * len(places))
    _due(made)
    assert len(made) == len(places) and made.position.isfinite().all()


def test_gradients_decide_nothing_in_compactness_alone():
    made = _at([[0, 0, 0], [1, 0, 0]], [0.6, 0.6])
    _due(made, score=torch.ones(2))
    assert len(made) == 2


# --- windows ----------------------------------------------------------------------------------------------------------------------


def test_in_a_window_what_is_too_large_goes_and_nothing_else_happens():
    made = varied(100, prune_only=(0.5, 0.9), prune_only_scale=0.25, densify_until=1.0, densify_share=0.5, **NEVER_PRUNED)
    made.logit.data[:50] = -20  # faded: size alone decides
    before = {name: getattr(made, name).detach().clone() for name in NAMES}
    small = before["log_scale"].exp().amax(-1) <= 0.25
    assert 5 < small.sum() < 95
    adam = Adam()
    _due(made, adam, index=60, score=torch.ones(100))
    assert all(torch.equal(getattr(made, name), before[name][small]) for name in NAMES)
    _due(made, adam, index=60, score=torch.ones(len(made)))
    assert len(made) == small.sum()
    _due(made, adam, index=95, score=torch.ones(len(made)))
    assert len(made) == small.sum() + small.sum() // 2  # behind the window the gradient counts again


def test_a_window_may_lie_behind_densification_and_ends():
    made = varied(100, prune_only=(0.6, 0.7), prune_only_scale=0.2, densify_until=0.4, densify_every=0.1, **NEVER_PRUNED)
    adam, counts, largest = Adam(), [], []
    for index in range(21):
        if index == 15:
            made.log_scale.data[0] = 0.0
        move(made, adam, step(index, 21))
        counts.append(len(made))
        largest.append(made.log_scale.exp().amax().item())
    assert counts[12] < counts[11] and largest[11] > 0.2 >= largest[12]
    assert largest[20] > 0.9 and len(set(counts[14:])) == 1


def test_a_window_never_empties_a_scene():
    made = varied(10, prune_only=(0.0, 1.0), prune_only_scale=1e-4)
    _due(made)
    assert len(made) == 10


def test_a_window_that_ends_before_it_begins_is_refused():
    with pytest.raises(Mistake) as told:
        config.load("sds-gaussian", ["prompt=a red car", "renderer.prune_only=[0.7, 0.3]"])
    assert "prune_only" in str(told.value) and "low, high" in str(told.value)


# --- caps -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("densify", ["gradient", "compactness", "both"])
@pytest.mark.parametrize("limit", [1, 40, 110])
def test_a_cap_holds_at_every_step_and_spares_something(densify, limit):
    made = varied(100, densify=densify, max_count=limit, when_full="replace", densify_share=0.5, densify_every=0.1, densify_from=0.0)
    adam, counts, born = Adam(), [len(made)], False
    made.log_scale.data -= 1.5  # gaps
    for index in range(12):
        before = made.position.detach().clone()
        move(made, adam, step(index, 12))
        counts.append(len(made))
        born |= len(before) == len(made) == limit and bool((before - made.position).abs().amax() > 0.2)
        assert all(len(parts[0]) == len(made) for parts in adam.moments.values())
    assert max(counts) <= limit and min(counts) >= 1
    assert limit != 40 or born  # it is full from the start, and yet goes on


def test_the_least_important_go():
    """Opacity times the two largest scales: a large faint one and a small solid one may weigh the same, a needle weighs less."""
    made = _at([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]], [[0.2, 0.2, 0.2], [0.2, 0.2, 0.01], [0.2, 0.01, 0.01], [0.1, 0.1, 0.1]],
               densify="gradient", max_count=3, when_full="wait")  # fmt: skip
    made.logit.data = torch.tensor([0.0, 2.0, 2.0, 2.0])
    rows = {name: getattr(made, name).detach() for name in NAMES}
    p = 1 / (1 + math.exp(-2))
    assert importance(rows).tolist() == pytest.approx([0.5 * 0.04, p * 0.04, p * 0.002, p * 0.01])
    points = made.handover()
    full = Gaussians(torch.Generator().manual_seed(0), count=2, max_count=3, when_full="replace")
    full.init_from(points)
    assert full.position[:, 0].tolist() == [0, 1, 3]
    waiting = Gaussians(torch.Generator().manual_seed(0), count=2, max_count=3)
    waiting.init_from(points)
    assert len(waiting) == 4


def test_what_has_just_begun_is_spared():
    """The child of the gap is by far the smallest of four; the cap is three, and the faintest of the old ones goes."""
    made = _at([[0, 0, 0], [1, 0, 0], [0, 9, 0]], [0.3, 0.3, 0.3], neighbours=1, max_count=3, when_full="replace", densify_share=0.4)
    made.logit.data = torch.tensor([1.0, 1.0, -1.0])
    _due(made)
    assert made.position[:, 0].tolist() == pytest.approx([0, 1, 0.5]) and made.position[:, 1].eq(0).all()


def test_waiting_a_larger_scene_stays_and_does_not_grow():
    made = varied(60, densify="both", max_count=50, densify_share=0.5, **NEVER_PRUNED)
    made.log_scale.data -= 2
    _due(made, score=torch.ones(60))
    assert len(made) == 60


def test_resume_is_bit_exact_in_the_middle_of_all_of_it():
    settings = {"densify": "both", "max_count": 130, "when_full": "replace", "prune_only": (0.5, 0.7), "prune_only_scale": 0.06,
                "densify_until": 1.0, "label": True, "prune_opacity": 0.01}  # fmt: skip
    first, adam = varied(100, **settings), Adam()
    first.log_scale.data -= 1
    counts = []
    for index in range(30):
        if index == 14:
            second, again = varied(100, **settings), Adam()
            second.restore({k: v.clone() for k, v in first.state().items()})
            again.restore(adam.state())
        for made, optimizer in ((first, adam), (second, again)) if index >= 14 else ((first, adam),):
            move(made, optimizer, step(index, 30))
        counts.append(len(first))
    assert len(set(counts[14:])) > 1
    assert all(torch.equal(second.state()[name], value) for name, value in first.state().items())
    assert all(torch.equal(a, b) for name in adam.moments for a, b in zip(adam.moments[name], again.moments[name], strict=True))
    assert len(first.label) == len(first)
