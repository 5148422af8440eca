"""Things that move: at rest at time 0, in the room at all times, each motion by its own closed form, patterns fixed to what they paint."""

import numpy as np
import pytest
import torch

from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.toybox import motion, world
from dream3d.toybox.language import MOTIONS, OBJECTS, captions, parse
from dream3d.toybox.motion import moved, still
from dream3d.toybox.render import ALL, render
from dream3d.toybox.world import HALF, RADIUS, build, corners, mapped


def soup(prompt, i=0):
    return build(parse(prompt), world.instance_seed("test", i))


def extent(one):
    return corners(one).min(0), corners(one).max(0)


@pytest.mark.parametrize("prompt, meant", [
    ("a red car driving", "driving"), ("a driving red car", "driving"), ("a duck that is bouncing", "bouncing"),
    ("a cat slowly turning around, side view", "spinning"), ("a red ball on a blue cube, jumping", "bouncing"),
    ("a blue cube, spinning", "spinning"), ("a tree swaying", "waving"), ("an apple grows", "growing"), ("a red car", None), ("", None),
])  # fmt: skip
def test_a_prompt_says_how_things_move(prompt, meant):
    assert parse(prompt).motion == meant


def test_one_motion_per_prompt_and_near_words():
    with pytest.raises(Mistake, match="one motion per prompt, not spinning and growing"):
        parse("a spinning cube growing")
    with pytest.raises(Mistake) as told:
        parse("a red car drivving")
    assert "driving" in told.value.near


@pytest.mark.parametrize("name", MOTIONS)
def test_captions_say_the_motion_and_mean_the_same(name):
    wish = parse(f"a striped red car {name}")
    assert {parse(caption) for caption in captions(wish)} == {wish}


@pytest.mark.parametrize("name", MOTIONS)
def test_everything_moves_within_the_room(name):
    for thing in OBJECTS:
        one, sizes = soup(f"a {thing} {name}"), []
        for time in np.linspace(0, 1, 9):
            points = corners(moved(one, time))
            assert np.abs(points).max() <= HALF + 1e-9 and np.linalg.norm(points, axis=1).max() <= RADIUS + 1e-9, (thing, time)
            sizes.append(points)
        assert max(np.abs(points - sizes[0]).max() for points in sizes) > 0.15, thing  # it does move
        assert np.ptp(sizes[0], axis=0).max() > 0.5, thing  # and is not tiny


@pytest.mark.parametrize("name", MOTIONS)
def test_time_0_is_rest_and_rest_is_the_still_object(name):
    one, rest = soup(f"a dotted red car {name}"), soup("a dotted red car")
    assert moved(one, 0.0) is one and moved(rest, 0.7) is rest
    (low, high), (low0, high0) = extent(one), extent(rest)
    size = (high - low)[0] / (high0 - low0)[0]
    np.testing.assert_allclose(high - low, size * (high0 - low0), atol=1e-9)  # the same shape, smaller
    assert size <= 1 and still(one).wish == rest.wish


def test_a_spin_is_a_turn():
    one = soup("a red car spinning")
    half = np.diag([-1.0, -1.0, 1.0, 1.0])
    np.testing.assert_allclose(moved(one, 0.5).pose, half @ one.pose, atol=1e-12)
    front = moved(one, 0.25).pose @ np.linalg.inv(one.pose) @ [0.0, -1.0, 0.0, 1.0]  # the front looks to the right, then back
    np.testing.assert_allclose(front, np.broadcast_to([1.0, 0.0, 0.0, 1.0], front.shape), atol=1e-9)
    np.testing.assert_allclose(moved(one, 1.0).pose, one.pose, atol=1e-12)


def test_a_drive_goes_steadily_the_way_the_front_looks():
    one = soup("a red car driving")
    middles = np.array([np.mean(extent(moved(one, t)), axis=0) for t in (0.0, 0.25, 0.5, 0.75, 1.0)])
    steps = np.diff(middles, axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], (4, 3)), atol=1e-9)
    assert steps[0][1] < -0.05 and np.abs(steps[0][[0, 2]]).max() < 1e-9
    np.testing.assert_allclose(middles[0][1], -middles[-1][1], atol=1e-9)


