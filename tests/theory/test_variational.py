"""Formulas with a student against closed forms: VSD, its entropic, randomly guided and personalised kin. Where a student is set by hand,
it is a Gaussian whose moments are known, so what is proved is the formula, not the learning."""

import dataclasses

import pytest
import torch
from dream3d.guidance.esd import ESD
from dream3d.guidance.pgsd import PGSD
from dream3d.guidance.random_cfg import RandomCFG
from dream3d.guidance.sds import SDS
from dream3d.guidance.vsd import VSD

from dream3d.diffusion import add_noise, cfg, draw_t, per_view, predict, weight
from dream3d.priors.exact import Exact
from dream3d.priors.mixture import Mixture
from dream3d.schedule import Ramp, Times
from dream3d.types import Step

DOUBLE = torch.float64
EXACT = {"rtol": 0, "atol": 1e-9}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def gaussian(mean=0.3, std=0.5, form="eps", **more):
    return Mixture.of(torch.full((1, 1, 2, 2), mean, dtype=DOUBLE), std, form=form, **more)


def three(form="eps", subjects=3):
    std = torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE)
    return Mixture.of(draw(3, 2, 3, 3), std, form=form, subjects=subjects)


@pytest.fixture(params=["eps", "v", "flow", "exact"])
def prior(request):
    return Exact(size=8, instances=1, renders=5, others=5) if request.param == "exact" else three(request.param)


def seen(kit, prior, text="0", bare="0", negative="1 and 2"):
    """Three views of three subjects, at a prior's own size and precision."""
    if isinstance(prior, Exact):
        words = {"0": "a red car", "1": "a duck", "1 and 2": ""}
        text, bare, negative = words[text], words[bare], words[negative]
    x = draw(3, prior.spec.channels, prior.spec.size, prior.spec.size, seed=1)
    cameras = kit.seen_from(3, prior.spec.size, subject=torch.arange(3))
    x = x.float() if isinstance(prior, Exact) else x
    return kit.view_of(prior, x, cameras, text=text, bare=bare, negative=negative)


def near(view):
    return {"rtol": 0, "atol": 1e-9 if view.x.dtype == DOUBLE else 2e-4}


def replay(guidance, view, now):
    """t, z and w as a formula draws them at this step."""
    t = draw_t(guidance.t, view.cameras, now)
    z = add_noise(guidance.prior, view.x, t, now.normal(*view.x.shape))
    return t, z, per_view(weight(guidance.prior, t, guidance.w), z)


def moments(guidance, means, std):
    """Make the first component of a mixture's student Gaussians with these moments, one per subject."""
    student = guidance.phi.student
    with torch.no_grad():
        student.means[:, 0] = means
        student.log_std[:, 0] = torch.as_tensor(std, dtype=DOUBLE).log()


class Fine(Step):
    """A step that draws in double precision, so that identities hold to the last digits."""

    def normal(self, *shape, device="cpu"):
        return super().normal(*shape, device=device).double()

    def uniform(self, *shape, device="cpu"):
        return super().uniform(*shape, device=device).double()


def fine(seed=0):
    return Fine(0, 100, seed, torch.Generator().manual_seed(seed))


class Quiet(Fine):
    """A step whose noise is its own mean. Where eps is affine in z this gives the expectation of a gradient."""

    def normal(self, *shape, device="cpu"):
        return torch.zeros(*shape, device=device, dtype=DOUBLE)


def quiet(index=0):
    return Quiet(index, 100, 0, torch.Generator().manual_seed(index))


@pytest.mark.parametrize("form", ["eps", "v", "flow"])
@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_a_student_that_knows_x_is_the_noise(kit, form, scale):
    """(3a) A student overfitted to each view's x answers the noise itself: VSD is SDS."""
    prior = three(form)
    view, vsd = seen(kit, prior), VSD(prior, scale=Ramp(scale))
    moments(vsd, view.x, 1e-14)
    expected = SDS(prior, scale=Ramp(scale)).gradient(view, fine())
    assert torch.allclose(vsd.gradient(view, fine()), expected, **EXACT)


