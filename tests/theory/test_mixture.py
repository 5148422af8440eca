"""The oracle itself: the mixture's closed form against autograd, other parametrisations and sampling."""

import pytest
import torch

from dream3d.diffusion import per_view
from dream3d.errors import Mistake
from dream3d.priors.mixture import Mixture

DOUBLE = torch.float64


def draw(*shape, seed=0, dtype=DOUBLE):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def some(form="eps", subjects=1):
    std, weights = torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE), torch.tensor([1.0, 2.0, 3.0], dtype=DOUBLE)
    return Mixture.of(draw(3, 2, 3, 3), std, weights=weights, form=form, subjects=subjects)


def log_density(prior, z, t, rows):
    """log p_t(z) with torch.distributions, independently of the prior's own algebra."""
    alpha, sigma = prior.alpha_sigma(t)
    scale = (alpha[:, None] ** 2 * prior.std**2 + sigma[:, None] ** 2).sqrt()
    normal = torch.distributions.Normal(per_view(alpha, z)[:, None] * prior.means, scale[..., None, None, None])
    weights = prior.text(rows).tokens[:, 0]
    return torch.logsumexp(
        (weights / weights.sum(1, keepdim=True)).log() + normal.log_prob(z[:, None]).sum((2, 3, 4)), 1
    )


@pytest.mark.parametrize("form", ["eps", "v", "flow"])
def test_eps_is_minus_sigma_times_the_score(form):
    prior, rows = some(form), ["", "1", "0 and 2", ""]
    t = torch.tensor([0.02, 0.3, 0.7, 0.98], dtype=DOUBLE)
    z = (1.5 * draw(4, 2, 3, 3, seed=1)).requires_grad_()
    score = torch.autograd.grad(log_density(prior, z, t, rows).sum(), z)[0]
    sigma = per_view(prior.alpha_sigma(t)[1], z)
    assert torch.allclose(prior.eps(z.detach(), t, prior.text(rows)), -sigma * score, rtol=0, atol=1e-10)


def test_score_by_finite_differences():
    prior, t, z, step = some(), torch.tensor([0.4], dtype=DOUBLE), draw(1, 2, 3, 3, seed=2), 1e-5
    eps = prior.eps(z, t, prior.text([""]))
    for index in ((0, 0, 0, 0), (0, 1, 2, 1)):
        ends = []
        for sign in (1, -1):
            moved = z.clone()
            moved[index] += sign * step
            ends.append(log_density(prior, moved, t, [""]))
        slope = (ends[0] - ends[1]) / (2 * step)
        assert eps[index] == pytest.approx(-(prior.alpha_sigma(t)[1] * slope).item(), abs=1e-8)


def test_forms_agree_where_their_noise_levels_agree():
    """eps and v share a table. The flow's z is a rescaling of the same noisy x: z / (alpha + sigma) at sigma / (alpha +
    sigma)."""
    eps, v, flow = (some(form) for form in ("eps", "v", "flow"))
    t, z, text = (
        torch.rand(5, dtype=DOUBLE, generator=torch.Generator().manual_seed(3)),
        draw(5, 2, 3, 3, seed=4),
        [""] * 5,
    )
    expected = eps.eps(z, t, eps.text(text))
    assert torch.allclose(v.eps(z, t, v.text(text)), expected, rtol=0, atol=1e-10)
    alpha, sigma = eps.alpha_sigma(t)
    rescaled = z / per_view(alpha + sigma, z)
    assert torch.allclose(flow.eps(rescaled, sigma / (alpha + sigma), flow.text(text)), expected, rtol=0, atol=1e-10)


def test_noise_table_is_stable_diffusions():
    alpha, sigma = some().alpha_sigma((torch.tensor([0, 20, 100, 500, 980, 999], dtype=DOUBLE) + 0.5) / 1000)
    expected = torch.tensor([0.99915, 0.98131, 0.89422, 0.27633, 0.00584, 0.00466], dtype=DOUBLE)
    assert torch.allclose(alpha**2, expected, rtol=0, atol=5e-6)
    assert torch.allclose(alpha**2 + sigma**2, torch.ones(6, dtype=DOUBLE), atol=1e-14)


def test_conditional_minus_unconditional_is_the_classifier():
    """eps_c - eps_0 = -sigma grad log p(y | z), exactly."""
    prior, t = some(), torch.tensor([0.35], dtype=DOUBLE)
    z = draw(1, 2, 3, 3, seed=5).requires_grad_()
    classifier = log_density(prior, z, t, ["1"]) - log_density(prior, z, t, [""])
    slope = torch.autograd.grad(classifier.sum(), z)[0]
    difference = prior.eps(z.detach(), t, prior.text(["1"])) - prior.eps(z.detach(), t, prior.text([""]))
    assert torch.allclose(difference, -prior.alpha_sigma(t)[1] * slope, rtol=0, atol=1e-10)


