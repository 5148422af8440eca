"""ISM, TSM and CSM: identities between them, the closed forms of an interval on Gaussian data, and what a step costs."""

import math

import pytest
import torch
from dream3d.guidance import _trajectory, ism, tsm
from dream3d.guidance.csm import CSM
from dream3d.guidance.ism import ISM
from dream3d.guidance.sds import SDS
from dream3d.guidance.tsm import TSM

from dream3d.diffusion import predict, weight
from dream3d.priors.exact import Exact
from dream3d.priors.mixture import Mixture
from dream3d.schedule import Ramp, Times
from dream3d.types import Condition, View

DOUBLE = torch.float64
FORMS = pytest.mark.parametrize("form", ["eps", "v", "flow"])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def three(form="eps"):
    return Mixture.of(draw(3, 2, 3, 3), torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE), form=form)


def gaussian(mean, std, form="eps"):
    return Mixture.of(torch.full((1, 1, 1, 1), mean, dtype=DOUBLE), std, form=form)


def make(kind, prior, t=0.5005, delta_t=0.08, **more):
    return kind(prior, **{"t": Times.parse(t), "delta_t": Ramp(delta_t), **more})


def seen(kit, prior, x, **rows):
    return kit.view_of(prior, x, **{"text": "1", "empty": "", "negative": "0 and 2", **rows})


def same(kit, prior, x):
    """A view whose rows all mean the same."""
    return kit.view_of(prior, x, empty="")


def noise_level(prior, t):
    alpha, sigma = (v.item() for v in prior.alpha_sigma(torch.tensor([t], dtype=DOUBLE)))
    return sigma / alpha


def climbed(prior, view, levels, y):
    """Euler in y = z / alpha and r = sigma / alpha under the empty prompt, written without the framework's steps: y at the
    last level and eps there."""
    for i, t in enumerate(levels):
        r, tt = noise_level(prior, t), torch.full((len(y),), t, dtype=DOUBLE)
        alpha = prior.alpha_sigma(tt)[0].view(-1, 1, 1, 1)
        eps = prior.eps(alpha * y, tt, view.text["empty"])
        if i + 1 < len(levels):
            y = y + (noise_level(prior, levels[i + 1]) - r) * eps
    return y, eps


@FORMS
def test_tsm_with_gamma_1_is_ism(kit, form):
    prior = three(form)
    view = seen(kit, prior, draw(3, 2, 3, 3, seed=1))
    for index in range(3):
        a = TSM(prior, gamma=1.0).gradient(view, kit.step(index, 10, 5))
        b = ISM(prior).gradient(view, kit.step(index, 10, 5))
        assert torch.allclose(a, b, rtol=0, atol=1e-12) and a.abs().max() > 1e-2


@FORMS
def test_tsm_with_gamma_0_is_csm(kit, form):
    """Where the negative prompt is the empty one."""
    prior = three(form)
    view = seen(kit, prior, draw(3, 2, 3, 3, seed=1), negative="")
    a = make(TSM, prior, gamma=0.0).gradient(view, kit.step())
    b = make(CSM, prior).gradient(view, kit.step())
    assert torch.allclose(a, b, rtol=0, atol=1e-9) and a.abs().max() > 1e-2


def test_the_same_on_renders(kit):
    """Between the three on the exact prior, in single precision."""
    prior = Exact(size=8, instances=1, renders=5, others=5)
    x = draw(2, 3, 8, 8, seed=1).float()
    view = kit.view_of(prior, x, text="a red car", empty="", negative="")
    for a, b in (
        (make(TSM, prior, gamma=1.0), make(ISM, prior)),
        (make(TSM, prior, gamma=0.0), make(CSM, prior)),
        (make(ISM, prior, delta_t=1e-4), make(CSM, prior, delta_t=1e-4)),
    ):
        one, two = a.gradient(view, kit.step()), b.gradient(view, kit.step())
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-5) and one.abs().max() > 0.05 and one.dtype == torch.float32