@pytest.mark.parametrize("w", ["sds", "uniform", "fantasia3d"])
def test_a_student_that_is_unconditional(kit, prior, w):
    """(3b) g = s w (cond - uncond), s times CSD: at its first step a student is its prior, here under the negative prompt."""
    view, vsd = seen(kit, prior, bare="1 and 2"), VSD(prior, scale=Ramp(7.5), w=w)
    t, z, weights = replay(vsd, view, fine())
    cond, uncond = predict(prior, z, t, view, "text", "negative")
    assert torch.allclose(vsd.gradient(view, fine()), 7.5 * weights * (cond - uncond), **near(view))


@pytest.mark.parametrize("scale", [1.0, 7.5, 100.0])
def test_the_first_step_is_classifier_score_distillation(kit, prior, scale):
    """(3c, 3d) Under the prompt itself g = (s - 1) w (cond - uncond), at s = 1 nothing."""
    view, vsd = seen(kit, prior), VSD(prior, scale=Ramp(scale))
    t, z, weights = replay(vsd, view, fine())
    cond, uncond = predict(prior, z, t, view, "text", "negative")
    g = vsd.gradient(view, fine())
    assert torch.allclose(g, (scale - 1) * weights * (cond - uncond), rtol=1e-4, atol=near(view)["atol"])
    assert (g.abs().max() < near(view)["atol"]) == (scale == 1)


def test_the_view_belongs_to_the_prior_and_the_bare_prompt_to_the_student(kit):
    """Swapped rows, or the view's words in the student, would be seen here: all three rows differ."""
    prior = three()
    view, vsd = seen(kit, prior, text="0", bare="1", negative="2"), VSD(prior, scale=Ramp(3.0))
    t, z, weights = replay(vsd, view, fine())
    text, bare, negative = predict(prior, z, t, view, "text", "bare", "negative")
    assert torch.allclose(vsd.gradient(view, fine()), weights * (cfg(text, negative, 3.0) - bare), **EXACT)


@pytest.mark.parametrize("form", ["eps", "v", "flow"])
def test_drift_of_the_mean_and_of_each_particle(kit, form):
    """(3e) With the exact student of N(m, v^2), E[g] = w sigma alpha [(x - mu) / V_p^2 - (x - m) / V_q^2]: at x = m the mean's drift,
    and for every x zero if m = mu and v = S, and only then."""
    mu, std, x = 0.3, 0.5, draw(5, 1, 2, 2)
    prior, still = gaussian(mu, std, form), 0
    for m, v in ((0.3, 0.5), (0.9, 0.5), (0.3, 0.2), (-0.4, 1.1)):
        vsd = VSD(prior, scale=Ramp(1.0), t=Times.parse(0.5005))
        moments(vsd, m, v)
        view = kit.view_of(prior, x, text="0", bare="0", negative="0")
        alpha, sigma = (a.item() for a in prior.alpha_sigma(torch.tensor([0.5005], dtype=DOUBLE)))
        real, fake = ((x - c) / (alpha**2 * s**2 + sigma**2) for c, s in ((mu, std), (m, v)))
        g = vsd.gradient(view, quiet())
        assert torch.allclose(g, sigma**3 * alpha * (real - fake), rtol=0, atol=1e-8)
        still += g.abs().max().item() < 1e-9
    assert still == 1


def spread(kit, guidance, prior, steps=400, particles=128, lr=0.2, exact=False):
    """Variance of an ensemble around its mean, averaged over the last fifth of a run."""
    x, late = 0.05 * draw(particles, 1, 2, 2, seed=3), []
    for i in range(steps):
        view, now = kit.view_of(prior, x, text="0", bare="0", negative="0"), kit.step(i, steps)
        if exact:
            moments(guidance, x.mean(0), x.var(0).mean().sqrt())
        x = x - lr * guidance.gradient(view, now)
        if not exact:
            guidance.learn(now)
        late += [x.var(0).mean().item()] if i >= steps * 4 // 5 else []
    return sum(late) / len(late), x.mean().item()


