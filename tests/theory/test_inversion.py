"""SDI and regression to denoised targets: SDS where they do nothing more, DDIM where they do all, closed forms on Gaussian data."""

import math

import pytest
import torch
from dream3d.guidance.sdi import SDI
from dream3d.guidance.sds import SDS
from dream3d.guidance.target import Target

from dream3d.diffusion import add_noise, draw_t, eps_from_x0, x0_from_eps
from dream3d.options import Words
from dream3d.priors.mixture import Mixture
from dream3d.prompt import Prompt
from dream3d.schedule import Ramp, Times
from dream3d.term import Term
from dream3d.types import Condition, Render, Step, View

DOUBLE = torch.float64
FORMS = pytest.mark.parametrize("form", ["eps", "v", "flow"])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def three(form="eps"):
    return Mixture.of(draw(3, 2, 3, 3), torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE), form=form)


def gaussian(mean, std, form="eps"):
    return Mixture.of(torch.full((1, 1, 1, 1), mean, dtype=DOUBLE), std, form=form)


def sdi(prior, t=0.5005, eta=0.0, jitter=0.0, scale=1.0, inversion=1.0, **more):
    return SDI(prior, t=Times.parse(t), eta=eta, jitter=jitter, scale=Ramp(scale), inversion=Ramp(inversion), **more)


def target(prior, k, scale=1.0, t=(0.1, 0.6), **more):
    return Target(prior, k=k, t=Times.parse(t), scale=Ramp(scale), **more)


def levels(prior, t):
    return tuple(v.item() for v in prior.alpha_sigma(torch.tensor([t], dtype=DOUBLE)))


def perp(view, *names):
    """The same view with rows for Perp-Neg."""
    n = len(view.x)
    text = {**view.text.rows, **{name: view.text["negative"] for name in names}}
    weights = {name: torch.full((n,), -1.0, dtype=DOUBLE) for name in names}
    return View(view.x, view.render, view.cameras, Condition(text, weights))


class Given(Step):
    """A step whose noise is given."""

    def normal(self, *shape, device="cpu"):
        return self.noise.expand(*shape)


def given(noise):
    now = Given(0, 100, 0, torch.Generator().manual_seed(0))
    object.__setattr__(now, "noise", noise)
    return now


@FORMS
def test_with_random_noise_it_is_sds(kit, form):
    """w = sigma / alpha, one group; SDS computes its t in single precision."""
    prior, x = three(form), draw(3, 2, 3, 3, seed=1)
    view = kit.view_of(prior, x, kit.seen_from(3, 3, views=3), text="1", negative="0 and 2")
    for t in (0.1005, 0.5005, 0.9005):
        alpha, sigma = levels(prior, t)
        a = sdi(prior, t, scale=7.5, noise="random").gradient(view, kit.step())
        b = SDS(prior, scale=Ramp(7.5), t=Times.parse(t), w="uniform").gradient(view, kit.step())
        assert torch.allclose(a, sigma / alpha * b, rtol=1e-4, atol=1e-4) and not a.requires_grad


@pytest.mark.parametrize("std", [0.5, 1.0])
def test_exact_inversion_of_a_gaussian(kit, std):
    """x - x0_hat = (x - mu) (1 - alpha S / V) in the limit of many moves, reached to first order; the walk starts at the first
    entry of the table."""
    prior, x = gaussian(0.2, std), draw(3, 1, 1, 1, seed=1)
    (alpha, sigma), (a0, s0) = levels(prior, 0.5005), levels(prior, 0.0005)
    v = math.sqrt(alpha**2 * std**2 + sigma**2)
    start = std / math.sqrt(std**2 + (s0 / a0) ** 2)
    exact, errors = (x - 0.2) * (1 - alpha * std * start / v), []
    for stride in (0.02, 0.01, 0.005):
        g = sdi(prior, stride=stride).gradient(kit.view_of(prior, x), kit.step())
        errors.append((g - exact).abs().max().item())
    assert 1.7 < errors[0] / errors[1] < 2.3 and 1.7 < errors[1] / errors[2] < 2.3 and errors[2] < 0.02
    assert abs(1 - start) < 0.002


