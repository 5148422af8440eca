"""SDS against closed forms on Gaussian data: moments, identities, the fixed point of guidance, mode seeking, noise
levels."""

import pytest
import torch
import torch.nn.functional as F
from dream3d.guidance.sds import SDS

from dream3d.diffusion import add_noise, cfg, draw_t, per_view, predict, weight, x0_from_eps
from dream3d.options import Words
from dream3d.priors.exact import Exact
from dream3d.priors.mixture import Mixture
from dream3d.prompt import Prompt
from dream3d.schedule import Ramp, Times
from dream3d.term import Term
from dream3d.types import Render, Step, View

DOUBLE = torch.float64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def gaussian(mean=0.3, std=0.5, form="eps"):
    return Mixture.of(torch.full((1, 1, 2, 2), mean, dtype=DOUBLE), std, form=form)


def three(form="eps"):
    return Mixture.of(draw(3, 2, 3, 3), torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE), form=form)


def sds(prior, scale=1.0, t=(0.02, 0.98), w="sds"):
    return SDS(prior, scale=Ramp(scale), t=Times.parse(t), w=w)


def replay(guidance, view, now):
    """What SDS draws at this step: t, noise and z."""
    t = draw_t(guidance.t, view.cameras, now)
    noise = now.normal(*view.x.shape)
    return t, noise, add_noise(guidance.prior, view.x, t, noise)


def rounding(view):
    """What a few operations on numbers of order ten may lose in the precision of x."""
    return 100 * torch.finfo(view.x.dtype).eps


class Quiet(Step):
    """A step whose noise is its own mean. Where eps is affine in z this gives the expectation of a gradient."""

    def normal(self, *shape, device="cpu"):
        return torch.zeros(*shape, device=device)


