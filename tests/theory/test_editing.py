"""DDS and PDS: nothing to do without an edit, DDS as SDS, the posterior's coefficients, what the authors' mixed schedule adds."""

import dataclasses

import pytest
import torch
from dream3d.guidance.dds import DDS
from dream3d.guidance.pds import PDS
from dream3d.guidance.sds import SDS

from dream3d.diffusion import add_noise, cfg, draw_t, perp_neg, predict
from dream3d.errors import Mistake
from dream3d.priors.mixture import Mixture
from dream3d.schedule import Ramp, Times
from dream3d.types import Condition, Step

DOUBLE = torch.float64
TABLE = [(50, 0.664, 0.154), (200, 0.140, 0.092), (500, 0.032, 0.082), (900, 0.006, 0.103)]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


class Fine(Step):
    """A step whose draws are double precision, and with them t and every factor."""

    def normal(self, *shape, device="cpu"):
        return super().normal(*shape).double()

    def uniform(self, *shape, device="cpu"):
        return super().uniform(*shape).double()


def step(seed=0):
    return Fine(0, 101, seed, torch.Generator().manual_seed(seed))


@pytest.fixture(params=["eps", "v", "flow"])
def prior(request):
    return Mixture.of(draw(3, 2, 3, 3), torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE), form=request.param)


def edited(kit, prior, x=None, before=None, **rows):
    x = draw(4, 2, 3, 3, seed=1) if x is None else x
    view = kit.view_of(prior, x, **{"text": "0", "source": "1", "negative": ""} | rows)
    return dataclasses.replace(view, source=draw(*x.shape, seed=2) if before is None else before)


def answers(guidance, view, t, now, scale):
    """The guided answers for the scene and for its source, by hand."""
    noise = now.normal(*view.x.shape)
    target, before = (add_noise(guidance.prior, x, t, noise) for x in (view.x, view.source))
    pair = ((target, "text"), (before, "source"))
    return [cfg(*predict(guidance.prior, z, t, view, row, "negative"), scale) for z, row in pair]


def same(a, b):
    return torch.allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("formula", [DDS, PDS])
def test_nothing_to_edit(kit, prior, formula):
    x = draw(4, 2, 3, 3)
    view = edited(kit, prior, x, x, source="0")
    assert formula(prior).gradient(view, step()).abs().max() < 1e-9
    assert formula(prior).gradient(edited(kit, prior, x, x), step()).abs().max() > 1e-3


def test_dds_is_a_difference_of_guided_answers(kit, prior):
    view, guidance, now = edited(kit, prior), DDS(prior), step()
    target, before = answers(guidance, view, draw_t(guidance.t, view.cameras, now), now, 7.5)
    assert same(guidance.gradient(view, step()), target - before)


def test_dds_with_a_perfect_source_is_sds(kit):
    """A source row that knows only the source answers with the noise itself."""
    before = draw(1, 2, 3, 3, seed=2)
    prior = Mixture.of(torch.cat([draw(2, 2, 3, 3), before]), torch.tensor([0.3, 0.5, 0.0], dtype=DOUBLE))
    view, t = edited(kit, prior, before=before.expand(4, -1, -1, -1), source="2"), Times.parse((0.05, 0.949))
    sds = SDS(prior, scale=Ramp(1.0), t=t, w="uniform")
    assert same(DDS(prior, scale=Ramp(1.0), t=t).gradient(view, step()), sds.gradient(view, step()))


def test_dds_between_equal_spreads_has_no_variance(kit):
    """g = sigma alpha / V^2 ((x - mu) - (x_src - mu_src)) for every draw of the noise."""
    means = draw(2, 1, 2, 2)
    prior = Mixture.of(means, 0.5)
    view = edited(kit, prior, draw(4, 1, 2, 2, seed=3))
    alpha, sigma = prior.alpha_sigma(torch.tensor([0.4], dtype=DOUBLE))
    expected = sigma * alpha / (0.25 * alpha**2 + sigma**2) * ((view.x - means[0]) - (view.source - means[1]))
    for seed in range(3):
        g = DDS(prior, scale=Ramp(1.0), t=Times.parse(0.4)).gradient(view, step(seed))
        assert same(g, expected)


@pytest.mark.parametrize("consistent", [True, False])
def test_pds_is_the_difference_of_posterior_noises(kit, prior, consistent):
    """g = psi (x - x_src) + chi (eps_hat - eps_hat_src); psi = 0 for a posterior whose steps agree, so that it is chi DDS."""
    view, guidance, now = edited(kit, prior), PDS(prior, scale=Ramp(7.5), consistent=consistent), step()
    t = ((draw_t(guidance.t, view.cameras, now) * 1000).floor() + 0.5) / 1000
    target, before = answers(guidance, view, t, now, 7.5)
    psi, chi = by_hand(prior, t, 1 if not consistent else 2)
    expected = psi * (view.x - view.source) + chi * (target - before)
    assert torch.allclose(guidance.gradient(view, step()), expected, rtol=1e-7, atol=1e-7)
    assert (psi.abs().max() < 1e-9) == consistent and chi.min() > 0.01


