"""SJC, ASD and what SDS can be told beside its scale: identities with SDS, MVDream's loss and CSD, closed forms on Gaussians."""

import pytest
import torch
from dream3d.guidance.asd import ASD, LAST
from dream3d.guidance.csd import CSD
from dream3d.guidance.mvsds import MVSDS
from dream3d.guidance.sds import SDS
from dream3d.guidance.sjc import SJC

from dream3d.diffusion import add_noise, cfg, draw_t, per_view, predict, ratio, x0_from_eps
from dream3d.priors.mixture import Mixture
from dream3d.schedule import Ramp, Times
from dream3d.types import Step

DOUBLE = torch.float64
WINDOW = Times.parse((0.02, 0.98))


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


class Fine(Step):
    """A step whose draws are double precision, and with them t and every factor."""

    def normal(self, *shape, device="cpu"):
        return super().normal(*shape).double()

    def uniform(self, *shape, device="cpu"):
        return super().uniform(*shape).double()


class Upper(Fine):
    """Every uniform draw is 1: t is the upper end of its window."""

    def uniform(self, *shape, device="cpu"):
        return torch.ones(*shape, dtype=DOUBLE)


def step(kind=Fine, seed=0):
    return kind(0, 101, seed, torch.Generator().manual_seed(seed))


@pytest.fixture(params=["eps", "v", "flow"])
def prior(request):
    return Mixture.of(draw(3, 2, 3, 3), torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE), form=request.param)


def seen(kit, prior, **rows):
    return kit.view_of(prior, draw(4, 2, 3, 3, seed=1), **{"text": "0", "negative": "1", "empty": ""} | rows)


def same(a, b):
    return torch.allclose(a, b, rtol=1e-9, atol=1e-9)


def test_sjc_is_sds_without_a_weight(kit, prior):
    view = seen(kit, prior)
    g = SJC(prior, scale=Ramp(7.5), t=WINDOW).gradient(view, step())
    assert same(g, SDS(prior, scale=Ramp(7.5), t=WINDOW, w="uniform").gradient(view, step()))


@pytest.mark.parametrize("subtract", [True, False])
def test_sjc_in_its_own_variables(kit, prior, subtract):
    """y = x + r eps, D = y - r eps_hat(alpha y): -(D - x) / r, and -(D - y) / r which is that plus the noise."""
    view, guidance = seen(kit, prior), SJC(prior, scale=Ramp(7.5), t=WINDOW, subtract=subtract)
    now = step()
    t, noise = draw_t(WINDOW, view.cameras, now), now.normal(*view.x.shape)
    r, alpha = per_view(ratio(prior, t), noise), per_view(prior.alpha_sigma(t)[0], noise)
    y = view.x + r * noise
    clean = y - r * cfg(*predict(prior, alpha * y, t, view, "text", "negative"), 7.5)
    assert same(guidance.gradient(view, step()), -(clean - (view.x if subtract else y)) / r)


@pytest.mark.parametrize("t", [0.1, 0.9])
def test_what_subtracting_the_noise_does(kit, t):
    """Mean sigma alpha (x - mu) / V^2 either way; deviation |sigma^2 / V^2 - 1| with the noise subtracted and sigma^2 / V^2 without, so
    that subtracting is quieter only where sigma > alpha S (not at t = 0.1, S = 0.9; at 0.9). A correct formula fails for one seed in
    10 000; also |z| < 4."""
    mean, std, n, stds = 0.3, 0.9, 4000, {}
    prior = Mixture.of(torch.full((1, 1, 2, 2), mean, dtype=DOUBLE), std)
    x = torch.tensor([[-1.0, 0.0], [0.5, 2.0]], dtype=DOUBLE)
    view = kit.view_of(prior, x.expand(n, 1, 2, 2), text="0", negative="0")
    alpha, sigma = (v.item() for v in prior.alpha_sigma(torch.tensor([t])))
    share = sigma**2 / (alpha**2 * std**2 + sigma**2)
    drift = share * alpha / sigma * (x - mean)
    for subtract in (True, False):
        g = SJC(prior, scale=Ramp(1.0), t=Times.parse(t), subtract=subtract).gradient(view, step(seed=5 + subtract))
        stds[subtract] = abs(share - subtract)
        for scores in kit.z_scores(g[:, 0], drift, torch.tensor(stds[subtract])):
            assert scores.abs().max() < min(4.0, kit.bound(32))
    assert (stds[True] < stds[False]) == (sigma > alpha * std) == (t == 0.9)