def test_at_the_lowest_level_nothing_is_left(kit):
    prior, x = gaussian(0.2, 0.7), draw(3, 1, 1, 1, seed=1)
    size = [sdi(prior, t).gradient(kit.view_of(prior, x), kit.step()).abs().max() for t in (0.9, 0.3, 0.05, 0.0005)]
    assert size == sorted(size, reverse=True) and size[-1] < 0.01
    a0, s0 = levels(prior, 0.0005)
    r = s0 / a0
    g = sdi(prior, 0.0005).gradient(kit.view_of(prior, x), kit.step())
    assert torch.allclose(g, (x - 0.2) * r**2 / (0.49 + r**2), rtol=0, atol=1e-9)


@FORMS
def test_with_the_last_answer_as_noise_it_is_ddim(kit, form):
    """Where x is set to x0_hat and the noise is the answer before, x takes DDIM's own path."""
    prior, z = three(form), draw(3, 2, 3, 3, seed=1)
    times = torch.tensor([0.9005, 0.7005, 0.4005, 0.2005, 0.0505], dtype=DOUBLE)
    cameras = kit.seen_from(3, 3)
    view = kit.view_of(prior, z, cameras, text="1", negative="0 and 2")
    expected = kit.ddim(prior, z, view, times, scale=3.0)
    x, noise = torch.zeros_like(z), z / levels(prior, 0.9005)[1]  # so that z is alpha x + sigma noise
    for t in times:
        seen = View(x, view.render, cameras, view.text)
        g = sdi(prior, t.item(), scale=3.0, noise="random").gradient(seen, given(noise))
        z = add_noise(prior, x, t.expand(3), noise)
        x = x - g
        noise = eps_from_x0(prior, z, t.expand(3), x)
    assert torch.allclose(x, expected, rtol=0, atol=1e-8) and x.abs().max() > 0.1


@FORMS
@pytest.mark.parametrize("jitter", [0.1, 5.0])
def test_the_whole_formula(kit, form, jitter):
    """Two scales, two rows, moves of a tenth, a last level above t, at most the table's last, that is read at t: by Euler in
    z / alpha, written again."""
    prior, x = three(form), draw(2, 2, 3, 3, seed=1)
    view = kit.view_of(prior, x, text="1", negative="0 and 2")
    now = kit.step()
    now.uniform(1)
    last = min(0.35 + jitter * now.uniform(1).item(), 0.9995)
    assert last > 0.35 and (last == 0.9995) == (jitter == 5.0)

    def answer(z, t, scale):
        t = torch.full((2,), t, dtype=DOUBLE)
        cond, uncond = (prior.eps(z, t, view.text[row]) for row in ("text", "negative"))
        return uncond + scale * (cond - uncond)

    y, walk = x, [0.0005, 0.1005, 0.2005, 0.3005, last]
    for a, b in zip(walk, walk[1:], strict=False):
        (a0, s0), (a1, s1) = levels(prior, a), levels(prior, b)
        y = y + (s1 / a1 - s0 / a0) * answer(a0 * y, a, -7.5)
    (alpha, sigma), z = levels(prior, 0.35), levels(prior, last)[0] * y
    expected = x - (z - sigma * answer(z, 0.35, 5.0)) / alpha
    g = sdi(prior, 0.35, jitter=jitter, scale=5.0, inversion=-7.5).gradient(view, kit.step())
    assert torch.allclose(g, expected, rtol=1e-9, atol=1e-8) and g.abs().max() > 0.1


def test_without_eta_and_jitter_nothing_is_random(kit):
    prior = three()
    view = kit.view_of(prior, draw(3, 2, 3, 3, seed=1), text="1")
    for more, random in (({}, False), ({"eta": 0.3}, True), ({"jitter": 0.1}, True)):
        a, b = (sdi(prior, **more).gradient(view, kit.step(seed=seed)) for seed in (0, 1))
        assert torch.equal(a, b) != random


