"""A strip's columns, on a scene that is grey and a prior that wants one colour."""

from types import SimpleNamespace

import pytest
import torch

from dream3d import preview
from dream3d.background import Solid
from dream3d.cameras import ring
from dream3d.interfaces import Prior, Spec
from dream3d.options import Words
from dream3d.prompt import Prompt
from dream3d.term import Term
from dream3d.types import Embedding, Render

WANTED = torch.tensor([0.9, 0.5, 0.2])  # brighter red, the same green, less blue
SIZE = 8


class Wants(Prior):
    """Its x0-hat is one colour, whatever it sees."""

    spec = Spec(size=SIZE)

    def text(self, prompts):
        return Embedding(torch.zeros(len(prompts), 1, 1))

    def alpha_sigma(self, t):
        return (1 - t**2).sqrt(), t

    def eps(self, x, t, text, cameras=None, render=None):
        alpha, sigma = (v[:, None, None, None] for v in self.alpha_sigma(t))
        return (x - alpha * (2 * WANTED - 1)[:, None, None]) / sigma

    def student(self, *, rank: int):
        raise NotImplementedError


def strip(towards, pixel=(False,), views=None) -> torch.Tensor:
    """Of a system with these terms, each in pixel space or not, for views of one role."""
    prior, terms = Wants(), []
    for flat in pixel:
        guidance = towards(prior, pixel=flat)
        guidance.gradient = lambda view, now, flat=flat: view.x - (2 * WANTED - 1)[:, None, None] if not flat else 0.5 - view.x - 0.1
        terms.append(Term(guidance, Prompt(prior, ["a toy"], "", Words()), views=views))

    def render(cameras, now=None):
        alpha = torch.ones(len(cameras), SIZE, SIZE, 1)
        return Render(0.5 * alpha.expand(-1, -1, -1, 3), alpha, 3 * alpha)

    scene = torch.nn.Module()
    scene.render = render
    system = SimpleNamespace(
        steps=10, seed=0, terms=terms, cameras=lambda now: ring(2, size=SIZE, role=("orbit",) * 2), background=Solid(),
        scene=scene, draw=render,
    )  # fmt: skip
    return preview.strip(system, 5)


def test_columns_are_render_wanted_gradient(towards):
    """Two rows of 160 pixels. The third column is 0.5 - gradient / (2 quantile): brighter where the render should be."""
    picture = strip(towards)
    assert picture.shape == (2 * 160, 3 * 160, 3) and picture.min() >= 0 and picture.max() <= 1
    for row in picture.split(160):
        shown, wanted, pulled = (part.mean((0, 1)) for part in row.split(160, 1))
        assert shown.tolist() == pytest.approx([0.5] * 3, abs=1e-5)
        assert wanted.tolist() == pytest.approx(WANTED.tolist(), abs=1e-4)
        assert pulled.tolist() == pytest.approx([1.0, 0.5, 0.125], abs=1e-3)  # of 0.8, 0, -0.6 the largest is 0.8


def test_a_strip_is_of_the_term_that_asks_its_prior(towards):
    """A photograph before it changes nothing; alone it shows no x0-hat, which is not its business."""
    assert torch.equal(strip(towards, pixel=(True, False)), strip(towards))
    assert strip(towards, pixel=(True,)).shape == (2 * 160, 2 * 160, 3)


def test_without_a_view_of_its_role_a_term_shows_nothing(towards):
    """The render alone: such a step pulls nothing and asks nothing."""
    assert strip(towards, views="orbit").shape == (2 * 160, 3 * 160, 3)
    assert strip(towards, views="photo").shape == (2 * 160, 160, 3)