def test_an_ensemble_spreads_as_the_data_where_sds_collapses(kit):
    """(5) Particles that start together reach the data's variance within 5 %, with the exact student and with one that learns in
    alternation; under SDS they stay together."""
    prior = gaussian(0.3, 0.5)
    window = {"scale": Ramp(1.0), "t": Times.parse([0.02, 0.7]), "w": "uniform"}
    for exact, steps in ((True, 150), (False, 400)):
        vsd = VSD(prior, lr=0.02, inner=2, **window)
        variance, mean = spread(kit, vsd, prior, steps, exact=exact)
        assert variance == pytest.approx(0.25, rel=0.05) and mean == pytest.approx(0.3, abs=0.05)
    collapsed, mean = spread(kit, SDS(prior, **window), prior, 150, lr=0.1)
    assert collapsed < 0.25 / 10 and mean == pytest.approx(0.3, abs=0.05)


def test_entropy_mixes_a_student_with_and_without_its_camera(kit):
    """(9) lambda = 0 is VSD, lambda = 1 VSD whose student never knows the camera, and between them g is linear."""
    prior, gradients = three(), {}
    view = seen(kit, prior)
    for share in (0.0, 0.5, 1.0):
        esd = ESD(prior, entropy=Ramp(share))
        moments(esd, draw(3, 2, 3, 3, seed=5), [0.2, 0.4, 0.6])  # cameras matter; without one a view is of subject 0
        gradients[share] = esd.gradient(view, fine())
    for share, cameras in ((0.0, view.cameras), (1.0, dataclasses.replace(view.cameras, subject=None))):
        vsd = VSD(prior)
        moments(vsd, draw(3, 2, 3, 3, seed=5), [0.2, 0.4, 0.6])
        same = dataclasses.replace(view, cameras=cameras)
        assert torch.allclose(gradients[share], vsd.gradient(same, fine()), **EXACT)
    assert (gradients[0.0] - gradients[1.0]).abs().max() > 0.01
    assert torch.allclose(gradients[0.5], (gradients[0.0] + gradients[1.0]) / 2, **EXACT)


class Ensemble:
    """The exact student of an ensemble, each particle with a camera of its own: told the camera it knows x, else N(m, v^2)."""

    def __init__(self, prior):
        self.prior = prior

    def see(self, view, now):
        self.x = view.x

    def eps(self, z, t, view, camera=True):
        alpha, sigma = (per_view(v.to(DOUBLE), z) for v in self.prior.alpha_sigma(t))
        mean, variance = self.x.mean(0), self.x.var(0, unbiased=False).mean()
        known, unknown = (z - alpha * self.x) / sigma, sigma * (z - alpha * mean) / (alpha**2 * variance + sigma**2)
        return (known if camera else unknown,)


@pytest.mark.parametrize("share, expected", [(0.0, 0.0), (0.5, 0.0), (0.8, 0.2762), (1.0, 1.0)])
def test_variance_at_which_entropy_rests(kit, share, expected):
    """(9) v^2 = max(0, lambda S^2 - (1 - lambda) sigma^2 / alpha^2) at table entry 500, S = 1, under the expected gradient."""
    prior = gaussian(0.3, 1.0)
    esd = ESD(prior, entropy=Ramp(share), scale=Ramp(1.0), t=Times.parse(0.5005), w="uniform")
    esd.phi, x = Ensemble(prior), 0.5 * draw(64, 1, 1, 1, seed=4).expand(-1, 1, 2, 2) - 1
    alpha, sigma = (v.item() for v in prior.alpha_sigma(torch.tensor([0.5005], dtype=DOUBLE)))
    assert max(0, share - (1 - share) * sigma**2 / alpha**2) == pytest.approx(expected, abs=2e-4)
    for i in range(150):
        x = x - 3 * esd.gradient(kit.view_of(prior, x, text="0", bare="0", negative="0"), quiet(i))
    assert x.var(0, unbiased=False).mean().item() == pytest.approx(expected, abs=5e-3)
    assert torch.allclose(x.mean(0), torch.full_like(x[0], 0.3), rtol=0, atol=1e-3)  # for every lambda


def perturbed(guidance, seed=6):
    """A student that has learnt something."""
    moments(guidance, draw(3, 2, 3, 3, seed=seed), [0.2, 0.4, 0.6])
    return guidance


