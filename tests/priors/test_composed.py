"""Several priors as one, by closed forms on Gaussian mixtures in double precision: sums, products, regions, superposition."""

import pytest
import torch

from dream3d import assemble, build, config
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.priors.composed import Composed
from dream3d.priors.mixture import Mixture
from dream3d.types import Render

DOUBLE = torch.float64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def composed(*parts, how="sum", weights=None):
    """The prior over ready-made parts."""
    made = Composed(priors=[{"type": "mixture", "size": 2}] * len(parts), how=how, weights=weights)
    made.parts, made.asked = torch.nn.ModuleList(parts), []
    return made


def two():
    return Mixture.of(draw(3, 3, 2, 2), 0.5), Mixture.of(draw(3, 3, 2, 2, seed=1), 0.7)


def asked(prior, *prompts):
    z, t = draw(len(prompts), 3, 2, 2, seed=5), torch.linspace(0.3, 0.7, len(prompts))
    return z, t, prior.text(list(prompts))


def test_a_sum_is_the_weighted_mean_of_opinions():
    one, two_ = two()
    prior = composed(one, two_, weights=[1.0, 3.0])
    z, t, text = asked(prior, "0", "1 and 2")
    each = [part.eps(z, t, part.text(["0", "1 and 2"])) for part in (one, two_)]
    torch.testing.assert_close(prior.eps(z, t, text), (each[0] + 3 * each[1]) / 4, rtol=0, atol=1e-12)
    twice = composed(one, one)
    assert torch.equal(twice.eps(z, t, twice.text(["0", "1 and 2"])), one.eps(z, t, one.text(["0", "1 and 2"])))


def test_a_product_adds_what_experts_know_beyond_nothing():
    one, two_ = two()
    prior = composed(one, two_, how="product", weights=[1.0, 0.5])
    z, t, text = asked(prior, "0", "2")
    a, b = (part.eps(z, t, part.text(["0", "2"])) for part in (one, two_))
    free = two_.eps(z, t, two_.text(["", ""]))
    torch.testing.assert_close(prior.eps(z, t, text), a + 0.5 * (b - free), rtol=0, atol=1e-12)


def test_superposition_is_the_exact_score_of_the_mixture_of_densities():
    """eps = -sigma grad log sum_i w_i p_i(z), by autograd of the parts' own log densities."""
    one, two_ = two()
    prior = composed(one, two_, how="superposition", weights=[1.0, 2.0])
    z, t, text = asked(prior, "0 and 1", "2")
    x = z.clone().requires_grad_()
    logs = [part.log_density(x, t, part.text(["0 and 1", "2"])) for part in (one, two_)]
    total = torch.logsumexp(torch.stack([logs[0], logs[1] + torch.tensor(2.0, dtype=DOUBLE).log()]), 0).sum()
    sigma = one.alpha_sigma(t)[1].double()[:, None, None, None]
    torch.testing.assert_close(prior.eps(z, t, text), -sigma * torch.autograd.grad(total, x)[0], rtol=0, atol=1e-7)


def test_every_region_has_its_own_prior():
    one, two_ = two()
    prior = composed(one, two_, how="regions")
    z, t, text = asked(prior, "0")
    labels = torch.zeros(1, 2, 2, 3)
    labels[0, 0, :, 0] = 1  # above object 0, below left object 1, below right nothing
    labels[0, 1, 0, 1] = labels[0, 1, 1, 2] = 1
    blank = torch.zeros(1, 2, 2, 1)
    eps = prior.eps(z, t, text, render=Render(blank.expand(-1, -1, -1, 3), blank, blank, labels=labels))
    a, b = (part.eps(z, t, part.text(["0"])) for part in (one, two_))
    torch.testing.assert_close(eps[:, :, 0], a[:, :, 0])
    torch.testing.assert_close(eps[:, :, 1, 0], b[:, :, 1, 0])
    torch.testing.assert_close(eps[:, :, 1, 1], a[:, :, 1, 1])
    with pytest.raises(Mistake, match="0 labelled objects"):
        prior.eps(z, t, text)


@pytest.mark.parametrize("settings, says", [
    ({"priors": [{"type": "mixture"}]}, "1 priors"),
    ({"priors": [{"type": "mixture"}] * 2, "weights": [1.0]}, "do not make one"),
    ({"priors": [{"type": "mixture"}, {"type": "mixture", "size": 4}]}, "do not agree on size"),
    ({"priors": [{"type": "mixture"}, {"type": "mixture", "form": "flow"}]}, "how noisy"),
    ({"priors": [{"type": "mixture"}, {"type": "mixtur"}]}, "there is no prior 'mixtur'"),
    ({"priors": [{"type": "mixture"}, {"type": "mixture", "sise": 4}]}, "unknown key 'sise'"),
    ({"priors": [{"type": "mixture"}, {"type": "controlnet"}]}, "nets is missing"),
    ({"priors": [{"type": "mixture"}, {"type": "mixture", "size": "x"}]}, "prior 1: size: expected"),
    ({"priors": [{"type": "exact"}] * 2, "how": "superposition"}, "does not know its density"),
])  # fmt: skip
def test_what_does_not_make_one_is_said(settings, says):
    with pytest.raises(Mistake, match=says):
        build.make("priors", {"type": "composed", **settings})


def test_it_serves_an_ordinary_recipe():
    parts = [{"type": "exact", "size": 16, "renders": 8, "others": 8, "instances": 1},
             {"type": "exact_joint", "size": 16, "instances": 2, "others": 2}]  # fmt: skip
    found = config.load("sds-gaussian", ["prompt=a red car", "steps=10", "renderer.count=20"],
                        settings={"prior": {"type": "composed", "priors": parts, "weights": [1.0, 0.5]}})  # fmt: skip
    system = assemble.stage(found.stages[0], 0, "cpu", 0, 0)
    assert system.step(0).scalars["gradient/rgb"] > 0
    z, text = torch.randn(2, 3, 16, 16), system.terms[0].guidance.prior.text(["a red car", "a red car"])
    assert system.terms[0].guidance.prior.student(rank=1).eps(z, torch.full((2,), 0.5), text, ring(2)).isfinite().all()