def by_hand(prior, t, width):
    """psi and chi from the authors' expressions in alpha^2, beta of a step of `width`, p two thousandths below t."""
    (alpha, sigma), (alpha_p, sigma_p), (alpha_s, sigma_s) = (prior.alpha_sigma(t - i / 1000) for i in (0, 2, width))
    beta = (sigma / alpha) ** 2 - (sigma_s / alpha_s) ** 2  # relative to alpha^2: noise added since s
    beta = beta * alpha**2
    c0, c1 = alpha_p * beta / sigma**2, alpha / alpha_s * sigma_p**2 / sigma**2
    deviation = (beta * sigma_p**2 / sigma**2).sqrt()
    psi, chi = (alpha_p - c0 - c1 * alpha) / deviation, c0 * sigma / (alpha * deviation)
    return psi.view(-1, 1, 1, 1), chi.view(-1, 1, 1, 1)


@pytest.mark.parametrize("entry, psi, chi", TABLE)
def test_the_pull_back_to_the_source(kit, entry, psi, chi):
    """On the table of Stable Diffusion the authors' scheduler leaves psi, strongest at small t; a step in x alone measures it where the
    rows are one Gaussian (S = 0.5), whose answers differ by sigma alpha / V^2 of that step."""
    prior, t = Mixture.of(torch.zeros(1, 1, 1, 1, dtype=DOUBLE), 0.5), (entry + 0.5) / 1000
    view = edited(
        kit, prior, torch.ones(1, 1, 1, 1, dtype=DOUBLE), torch.zeros(1, 1, 1, 1, dtype=DOUBLE), text="0", source="0"
    )
    alpha, sigma = (v.item() for v in prior.alpha_sigma(torch.tensor([t], dtype=DOUBLE)))
    answer = sigma * alpha / (0.25 * alpha**2 + sigma**2)
    g = PDS(prior, scale=Ramp(1.0), t=Times.parse(t)).gradient(view, step()).item()
    assert g == pytest.approx(psi + chi * answer, abs=1e-3)
    loyal = PDS(prior, scale=Ramp(1.0), t=Times.parse(t), consistent=True).gradient(view, step()).item()
    assert psi > 0.005 and loyal < g


def test_the_true_posterior(prior):
    """c0, c1 and the deviation condition a Gaussian: z_p given z_t and x has the regression coefficient cov / sigma_t^2."""
    t = torch.tensor([0.1005, 0.5005, 0.9005], dtype=DOUBLE)
    alpha_p, c0, c1, deviation = PDS(prior, stride=7, consistent=True)._coefficients(t)
    (alpha, sigma), (before, sigma_p) = (prior.alpha_sigma(s) for s in (t, t - 0.007))
    cov = alpha / before * sigma_p**2
    assert torch.equal(alpha_p, before) and same(c1, cov / sigma**2) and same(c0, before - c1 * alpha)
    assert torch.allclose(deviation**2, sigma_p**2 - cov**2 / sigma**2, rtol=1e-7, atol=0)


def test_what_is_missing_is_said(kit, prior):
    view = edited(kit, prior)
    for formula in (DDS, PDS):
        with pytest.raises(Mistake, match="was not shown here"):
            formula(prior).gradient(dataclasses.replace(view, source=None), step())
        rows = {name: row for name, row in view.text.rows.items() if name != "source"}
        with pytest.raises(Mistake, match='no text row "source"') as caught:
            formula(prior).gradient(dataclasses.replace(view, text=Condition(rows)), step())
        assert "text, negative" in str(caught.value)
    with pytest.raises(Mistake, match="no 30 thousandths down"):
        PDS(prior, stride=30)


def test_perp_neg_concerns_the_edited_prompt_only(kit, prior):
    view, guidance, now = edited(kit, prior), DDS(prior), step()
    rows, w = view.text.rows | {"side": prior.text(["2"] * 4)}, torch.full((4,), -0.8, dtype=DOUBLE)
    t, noise = draw_t(guidance.t, view.cameras, now), now.normal(*view.x.shape)
    z, old = (add_noise(prior, x, t, noise) for x in (view.x, view.source))
    view = dataclasses.replace(view, text=Condition(rows, {"side": w}))
    cond, uncond, side = predict(prior, z, t, view, "text", "negative", "side")
    target = perp_neg(cond, uncond, [side], [w], 7.5)
    before = cfg(*predict(prior, old, t, view, "source", "negative"), 7.5)
    assert same(guidance.gradient(view, step()), target - before)


def test_the_source_is_answered_for_by_its_own_picture(kit, prior, monkeypatch):
    """A prior that reads depth is shown the source's where it answers for the source, all four answers in one call."""
    view, calls, ask = edited(kit, prior), [], prior.eps
    old = view.render.map(lambda buffer: buffer + 1)
    view = dataclasses.replace(view, render=dataclasses.replace(view.render, source=old))

    def listen(x, t, text, cameras=None, render=None):
        calls.append(render.depth[:, 0, 0, 0].tolist())
        return ask(x, t, text, cameras, render)

    monkeypatch.setattr(prior, "eps", listen)
    DDS(prior).gradient(view, step())
    assert calls == [2 * (4 * [0.0] + 4 * [1.0])]
