"""f-divergences and score identity distillation against quadrature, finite differences and closed forms of Gaussians."""

import math

import numpy as np
import pytest
import torch
from dream3d.guidance.f_distill import FDistill
from dream3d.guidance.sid import SiD
from dream3d.guidance.vsd import VSD

from dream3d.diffusion import add_noise, draw_t, per_view
from dream3d.discriminator import Discriminator, sample
from dream3d.errors import Mistake
from dream3d.priors.exact import Exact
from dream3d.priors.mixture import Mixture
from dream3d.schedule import Ramp, Times
from dream3d.types import Step

DOUBLE = torch.float64
EXACT = {"rtol": 0, "atol": 1e-9}
ROWS = {"text": "0", "bare": "0", "negative": "0"}
F = {"reverse-kl": lambda u: -u.log(), "forward-kl": lambda u: u * u.log(),
     "js": lambda u: u * u.log() - (1 + u) * ((1 + u) / 2).log(), "hellinger": lambda u: 1 - u.sqrt(),
     "jeffreys": lambda u: (u - 1) * u.log(), "pearson": lambda u: (u - 1) ** 2}  # fmt: skip
AT_ONE = {"reverse-kl": 1.0, "forward-kl": 1.0, "js": 0.5, "hellinger": 0.25, "jeffreys": 2.0, "pearson": 2.0}  # f''(1)
MEAN = {"reverse-kl": 0.4480, "forward-kl": 0.58212, "js": 0.22867, "hellinger": 0.12058, "jeffreys": 1.03012}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def gaussian(mean=0.3, std=0.5, size=1, form="eps", **more):
    return Mixture.of(torch.full((1, 1, size, size), mean, dtype=DOUBLE), std, form=form, **more)


def three():
    return Mixture.of(draw(3, 2, 3, 3), torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE))


def fitted(guidance, mean, std):
    """A student that is N(mean, std^2)."""
    with torch.no_grad():
        guidance.phi.student.means[:, 0] = mean
        guidance.phi.student.log_std[:, 0] = math.log(std)
    return guidance


class Fine(Step):
    """A step that draws in double precision; `quiet` noise is its own mean."""

    def normal(self, *shape, device="cpu"):
        return super().normal(*shape, device=device).double() * (not getattr(self, "quiet", False))

    def uniform(self, *shape, device="cpu"):
        return super().uniform(*shape, device=device).double()


def fine(seed=0, quiet=False):
    now = Fine(0, 100, seed, torch.Generator().manual_seed(seed))
    object.__setattr__(now, "quiet", quiet)
    return now


class Level(Mixture):
    """One noise level for every t: alpha = 0.8, sigma = 0.6."""

    def alpha_sigma(self, t):
        return torch.full_like(t, 0.8), torch.full_like(t, 0.6)


def at_level():
    prior = gaussian(0.0, 1.0)
    prior.__class__ = Level
    return prior


def divergence(name, m):
    """D_f(p_t || q_t) = E_q[f(p / q)] for q = N(0.8 m, 0.7696) and p = N(0, 1) on a fine grid."""
    z = torch.linspace(-12, 12, 40001, dtype=DOUBLE)
    p, q = (-((z - mean) ** 2) / (2 * variance) - math.log(2 * math.pi * variance) / 2 for mean, variance in ((0, 1), (0.8 * m, 0.7696)))
    return torch.trapezoid(q.exp() * F[name]((p - q).exp()), z).item()