@pytest.mark.parametrize("kappa", [1.0, 7.5])
def test_one_guidance_scale_is_vsd(kit, kappa):
    """(33) low = high = s with an unguided student is VSD at s; with a guided one both are guided by s, and s = 1 is VSD again."""
    prior = three()
    view, fixed = seen(kit, prior, text="1"), {"low": Ramp(kappa), "high": Ramp(kappa)}
    vsd = perturbed(VSD(prior, scale=Ramp(kappa))).gradient(view, fine())
    assert torch.allclose(perturbed(RandomCFG(prior, student=False, **fixed)).gradient(view, fine()), vsd, **EXACT)
    both = perturbed(RandomCFG(prior, **fixed))
    t, z, weights = replay(both, view, fine())
    real, free = predict(prior, z, t, view, "text", "negative")
    fake, loose = both.phi.eps(z, t, view, "bare", "negative")
    g = both.gradient(view, fine())
    assert torch.allclose(g, weights * (cfg(real, free, kappa) - cfg(fake, loose, kappa)), **EXACT)
    assert torch.allclose(g, vsd, **EXACT) == (kappa == 1)


@pytest.mark.parametrize("student", [True, False])
def test_a_random_scale_is_uniform_and_linear(kit, student):
    """(33) g is linear in kappa, so its mean over kappa is g at the mean; kappa, read off g, is uniform in its window. A correct sampler
    fails for one seed in 10 000."""
    prior, n = three(), 400
    view = seen(kit, prior, text="1")
    random = perturbed(RandomCFG(prior, low=Ramp(0.5), high=Ramp(4.0), student=student))
    at = [perturbed(RandomCFG(prior, low=Ramp(k), high=Ramp(k), student=student)) for k in (0.5, 4.0, 2.25)]
    low, high, mean = (g.gradient(view, fine()) for g in at)
    assert torch.allclose((low + high) / 2, mean, **EXACT) and not torch.allclose(low, high)
    shares = []
    for seed in range(n):
        g, low, high = (f.gradient(view, fine(seed)) for f in (random, *at[:2]))
        shares.append(((g - low) * (high - low)).sum() / (high - low).square().sum())
        assert torch.allclose(g, low + shares[-1] * (high - low), **EXACT) or seed >= 20
    shares = torch.stack(shares)
    assert shares.min() >= -1e-9 and shares.max() <= 1 + 1e-9
    scores = (shares.mean() - 0.5) * (12 * n) ** 0.5, ((shares - 0.5).square().mean() - 1 / 12) / (180 * n) ** -0.5
    assert max(abs(score) for score in scores) < kit.bound(2)


def personalised(own, original):
    own.original = original
    own.spec = dataclasses.replace(own.spec, capabilities=own.spec.capabilities | {"original"})
    return own


def test_a_prior_personalised_to_nothing_has_no_gradient(kit):
    """(27) psi = phi and one prompt: exactly zero. Another prompt for the views: the difference of the two answers."""
    prior = personalised(three(), three())
    assert PGSD(prior).gradient(seen(kit, prior), fine()).abs().max() < 1e-12
    view = seen(kit, prior, text="1")
    t, z, weights = replay(PGSD(prior), view, fine())
    text, bare = predict(prior, z, t, view, "text", "bare")
    assert torch.allclose(PGSD(prior).gradient(view, fine()), weights * (text - bare), **EXACT)


def test_a_personalised_prior_pulls_from_what_it_was(kit):
    """(27) g = w (psi - phi), phi of the original checkpoint: towards the personal mean, away from the common one."""
    prior = personalised(gaussian(1.0, 0.5), gaussian(0.0, 0.5))
    view = kit.view_of(prior, draw(4, 1, 2, 2), text="0", bare="0")
    pgsd = PGSD(prior, w="uniform", t=Times.parse(0.5005))
    alpha, sigma = (v.item() for v in prior.alpha_sigma(torch.tensor([0.5005], dtype=DOUBLE)))
    expected = -sigma * alpha / (alpha**2 * 0.25 + sigma**2)
    assert torch.allclose(pgsd.gradient(view, fine()), torch.full_like(view.x, expected), rtol=0, atol=1e-7)
