"""CSD, NFSD, BSD and category scores: their coefficients, what they become where rows agree, and closed forms on Gaussians."""

import pytest
import torch
from dream3d.guidance.bsd import BSD, shortest
from dream3d.guidance.csd import CSD
from dream3d.guidance.csds import CSDS
from dream3d.guidance.nfsd import NFSD
from dream3d.guidance.sds import SDS
from dream3d.guidance.sjc import SJC

from dream3d.diffusion import add_noise, draw_t, inner, per_view, perp_neg, predict, weight
from dream3d.priors.mixture import Mixture
from dream3d.schedule import Ramp, Times
from dream3d.types import Condition, Step, View

DOUBLE = torch.float64
ROWS = {"text": "0", "bare": "0 and 1", "negative": "1", "empty": ""}


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


def step(kind=Fine, seed=0, index=0, total=101):
    return kind(index, total, seed, torch.Generator().manual_seed(seed))


@pytest.fixture(params=["eps", "v", "flow"])
def prior(request):
    return Mixture.of(draw(3, 2, 3, 3), torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE), form=request.param)


def line(means, stds):
    """One-number Gaussians; prompts name them."""
    return Mixture.of(torch.tensor(means, dtype=DOUBLE).view(-1, 1, 1, 1), torch.tensor(stds, dtype=DOUBLE))


def seen(kit, prior, count=4, **rows):
    return kit.view_of(prior, draw(count, 2, 3, 3, seed=1), **ROWS | rows)


def replay(guidance, view, now):
    """What a formula draws at this step, and the prior's answers there."""
    t = draw_t(guidance.t, view.cameras, now)
    noise = now.normal(*view.x.shape)
    z = add_noise(guidance.prior, view.x, t, noise)
    return t, noise, dict(zip(ROWS, predict(guidance.prior, z, t, view, *ROWS), strict=True))


def csd(prior, a=1.0, b=0.0, n=-1.0, k=0.0, t=(0.02, 0.98), w="uniform"):
    coefficients = {"positive": Ramp(a), "negative": Ramp(b), "empty": Ramp(n), "noise": Ramp(k)}
    return CSD(prior, **coefficients, t=Times.parse(t), w=w)


def same(a, b):
    return torch.allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("w", ["sds", "uniform", "fantasia3d", "x0"])
def test_csd_is_four_coefficients(kit, prior, w):
    view, guidance = seen(kit, prior), csd(prior, 1.05, -0.7, 0.4, -0.2, w=w)
    t, noise, eps = replay(guidance, view, step())
    expected = 1.05 * eps["text"] - 0.7 * eps["negative"] + 0.4 * eps["empty"] - 0.2 * noise
    assert same(guidance.gradient(view, step()), per_view(weight(prior, t, w), noise) * expected)


@pytest.mark.parametrize("s", [1.0, 7.5, 100.0])
def test_csd_with_the_noise_is_sds(kit, prior, s):
    view = seen(kit, prior, negative="")
    sds = SDS(prior, scale=Ramp(s), t=Times.parse((0.02, 0.98)), w="uniform")
    g = csd(prior, s, 0.0, 1 - s, -1.0).gradient(view, step())
    assert same(g, sds.gradient(view, step()))


@pytest.mark.parametrize("index", [0, 20, 50, 70, 100])
def test_csds_own_coefficients_sum_to_zero(kit, prior, index):
    """Also in between: rows that agree have no classifier, while DreamMat's set leaves 0.05 of their answer."""
    guidance, now = CSD(prior), step(index=index)
    a, b, n, k = (getattr(guidance, name)(now.progress) for name in ("positive", "negative", "empty", "noise"))
    assert a + b + n + k == pytest.approx(0, abs=1e-12) and (a, k) == (1, 0)
    assert (b, n) == pytest.approx((-min(index / 50, 1), min(index / 50, 1) - 1))
    view = seen(kit, prior, text="", negative="")
    assert guidance.gradient(view, now).abs().max() < 1e-9
    dreammat = csd(prior, 1.05, -1.0, 0.0)
    _, _, eps = replay(dreammat, view, step())
    assert same(dreammat.gradient(view, step()), 0.05 * eps["empty"])


def test_csd_between_equal_spreads_is_a_constant_pull(kit):
    """g = w sigma alpha (mu_u - mu_c) / V^2 wherever x is: no fixed point."""
    prior = line([1.0, -0.5], [0.4, 0.4])
    view = kit.view_of(prior, 5 * draw(6, 1, 1, 1), text="0", empty="1", negative="1")
    alpha, sigma = prior.alpha_sigma(torch.tensor([0.3], dtype=DOUBLE))
    expected = sigma * alpha * (-0.5 - 1.0) / (alpha**2 * 0.4**2 + sigma**2)
    assert same(csd(prior, t=0.3).gradient(view, step()).flatten(), expected.expand(6))