@pytest.mark.parametrize("name", F)
def test_the_mean_gradient_is_the_divergences(kit, name):
    """(28) q = N(0.7, 0.8^2) and p = N(0, 1) at alpha = 0.8, sigma = 0.6: E[g], by Gauss-Hermite quadrature over z, times f''(1) alpha /
    sigma, equals a central difference of D_f in the mean, and the reference's numbers where it has them."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    z = 0.56 + 0.7696**0.5 * torch.tensor(nodes)
    prior = at_level()
    guidance = fitted(FDistill(prior, divergence=name, ratio="exact", limit=700.0, scale=Ramp(1.0), w="uniform"), 0.7, 0.8)
    g = guidance.gradient(kit.view_of(prior, (z / 0.8).view(-1, 1, 1, 1), **ROWS), fine(quiet=True)).flatten()
    found = AT_ONE[name] * 0.8 / 0.6 * (torch.tensor(weights) * g).sum() / weights.sum()
    difference = (divergence(name, 0.7 + 1e-4) - divergence(name, 0.7 - 1e-4)) / 2e-4
    assert found.item() == pytest.approx(difference, abs=1e-6)
    assert name == "pearson" or found.item() == pytest.approx(MEAN[name], abs=6e-6)


def view_at(kit, prior, count=3, **rows):
    x = draw(count, prior.spec.channels, prior.spec.size, prior.spec.size, seed=1)
    return kit.view_of(prior, x, **{**ROWS, **rows})


@pytest.mark.parametrize("ratio", ["exact", "discriminator"])
def test_reverse_kl_is_vsd(kit, ratio):
    """(28) h = 1, whatever the ratio and however much has been learnt."""
    prior = three()
    view = view_at(kit, prior, text="1", negative="2")
    vsd = fitted(VSD(prior), 0.2, 0.4).gradient(view, fine())
    distill = fitted(FDistill(prior, divergence="reverse-kl", ratio=ratio), 0.2, 0.4)
    assert torch.allclose(distill.gradient(view, fine()), vsd, **EXACT)


@pytest.mark.parametrize("name", F)
def test_every_divergence_starts_as_vsd(kit, name):
    """A discriminator that has learnt nothing says 1, and h is divided by h(1)."""
    prior = three()
    view = view_at(kit, prior, text="1", negative="2")
    vsd = VSD(prior).gradient(view, fine())
    assert vsd.abs().max() > 0.1 and torch.allclose(FDistill(prior, divergence=name).gradient(view, fine()), vsd, **EXACT)


@pytest.mark.parametrize("name", F)
def test_equal_densities_have_no_gradient(kit, name):
    """(28) p = q."""
    prior = gaussian()
    guidance = FDistill(prior, divergence=name, ratio="exact", scale=Ramp(1.0))
    assert guidance.gradient(view_at(kit, prior), fine()).abs().max() < 1e-12


@pytest.mark.parametrize("name, bounds", [("js", (0, 2)), ("forward-kl", (math.exp(-1), math.e)), ("pearson", (math.exp(-2), math.e**2)),
                                          ("hellinger", (math.exp(-0.5), math.exp(0.5)))])  # fmt: skip
def test_weights_keep_their_bounds(kit, name, bounds):
    """(28) h / h(1) beside VSD's own gradient: Jensen-Shannon's is bounded by itself, the others by the limit, here e."""
    prior = gaussian(3.0, 0.5)
    view = kit.view_of(prior, 3 * draw(200, 1, 1, 1), **ROWS)
    limit = 700.0 if name == "js" else 1.0
    made = [FDistill(prior, divergence=n, ratio="exact", limit=limit) for n in (name, "reverse-kl")]
    weighted, plain = (fitted(guidance, 0.2, 0.4).gradient(view, fine()) for guidance in made)
    h = (weighted / plain).flatten()
    assert h.min() >= bounds[0] - 1e-9 and h.max() <= bounds[1] + 1e-9
    assert h.min() < bounds[0] + 0.05 and h.max() > bounds[1] - 0.05


@pytest.mark.parametrize("form", ["eps", "v", "flow"])
def test_the_density_is_the_scores(kit, form):
    """log p_t integrates to one, and its gradient is -eps / sigma, for prior and student; three components, any weights."""
    prior = Mixture.of(draw(3, 1, 1, 1), torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE), weights=torch.tensor([1.0, 2.0, 0.5]), form=form)
    z = torch.linspace(-9, 9, 4001, dtype=DOUBLE).view(-1, 1, 1, 1).requires_grad_()
    t, text = torch.full((4001,), 0.4, dtype=DOUBLE), prior.text([""]).at(torch.zeros(4001, dtype=torch.long))
    for network in (prior, prior.student()):
        log = network.log_density(z, t, text)
        assert torch.trapezoid(log.exp(), z.flatten()).item() == pytest.approx(1.0, abs=1e-6)
        (score,) = torch.autograd.grad(log.sum(), z, retain_graph=True)
        assert torch.allclose(score, -network.eps(z, t, text) / prior.alpha_sigma(t)[1].view(-1, 1, 1, 1), **EXACT)


def test_only_a_density_makes_an_exact_ratio():
    with pytest.raises(Mistake, match="no density"):
        FDistill(Exact(size=8, instances=1, renders=5, others=5), ratio="exact")


def test_the_prior_draws_its_own_samples(kit):
    """DDIM from noise: of a Gaussian the mean to what is lost by starting at noise, the deviation to the steps' bias, which halves with
    twice the steps; one evaluation a step."""
    prior, errors = gaussian(0.7, 0.5, size=2), []
    for draws in (20, 40, 80):
        before = prior.evaluations
        x = sample(prior, kit.view_of(prior, torch.zeros(1000, 1, 2, 2, dtype=DOUBLE), **ROWS), fine(), draws)
        assert prior.evaluations - before == draws * 1000
        errors.append(0.5 - x.std().item())
        assert abs(x.mean().item() - 0.7) < 0.05
    assert errors[0] < 0.08 and errors[1] < 0.65 * errors[0] and errors[2] < 0.65 * errors[1]


def test_a_discriminator_learns_the_ratio(kit):
    """Of two Gaussians, at noise levels where they are told apart; before, it answers 0 and its loss is log 4."""
    prior, cameras = gaussian(1.0, 0.6), kit.seen_from(128, 1)
    critic = Discriminator(prior, width=16, lr=1e-2, every=1, draws=6)
    losses = []
    for i in range(100):
        view = kit.view_of(prior, 0.4 * draw(128, 1, 1, 1, seed=i) - 0.3, cameras, **ROWS)
        losses.append(critic.learn([view], kit.step(i)))
    assert losses[0] == pytest.approx(math.log(4), abs=1e-6)
    t = torch.linspace(0.2, 0.7, 128)
    z = add_noise(prior, view.x, t, draw(128, 1, 1, 1, seed=999))
    alpha, sigma = prior.alpha_sigma(t)
    known = ((alpha * m, (alpha**2 * s**2 + sigma**2).sqrt()) for m, s in ((1.0, 0.6), (-0.3, 0.4)))
    p, q = (torch.distributions.Normal(*moments).log_prob(z.flatten()) for moments in known)
    learnt = critic.log_ratio(z, t, view)
    assert torch.corrcoef(torch.stack([learnt, p - q]))[0, 1] > 0.95
    assert (learnt - (p - q)).abs().mean() < 0.25 * (p - q).abs().mean()


@pytest.mark.parametrize("index, drawn", [(0, 10), (1, 0), (5, 0), (10, 10)])
def test_evaluations_of_a_discriminator(kit, index, drawn):
    """VSD's three per view, and ten more where the discriminator learns."""
    prior = three()
    guidance, view = FDistill(prior), view_at(kit, prior)
    guidance.gradient(view, now := kit.step(index))
    guidance.learn(now)
    assert prior.evaluations == (3 + drawn) * 3