@FORMS
def test_csm_is_csd_at_the_inverted_z(kit, form):
    """Its z by a walk written independently; the difference of the rows there, times w and the scale."""
    prior, x = three(form), draw(3, 2, 3, 3, seed=1)
    view = seen(kit, prior, x)
    y, _ = climbed(prior, view, [0.0005, 0.2005, 0.4005, 0.4205, 0.5005], x)
    t = torch.full((3,), 0.5005, dtype=DOUBLE)
    alpha, sigma = (v.view(-1, 1, 1, 1) for v in prior.alpha_sigma(t))
    cond, free = predict(prior, alpha * y, t, view, "text", "empty")
    for w, factor in (("x0", sigma / alpha), ("uniform", 1.0), ("sds", sigma**2)):
        g = make(CSM, prior, noise=0.0, scale=Ramp(3.0), w=w).gradient(view, kit.step())
        assert torch.allclose(g, 3 * factor * (cond - free), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [ISM, TSM])
def test_without_an_interval_only_the_classifier_is_left(kit, kind):
    """delta_t -> 0 is CSM, exactly where s and t are one entry of a table, to first order where levels are continuous."""
    prior, x = three(), draw(3, 2, 3, 3, seed=1)
    view = seen(kit, prior, x, negative="")
    a, b = (make(k, prior, delta_t=1e-4).gradient(view, kit.step()) for k in (kind, CSM))
    assert torch.allclose(a, b, rtol=0, atol=1e-9)
    prior, errors = three("flow"), []
    for delta in (1e-2, 1e-3, 1e-4):
        a, b = (make(k, prior, delta_t=delta).gradient(view, kit.step()) for k in (kind, CSM))
        errors.append((a - b).norm().item())
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.3) and errors[1] / errors[2] == pytest.approx(10, rel=0.1)


def test_a_real_negative_prompt_is_left_over(kit):
    """The target is the empty prompt's: with delta_t -> 0 and text = negative what remains is eps_n - eps_empty."""
    prior = three()
    view = seen(kit, prior, draw(3, 2, 3, 3, seed=1), text="2", negative="2")
    a = make(ISM, prior, delta_t=1e-4, w="uniform", scale=Ramp(9.0)).gradient(view, kit.step())
    b = make(CSM, prior, delta_t=1e-4, w="uniform", scale=Ramp(1.0)).gradient(view, kit.step())
    assert torch.allclose(a, b, rtol=0, atol=1e-9) and a.abs().max() > 1e-2


def bracket(kit, monkeypatch, kind, prior, z_s, s=0.4205, **more):
    """The residual from a z_s that is given and not reached."""

    def given(prior, view, now, t, **path):
        at = torch.full((1,), s, dtype=DOUBLE)
        return z_s, at, predict(prior, z_s, at, view, "empty")[0]

    for module in (ism, tsm):
        monkeypatch.setattr(module, "inverted", given)
    view = same(kit, prior, torch.zeros(1, 1, 1, 1, dtype=DOUBLE))
    return make(kind, prior, w="uniform", **more).gradient(view, kit.step()).item()


def test_reference_values_of_the_interval(kit, monkeypatch):
    """Table entries t = 500, s = 420, mu = 496; data N(0.2, 0.7^2); z_s = 1.3 alpha_s + 0.3."""
    prior = gaussian(0.2, 0.7)
    alpha = prior.alpha_sigma(torch.tensor([0.4205], dtype=DOUBLE))[0].item()
    z_s = torch.full((1, 1, 1, 1), 1.3 * alpha + 0.3, dtype=DOUBLE)
    assert bracket(kit, monkeypatch, ISM, prior, z_s) == pytest.approx(0.0458417, abs=1e-7)
    assert bracket(kit, monkeypatch, TSM, prior, z_s, gamma=0.3) == pytest.approx(0.00164120, abs=1e-8)