def test_a_bounce_is_a_parabola_and_growth_is_from_the_base():
    one = soup("a red ball bouncing")
    heights = np.array([extent(moved(one, t))[0][2] for t in (0.0, 0.25, 0.5, 0.75, 1.0)]) - extent(one)[0][2]
    np.testing.assert_allclose(heights / heights[2], [0, 0.75, 1, 0.75, 0], atol=1e-9)
    (low, high), (_, high1) = extent(one), extent(moved(one, 0.5))
    assert high1[2] == pytest.approx(-low[2]) and high[2] < high1[2] <= HALF  # from the floor to the ceiling of its room
    seed = soup("a mushroom growing")
    (low, high), (low1, high1) = extent(seed), extent(moved(seed, 1.0))
    np.testing.assert_allclose(high1 - low1, motion.GROWTH * (high - low), atol=1e-9)
    assert low1[2] == pytest.approx(low[2])


def test_a_wave_leaves_the_base_and_comes_back():
    one = soup("a tree waving")
    low, high = extent(one)
    ends = [moved(one, t) for t in (0.25, 0.5, 0.75)]
    assert extent(ends[0])[1][0] - high[0] > 0.05 and low[0] - extent(ends[2])[0][0] > 0.05
    np.testing.assert_allclose(ends[1].pose, one.pose, atol=1e-9)


def test_rows_show_their_own_moments():
    """A view at a time is a picture of the soup moved by hand; views without a motion are what they were, byte by byte."""
    one, other = soup("a checkered red cube spinning"), soup("a striped blue ball")
    cameras = ring(4, size=24, subject=torch.tensor([0, 0, 1, 0]), time=torch.tensor([0.0, 0.3, 0.9, 0.3]))
    seen = render([one, other], cameras, buffers=ALL)
    shows = [one, moved(one, 0.3), other, moved(one, 0.3)]
    for i, shown in enumerate(shows):
        alone = render([still(shown)], ring(4, size=24).at(torch.tensor([i])), buffers=ALL)
        for name in ("rgb", "alpha", "depth", "normal"):
            torch.testing.assert_close(getattr(seen, name)[i], getattr(alone, name)[0], rtol=0, atol=1e-6)
    quiet = ring(4, size=24, subject=torch.tensor([1, 1, 1, 1]))
    timed = ring(4, size=24, subject=torch.tensor([1, 1, 1, 1]), time=torch.linspace(0, 1, 4))
    assert torch.equal(render([one, other], quiet).rgb, render([one, other], timed).rgb)


@pytest.mark.parametrize("pattern", ["striped", "dotted", "checkered"])
def test_patterns_stay_on_what_moves(pattern):
    """Seen by a camera that turns along, a spinning thing's own colours (albedo) do not change; nor do a driving one's for one that
    drives along."""
    one = soup(f"a {pattern} red cube")
    for go in (motion._map("spinning", 0.21, *extent(one)), motion._map("driving", 0.8, *extent(soup("a red car driving")))):
        here = ring(3, size=32)
        to_world = torch.from_numpy(go).float() @ here.to_world
        along = type(here)(**{**vars(here), "to_world": to_world})
        rest, gone = render([one], here, buffers=ALL), render([mapped(one, go)], along, buffers=ALL)
        differs = (rest.extras["albedo"] - gone.extras["albedo"]).abs().amax(-1) > 0.02
        assert differs.float().mean() < 5e-3
        slid = render([type(one)(**{**vars(mapped(one, go)), "frame": one.frame})], along, buffers=ALL)
        assert ((rest.extras["albedo"] - slid.extras["albedo"]).abs().amax(-1) > 0.02).float().mean() > 0.02  # the test can fail


def test_both_renderers_move_alike():
    one = soup("a dotted red robot waving")
    cameras = ring(3, size=20, time=torch.tensor([0.0, 0.2, 0.6]))
    a, b = (render([one], cameras, backend=backend) for backend in ("numba", "torch"))
    assert ((a.rgb - b.rgb).abs().amax(-1) > 0.02).float().mean() < 0.01