def level(prior, t=0.5005):
    return tuple(v.item() for v in prior.alpha_sigma(torch.tensor([t], dtype=DOUBLE)))


@pytest.mark.parametrize("a", [0.5, 1.0, 1.2])
def test_expected_loss_of_an_identity(kit, a):
    """(29) For the exact student E[L] = (1 - a) E|D|^2, so negative at a > 1. A correct formula fails for one seed in 10 000."""
    n, mu, std, m, v = 4000, 0.3, 0.5, 1.0, 0.8
    prior = gaussian(mu, std)
    sid = fitted(SiD(prior, a=Ramp(a), t=Times.parse(0.5005), normalise=False), m, v)
    view, now = kit.view_of(prior, m + v * draw(n, 1, 1, 1), **ROWS), fine()
    t, noise = draw_t(sid.t, view.cameras, now), now.normal(*view.x.shape)
    loss = sid.loss(view.x, t, noise, view, now).detach()
    alpha, sigma = level(prior)
    z = alpha * view.x + sigma * noise
    real, fake = (c + alpha * s**2 / (alpha**2 * s**2 + sigma**2) * (z - alpha * c) for c, s in ((mu, std), (m, v)))
    rest = loss - (1 - a) * (real - fake).square().flatten()
    assert abs(rest.mean() / rest.std() * n**0.5) < min(4.0, kit.bound(3))
    assert loss.mean().sign() == (1 - a > 0) - (1 - a < 0) or a == 1


