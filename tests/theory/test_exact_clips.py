"""The exact joint prior as a video prior, and what else it may be told: a clean first frame, a depth, a picture. Brute force in double
precision: log densities by hand, eps as -sigma times their gradient."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from dream3d import sees
from dream3d.cameras import clips, ring
from dream3d.errors import Mistake
from dream3d.priors.exact_joint import ExactJoint
from dream3d.toybox.render import render as drawn
from dream3d.toybox.world import build, instance_seed

SIZE, H = 16, 0.1
SMALL = {"size": SIZE, "instances": 3, "others": 4, "bandwidth": H}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def asked(prior, prompt="a red car driving", groups=1, views=None):
    """A noisy clip near one instance, its text and cameras."""
    frames, views = prior.spec.frames, views or prior.spec.views
    cameras = clips(ring(groups * views, size=SIZE, start=30.0, views=views), frames)
    text = prior.text([prompt]).at(torch.zeros(len(cameras), dtype=torch.long))
    one = cameras.at(torch.arange(views * frames))
    means = prior.pictures(text, one, torch.ones(views * frames, 3)).double()
    return text, cameras, means


def score(prior, z, t, log_density):
    """-sigma d log p / d z by autograd."""
    z = z.clone().requires_grad_()
    (slope,) = torch.autograd.grad(log_density(z), z)
    return -prior.alpha_sigma(t)[1].double()[:, None, None, None] * slope


@pytest.mark.parametrize("views", [1, 2])
def test_a_clip_is_explained_by_one_instance(views):
    """eps = -sigma grad log sum_k exp sum over all views and frames of log N(z; alpha x_k, V^2)."""
    prior = ExactJoint(**SMALL, views=views, frames=3)
    text, cameras, means = asked(prior)
    t = torch.full((3 * views,), 0.8)
    alpha, sigma = (v.double()[0] for v in prior.alpha_sigma(t))
    z = alpha * means[1] + sigma * draw(*means.shape[1:])

    def log_density(z):
        return torch.logsumexp(-(z - alpha * means).square().flatten(1).sum(1) / (2 * (alpha**2 * H**2 + sigma**2)), 0)

    torch.testing.assert_close(prior.eps(z, t, text, cameras), score(prior, z, t, log_density), rtol=0, atol=1e-7)


def test_frames_differ_and_a_still_object_does_not():
    prior = ExactJoint(**SMALL, frames=4)
    _, _, means = asked(prior)
    assert (means[:, 1:] - means[:, :1]).abs().amax((2, 3, 4)).min() > 0.5
    _, _, rest = asked(prior, "a red car")
    assert torch.equal(rest, rest[:, :1].expand_as(rest))


def test_time_is_the_cameras_own():
    """Frames out of order are drawn out of order, and without times evenly from 0 to 1."""
    prior = ExactJoint(**SMALL, frames=3)
    text, cameras, means = asked(prior)
    order = torch.tensor([2, 0, 1])
    turned = dataclasses.replace(cameras, time=cameras.time[order])
    torch.testing.assert_close(prior.pictures(text, turned, torch.ones(3, 3)), means[:, order].float())
    timeless = dataclasses.replace(cameras, time=None)
    torch.testing.assert_close(prior.pictures(text, timeless, torch.ones(3, 3)), means.float())


def test_one_frame_is_the_prior_of_views():
    z, t = draw(2, 3, SIZE, SIZE), torch.full((2,), 0.7)
    one, other = ExactJoint(**SMALL, views=2), ExactJoint(**SMALL, views=2, frames=1)
    for prior in (one, other):
        text, cameras, _ = asked(prior, "a red car")
    assert torch.equal(one.eps(z, t, text, cameras), other.eps(z, t, text, cameras))


def test_clips_do_not_hear_of_each_other():
    prior = ExactJoint(**SMALL, frames=3)
    text, cameras, _ = asked(prior, groups=2)
    z, t = draw(6, 3, SIZE, SIZE), torch.tensor([0.6] * 3 + [0.8] * 3)
    whole, rows = prior.eps(z, t, text, cameras), torch.tensor([3, 4, 5])
    torch.testing.assert_close(prior.eps(z[rows], t[rows], text.at(rows), cameras.at(rows)), whole[rows])


def test_a_clean_first_frame_decides():
    """rho_k of N(x_1; x_1k, h^2) times the noisy frames' N; its own noise is 0, and with pure noise behind it decides alone."""
    prior = ExactJoint(**SMALL, frames=3, first_frame=True)
    text, cameras, means = asked(prior)
    t = torch.full((3,), 0.9)
    alpha, sigma = (v.double()[0] for v in prior.alpha_sigma(t))
    z = alpha * means[0] + sigma * draw(3, 3, SIZE, SIZE)
    z[0] = means[0, 0] + 0.05 * draw(3, SIZE, SIZE, seed=1)

    def log_density(z):
        off = (z - torch.tensor([1.0, alpha, alpha], dtype=torch.float64)[:, None, None, None] * means).square().flatten(2).sum(2)
        return torch.logsumexp(-0.5 * (off / torch.tensor([H**2, *[alpha**2 * H**2 + sigma**2] * 2])).sum(1), 0)

    expected = score(prior, z, t, log_density)
    expected[0] = 0
    torch.testing.assert_close(prior.eps(z, t, text, cameras), expected, rtol=0, atol=1e-7)
    noise, high = draw(3, 3, SIZE, SIZE, seed=2), torch.full((3,), 0.999)
    for k in range(3):
        noise[0] = means[k, 0]
        a, s = (v.double()[:, None, None, None] for v in prior.alpha_sigma(high))
        x0 = (noise - s * prior.eps(noise, high, text, cameras)) / a
        nearest = (x0[1:] - means[:, 1:]).square().flatten(1).sum(1).argmin()
        assert nearest == k


