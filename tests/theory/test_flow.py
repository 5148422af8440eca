"""RFDS and its reverse form: velocity residuals, the same thing as SDS and as a regression, for flows and for any other prior."""

import pytest
import torch
from dream3d.guidance.rfds import RFDS
from dream3d.guidance.sds import SDS

from dream3d.diffusion import add_noise, cfg, draw_t, per_view, predict, x0_from_eps
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


class Quiet(Fine):
    """Noise is its own mean: where eps is affine in z, gradients are expectations."""

    def normal(self, *shape, device="cpu"):
        return torch.zeros(*shape, dtype=DOUBLE)


def step(kind=Fine, seed=0):
    return kind(0, 101, seed, torch.Generator().manual_seed(seed))


@pytest.fixture(params=["eps", "v", "flow"])
def prior(request):
    return Mixture.of(draw(3, 2, 3, 3), torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE), form=request.param)


def rfds(prior, scale=7.5, t=WINDOW, shift=1.0, **more):
    return RFDS(prior, scale=Ramp(scale), t=Times.parse(t), shift=shift, **more)


def seen(kit, prior, **rows):
    return kit.view_of(prior, draw(4, 2, 3, 3, seed=1), **{"text": "0", "negative": "1"} | rows)


def replay(prior, view, now):
    t, noise = draw_t(WINDOW, view.cameras, now), now.normal(*view.x.shape)
    return t, noise, *(per_view(v, noise) for v in prior.alpha_sigma(t))


def same(a, b):
    return torch.allclose(a, b, rtol=1e-9, atol=1e-9)


def test_rfds_is_sds_with_another_weight(kit, prior):
    """(alpha + sigma) / alpha, which is 1 / (1 - sigma) for a flow, where it also is (x - x0_hat) / sigma."""
    view = seen(kit, prior)
    t, noise, alpha, sigma = replay(prior, view, step())
    g = rfds(prior).gradient(view, step())
    sds = SDS(prior, scale=Ramp(7.5), t=WINDOW, w="uniform").gradient(view, step())
    assert same(g, (alpha + sigma) / alpha * sds)
    if prior.spec.flow:
        z = add_noise(prior, view.x, t, noise)
        x0 = x0_from_eps(prior, z, t, cfg(*predict(prior, z, t, view, "text", "negative"), 7.5))
        assert same(g, sds / (1 - sigma)) and same(g, (view.x - x0) / sigma)


def test_without_guidance_only_the_prompt_counts(kit, prior):
    g = [rfds(prior, 1.0).gradient(seen(kit, prior, negative=row), step()) for row in ("1", "2")]
    assert same(*g)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_the_expected_velocity_on_a_gaussian(kit, t):
    """E[g] = sigma (x - mu) / V^2 with V^2 = (1 - sigma)^2 S^2 + sigma^2."""
    prior = Mixture.of(torch.full((1, 1, 1, 1), 0.3, dtype=DOUBLE), 0.5, form="flow")
    view = kit.view_of(prior, draw(5, 1, 1, 1))
    g = rfds(prior, t=t).gradient(view, step(Quiet))
    assert same(g, t * (view.x - 0.3) / ((1 - t) ** 2 * 0.25 + t**2))


@pytest.mark.parametrize("u, t", [(0.02, 0.06 / 1.04), (0.7, 0.875), (0.5, 0.75)])
def test_levels_are_shifted_as_stable_diffusion_3s(kit, u, t):
    """t = 3 u / (1 + 2 u): the defaults are what its indices .3 to .98 mean."""
    prior = Mixture.of(draw(1, 1, 2, 2), 0.5, form="flow")
    assert RFDS(prior).t.window(0.0) == (0.02, 0.7) and RFDS(prior).shift == 3
    view = kit.view_of(prior, draw(3, 1, 2, 2, seed=1))
    assert same(rfds(prior, t=u, shift=3.0).gradient(view, step()), rfds(prior, t=t).gradient(view, step()))


def test_reverse_moves_the_noise_first(kit, prior):
    """On the flow through the prior's z: tau = sigma / (alpha + sigma), v from the prompt alone, eps' = eps + (1 - tau) (v + x - eps)."""
    view = seen(kit, prior)
    t, noise, alpha, sigma = replay(prior, view, step())
    tau = sigma / (alpha + sigma)
    line = (1 - tau) * view.x + tau * noise
    (eps,) = predict(prior, (alpha + sigma) * line, t, view, "text")
    clean = (line - tau * eps) / (1 - tau)
    moved = noise + (1 - tau) * (eps - clean + view.x - noise)
    z = add_noise(prior, view.x, t, moved)
    guided = cfg(*predict(prior, z, t, view, "text", "negative"), 7.5)
    expected = guided - x0_from_eps(prior, z, t, guided) - (moved - view.x)
    g = rfds(prior, reverse=True).gradient(view, step())
    assert same(g, expected) and not same(g, rfds(prior).gradient(view, step()))


@pytest.mark.parametrize("form", ["eps", "flow"])
def test_reverse_leaves_the_exact_noise_alone(kit, form):
    """Where the prompt means x and nothing else, its velocity is eps - x: refining changes nothing, whatever guidance does."""
    x = draw(1, 2, 3, 3, seed=1)
    prior = Mixture.of(torch.cat([x, draw(1, 2, 3, 3)]), torch.tensor([0.0, 0.7], dtype=DOUBLE), form=form)
    view = kit.view_of(prior, x.expand(4, -1, -1, -1), text="0", negative="1")
    plain, reverse = (rfds(prior, reverse=on).gradient(view, step()) for on in (False, True))
    assert torch.allclose(plain, reverse, rtol=1e-7, atol=1e-7) and plain.abs().max() > 0.1


def test_reverse_does_nothing_to_pure_noise(kit):
    prior = Mixture.of(draw(2, 2, 3, 3), torch.tensor([0.3, 0.7], dtype=DOUBLE), form="flow")
    view, gaps = kit.view_of(prior, draw(4, 2, 3, 3, seed=1), text="0"), []
    for t in (0.9, 0.99, 0.999):
        plain, reverse = (rfds(prior, t=t, reverse=on).gradient(view, step()) for on in (False, True))
        gaps.append((plain - reverse).norm() / plain.norm())
    assert gaps[0] > 4 * gaps[1] > 16 * gaps[2] and gaps[2] < 1e-2


@pytest.mark.parametrize("t", [0.3, 0.5, 0.8])
def test_reverse_is_quieter(kit, t):
    """On a Gaussian g = f (x - mu) + c eps with c in (-1, 0), and refining multiplies c by 1 + (1 - t) c, which is below 1."""
    prior = Mixture.of(torch.zeros(1, 1, 1, 1, dtype=DOUBLE), 0.5, form="flow")
    view = kit.view_of(prior, torch.full((1000, 1, 1, 1), 0.4, dtype=DOUBLE))
    plain, reverse = (rfds(prior, 1.0, t=t, reverse=on).gradient(view, step()) for on in (False, True))
    variance = (1 - t) ** 2 * 0.25 + t**2
    c = t * (t - (1 - t) * 0.25) / variance - 1
    _, noise, *_ = replay(prior, view, step())
    assert -1 < c < 0 and torch.allclose(plain - c * noise, (plain - c * noise).mean(), rtol=1e-9, atol=1e-9)
    assert (reverse.std() / plain.std()).item() == pytest.approx(1 + (1 - t) * c, rel=1e-9)