@FORMS
@pytest.mark.parametrize("gamma", [1.0, 0.6, 0.3])
def test_the_interval_in_closed_form(kit, monkeypatch, form, gamma):
    """eps_k = u r_k (S^2 + r_s r_k) / ((S^2 + r_k^2) (S^2 + r_s^2)) after one step from u = z_s / alpha_s - mu; of ISM
    u S^2 (r_t - r_s) / ((S^2 + r_s^2) (S^2 + r_t^2)), which TSM's never exceeds."""
    mean, std, s, t = 0.2, 0.7, 0.3105, 0.7305
    prior = gaussian(mean, std, form)
    mu = s + math.sqrt(1 - gamma**2) * (t - s)
    r_s, r_mu, r_t = (noise_level(prior, v) for v in (s, mu, t))
    alpha = prior.alpha_sigma(torch.tensor([s], dtype=DOUBLE))[0].item()
    for value in (-2.0, 0.4, 1.7):
        u = value / alpha - mean
        z_s = torch.full((1, 1, 1, 1), value, dtype=DOUBLE)
        eps = [u * r * (std**2 + r_s * r) / ((std**2 + r**2) * (std**2 + r_s**2)) for r in (r_t, r_mu)]
        found = bracket(kit, monkeypatch, TSM, prior, z_s, s=s, t=t, gamma=gamma)
        whole = bracket(kit, monkeypatch, ISM, prior, z_s, s=s, t=t)
        assert found == pytest.approx(eps[0] - eps[1], abs=1e-9)
        interval = u * std**2 * (r_t - r_s) / ((std**2 + r_s**2) * (std**2 + r_t**2))
        assert whole == pytest.approx(interval, abs=1e-9) and abs(found) <= abs(whole) + 1e-12


@FORMS
def test_the_whole_path_on_a_gaussian(kit, form):
    """From the noisy start over every move, each view by itself, whatever the batch."""
    prior = gaussian(0.2, 0.7, form)
    x = draw(4, 1, 1, 1, seed=3)
    view = same(kit, prior, x)
    now = kit.step()
    now.uniform(1)
    start = now.normal(4, 1, 1, 1) + 0.1 * now.normal(4, 1, 1, 1)
    y, eps_s = climbed(prior, view, [0.0005, 0.2005, 0.4005, 0.6], x + noise_level(prior, 0.0005) * start)
    t, s = (noise_level(prior, v) for v in (0.7, 0.6))
    u = y - 0.2
    expected = u * 0.49 * (t - s) / ((0.49 + s**2) * (0.49 + t**2))
    g = make(ISM, prior, t=0.7, delta_t=0.1).gradient(view, kit.step())
    assert torch.allclose(g, t * expected, rtol=0, atol=1e-7)  # the noise is drawn in single precision
    assert torch.allclose(eps_s, s * u / (0.49 + s**2), rtol=0, atol=1e-9) and not g.requires_grad


def test_a_point_mass_has_no_interval(kit):
    x = draw(3, 2, 3, 3)
    prior = Mixture.of(x[:1], 0.0)
    for kind in (ISM, TSM, CSM):
        assert make(kind, prior).gradient(same(kit, prior, x), kit.step()).abs().max() < 1e-9


@pytest.mark.parametrize("std", [1.0, 0.5])
def test_exact_inversion(kit, std):
    """Fine moves conserve (z - alpha mu) / V, with an error that halves as they do; with S = 1 the interval becomes
    (x - mu) (sigma_t - sigma_s). The walk starts at the first entry of the table, not at r = 0."""
    prior, x = gaussian(0.2, std), draw(2, 1, 1, 1, seed=4)
    view = same(kit, prior, x)
    alpha, sigma = (v.item() for v in prior.alpha_sigma(torch.tensor([0.5005], dtype=DOUBLE)))
    v, r0 = math.sqrt(alpha**2 * std**2 + sigma**2), noise_level(prior, 0.0005)
    exact = alpha * 0.2 + v * (x - 0.2) / math.sqrt(std**2 + r0**2)
    errors = []
    for stride in (0.02, 0.01, 0.005):
        z = _trajectory.inverted(prior, view, kit.step(), 0.6005, delta_t=0.1, delta_s=stride, noise=0.0)[0]
        errors.append((z - exact).abs().max().item())
    assert 1.7 < errors[0] / errors[1] < 2.3 and 1.7 < errors[1] / errors[2] < 2.3 and errors[2] < 0.05
    if std == 1.0:
        g = make(ISM, prior, delta_t=0.02, delta_s=0.002, noise=0.0, w="uniform").gradient(view, kit.step())
        s = prior.alpha_sigma(torch.tensor([0.4805], dtype=DOUBLE))[1].item()
        assert torch.allclose(g, (x - 0.2) * (sigma - s), rtol=0.03, atol=0)