def test_sds_with_weight_x0_is_a_regression(kit, prior):
    view, now = seen(kit, prior), step()
    t, noise = draw_t(WINDOW, view.cameras, now), now.normal(*view.x.shape)
    z = add_noise(prior, view.x, t, noise)
    x0 = x0_from_eps(prior, z, t, cfg(*predict(prior, z, t, view, "text", "negative"), 7.5))
    assert same(SDS(prior, scale=Ramp(7.5), t=WINDOW, w="x0").gradient(view, step()), view.x - x0)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_rescaled_sds_is_mvdreams_loss(kit, prior, share):
    """Also where a group has several views, over which the contrast is taken."""
    view = kit.view_of(prior, draw(4, 2, 3, 3, seed=1), kit.seen_from(4, 3, views=2), text="0", negative="1")
    g = SDS(prior, scale=Ramp(30.0), t=WINDOW, w="x0", rescale=share).gradient(view, step())
    assert same(g, MVSDS(prior, scale=Ramp(30.0), t=WINDOW, rescale=share).gradient(view, step()))


def test_rescaling_holds_for_every_weight_and_needs_guidance(kit, prior):
    view = seen(kit, prior)
    made = {
        w: SDS(prior, scale=Ramp(30.0), t=WINDOW, w=w, rescale=0.7).gradient(view, step()) for w in ("uniform", "x0")
    }
    t = draw_t(WINDOW, view.cameras, step())
    assert same(made["x0"], per_view(ratio(prior, t), view.x) * made["uniform"])
    off, on = (SDS(prior, scale=Ramp(1.0), t=WINDOW, rescale=share).gradient(view, step()) for share in (0.0, 1.0))
    assert same(off, on) and not same(made["x0"], SDS(prior, scale=Ramp(30.0), t=WINDOW, w="x0").gradient(view, step()))


@pytest.mark.parametrize("s", [1.0, 7.5])
def test_asd_without_a_shift(kit, prior, s):
    """(s - 1) times the classifier's score; nothing at s = 1."""
    view = seen(kit, prior)
    g = ASD(prior, scale=Ramp(s), plus=0.0, t=WINDOW, w="uniform").gradient(view, step())
    against = CSD(prior, negative=Ramp(-1.0), empty=Ramp(0.0), t=WINDOW)
    assert same(g, (s - 1) * against.gradient(view, step()))
    assert s > 1 or g.abs().max() < 1e-9


SHIFTED = [(50, 53, -0.0165, -0.0096), (200, 218, 0.0122, -0.0356), (350, 383, 0.0533, -0.0332), (500, 548, 0.0727, -0.0226),
           (800, 878, 0.0601, -0.0050)]  # fmt: skip


@pytest.mark.parametrize("entry, later, drift, noisy", SHIFTED)
def test_asd_on_a_gaussian(kit, entry, later, drift, noisy):
    """S = 0.5: g = (f(t) - f(t+)) (x - mu) + (h(t) - h(t+)) eps with f = sigma alpha / V^2, h = sigma^2 / V^2: repelling at small t,
    and far quieter than SDS. The numbers of the table are those of whole steps, as these levels are."""
    prior = Mixture.of(torch.full((1, 1, 1, 1), 0.3, dtype=DOUBLE), 0.5)
    view = kit.view_of(prior, draw(6, 1, 1, 1, seed=1))
    times = Times.parse((0.0205, (entry + 0.5) / 1000))
    g = ASD(prior, t=times, w="uniform").gradient(view, step(Upper))
    at_t = [prior.alpha_sigma(torch.tensor([(i + 0.5) / 1000], dtype=DOUBLE)) for i in (entry, later)]
    variance = [0.25 * a**2 + s**2 for a, s in at_t]
    f = [a * s / v for (a, s), v in zip(at_t, variance, strict=True)]
    h = [s**2 / v for (_, s), v in zip(at_t, variance, strict=True)]
    noise = step(Upper).normal(6, 1, 1, 1)
    assert same(g, (f[0] - f[1]) * (view.x - 0.3) + (h[0] - h[1]) * noise)
    assert (f[0] - f[1]).item() == pytest.approx(drift, abs=6e-5) and (h[0] - h[1]).item() == pytest.approx(
        noisy, abs=6e-5
    )
    assert abs(noisy) < 0.6 * abs(h[0].item() - 1)


def test_asds_second_time(kit, prior):
    """Later than t, not later than the last level, one per group, in proportion to t's height above its window; random only if asked."""
    cameras = kit.seen_from(400, 3, views=4)
    view = kit.view_of(prior, draw(400, 2, 3, 3), cameras)
    guidance = ASD(prior, plus=0.1, t=Times.parse((0.1, 0.98)))
    t = draw_t(guidance.t, cameras, now := step())
    reach = guidance._later(t, view, now) - t
    assert torch.equal(reach.view(-1, 4), reach.view(-1, 4)[:, :1].expand(-1, 4))
    share = reach / (0.1 * (t - 0.1)).minimum(LAST - t)
    assert share.min() >= 0 and share.max() <= 1 + 1e-9 and share.std() > 0.2
    for plus in (0.1, 1.0):
        fixed = ASD(prior, plus=plus, jitter=False, t=guidance.t)._later(t, view, step())
        assert torch.allclose(fixed, (t + plus * (t - 0.1)).clamp(max=LAST), rtol=0, atol=1e-12)
    assert (fixed == LAST).any()