@pytest.mark.parametrize("form", ["eps", "v", "flow"])
@pytest.mark.parametrize("a", [0.0, 0.5, 1.0, 1.2])
def test_the_mean_moves_as_the_closed_form(kit, form, a):
    """(29) dL/dm = (m - mu)(1 - alpha k_p)[(1 - alpha k_p) - (1 - 2 a) alpha (k_p - k_q)], k = alpha S^2 / V^2; at a = 1 both factors are
    (1 - alpha k). The gradient is affine in x and noise, so it is its mean at theirs. Only m = mu rests."""
    mu, std, v = 0.3, 0.5, 0.8
    prior = gaussian(mu, std, form=form)
    alpha, sigma = level(prior)
    p, q = (1 - alpha**2 * s**2 / (alpha**2 * s**2 + sigma**2) for s in (std, v))  # 1 - alpha k
    for m in (-0.5, 0.3, 1.0):
        sid = fitted(SiD(prior, a=Ramp(a), t=Times.parse(0.5005), normalise=False), m, v)
        g = sid.gradient(kit.view_of(prior, torch.full((1, 1, 1, 1), m, dtype=DOUBLE), **ROWS), fine(quiet=True)).item()
        assert g == pytest.approx((m - mu) * p * (p - (1 - 2 * a) * (q - p)), abs=1e-9)
        assert a != 1 or g == pytest.approx((m - mu) * p * q, abs=1e-9)


def blind(network, prior):
    """The same answers, but the clean x that they imply is a constant: eps moves with z by 1 / sigma."""
    eps = network.eps
    network.eps = lambda z, t, *rest: eps(z, t, *rest).detach() + (z - z.detach()) / per_view(prior.alpha_sigma(t)[1], z)


@pytest.mark.parametrize("a", [0.0, 1.0, 1.2])
def test_without_jacobians_it_is_vsd(kit, a):
    """(29) w = sigma / alpha, for every a; with them it is something else."""
    prior = three()
    view = view_at(kit, prior, text="1")
    window = {"t": Times.parse([0.02, 0.8])}
    vsd = fitted(VSD(prior, w="uniform", scale=Ramp(1.0), **window), 0.2, 0.4)
    sid = fitted(SiD(prior, a=Ramp(a), normalise=False, **window), 0.2, 0.4)
    alpha, sigma = prior.alpha_sigma(draw_t(vsd.t, view.cameras, fine()))
    expected = per_view(sigma / alpha, view.x) * vsd.gradient(view, fine())
    assert not torch.allclose(sid.gradient(view, fine()), expected, rtol=0.05)
    blind(sid.phi.student, prior)
    blind(prior, prior)
    assert torch.allclose(sid.gradient(view, fine()), expected, **EXACT)


def test_the_denominator_is_a_constant_of_each_view(kit):
    """(29) mean |x - y_real| per view, outside the graph."""
    prior = three()
    view = view_at(kit, prior, text="1")
    plain, divided = (fitted(SiD(prior, normalise=n), 0.2, 0.4) for n in (False, True))
    t = draw_t(plain.t, view.cameras, now := fine())
    z = add_noise(prior, view.x, t, now.normal(*view.x.shape))
    alpha, sigma = (per_view(v, z) for v in prior.alpha_sigma(t))
    size = (view.x - (z - sigma * prior.eps(z, t, view.text["text"])) / alpha).abs().mean((1, 2, 3))
    assert torch.allclose(divided.gradient(view, fine()) * per_view(size, z), plain.gradient(view, fine()), **EXACT)


@pytest.mark.parametrize("scale, expected", [(1.0, 2), (7.5, 3)])
def test_evaluations_of_an_identity(kit, scale, expected):
    prior = three()
    guidance, view = SiD(prior, scale=Ramp(scale)), view_at(kit, prior, negative="2")
    guidance.gradient(view, now := kit.step())
    guidance.learn(now)
    assert prior.evaluations == expected * 3


@pytest.mark.parametrize("a", [1.0, 1.2])
def test_guidance_reaches_both_branches_of_an_identity(kit, a):
    """Where prior and student are one and the rows agree, nothing moves; another scale on other rows does."""
    prior = three()
    assert SiD(prior, a=Ramp(a)).gradient(view_at(kit, prior), fine()).abs().max() < 1e-12
    assert SiD(prior, a=Ramp(a), scale=Ramp(7.5)).gradient(view_at(kit, prior, negative="2"), fine()).abs().max() > 0.01