def test_fresh_noise_is_ddpms(kit):
    """In one move: its deviation is that of the posterior of z_a given z_b and x, from the two precisions; and it is what eta
    multiplies."""
    prior, x, t = gaussian(0.2, 0.7), draw(3, 1, 1, 1, seed=1), 0.08
    (a, s), (b, u) = levels(prior, 0.0005), levels(prior, t)
    step = u**2 - (b / a) ** 2 * s**2
    posterior = (1 / s**2 + (b / a) ** 2 / step) ** -0.5
    view, noise = kit.view_of(prior, x), draw(3, 1, 1, 1, seed=2)
    one, two = (sdi(prior, t, eta=eta).gradient(view, given(noise)) for eta in (0.0, 0.3))
    slope = b * 0.49 / (b**2 * 0.49 + u**2)  # of x0_hat in z
    assert torch.allclose(one - two, slope * 0.3 * posterior * noise, rtol=0, atol=1e-9)


@pytest.mark.parametrize("t, moves", [(0.98, 10), (0.85, 9), (0.25, 3), (0.1005, 1), (0.0005, 0)])
def test_evaluations_of_sdi(kit, t, moves):
    """Two per move and two at t, at most 22; twice that with two Perp-Neg rows."""
    prior = three()
    view = kit.view_of(prior, draw(2, 2, 3, 3), text="1")
    for seen, rows in ((view, 2), (perp(view, "side", "back"), 4)):
        for more in ({}, {"jitter": 0.1, "eta": 0.3}):
            before = prior.evaluations
            sdi(prior, t, **more).gradient(seen, kit.step())
            assert prior.evaluations - before == 2 * rows * (moves + 1)


@FORMS
def test_one_step_on_x_is_sds(kit, form):
    prior = three(form)
    view = kit.view_of(prior, draw(4, 2, 3, 3, seed=1), kit.seen_from(4, 3, views=2), text="1")
    sds = SDS(prior, scale=Ramp(7.5), t=Times.parse((0.1, 0.6)), w="uniform").gradient(view, kit.step())
    assert torch.allclose(target(prior, 1, 7.5, w="eps").gradient(view, kit.step()), sds, rtol=0, atol=1e-5)
    alpha, sigma = prior.alpha_sigma(draw_t(Times.parse((0.1, 0.6)), view.cameras, kit.step()))
    g = target(prior, 1, 7.5).gradient(view, kit.step())
    assert torch.allclose(g, (sigma / alpha).view(-1, 1, 1, 1) * sds, rtol=0, atol=1e-5)


@FORMS
@pytest.mark.parametrize("k", [2, 5])
def test_k_steps_are_ddim(kit, form, k):
    """At evenly spaced levels from t down to t / k, one t per group."""
    prior, x = three(form), draw(4, 2, 3, 3, seed=1)
    view = kit.view_of(prior, x, kit.seen_from(4, 3, views=2), text="1", negative="0 and 2")
    now, g = kit.step(), target(prior, k, 3.0).gradient(view, kit.step())
    t = draw_t(Times.parse((0.1, 0.6)), view.cameras, now)
    z = add_noise(prior, x, t, now.normal(4, 2, 3, 3))
    assert t[0] == t[1] != t[2] == t[3] and not g.requires_grad
    for i in range(4):
        times = t[i] * torch.arange(k, 0, -1) / k
        one = View(x[i : i + 1], view.render, view.cameras, view.text.at(torch.tensor([i])))
        x0 = kit.ddim(prior, z[i : i + 1], one, times, scale=3.0)
        assert torch.allclose(g[i : i + 1], x[i : i + 1] - x0, rtol=0, atol=1e-5)


