"""The rows of a render, and where a step stands."""

import pytest
import torch

from dream3d.types import Render, Step


def render(views: int = 3) -> Render:
    """Every buffer says which view it belongs to; three primitives, so that their extras have as many rows as views."""
    row = torch.arange(float(views)).view(-1, 1, 1, 1).expand(-1, 2, 2, -1)
    colour = torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.4, 0.5], [0.6, 0.7, 0.8]])
    extras = {"background": colour, "opacity": torch.tensor([0.9, 0.8, 0.7])}
    buffers = row.expand(-1, -1, -1, 3), row, row
    return Render(*buffers, source=Render(*buffers), extras=extras)


def test_rows_of_a_render_keep_their_background():
    one = render().at(torch.tensor([1]))
    assert len(one) == 1 and one.rgb.eq(1).all() and one.depth.eq(1).all() and one.source.rgb.eq(1).all()
    assert one.extras["background"].tolist() == [pytest.approx([0.3, 0.4, 0.5])]
    back = render().at(torch.tensor([2, 0]))
    assert back.alpha[:, 0, 0, 0].tolist() == [2, 0]
    assert back.extras["background"][:, 0].tolist() == pytest.approx([0.6, 0.0])


def test_progress_ends_at_one():
    assert [Step.make(i, 10, 0).progress for i in (0, 3, 9)] == [0, pytest.approx(1 / 3), 1]
    assert Step.make(0, 1, 0).progress == 0
    assert Step.make(9, 10, 0).last and not Step.make(8, 10, 0).last


def test_every_leaves_out_the_first_step():
    assert [i for i in range(10) if Step.make(i, 10, 0).every(3)] == [3, 6, 9]
    assert not any(Step.make(i, 10, 0).every(0) for i in range(10))
