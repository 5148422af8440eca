"""CDS: one step on Gaussian data, where it comes to rest, what it shares between views, and what it costs."""

import math

import pytest
import torch
from dream3d.guidance.cds import CDS

from dream3d.diffusion import add_noise, cfg, predict
from dream3d.priors.mixture import Mixture
from dream3d.schedule import Ramp, Times
from dream3d.types import Condition, View

DOUBLE = torch.float64
FORMS = pytest.mark.parametrize("form", ["eps", "v", "flow"])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def gaussian(mean, std, form="eps"):
    return Mixture.of(torch.full((1, 2, 3, 3), mean, dtype=DOUBLE), std, form=form)


def cds(prior, t=0.4005, scale=1.0, perturb=0.0, **more):
    return CDS(prior, t=Times.parse(t), scale=Ramp(scale), perturb=perturb, **more)


def noise_level(prior, t):
    alpha, sigma = prior.alpha_sigma(torch.tensor([t], dtype=DOUBLE))
    return (sigma / alpha).item()


def shared(kit):
    """eps*, the same for all views and steps."""
    return kit.step().fixed("cds", 2, 3, 3).to(DOUBLE)


@FORMS
def test_one_step_in_closed_form(kit, form):
    """eps_1 - eps_2 = (y_1 - mu) S^2 (r_1 - r_2) / ((S^2 + r_1^2) (S^2 + r_2^2)), y_1 = x + r_1 eps*: the interval of ISM
    with its ends swapped."""
    mean, std, x = 0.2, 0.7, draw(3, 2, 3, 3)
    prior = gaussian(mean, std, form)
    for t, gap in ((0.4005, 0.1), (0.1005, 0.3), (0.7005, 0.2)):
        r1, r2 = noise_level(prior, t + gap), noise_level(prior, t)
        y = x + r1 * shared(kit)
        expected = (y - mean) * std**2 * (r1 - r2) / ((std**2 + r1**2) * (std**2 + r2**2))
        g = cds(prior, t, gap=gap).gradient(kit.view_of(prior, x), kit.step())
        assert torch.allclose(g, expected, rtol=1e-9, atol=1e-9) and not g.requires_grad


def test_it_comes_to_rest_at_mu_minus_r1_eps(kit):
    """The gradient vanishes there and points towards it from both sides; over a run in which t falls x gets to mu."""
    prior = gaussian(0.2, 0.7)
    rest = (0.2 - noise_level(prior, 0.5005) * shared(kit))[None]
    assert cds(prior).gradient(kit.view_of(prior, rest), kit.step()).abs().max() < 1e-9
    for side in (-1.0, 1.0):
        g = cds(prior).gradient(kit.view_of(prior, rest + side), kit.step())
        assert (g * side > 0).all()
    fixed, x = cds(prior), draw(1, 2, 3, 3)
    for _ in range(30):
        x = x - 20 * fixed.gradient(kit.view_of(prior, x), kit.step())
    assert torch.allclose(x, rest, atol=1e-6)
    falling = CDS(prior, t=Times.parse({"start": 0.7, "end": 0.001}), scale=Ramp(1.0), gap=0.02, perturb=0.0)
    for i in range(80):
        x = x - 10 * falling.gradient(kit.view_of(prior, x), kit.step(i, 80))
    assert (x - 0.2 + noise_level(prior, 0.021) * shared(kit)).abs().max() < 0.05
    assert (x - 0.2).norm() < 0.15 * (rest - 0.2).norm()


def test_nothing_to_do(kit):
    """For a point mass, and where both levels are one entry of the table."""
    x = draw(3, 2, 3, 3)
    point, three = gaussian(0.2, 0.0), Mixture.of(draw(3, 2, 3, 3, seed=1), 0.5)
    assert cds(point).gradient(kit.view_of(point, x), kit.step()).abs().max() < 1e-9
    g = cds(three, scale=7.5, gap=1e-5).gradient(kit.view_of(three, x, text="1"), kit.step())
    assert g.abs().max() < 1e-9


def test_the_residual_is_the_distance_between_denoised_pictures(kit):
    """D_1 - D_2 = r_2 (eps_2 - eps_1), which has the opposite sign: a student that is noisier and differentiated would repel."""
    prior, x = Mixture.of(draw(3, 2, 3, 3, seed=1), 0.5), draw(2, 2, 3, 3)
    view = kit.view_of(prior, x, text="1")
    t1, t2 = (torch.full((2,), t, dtype=DOUBLE) for t in (0.5005, 0.4005))
    r1, r2 = noise_level(prior, 0.5005), noise_level(prior, 0.4005)
    y1 = x + r1 * shared(kit)
    eps1 = cfg(*predict(prior, prior.alpha_sigma(t1)[0].view(-1, 1, 1, 1) * y1, t1, view, "text", "negative"), 5.0)
    y2 = y1 + (r2 - r1) * eps1
    eps2 = cfg(*predict(prior, prior.alpha_sigma(t2)[0].view(-1, 1, 1, 1) * y2, t2, view, "text", "negative"), 5.0)
    g = cds(prior, scale=5.0).gradient(view, kit.step())
    assert torch.allclose(-r2 * g, (y1 - r1 * eps1) - (y2 - r2 * eps2), rtol=0, atol=1e-9)
    assert torch.allclose(g, eps1 - eps2, rtol=0, atol=1e-9) and g.abs().max() > 1e-2