def quiet():
    return Quiet(0, 100, 0, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("form", ["eps", "v", "flow"])
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_mean_and_deviation(kit, form, t):
    """E[g] = w sigma alpha (x - mu) / V^2, std w alpha^2 S^2 / V^2. A correct SDS fails for one seed in 10 000; also
    |z| < 4. 2 moments x 4 coordinates x 9 cases are 72 tests, for which the bound is 4.8: 4 is the stricter of the
    two."""
    mean, std, n = 0.3, 0.5, 4000
    prior, x = gaussian(mean, std, form), torch.tensor([[-1.0, 0.0], [0.5, 2.0]], dtype=DOUBLE)
    view = kit.view_of(prior, x.expand(n, 1, 2, 2), text="0", negative="0")
    g = sds(prior, t=t).gradient(view, kit.step(seed=1))
    alpha, sigma = (v.item() for v in prior.alpha_sigma(torch.tensor([t])))
    variance = alpha**2 * std**2 + sigma**2
    drift, spread = sigma**3 * alpha * (x - mean) / variance, sigma**2 * alpha**2 * std**2 / variance
    for scores in kit.z_scores(g[:, 0], drift, torch.tensor(spread)):
        assert scores.abs().max() < min(4.0, kit.bound(72))


@pytest.fixture(params=["eps", "v", "flow", "exact"])
def prior(request):
    """Identities that need no closed form hold on every prior: Gaussian mixtures and renders."""
    return Exact(size=8, instances=1, renders=5, others=5) if request.param == "exact" else three(request.param)


def seen(kit, prior, **rows):
    """Three noisy views of a prior's own size and precision; "1" is its conditional prompt."""
    rows = {name: "a red car" if isinstance(prior, Exact) else text for name, text in rows.items()}
    x = draw(3, prior.spec.channels, prior.spec.size, prior.spec.size, seed=1)
    return kit.view_of(prior, x.float() if isinstance(prior, Exact) else x, **rows)


@pytest.mark.parametrize("w", ["sds", "uniform", "fantasia3d"])
def test_sds_is_x0_regression(kit, prior, w):
    """(a) g is the gradient of c/2 |x - sg(x0_hat)|^2 with c = w alpha / sigma."""
    guidance, view = sds(prior, 7.5, w=w), seen(kit, prior, text="1")
    t, _, z = replay(guidance, view, kit.step())
    x0 = x0_from_eps(prior, z, t, cfg(*predict(prior, z, t, view, "text", "negative"), 7.5))
    alpha, sigma = prior.alpha_sigma(t)
    x = view.x.clone().requires_grad_()
    (per_view(weight(prior, t, w) * alpha / sigma, x) * (x - x0).square() / 2).sum().backward()
    assert torch.allclose(guidance.gradient(view, kit.step()), x.grad, rtol=1e-4, atol=1e-5)  # t is single precision


def test_dreamfusions_scale_is_ours_minus_one(kit):
    """(b) cond + s (cond - uncond) is cfg at s + 1."""
    cond, uncond = draw(2, 3, 4, 4), draw(2, 3, 4, 4, seed=1)
    assert torch.allclose(cond + 100 * (cond - uncond), cfg(cond, uncond, 101.0), rtol=0, atol=1e-12)


def test_scale_is_irrelevant_where_the_rows_agree(kit, prior):
    """(c)"""
    view = seen(kit, prior, text="1", negative="1")
    a, b = (sds(prior, scale).gradient(view, kit.step()) for scale in (1.0, 100.0))
    assert torch.allclose(a, b, rtol=0, atol=100 * rounding(view))


def test_coefficients_and_the_limit_of_guidance(kit, prior):
    """(d) g = w (s cond + (1 - s) uncond - noise); its direction tends to the classifier's, cond - uncond, as s
    grows."""
    view = seen(kit, prior, text="1")
    t, noise, z = replay(sds(prior), view, kit.step())
    cond, uncond = predict(prior, z, t, view, "text", "negative")
    cosines = []
    for s in (1.0, 7.5, 100.0, 1e6):
        g = sds(prior, s, w="uniform").gradient(view, kit.step())
        assert torch.allclose(g, s * cond + (1 - s) * uncond - noise, rtol=0, atol=s * rounding(view))
        cosines.append(F.cosine_similarity(g.flatten(), (cond - uncond).flatten(), 0).item())
    assert cosines == sorted(cosines) and cosines[-1] > 1 - 1e-6


def test_a_point_mass_has_no_gradient(kit):
    """(f) An exact denoiser of x itself predicts the noise, whatever it is."""
    x = draw(1, 2, 3, 3)
    prior = Mixture.of(x, 0.0)
    for seed in range(5):
        g = sds(prior).gradient(kit.view_of(prior, x.expand(4, -1, -1, -1)), kit.step(seed=seed))
        assert g.abs().max() < 2e-7  # noise and t are single precision


def test_three_ways_of_injecting_a_gradient(kit, toy_prior):
    """(g) The squared error to sg(x - g), the linear surrogate and what a term really does to the render agree; the toy
    prior's encoder lies between the render and x."""
    prior, now = toy_prior(), kit.step()
    cameras, picture = kit.seen_from(3, 16), draw(3, 16, 16, 3, seed=1).float()
    alpha = torch.ones(3, 16, 16, 1)
    guidance, prompt = sds(prior, 7.5), Prompt(prior, ["a toy"], "", Words())
    x = prior.encode(picture)
    g = guidance.gradient(View(x, Render(picture, alpha, alpha), cameras, prompt(cameras)), kit.step())
    grads = []
    for inject in (lambda x: 0.5 * (x - (x - g).detach()).square().sum(), lambda x: (x * g).sum()):
        leaf = picture.clone().requires_grad_()
        inject(prior.encode(leaf)).backward()
        grads.append(leaf.grad)
    seen = Render(picture, alpha, alpha).cut()
    Term(guidance, prompt).pull(seen, cameras, now)
    for grad in grads:
        torch.testing.assert_close(seen.rgb.grad, grad, rtol=0, atol=1e-5)
    assert g.abs().max() > 0.1 and seen.rgb.grad.abs().max() > 0.1


@pytest.mark.parametrize("scale, expected", [(1.0, 1.0), (7.5, 3.195), (100.0, 4.647), (1e9, 4.825)])
def test_guidance_overshoots(kit, scale, expected):
    """The fixed point between cond N(1, 0.5^2) and uncond N(0, 1) at table entry 500: a one-number model of
    over-saturation."""
    means = torch.tensor([1.0, 0.0], dtype=DOUBLE).view(2, 1, 1, 1)
    prior = Mixture.of(means, torch.tensor([0.5, 1.0], dtype=DOUBLE))
    drift = []
    for x in (0.0, 1.0):  # the expected gradient is affine in x
        view = kit.view_of(prior, torch.full((1, 1, 1, 1), x, dtype=DOUBLE), text="0", negative="1")
        drift.append(sds(prior, scale, t=0.5005).gradient(view, quiet()).item())
    assert drift[0] / (drift[0] - drift[1]) == pytest.approx(expected, abs=5e-4)


def test_mode_seeking(kit):
    """Particles of a two-mode mixture all end on a mode: their variance around it vanishes, although the data's is
    0.25."""
    modes = torch.tensor([-3.0, 3.0], dtype=DOUBLE).view(2, 1, 1, 1)
    prior, x = Mixture.of(modes, 0.5), 3 * draw(64, 1, 1, 1, seed=2)
    guidance = sds(prior, t=(0.1, 0.4), w="uniform")
    for i in range(600):
        x = x - 0.1 * (1 - i / 600) * guidance.gradient(kit.view_of(prior, x), kit.step(i, 600))
    distance = (x - modes.view(1, 2, 1, 1)).abs().amin((1, 2, 3))
    assert distance.square().mean() < 0.25 / 20
    assert set(x.sign().flatten().tolist()) == {-1.0, 1.0}


def test_weights():
    prior, t = gaussian(), torch.tensor([0.1, 0.5, 0.9], dtype=DOUBLE)
    alpha, sigma = prior.alpha_sigma(t)
    assert torch.equal(weight(prior, t, "sds"), sigma**2)
    assert torch.equal(weight(prior, t, "uniform"), torch.ones_like(t))
    assert torch.equal(weight(prior, t, "fantasia3d"), alpha * sigma**2)


def test_one_noise_level_per_group_uniform_in_its_window(kit):
    """Means and extremes of 2000 groups: fails for a correct sampler once in 10 000 seeds (mean), never (window,
    groups)."""
    cameras, times = kit.seen_from(8000, views=2, frames=2), Times(Ramp(0.02), Ramp(0.98, 0.5))
    for index, high in ((0, 0.98), (50, 0.74), (100, 0.5)):
        t = draw_t(times, cameras, kit.step(index, 101)).view(-1, 4)
        assert torch.equal(t, t[:, :1].expand(-1, 4))
        assert t.min() >= 0.02 and t.max() <= high and len(t[:, 0].unique()) > 1900
        score = (t[:, 0].mean() - (0.02 + high) / 2) / ((high - 0.02) / (12 * 2000) ** 0.5)
        assert score.abs() < kit.bound(3)


def test_same_seed_same_bytes(kit):
    prior = three()
    view = kit.view_of(prior, draw(3, 2, 3, 3), text="1")
    one, two, other = (sds(prior, 7.5).gradient(view, kit.step(seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(one, two) and not torch.equal(one, other)