@pytest.mark.parametrize("b, expected", [(0.0, 4.825), (-0.5, None), (-1.0, None)])
def test_csds_fixed_point(kit, b, expected):
    """A narrower condition stops the pull; a negative prompt (mean -2) instead of the empty one moves where."""
    prior, n = line([1.0, 0.0, -2.0], [0.5, 1.0, 1.0]), -1 - b
    t = 0.5005
    drift = [
        csd(prior, 1.0, b, n, t=t).gradient(kit.view_of(prior, torch.full((1, 1, 1, 1), x, dtype=DOUBLE), text="0", empty="1",
                                                        negative="2"), step(Quiet)).item() for x in (0.0, 1.0)]  # fmt: skip
    alpha, sigma = (v.item() for v in prior.alpha_sigma(torch.tensor([t], dtype=DOUBLE)))
    narrow, wide = (alpha**2 * s**2 + sigma**2 for s in (0.5, 1.0))
    stop = (1.0 / narrow + b * -2.0 / wide) / (1 / narrow + (b + n) / wide)
    assert drift[0] / (drift[0] - drift[1]) == pytest.approx(stop, rel=1e-9)
    assert expected is None or stop == pytest.approx(expected, abs=5e-4)


def test_nfsd_without_a_negative_prompt(kit, prior):
    """From the switch on it is s CSD; below it is the guided eps alone, SJC with the noise left in."""
    view, s = seen(kit, prior, negative=""), 7.5
    late, early = (0.2, 0.9), (0.02, 0.19)
    g = NFSD(prior, scale=Ramp(s), t=Times.parse(late), w="uniform").gradient(view, step())
    assert same(g, s * csd(prior, t=late).gradient(view, step()))
    g = NFSD(prior, scale=Ramp(s), t=Times.parse(early), w="uniform").gradient(view, step())
    plain = SJC(prior, scale=Ramp(s), t=Times.parse(early), subtract=False)
    assert same(g, plain.gradient(view, step()))


def test_nfsd_switches_per_view(kit, prior):
    """Exactly at t = 0.2, which is the step between 199 and 200 of a thousand; s eps_c + (1 - s) eps_0 - [t >= 0.2] eps_n."""
    assert NFSD(prior).switch == 0.2
    view, guidance = seen(kit, prior, count=12), NFSD(prior, scale=Ramp(3.0), t=Times.parse((0.1, 0.3)), w="uniform")
    t, _, eps = replay(guidance, view, step())
    late = (t > 0.2).double().view(-1, 1, 1, 1)
    assert 0 < late.sum() < 12
    assert same(guidance.gradient(view, step()), 3 * eps["text"] - 2 * eps["empty"] - late * eps["negative"])
    for t, negative in ((0.1995, 0), (0.2, 1)):
        guidance = NFSD(prior, scale=Ramp(1.0), t=Times.parse(t), w="uniform")
        _, _, eps = replay(guidance, view, step())
        assert same(guidance.gradient(view, step()), eps["text"] - negative * eps["negative"])


@pytest.mark.parametrize("entry, share", [(20, 0.037), (100, 0.19), (200, 0.40)])
def test_the_unconditional_answer_is_nearly_noise_free_at_small_t(kit, entry, share):
    """Its share of the injected noise is sigma^2 / V^2 (S = 0.7), which is why NFSD keeps it there."""
    prior, t = line([0.3], [0.7]), (entry + 0.5) / 1000
    view = kit.view_of(prior, torch.full((5, 1, 1, 1), 0.3, dtype=DOUBLE), bare="", empty="")
    guidance = NFSD(prior, scale=Ramp(1.0), switch=1.0, t=Times.parse(t), w="uniform")
    _, noise, _ = replay(guidance, view, step())
    found = guidance.gradient(view, step()) / noise
    assert torch.allclose(found, torch.full_like(found, share), rtol=0, atol=6e-3)


def test_the_shortest_vector():
    """|g| <= every convex combination; <g, g_i> >= |g|^2, with equality inside; scaling both scales g; 0 / 0 is harmless."""
    one, two = (
        draw(50, 2, 3, 3),
        draw(50, 2, 3, 3, seed=1) * torch.rand(50, 1, 1, 1, generator=torch.Generator().manual_seed(2)) * 4,
    )
    one = one + 0.5 * two
    g = shortest(one, two)
    for a in torch.linspace(0, 1, 101):
        mixed = a * one + (1 - a) * two
        assert (inner(g, g) <= inner(mixed, mixed) + 1e-9).all()
    products = [inner(g, one), inner(g, two)]
    assert all((product >= inner(g, g) - 1e-9).all() for product in products)
    inside = inner(two - one, two) / inner(two - one, two - one)
    inside = (inside > 0) & (inside < 1)
    assert 10 < inside.sum() < 50 and all(same(p[inside], inner(g, g)[inside]) for p in products)
    assert same(shortest(3 * one, 3 * two), 3 * g)
    assert shortest(one, -0.2 * one).abs().max() < 1e-9 and shortest(one, 0 * one).abs().max() == 0
    assert torch.equal(shortest(one, one), one) and torch.equal(shortest(0 * one, 0 * one), 0 * one)


