"""What a term sees, on pictures of one or two pixels whose answer is written down."""

import math

import pytest
import torch
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.sees import SEES, choose, depth, grid, normal, normal_alpha, rgb_depth
from dream3d.types import Render, Step


def channels_first(image: Tensor) -> Tensor:
    return image.movedim(-1, 1)


def pixels(*depths: float, alpha: tuple = (1.0, 1.0)) -> Render:
    """One view, one row of pixels: depth is given as in the world and premultiplied here."""
    a = torch.tensor(alpha).view(1, 1, -1, 1)
    z = torch.tensor(depths).view(1, 1, -1, 1)
    return Render(torch.full((1, 1, len(depths), 3), 0.25), a, z * a)


def towards(direction: tuple, alpha: float = 1.0, size: int = 1) -> Render:
    """One view that shows one normal (premultiplied here) everywhere."""
    a = torch.full((1, size, size, 1), alpha)
    return Render(a.expand(-1, -1, -1, 3), a, a, normal=a * torch.tensor(direction))


@pytest.mark.parametrize(
    "direction, alpha, colour",
    [
        ((1.0, 0.0, 0.0), 1.0, [1.0, 0.5, 0.5]),
        ((0.0, -1.0, 0.0), 1.0, [0.5, 0.0, 0.5]),
        ((0.0, 0.0, 0.6), 1.0, [0.5, 0.5, 0.8]),
        ((1.0, 0.0, 0.0), 0.5, [0.75, 0.5, 0.5]),
        ((1.0, 0.0, 0.0), 0.0, [0.5, 0.5, 0.5]),
    ],
)
def test_normals_are_colours_around_grey(direction, alpha, colour):
    x = normal(towards(direction, alpha), channels_first)
    assert x.shape == (1, 3, 1, 1) and x.flatten().tolist() == pytest.approx(colour)


def grey(render: Render) -> list[float]:
    x = depth(render, channels_first)
    assert x.shape[1] == 3 and torch.equal(x[:, 0], x[:, 1]) and torch.equal(x[:, 0], x[:, 2])
    return x[0, 0].flatten().tolist()


def test_near_is_bright_and_far_is_dark():
    assert grey(pixels(2.0, 4.0)) == pytest.approx([1, 0])
    assert grey(pixels(2.0, 2.5, 4.0, alpha=(1.0, 1.0, 1.0))) == pytest.approx([1, 0.75, 0])


def test_nothing_is_dark_and_half_there_is_dimmed():
    assert grey(pixels(2.0, 4.0, 9.0, alpha=(1.0, 1.0, 0.0))) == pytest.approx([1, 0, 0])
    assert grey(pixels(2.0, 4.0, alpha=(0.6, 1.0))) == pytest.approx([0.6, 0])
    assert grey(pixels(3.0, alpha=(0.0,))) == [0]


def test_what_is_hardly_there_stays_within_the_range():
    """The nearest and the farthest are those of pixels with alpha above a half: what lies beyond is clamped."""
    assert grey(pixels(2.0, 4.0, 1.0, 8.0, alpha=(1.0, 1.0, 0.4, 0.4))) == pytest.approx([1, 0, 0.4, 0])


def test_every_view_has_its_own_range():
    near, far = pixels(1.0, 2.0), pixels(5.0, 9.0)
    both = Render(*(torch.cat([getattr(near, b), getattr(far, b)]) for b in ("rgb", "alpha", "depth")))
    assert depth(both, channels_first)[:, 0, 0].tolist() == [[1, 0], [1, 0]]


def test_depth_pulls_on_depth():
    render = pixels(2.0, 3.0, 4.0, alpha=(1.0, 1.0, 1.0)).cut()
    depth(render, channels_first)[0, 0, 0, 1].backward()
    assert render.depth.grad[0, 0, :, 0].tolist() == pytest.approx([0, -0.5, 0])


def test_colour_and_depth_in_this_order():
    x = rgb_depth(pixels(2.0, 4.0), channels_first)
    assert x.shape == (1, 4, 1, 2)
    assert x[0, :, 0, 0].tolist() == [0.25, 0.25, 0.25, 1] and x[0, :, 0, 1].tolist() == [0.25, 0.25, 0.25, 0]


def test_normals_and_mask_in_this_order_at_an_eighth():
    x = normal_alpha(towards((0.8, -0.6, 0.0), 0.5, size=16), channels_first)
    assert x.shape == (1, 4, 2, 2)
    for place in x.flatten(2).unbind(-1):
        assert place[0].tolist() == pytest.approx([0.4, -0.3, 0.0, 0.5])


def test_four_views_are_one_picture_row_by_row():
    rgb = (torch.arange(8) / 8).view(8, 1, 1, 1).expand(-1, -1, -1, 3)
    x = grid(Render(rgb, rgb[..., :1], rgb[..., :1]), channels_first)
    assert x.shape == (2, 3, 2, 2)
    assert (8 * x[:, 1]).tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def test_a_buffer_that_is_not_drawn_is_a_mistake():
    for name, what in (("normal", "normal"), ("normal+alpha", "normal"), ("rgb+normal", "normal"), ("features", "features")):
        with pytest.raises(Mistake, match=what):
            SEES[name](pixels(1.0, 2.0), channels_first)
    with pytest.raises(Mistake, match="four"):
        grid(pixels(1.0, 2.0), channels_first)


def test_features_are_what_the_prior_sees():
    render = Render(torch.zeros(1, 1, 2, 3), *torch.zeros(2, 1, 1, 2, 1), features=torch.arange(8.0).view(1, 1, 2, 4))
    assert SEES["features"](render, channels_first)[0, :, 0].tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_a_mask_is_a_channel_behind_the_colours():
    render = Render(torch.full((1, 1, 2, 3), 0.25), torch.tensor([[[[0.5], [1.0]]]]), torch.ones(1, 1, 2, 1))
    assert SEES["rgb+alpha"](render, channels_first)[0, :, 0].tolist() == [[0.25, 0.25]] * 3 + [[0.5, 1.0]]


def test_normals_are_three_channels_behind_the_colours():
    x = SEES["rgb+normal"](towards((0.0, -1.0, 0.6), 0.5), channels_first)
    assert x.flatten().tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.25, 0.65])


def test_shares_are_probabilities():
    """800 draws at 3 : 1; outside four standard deviations of 600 once in 16 000 seeds."""
    assert choose("depth", Step.make(0, 1, 0)) is depth
    now = Step.make(0, 1, 0)
    drawn = [choose({"normal": 3.0, "depth": 1.0}, now) for _ in range(800)]
    assert set(drawn) == {normal, depth} and abs(drawn.count(normal) - 600) < 4 * math.sqrt(800 * 0.75 * 0.25)
    assert all(choose({"normal": 0.0, "depth": 1.0}, now) is depth for _ in range(50))