def test_ddim_recovers_the_weights_of_the_modes(kit):
    """4000 samples, three well separated modes: |z| below the bound for a false alarm once in 10 000 seeds."""
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=DOUBLE)
    means = torch.tensor([-3.0, 0.0, 3.0], dtype=DOUBLE).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    prior, n = Mixture.of(means, 0.3, weights=weights), 4000
    times = torch.linspace(0.9995, 0.0005, 200, dtype=DOUBLE)
    alpha, sigma = prior.alpha_sigma(times[:1])
    start = alpha * means[torch.multinomial(weights, n, True, generator=torch.Generator().manual_seed(6))]
    z = start + (alpha**2 * 0.3**2 + sigma**2).sqrt() * draw(n, 1, 2, 2, seed=7)
    out = kit.ddim(prior, z, kit.view_of(prior, z), times)
    nearest = (out[:, None] - means).square().sum((2, 3, 4)).argmin(1)
    share = torch.bincount(nearest, minlength=3) / n
    scores = (share - weights) / (weights * (1 - weights) / n).sqrt()
    assert scores.abs().max() < kit.bound(3)
    spread = (out - means[nearest]).std()
    assert spread == pytest.approx(0.3, rel=0.05)  # 200 Euler steps contract the modes by three per cent


def test_a_prompt_names_components():
    prior = Mixture(components=3)
    assert prior.text(["", "0 and 2", "component 1, front view"]).tokens[:, 0].tolist() == [
        [1, 1, 1],
        [1, 0, 1],
        [0, 1, 0],
    ]
    for wrong in ("a red car", "3"):
        with pytest.raises(Mistake, match="0 to 2"):
            prior.text([wrong])


def test_float32_in_float32_out():
    prior = Mixture(size=4)
    eps = prior.eps(draw(2, 3, 4, 4, dtype=torch.float32), torch.tensor([0.001, 0.999]), prior.text(["", "1"]))
    assert eps.dtype == torch.float32 and eps.isfinite().all()


def test_student_starts_as_the_prior_and_leaves_it_alone(kit):
    prior = some(subjects=2)
    student, z, t = prior.student(rank=4), draw(2, 2, 3, 3, seed=8), torch.tensor([0.2, 0.8], dtype=DOUBLE)
    cameras, text = kit.seen_from(2, subject=torch.tensor([0, 1])), prior.text(["", "1"])
    before = prior.eps(z, t, text)
    assert torch.allclose(student.eps(z, t, text, cameras), before, rtol=0, atol=1e-14)
    student.eps(z, t, text, cameras).square().sum().backward()
    with torch.no_grad():
        for parameter in student.parameters():
            assert parameter.grad.abs().max() > 0
            parameter += 0.1
    assert torch.equal(prior.eps(z, t, text), before)
    assert not torch.allclose(student.eps(z, t, text, cameras), before)


def test_student_learns_the_moments_of_what_it_sees(kit):
    """Trained on N(m, v^2) alone its denoiser becomes the Gaussian's: the mean within 0.05 and the deviation within ten
    per cent."""
    prior = Mixture.of(torch.zeros(1, 1, 2, 2), 1.0, subjects=2)
    student, generator = prior.student(rank=4), torch.Generator().manual_seed(9)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.03)
    subject = torch.arange(256) % 2
    cameras, text = kit.seen_from(256, subject=subject), prior.text(["0"] * 256)
    mean, spread = (
        torch.tensor([0.7, -0.4])[subject].view(-1, 1, 1, 1),
        torch.tensor([0.4, 0.8])[subject].view(-1, 1, 1, 1),
    )
    for _ in range(300):
        x, noise = (torch.randn(256, 1, 2, 2, generator=generator) for _ in range(2))
        t = torch.rand(256, generator=generator) * 0.9 + 0.05
        alpha, sigma = (per_view(v, x) for v in prior.alpha_sigma(t))
        loss = (student.eps(alpha * (mean + spread * x) + sigma * noise, t, text, cameras) - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (student.means.mean((1, 2, 3, 4)) - torch.tensor([0.7, -0.4])).abs().max() < 0.05
    assert (student.log_std.exp()[:, 0] / torch.tensor([0.4, 0.8]) - 1).abs().max() < 0.1
