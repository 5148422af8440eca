"""What is measured against the truth, on subjects whose answers are known."""

import math

import numpy as np
import pytest
import torch

from dream3d.bench import controls, measures
from dream3d.bench.controls import Ellipsoid
from dream3d.bench.rings import AZIMUTHS, cameras, of_scene, of_soup, shoot
from dream3d.bench.scenes import FRONTED
from dream3d.bench.truth import Truth, chamfer, surface, variance
from dream3d.toybox.language import OBJECTS


@pytest.fixture(scope="module")
def car():
    return Truth("a red car", 6)


def ball(radius, centre=(0.0, 0.0, 0.0)):
    return Ellipsoid(np.array(centre), np.full(3, radius), np.zeros(3))


@pytest.mark.parametrize("instance, turn", [(0, 0), (2, 7), (5, 23)])
def test_a_true_object_is_found_whichever_way_it_faces(car, instance, turn):
    match = car.match(car.instance(instance, turn))
    assert (match.instance, match.turn) == (instance, turn) and match.iou == pytest.approx(1)
    assert chamfer(car.instance(instance, turn), car.ring(match)) == pytest.approx(0, abs=1e-9)


def test_iou_of_discs_is_the_ratio_of_their_areas(car):
    """A ball of radius r shows a disc whose tangent half angle has sine r / 3."""
    big, small = shoot(ball(0.6)), shoot(ball(0.4))
    area = [math.tan(math.asin(r / 3)) ** 2 for r in (0.6, 0.4)]
    both = (big.mask * small.mask).sum() / torch.maximum(big.mask, small.mask).sum()
    assert both.item() == pytest.approx(area[1] / area[0], rel=0.03)
    pixels = math.pi * area[0] * (32 / math.tan(math.radians(20))) ** 2
    assert big.mask[0].sum().item() == pytest.approx(pixels, rel=0.02)


def test_chamfer_of_concentric_balls_is_the_difference_of_their_radii():
    """Half of each ball faces some camera of the ring; what one shows, the other shows too."""
    assert chamfer(shoot(ball(0.6)), shoot(ball(0.5))) == pytest.approx(0.1, rel=0.1)
    assert chamfer(shoot(controls.empty), shoot(ball(0.5))) == math.inf


def test_surface_points_lie_on_the_surface():
    points = surface(shoot(ball(0.5, (0.1, -0.2, 0.05))))
    assert np.linalg.norm(points - [0.1, -0.2, 0.05], axis=-1) == pytest.approx(0.5, abs=1e-4)


def test_the_best_ellipsoid_of_a_ball_is_a_ball_and_of_a_car_is_no_car(car):
    truth = Truth("a blue ball", 3)
    found = controls.ellipsoid(truth)
    assert truth.match(shoot(found)).iou > 0.97 and found.axes.max() / found.axes.min() < 1.1
    assert 0.78 < car.match(shoot(controls.ellipsoid(car))).iou < 0.85


def test_fitted_splats_come_close_to_the_truth(car):
    short = controls.fitted(of_soup(car.soups[0]), steps=60)
    assert car.match(shoot(of_scene(short))).iou > car.match(shoot(controls.ellipsoid(car))).iou


def test_views_that_do_not_belong_together_leave_a_gap(car):
    assert car.view_gap(car.instance(1, 3)) == pytest.approx(0, abs=1e-3)
    other = Truth("a red car", 1, "judge").instance(0)
    assert car.view_gap(other) < 0.15 < 0.4 < car.view_gap(shoot(controls.two_faced(car)))


def test_what_a_view_requires_is_what_it_shows():
    """A small object behind a large one is not asked for."""
    truth = Truth("a red ball next to a blue cube", 4)
    required = truth.required(truth.match(truth.instance(0)))
    assert required[0] == [0, 1] and [1] in required and all(required)
    assert truth.visible.max() <= 1 + 1e-5 and truth.visible.min() < 0.5


def test_colours_are_compared_with_the_truth(car):
    ring = car.instance(0)
    grey = ring.render.map(lambda b: b.mean(-1, keepdim=True).expand_as(b))
    assert measures.chroma(type(ring)(ring.cameras, grey)) < 0.01 < 20 < measures.chroma(ring)
    white = ring.render.map(lambda b: b if b.shape[-1] == 1 else ring.render.alpha.expand_as(b))
    assert measures.clipped(type(ring)(ring.cameras, white)) == 1 and measures.clipped(ring) < 0.1


@pytest.mark.parametrize(
    "on, count",
    [([], 0), ([5], 0), ([0, 1], 1), ([23, 0, 1], 1), ([0, 1, 12, 13], 2), ([0, 1, 3, 4], 1), ([0, 1, 4, 5], 2), ([0, 1, 2, 12], 1),
     ([22, 23, 0, 2, 3], 1), (range(24), 1), ([n for n in range(24) if n != 9], 1), ([0, 1, 8, 9, 16, 17], 3), ([5, 6, 20, 21], 2)],
)  # fmt: skip
def test_fronts_are_arcs_at_least_45_degrees_apart(on, count):
    front = torch.zeros(AZIMUTHS)
    front[list(on)] = 0.9
    assert measures.janus(front) == count
    assert measures.janus(front.roll(5)) == count


def test_diversity_is_none_for_twins_and_one_for_true_objects(car):
    rings = [car.instance(i, 4 * i).pictures for i in range(6)]
    assert variance([rings[0], rings[0], car.instance(0, 5).pictures]) == pytest.approx(0, abs=1e-6)
    assert variance(rings) / car.variance == pytest.approx(1, rel=1e-3)


def test_objects_with_a_front_are_those_whose_back_looks_different():
    """Root mean squared difference of albedo between front and back, the least of eight instances."""
    from dream3d.toybox.language import parse
    from dream3d.toybox.render import render
    from dream3d.toybox.world import build, instance_seed

    where = cameras().at(torch.tensor([0, AZIMUTHS // 2]))
    for name in OBJECTS:
        soups = [build(parse(f"a {name}"), instance_seed("test", i)) for i in range(8)]
        shown = [render([soup], where, buffers=("albedo",)) for soup in soups]
        pictures = [seen.extras["albedo"] + 0.5 * (1 - seen.alpha) for seen in shown]
        least = min((p[0] - p[1]).square().mean().sqrt().item() for p in pictures)
        assert (least >= 0.038) == (name in FRONTED), (name, least)