def test_bsd_balances_each_view_by_itself(kit, prior):
    view, guidance = seen(kit, prior), BSD(prior, scale=Ramp(15.0), t=Times.parse((0.02, 0.98)))
    t, _, eps = replay(guidance, view, step())
    one, two = 15 * (eps["text"] - eps["negative"]), eps["negative"]
    g = guidance.gradient(view, step())
    for i in range(len(view.x)):
        share = ((two[i] - one[i]) * two[i]).sum() / (two[i] - one[i]).square().sum()
        share = min(max(share.item(), 0.0), 1.0)
        alpha, _ = prior.alpha_sigma(t[i : i + 1])
        assert same(g[i], alpha * (share * one[i] + (1 - share) * two[i]))
    assert BSD(prior, scale=Ramp(0.0)).gradient(view, step()).abs().max() < 1e-9


@pytest.mark.parametrize("x, stays", [(-1.0, False), (0.5, True), (4.7, True), (5.5, False)])
def test_bsd_rests_between_its_two_wishes(kit, x, stays):
    """In one dimension the pulls to the unconditional mean (0) and to CSD's fixed point (4.825) oppose each other between them: the
    shortest combination is 0. BSD cannot overshoot as SDS does."""
    prior = line([1.0, 0.0], [0.5, 1.0])
    view = kit.view_of(prior, torch.full((1, 1, 1, 1), x, dtype=DOUBLE), text="0", negative="1")
    g = BSD(prior, t=Times.parse(0.5005)).gradient(view, step(Quiet)).item()
    assert abs(g) < 1e-9 if stays else g * x > 1e-3


def test_category_scores(kit, prior):
    """The prompt itself as category leaves (s - 1) CSD, nothing at s = 1; the negative row as category leaves s CSD."""
    t = (0.02, 0.98)
    made = [(CSDS(prior, scale=Ramp(s), t=Times.parse(t), w="uniform"), s) for s in (1.0, 7.5)]
    against = csd(prior, 1.0, -1.0, 0.0)
    for guidance, s in made:
        for row, factor in (("0", s - 1), ("1", s)):
            view = seen(kit, prior, bare=row)
            assert same(guidance.gradient(view, step()), factor * against.gradient(view, step()))
    view = seen(kit, prior)
    _, _, eps = replay(made[1][0], view, step())
    expected = 7.5 * eps["text"] - 6.5 * eps["negative"] - eps["bare"]
    assert same(made[1][0].gradient(view, step()), expected)


@pytest.mark.parametrize("name", ["csd", "nfsd", "bsd", "csds"])
def test_perp_neg_acts_on_the_prompts_row(kit, prior, name):
    """Relative to the row it is guided against; weights of 0 change nothing; two more evaluations per view."""
    guidance = {
        "csd": csd(prior, 2.0, -0.5, -0.5), "nfsd": NFSD(prior, t=Times.parse((0.3, 0.9))), "bsd": BSD(prior), "csds": CSDS(prior),
    }[name]  # fmt: skip
    view = seen(kit, prior)
    rows = view.text.rows | {"side": prior.text(["2"] * 4), "back": prior.text(["1 and 2"] * 4)}

    def pulled(share):
        weights = {"side": torch.full((4,), share, dtype=DOUBLE), "back": torch.full((4,), share / 2, dtype=DOUBLE)}
        return guidance.gradient(View(view.x, view.render, view.cameras, Condition(rows, weights)), step()), weights

    before, plain = prior.evaluations, guidance.gradient(view, step())
    counted = prior.evaluations - before
    off, _ = pulled(0.0)
    assert prior.evaluations - before == 2 * counted + 8 and same(off, plain)
    on, weights = pulled(-1.0)
    assert not same(on, plain)
    if name == "csd":
        t = draw_t(guidance.t, view.cameras, now := step())
        z = add_noise(prior, view.x, t, now.normal(*view.x.shape))
        both = View(view.x, view.render, view.cameras, Condition(rows))
        cond, empty, negative, *others = predict(prior, z, t, both, "text", "empty", "negative", "side", "back")
        moved = perp_neg(cond, empty, others, list(weights.values()), 1.0)
        assert same(on, 2 * moved - 0.5 * negative - 0.5 * empty)
