"""The exact joint prior against mixtures built by hand from its own pictures, in double precision, and what a group shares."""

import math

import pytest
import torch

from dream3d import sees
from dream3d.cameras import Orthogonal, look_at
from dream3d.diffusion import predict
from dream3d.errors import Mistake
from dream3d.priors.exact_joint import ExactJoint
from dream3d.priors.mixture import Mixture
from dream3d.toybox import world
from dream3d.toybox.language import Thing, Wish
from dream3d.toybox.render import render
from dream3d.types import Render, Step

DOUBLE = torch.float64


def tiny(**more):
    prior = ExactJoint(**{"size": 8, "instances": 3, "others": 2, "bandwidth": 0.3} | more)
    prior.text(["a red car", "a duck", ""])
    return prior


def around(count=4, size=8, **more):
    return look_at(0.3 + torch.arange(count) * (2 * math.pi / count), torch.full((count,), 0.3), size=size, **more)


def rows(prior, prompt, count):
    return prior.text([prompt]).at(torch.zeros(count, dtype=torch.long))


def by_hand(prior, prompt, cameras, colour):
    """The same mixture as one of tensors: a group's views are channels of one vector."""
    pictures = prior.pictures(prior.text([prompt]), cameras, colour)
    return Mixture.of(pictures.to(DOUBLE).flatten(1, 2), prior.bandwidth), pictures


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


@pytest.mark.parametrize("views, buffers", [(1, "rgb"), (4, "rgb"), (2, "rgb+depth"), (1, "grid")])
@pytest.mark.parametrize("prompt", ["a red car", ""])
@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_eps_is_the_score_of_the_groups_density(views, buffers, prompt, t):
    """eps = -sigma grad log p, with log p and its gradient those of a mixture built by hand (autograd, float64)."""
    prior, cameras, colour = tiny(views=views, buffers=buffers), around(views, views=views), torch.rand(views, 3)
    mixture, pictures = by_hand(prior, prompt, cameras, colour)
    t = torch.full((views,), t, dtype=DOUBLE)
    alpha, sigma = (v[0] for v in prior.alpha_sigma(t))
    z = (alpha * pictures[1] + sigma * draw(*pictures.shape[1:])).detach()
    seen = Render(*(torch.zeros(views, 8, 8, c) for c in (3, 1, 1)), extras={"background": colour})
    eps = prior.eps(z, t, rows(prior, prompt, views), cameras, seen)
    leaf = z.flatten(0, 1)[None].requires_grad_()
    density = mixture.log_density(leaf, t[:1], mixture.text([""]))
    score = -sigma * torch.autograd.grad(density.sum(), leaf)[0].view_as(z)
    assert eps.dtype == DOUBLE and eps.shape == z.shape
    torch.testing.assert_close(eps, score, rtol=0, atol=1e-9)


def test_views_of_a_group_share_what_they_believe():
    """One view that can only be the first instance decides for all: the others are drawn to the same one."""
    prior, cameras = tiny(views=2, bandwidth=0.05), around(2, views=2)
    _, pictures = by_hand(prior, "a red car", cameras, torch.ones(2, 3))
    t = torch.full((2,), 0.3, dtype=DOUBLE)
    alpha, sigma = (v[0] for v in prior.alpha_sigma(t))
    for k in range(3):
        clean = torch.stack([pictures[k, 0], pictures.mean(0)[1]]).to(DOUBLE)
        z = alpha * clean
        x0 = (z - sigma * prior.eps(z, t, rows(prior, "a red car", 2), cameras)) / alpha
        nearest = (x0[1] - pictures[:, 1]).flatten(1).norm(dim=1).argmin()
        assert nearest == k


def test_permuting_the_views_of_a_group_permutes_the_answer():
    prior, cameras, order = tiny(views=4), around(4, views=4), torch.tensor([2, 0, 3, 1])
    z, t, text = draw(4, 3, 8, 8), torch.full((4,), 0.6, dtype=DOUBLE), rows(prior, "", 4)
    eps = prior.eps(z, t, text, cameras)
    torch.testing.assert_close(prior.eps(z[order], t, text, cameras.at(order)), eps[order], rtol=0, atol=1e-12)
    assert not torch.allclose(prior.eps(z[order], t, text, cameras), eps[order])  # it does look at the cameras