@pytest.mark.parametrize("h", [H, 2.0])
def test_a_depth_chooses_among_instances(h):
    """Control: at almost pure noise the components' weights are exp(-|d_k - d|^2 / 2 h^2) in units of x."""
    prior = ExactJoint(**SMALL | {"bandwidth": h}, control=True)
    plain = ExactJoint(**SMALL | {"bandwidth": h})
    text, cameras, means = asked(prior, "a red car")
    plain.text(["a red car"])
    soups = [build(prior.rows[0], instance_seed("prior", k)) for k in range(3)]
    t, z = torch.full((1,), 0.9), 0.1 * draw(1, 3, SIZE, SIZE)
    alpha, sigma = (v.double()[0] for v in prior.alpha_sigma(t))
    depths = [sees.relative_depth(drawn([soup], cameras)).double() for soup in soups]
    for k in range(3):
        given = drawn([soups[k]], cameras)
        told = torch.stack([-0.5 * (2 * (d - depths[k])).square().sum() / h**2 for d in depths])
        noisy = torch.stack([-0.5 * (z - alpha * m).square().sum() / (alpha**2 * h**2 + sigma**2) for m in means])
        rho = torch.softmax(told + noisy, 0)
        expected = sigma * (rho[:, None, None, None, None] * (z - alpha * means)).sum(0) / (alpha**2 * h**2 + sigma**2)
        torch.testing.assert_close(prior.eps(z, t, text, cameras, given), expected, rtol=0, atol=1e-6)
        assert h > H or rho.argmax() == k and rho[k] > 0.99  # at the wide bandwidth the scale of the depth shows
    assert torch.equal(prior.eps(z, t, text, cameras), plain.eps(z, t, text, cameras))  # no render, no control


def test_a_picture_chooses_colour_and_instance():
    """An image prompt: "a car" and the photograph of a red one mean a red car; "" does not heed it."""
    prior, plain = ExactJoint(**SMALL, image="red-car.png", image_azimuth=30.0), ExactJoint(**SMALL)
    picked = {"a red car": 0.0, "a blue car": 0.0}
    for prompt in picked:
        text, cameras, means = asked(prior, prompt)
        picked[prompt] = prior._unlike_photo(prior.rows[int(text.tokens[0, 0, 0])]).min().item()
    assert picked["a red car"] < 0.5 * picked["a blue car"]
    z, t = draw(1, 3, SIZE, SIZE), torch.full((1,), 0.95)
    empty, same = prior.text([""]), plain.text(["a red car", "a blue car", ""]).at(torch.tensor([2]))
    assert torch.equal(prior.eps(z, t, empty, cameras), plain.eps(z, t, same, cameras))
    told = prior._unlike_photo(prior.rows[0])
    taken = ring(1, size=SIZE, start=30.0, elevation=15.0)
    shown = [drawn([build(prior.rows[0], instance_seed("prior", k))], taken) for k in range(3)]
    shown = torch.cat([one.rgb + 1 - one.alpha for one in shown]).double()
    colour, alpha = prior.photo[0].double().split((3, 1), 1)
    photo = F.adaptive_avg_pool2d(colour + 1 - alpha, SIZE).movedim(1, -1)
    torch.testing.assert_close(told, (2 * (shown - photo)).square().flatten(1).sum(1) / H**2, rtol=1e-4, atol=1e-3)
    rho = torch.softmax(-told / 2, 0)
    high = torch.full((1,), 0.9995)
    a, s = (v.double() for v in prior.alpha_sigma(high))
    text, cameras, means = asked(prior, "a red car")
    x0 = (z - s * prior.eps(z, high, text, cameras)) / a
    noisy = -0.5 * (z - a * means).square().flatten(1).sum(1) / (a**2 * H**2 + s**2)
    weights = torch.softmax(noisy - told / 2, 0)
    spread = (a**2 * H**2 / (a**2 * H**2 + s**2)).item()
    expected = (1 - spread) * (weights[:, None, None, None, None] * means).sum(0) + spread * z / a
    torch.testing.assert_close(x0, expected, rtol=0, atol=1e-3)
    assert rho.max() > 0.9


def test_what_it_cannot_do_is_said():
    prior = ExactJoint(**SMALL, frames=3)
    text = prior.text(["a red car driving"]).at(torch.zeros(4, dtype=torch.long))
    with pytest.raises(Mistake, match="3 views together"):
        prior.eps(draw(4, 3, SIZE, SIZE), torch.full((4,), 0.5), text, ring(4, size=SIZE))
    with pytest.raises(Mistake, match="no picture 'nothing.png'"):
        ExactJoint(**SMALL, image="nothing.png")
    assert ExactJoint(**SMALL, frames=2, first_frame=True).spec.capabilities >= {"video", "first_frame"}
    assert not ExactJoint(**SMALL, first_frame=True).spec.capabilities & {"video", "first_frame"}