def test_the_deviation_from_the_path_halves_with_the_gap(kit):
    """The exact path conserves (y - mu)^2 / (S^2 + r^2); the residual of one step of Euler deviates from its, relatively, by a
    share that halves with r_1 - r_2."""
    mean, std, x, off = 0.2, 0.7, draw(1, 2, 3, 3), []
    prior = gaussian(mean, std, "flow")
    for gap in (0.02, 0.01, 0.005):
        r1, r2 = noise_level(prior, 0.5 + gap), noise_level(prior, 0.5)
        u = x + r1 * shared(kit) - mean
        v1, v2 = math.sqrt(std**2 + r1**2), math.sqrt(std**2 + r2**2)
        exact = u / v1 * (r1 / v1 - r2 / v2)
        g = cds(prior, 0.5, gap=gap).gradient(kit.view_of(prior, x), kit.step())
        off.append(((g - exact).norm() / exact.norm()).item())
    assert off[0] / off[1] == pytest.approx(2, rel=0.05) and off[1] / off[2] == pytest.approx(2, rel=0.05)


def test_one_noise_for_all_views_and_steps(kit):
    """Views of the same x get the same gradient, so do steps and seeds' generators once t1 is not random; another seed of the
    run has another eps*."""
    prior = Mixture.of(draw(3, 2, 3, 3, seed=1), 0.5)
    view = kit.view_of(prior, draw(1, 2, 3, 3).expand(3, -1, -1, -1), text="1")
    one = cds(prior, scale=3.0).gradient(view, kit.step(0, 100))
    assert torch.equal(one[0], one[1]) and torch.equal(one[0], one[2])
    assert torch.equal(one, cds(prior, scale=3.0).gradient(view, kit.step(77, 100)))
    assert not torch.equal(one, cds(prior, scale=3.0).gradient(view, kit.step(0, 100, seed=1)))


def test_their_scale_is_ours_minus_one(kit):
    """cond + 100 (cond - uncond) is 101 here, at both levels."""
    prior, x = Mixture.of(draw(3, 2, 3, 3, seed=1), 0.5), draw(2, 2, 3, 3)
    view = kit.view_of(prior, x, text="1", negative="0 and 2")
    t1, t2 = (torch.full((2,), t, dtype=DOUBLE) for t in (0.5005, 0.4005))
    z1, eps = add_noise(prior, x, t1, shared(kit).expand_as(x)), []
    for z, t in ((z1, t1), (None, t2)):
        if z is None:
            (a1, s1), (a2, s2) = (tuple(v.view(-1, 1, 1, 1) for v in prior.alpha_sigma(t)) for t in (t1, t2))
            z = a2 * (z1 / a1 + (s2 / a2 - s1 / a1) * eps[0])
        cond, uncond = predict(prior, z, t, view, "text", "negative")
        eps.append(cond + 4 * (cond - uncond))
    expected = eps[0] - eps[1]
    assert torch.allclose(cds(prior, scale=5.0).gradient(view, kit.step()), expected, rtol=0, atol=1e-9)
    s1 = prior.alpha_sigma(t1)[1].view(-1, 1, 1, 1)
    assert torch.allclose(
        cds(prior, scale=5.0, w="sds").gradient(view, kit.step()), s1**2 * expected, rtol=0, atol=1e-9
    )
    assert CDS(prior).scale(0.0) == 101 and CDS(prior).scale(1.0) == 51


def test_levels_and_evaluations(kit, monkeypatch):
    """t2 falls with the root of the progress from 0.7 to 0.1; t1 is 0.1 to 0.3 above it, at most 0.98; 4 evaluations, with two
    Perp-Neg rows 8."""
    prior, asked = Mixture.of(draw(3, 2, 3, 3, seed=1), 0.5), []
    x = draw(2, 2, 3, 3)
    view = kit.view_of(prior, x, text="1")
    rows = {**view.text.rows, "side": view.text["negative"], "back": view.text["negative"]}
    text = Condition(rows, {"side": torch.zeros(2, dtype=DOUBLE), "back": torch.full((2,), -1.0, dtype=DOUBLE)})
    for seen, count in ((view, 4), (View(x, view.render, view.cameras, text), 8)):
        before = prior.evaluations
        cds(prior).gradient(seen, kit.step())
        assert prior.evaluations - before == 2 * count
    monkeypatch.setattr(prior, "eps", lambda x, t, *rest: asked.append(t) or torch.zeros_like(x))
    for i in range(101):
        CDS(prior).gradient(view, kit.step(i, 101))
    upper, lower = torch.stack(asked)[::2], torch.stack(asked)[1::2]
    expected = 0.7 - 0.6 * torch.linspace(0, 1, 101, dtype=DOUBLE).sqrt()
    assert torch.allclose(lower, expected[:, None].expand_as(lower), rtol=0, atol=1e-9)
    assert (upper == upper[:, :1]).all() and (upper - lower)[:, 0].min() >= 0.1 and (upper - lower).max() <= 0.3
    assert upper.max() <= 0.98 and (upper - lower)[5:, 0].std() > 0.04  # of a uniform number it is 0.058
    cds(prior, t=0.95, perturb=0.2).gradient(view, kit.step())
    assert (asked[-2] == 0.98).all() and (asked[-1] == 0.95).all()