def test_groups_do_not_hear_of_each_other_nor_of_the_order_of_questions():
    prior, cameras = tiny(views=2), around(4, views=2)
    z, t, text = draw(4, 3, 8, 8), torch.tensor([0.6, 0.6, 0.2, 0.2]), rows(prior, "", 4)
    eps, last = prior.eps(z, t, text, cameras), torch.tensor([2, 3])
    assert torch.equal(prior.eps(z[last], t[last], text.at(last), cameras.at(last)), eps[2:])
    fresh = tiny(views=2)
    fresh.eps(z, t, rows(fresh, "a duck", 4), cameras)
    assert torch.equal(fresh.eps(z, t, text, cameras), eps)


def test_memory_of_drawings_is_bounded_and_changes_nothing():
    prior, z, t = tiny(), draw(1, 3, 8, 8), torch.tensor([0.5])
    first = prior.eps(z, t, rows(prior, "a duck", 1), around(1))
    for i in range(40):
        prior.eps(z, t, rows(prior, "a duck", 1), look_at(torch.tensor([0.1 * i]), torch.tensor([0.0]), size=8))
    assert len(prior.drawn) == 32
    assert torch.equal(prior.eps(z, t, rows(prior, "a duck", 1), around(1)), first)


def test_the_unconditional_mixture_contains_the_conditional():
    """Components of "" are those of every prompt, and others; with the exact weights: p("") >= share p(prompt)."""
    prior, cameras, colour = tiny(views=2), around(2, views=2), torch.ones(2, 3)
    everything, pictures = by_hand(prior, "", cameras, colour)
    assert len(pictures) == 3 + 3 + 2
    for prompt in ("a red car", "a duck"):
        mixture, own = by_hand(prior, prompt, cameras, colour)
        assert all((pictures - picture).flatten(1).abs().amax(1).min() == 0 for picture in own)
        z, t = draw(20, 6, 8, 8), torch.full((20,), 0.7, dtype=DOUBLE)
        low = mixture.log_density(z, t, mixture.text([""]).at(torch.zeros(20, dtype=torch.long))) + math.log(3 / 8)
        assert (everything.log_density(z, t, everything.text([""]).at(torch.zeros(20, dtype=torch.long))) >= low).all()


def test_components_are_renders_of_instances():
    """Colour over a background, and the relative depth that a term sees."""
    prior, cameras, colour = tiny(views=2, buffers="rgb+depth"), around(2, views=2), torch.rand(2, 3)
    wish = Wish((Thing("car", "red"),))
    for i, picture in enumerate(prior.pictures(prior.text(["a red car"]), cameras, colour)):
        drawn = render([world.build(wish, world.instance_seed("prior", i))], cameras)
        over = drawn.rgb + (1 - drawn.alpha) * colour[:, None, None]
        depth = sees.depth(drawn, lambda image: image[..., :1])
        torch.testing.assert_close(picture, 2 * torch.cat([over, depth], -1).movedim(-1, 1) - 1)