@pytest.mark.parametrize("kind", [ISM, TSM, CSM])
def test_a_clean_start_has_no_variance(kit, kind):
    """Over seeds, with t given; the noisy start has a fiftieth at most of that of SDS on the same x, t and weight."""
    prior, x = three(), draw(1, 2, 3, 3, seed=1)
    view = seen(kit, prior, x)
    clean, noisy, sds = (
        torch.stack([g.gradient(view, kit.step(seed=seed)) for seed in range(20)]).var(0).sum().item()
        for g in (
            make(kind, prior, noise=0.0, w="sds"),
            make(kind, prior, w="sds"),
            SDS(prior, t=Times.parse(0.5005)),
        )
    )
    assert clean == 0 and 0 < noisy < 0.02 * sds


def test_the_start_is_noisy_as_its_level_says(kit):
    """Where t is less than the interval, s is the start itself: alpha x + sigma (noise + a tenth per view and channel)."""
    prior, x = three(), draw(2, 2, 3, 3, seed=1)
    view, now = seen(kit, prior, x), kit.step()
    z, s, eps = _trajectory.inverted(prior, view, kit.step(), 0.05, delta_t=0.1, delta_s=0.2, noise=1.0)
    alpha, sigma = (v.view(-1, 1, 1, 1) for v in prior.alpha_sigma(s))
    expected = alpha * x + sigma * (now.normal(2, 2, 3, 3) + 0.1 * now.normal(2, 2, 1, 1))
    assert torch.allclose(z, expected, rtol=0, atol=1e-9) and (s == 0.0005).all()
    assert torch.allclose(eps, prior.eps(z, s, view.text["empty"]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("t, moves", [(0.05, 0), (0.2, 1), (0.3005, 1), (0.31, 2), (0.5005, 2), (0.9, 4), (0.98, 5)])
def test_evaluations(kit, t, moves):
    """Per view: the moves, one at s, two at t, for TSM one at mu; Perp-Neg adds its negatives. At most 8, 9 and 8."""
    prior, x = three(), draw(3, 2, 3, 3)
    view = seen(kit, prior, x)
    rows = {**view.text.rows, "side": view.text["negative"], "back": view.text["text"]}
    perp = Condition(rows, {"side": torch.full((3,), -1.0, dtype=DOUBLE), "back": torch.zeros(3, dtype=DOUBLE)})
    for kind, others, extra in ((ISM, 3, 2), (TSM, 4, 2), (CSM, 3, 0)):
        for seen_, more in ((view, 0), (View(x, view.render, view.cameras, perp), extra)):
            before = prior.evaluations
            make(kind, prior, t=t, delta_t=0.1).gradient(seen_, kit.step())
            assert prior.evaluations - before == 3 * (moves + others + more) <= 3 * (9 + more)


def test_one_t_for_the_batch(kit, monkeypatch):
    """Uniform in its window: the mean of 200 draws fails for one seed in 10 000."""
    prior, asked = three(), []
    view = seen(kit, prior, draw(3, 2, 3, 3))
    monkeypatch.setattr(prior, "eps", lambda x, t, *rest: asked.append(t) or torch.zeros_like(x))
    for seed in range(200):
        make(ISM, prior, t=(0.2, 0.6), delta_t=0.6).gradient(view, kit.step(seed=seed))
        assert (asked[-1] == asked[-1][0]).all() and 0.2 <= asked[-1][0] <= 0.6
    last = torch.stack([t[0] for t in asked if len(t) == 6])
    assert len(last) == 200 and ((last.mean() - 0.4) / (0.4 / 2400**0.5)).abs() < kit.bound(1)


def test_weights(kit):
    prior = three()
    view = seen(kit, prior, draw(2, 2, 3, 3))
    t = torch.tensor([0.5005], dtype=DOUBLE)
    for kind in (ISM, TSM, CSM):
        plain = make(kind, prior, w="uniform").gradient(view, kit.step())
        for w in ("x0", "sds", "fantasia3d"):
            g = make(kind, prior, w=w).gradient(view, kit.step())
            assert torch.allclose(g, weight(prior, t, w) * plain, rtol=0, atol=1e-9)