def test_many_steps_are_the_exact_path(kit):
    """x0_hat -> mu + S (z - alpha mu) / V, to first order in 1 / k; for a point mass any k is exact."""
    prior, x, errors = gaussian(0.2, 0.7, "flow"), draw(3, 1, 1, 1, seed=1), []
    view, noise = kit.view_of(prior, x), draw(3, 1, 1, 1, seed=2)
    z = 0.4 * x + 0.6 * noise
    exact = 0.2 + 0.7 * (z - 0.4 * 0.2) / math.sqrt(0.4**2 * 0.49 + 0.6**2)
    for k in (20, 40, 80):
        g = target(prior, k, t=0.6).gradient(view, given(noise))
        errors.append((x - g - exact).abs().max().item())
    assert 1.8 < errors[0] / errors[1] < 2.2 and 1.8 < errors[1] / errors[2] < 2.2
    point = gaussian(0.2, 0.0)
    for k in (1, 4):
        assert torch.allclose(target(point, k).gradient(view, kit.step()), x - 0.2, rtol=0, atol=1e-5)


def test_on_the_image(kit):
    """The gradient is image - decoded target; for a prior of pixels half of that on x, wherever the target is a picture."""
    prior = Mixture.of(0.3 * draw(3, 3, 4, 4), 0.1)
    x = 0.3 * draw(2, 3, 4, 4, seed=1)
    a = target(prior, 3, 2.0, t=(0.1, 0.3)).gradient(kit.view_of(prior, x, text="1"), kit.step())
    on = target(prior, 3, 2.0, t=(0.1, 0.3), regress="image")
    b = on.gradient(kit.view_of(prior, (x + 1) / 2, text="1"), kit.step())
    assert (x - a).abs().max() < 1 and torch.allclose(b, a / 2, rtol=0, atol=1e-6) and b.abs().max() > 0.01
    assert on.space == "pixel" and target(prior, 3).space == "latent"


def test_through_an_encoder(kit, toy_prior):
    """A term hands over the image, whatever its size, and gets the gradient on it, where the encoder's graph plays no part."""
    prior, picture, ones = toy_prior(), draw(3, 16, 16, 3, seed=1).float(), torch.ones(3, 16, 16, 1)
    guidance, cameras = target(prior, 2, 2.0, regress="image"), kit.seen_from(3, 16)
    prompt, seen = Prompt(prior, ["a toy"], "", Words()), Render(picture, ones, ones).cut()
    prior.decode = lambda x: (x[:, :3].movedim(1, -1) + 1) / 2
    Term(guidance, prompt).pull(seen, cameras, kit.step())
    x = prior.encode(picture)
    now = kit.step()
    t = draw_t(guidance.t, cameras, now)
    z = add_noise(prior, x, t, now.normal(*x.shape))
    view = View(x, Render(picture, ones, ones), cameras, prompt(cameras))
    for at, to in ((t, t / 2), (t / 2, None)):
        eps = answer(prior, z, at, view, 2.0)
        x0 = x0_from_eps(prior, z, at, eps)
        z = add_noise(prior, x0, to, eps) if to is not None else z
    image = torch.nn.functional.interpolate(((x0[:, :3] + 1) / 2).clamp(0, 1), (16, 16), mode="bilinear")
    torch.testing.assert_close(seen.rgb.grad, picture - image.movedim(1, -1), rtol=0, atol=1e-4)


def answer(prior, z, t, view, scale):
    cond, uncond = (prior.eps(z, t, view.text[row], view.cameras, view.render) for row in ("text", "negative"))
    return uncond + scale * (cond - uncond)


@pytest.mark.parametrize("k", [1, 5])
def test_evaluations_of_a_target(kit, k):
    prior = three()
    view = kit.view_of(prior, draw(2, 2, 3, 3), text="1")
    for seen, rows in ((view, 2), (perp(view, "side", "back"), 4)):
        before = prior.evaluations
        target(prior, k).gradient(seen, kit.step())
        assert prior.evaluations - before == 2 * rows * k