def test_a_grid_holds_the_given_view_and_three_beside_it():
    """Tile i is what the camera sees 90 i degrees further, exactly as Orthogonal places its groups."""
    grid, single = tiny(buffers="grid", size=16), tiny()
    group = Orthogonal(8)(Step.make(0, 10, 0))
    first, text = group.at(torch.tensor([0])), grid.text(["a red car"])
    picture = grid.pictures(text, first, torch.ones(1, 3))[:, 0]
    for i in range(4):
        one = single.pictures(text, group.at(torch.tensor([i])), torch.ones(1, 3))[:, 0]
        tile = picture[:, :, 8 * (i // 2) :, 8 * (i % 2) :][:, :, :8, :8]
        assert (tile - one).abs().mean() < 2e-3  # the same view up to rounding at edges
    views = [single.pictures(text, group.at(torch.tensor([i])), torch.ones(1, 3)) for i in (0, 1)]
    assert (views[0] - views[1]).abs().mean() > 2e-2


def test_every_picture_of_a_group_of_grids_has_its_own_background():
    prior, colour = tiny(buffers="grid", size=16, views=2), torch.rand(2, 3)
    pictures = prior.pictures(prior.text(["a red car"]), around(2, views=2), colour)
    corners = pictures[:, :, :, [0, 0, 15, 15], [0, 15, 0, 15]]
    torch.testing.assert_close(corners, (2 * colour - 1)[None, :, :, None].expand_as(corners))


def test_without_cameras_a_group_stands_anywhere():
    """The answer is that of the mixture over eight starts of the ring."""
    prior, t, text = tiny(views=2), torch.full((2,), 0.8, dtype=DOUBLE), rows(tiny(), "a red car", 2)
    mixture, pictures = by_hand(prior, "a red car", None, torch.ones(2, 3))
    assert len(pictures) == 8 * 3 and len(pictures.flatten(1).unique(dim=0)) == 8 * 3
    z = draw(2, 3, 8, 8)
    expected = mixture.eps(z.flatten(0, 1)[None], t[:1], mixture.text([""]))[0]
    torch.testing.assert_close(prior.eps(z, t, text), expected.view_as(z), rtol=0, atol=1e-9)


def test_any_colour_behind_it_and_view_words_add_nothing():
    prior, cameras, z = tiny(), around(1), draw(1, 3, 8, 8)
    assert torch.equal(prior.text(["a red car, back view"]).tokens, prior.text(["a red car"]).tokens)
    assert torch.equal(prior.text(["side view"]).tokens, prior.text([""]).tokens)
    blank = [torch.zeros(1, 8, 8, c) for c in (3, 1, 1)]
    t, text = torch.tensor([0.5]), rows(prior, "a red car", 1)
    white, other = (Render(*blank, extras={"background": torch.full((1, 3), v)}) for v in (1.0, 0.2))
    assert torch.equal(prior.eps(z, t, text, cameras), prior.eps(z, t, text, cameras, white))
    assert not torch.allclose(prior.eps(z, t, text, cameras, other), prior.eps(z, t, text, cameras, white))


def test_what_it_cannot_answer_is_a_mistake():
    prior = tiny(views=4)
    z, t = draw(4, 3, 8, 8), torch.full((4,), 0.5)
    with pytest.raises(Mistake, match="4 views together, but there are 1"):
        prior.eps(z, t, rows(prior, "a duck", 4), around(4))
    with pytest.raises(Mistake, match="4 views together, but there are 3"):
        prior.eps(z[:3], t[:3], rows(prior, "a duck", 3))
    with pytest.raises(Mistake, match="does not know"):
        prior.text(["a dragon"])
    with pytest.raises(Mistake, match="grid"):
        tiny(buffers="grid", size=15)


def test_capabilities_say_what_it_reads():
    can = [tiny(**more).spec for more in ({}, {"views": 4}, {"buffers": "rgb+depth"}, {"buffers": "grid"})]
    more = [sorted(spec.capabilities - {"student", "camera"}) for spec in can]
    assert more == [["inpaint"], ["inpaint", "views"], ["depth", "inpaint"], []]
    assert [(spec.views, spec.channels) for spec in can] == [(1, 3), (4, 3), (1, 4), (1, 3)]


def test_through_predict_a_group_is_repeated_whole(kit):
    prior, cameras = tiny(views=2), around(4, views=2)
    view = kit.view_of(prior, draw(4, 3, 8, 8), cameras, text="a red car", negative="")
    t = torch.tensor([0.6, 0.6, 0.3, 0.3])
    cond, uncond = predict(prior, view.x, t, view, "text", "negative")
    assert torch.equal(cond, prior.eps(view.x, t, view.text["text"], cameras))
    assert torch.equal(uncond, prior.eps(view.x, t, view.text["negative"], cameras)) and prior.evaluations == 8
