"""What a guidance learns stays its own: nothing of it reaches the scene or the prior, nothing of the scene's walk reaches it, and a state
continues it bit for bit, through a checkpoint too."""

import dataclasses

import pytest
import torch
from dream3d.guidance.esd import ESD
from dream3d.guidance.f_distill import FDistill
from dream3d.guidance.pgsd import PGSD
from dream3d.guidance.random_cfg import RandomCFG
from dream3d.guidance.sid import SiD
from dream3d.guidance.vsd import VSD

from dream3d import assemble, build, check, checkpoint, config
from dream3d.diffusion import predict
from dream3d.errors import Mistake
from dream3d.learner import Learner
from dream3d.priors.exact import Exact
from dream3d.priors.mixture import Mixture
from dream3d.types import Step

DOUBLE = torch.float64
FORMULAS = [VSD, ESD, RandomCFG, SiD, FDistill, PGSD]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def two(**more):
    made = Mixture.of(draw(2, 1, 4, 4), 0.5, **more)
    made.original = Mixture.of(draw(2, 1, 4, 4, seed=1), 0.5, **more)
    made.spec = dataclasses.replace(made.spec, capabilities=made.spec.capabilities | {"original"})
    return made


def small():
    return Exact(size=8, instances=1, renders=5, others=5)


def view_of(kit, prior, count=4, seed=2, **more):
    rows = {"text": "0", "bare": "0", "negative": "1"} if isinstance(prior, Mixture) else {"text": "a red car", "bare": "a red car"}
    x = draw(count, prior.spec.channels, prior.spec.size, prior.spec.size, seed=seed)
    return kit.view_of(prior, x if isinstance(prior, Mixture) else x.float(), kit.seen_from(count, prior.spec.size, **more), **rows)


def learner(prior, *, rank=2, **more):
    return Learner(prior, prior.student(rank=rank), **{"lr": 0.01, **more})


def copied(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("formula", FORMULAS)
def test_two_worlds_of_gradients(kit, formula):
    """`learn` never touches the scene's gradients, `gradient` never the student's; the prior has none, and changes in nothing."""
    prior = two()
    guidance, view = formula(prior), view_of(kit, prior)
    before, leaf = copied(prior), view.x.requires_grad_()
    networks = [guidance.phi.student, *([guidance.critic.network] if formula is FDistill else [])]
    learnt = [p for network in networks for p in network.parameters() if p.requires_grad]
    start = [p.detach().clone() for p in learnt]
    for index in range(3):
        g = guidance.gradient(view, now := kit.step(index))
        assert not g.requires_grad and leaf.grad is None and all(p.grad is None for p in learnt)
        assert index > 0 or all(torch.equal(p, q) for p, q in zip(learnt, start, strict=True))
        leaf.grad = torch.ones_like(leaf)  # what the scene's walk may have left there
        guidance.learn(now)
        assert torch.equal(leaf.grad, torch.ones_like(leaf)) and all(p.grad is None for p in learnt)
        leaf.grad = None
    assert any(not torch.equal(p, q) for p, q in zip(learnt, start, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in prior.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in prior.parameters())


def run(kit, guidance, x, steps):
    """A scene of one tensor, moved by plain descent."""
    for index in steps:
        view = dataclasses.replace(view_of(kit, guidance.prior), x=x)
        x = x - 0.1 * guidance.gradient(view, now := kit.step(index))
        guidance.learn(now)
    return x


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_run_continues_bit_for_bit(kit, formula, tmp_path):
    """Ten steps, and six of them, a checkpoint, a new process's worth of objects and four more, end in the same bytes; restoring twice
    from one state, and from one that has not learnt yet, too."""
    x = draw(4, 1, 4, 4, seed=3)
    whole = formula(two())
    fresh = checkpoint.read(checkpoint.save(tmp_path, 0, {"g": whole.state()}, {}))[1]["g"]
    end = run(kit, whole, x, range(10))
    half = formula(two())
    middle = run(kit, half, x, range(6))
    saved = checkpoint.read(checkpoint.save(tmp_path, 6, {"g": half.state(), "x": middle}, {"step": 6}))[1]
    run(kit, half, middle, range(6, 8))  # what goes on elsewhere does not matter
    for _ in range(2):
        again = formula(two())
        again.restore(saved["g"])
        assert torch.equal(run(kit, again, saved["x"], range(6, 10)), end)
    again.restore(fresh)
    assert torch.equal(run(kit, again, x, range(10)), end)


def test_restoring_shares_nothing():
    one, two_ = learner(two()), learner(two())
    one.owned.descend([one.student.means.square().sum()])
    two_.restore(one.state())
    kept = {name: value.clone() for name, value in two_.state()["parameters"].items()}
    one.owned.descend([one.student.means.square().sum()])
    assert all(torch.equal(value, kept[name]) for name, value in two_.state()["parameters"].items())
    moments = [next(iter(made.state()["moments"].values()))["exp_avg"] for made in (one, two_)]
    assert not torch.equal(*moments)


def test_the_base_is_shared(kit):
    """By reference, never as a copy: what is the student's own is less than a tenth of the prior, and only that is saved."""
    prior = Exact(size=16, instances=1, renders=50, others=50)
    view = view_of(kit, prior)
    prior.eps(view.x, torch.full((4,), 0.5), view.text["text"])
    made = learner(prior, rank=4)
    assert made.student.base is prior and not any(p.requires_grad for p in prior.parameters())
    own = sum(p.numel() * p.element_size() for p in made.owned.parameters.values())
    base = sum(v.numel() * v.element_size() for parts in prior.libraries.values() for v in vars(parts).values())
    assert 0 < own < base / 10
    assert set(made.state()["parameters"]) == {name for name, _ in made.student.named_parameters()}


def test_rank_zero_learns_only_what_a_camera_means(kit):
    """Its difference to the prior is one colour per view: the same for every pixel and every z, another for another camera."""
    prior = small()
    made, view = learner(prior, rank=0, lr=0.05, inner=20, drop=0.0), view_of(kit, prior)
    made.see(view, now := kit.step())
    made.learn(now)
    t, text, rest = torch.full((4,), 0.5), view.text["bare"], []
    for z in (view.x, -view.x):
        rest.append(made.student.eps(z, t, text, view.cameras) - prior.eps(z, t, text, view.cameras))
    torch.testing.assert_close(*rest, rtol=0, atol=1e-5)
    torch.testing.assert_close(rest[0], rest[0].mean((2, 3), keepdim=True).expand_as(rest[0]), rtol=0, atol=1e-5)
    assert rest[0].mean((1, 2, 3)).std() > 1e-3


def test_it_learns_the_moments_of_what_it_sees(kit):
    """By denoising: a Gaussian student of N(1, 0.8^2), from N(0, 0.5^2)."""
    prior = Mixture.of(torch.zeros(1, 1, 1, 1, dtype=DOUBLE), 0.5)
    made = learner(prior, lr=0.03)
    losses = []
    for index in range(200):
        view = kit.view_of(prior, 1 + 0.8 * draw(128, 1, 1, 1, seed=index), kit.seen_from(128, 1), bare="0")
        made.see(view, now := kit.step(index))
        losses.append(made.learn(now))
    assert made.student.means.item() == pytest.approx(1.0, abs=0.1)
    assert made.student.log_std.exp().item() == pytest.approx(0.8, abs=0.1)
    assert sum(losses[-20:]) < sum(losses[:20])


class Still(Step):
    """No noise, and the middle of every range."""

    def normal(self, *shape, device="cpu"):
        return torch.zeros(*shape, device=device)

    def uniform(self, *shape, device="cpu"):
        return torch.full(shape, 0.5, device=device)


def test_chunks_teach_what_the_whole_teaches(kit):
    """A term may hand over its views in parts, of different sizes too."""
    prior, still = two(), Still(0, 10, 0, torch.Generator())
    view, made = view_of(kit, prior), [learner(prior) for _ in range(3)]
    for one, parts in zip(made, ([[0, 1, 2, 3]], [[0], [1, 2, 3]], [[0]]), strict=True):
        for part in parts:
            one.see(view.at(torch.tensor(part)), still)
        one.learn(still)
    means = [one.student.means.detach() for one in made]
    gradients = [next(iter(one.state()["moments"].values()))["exp_avg"] for one in made]
    assert torch.allclose(means[0], means[1], rtol=0, atol=1e-9)
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-9) and not torch.allclose(gradients[0], gradients[2])


@pytest.mark.parametrize("formula", FORMULAS)
def test_what_was_not_seen_teaches_nothing(kit, formula):
    """No view had the term's role, or the step was skipped after its gradient: the views of an earlier step do not linger."""
    guidance = formula(two())
    start = copied(guidance.phi.student)
    guidance.learn(kit.step(0))
    guidance.gradient(view_of(kit, guidance.prior), kit.step(1))
    guidance.learn(kit.step(2))
    assert guidance.phi.learn(kit.step(3)) == 0.0
    assert all(torch.equal(value, start[name]) for name, value in guidance.phi.student.state_dict().items())


@pytest.mark.parametrize("inner", [1, 3])
def test_inner_steps_are_steps_of_the_optimiser(kit, inner):
    prior = two()
    made = learner(prior, inner=inner)
    made.see(view_of(kit, prior), now := kit.step())
    made.learn(now)
    assert {row["step"].item() for row in made.state()["moments"].values()} == {float(inner)}


@pytest.mark.parametrize("drop", [0.0, 0.1, 1.0])
def test_cameras_are_hidden_as_often_as_asked(kit, drop, monkeypatch):
    """A correct sampler fails for one seed in 10 000; 0 and 1 are never and always."""
    prior, told, n = two(), [], 1500
    made, view = learner(prior, drop=drop, inner=n), view_of(kit, prior)

    def loss(self, view, now, row, cameras):
        told.append(cameras is None)
        return self.student.means.sum() * 0

    monkeypatch.setattr(Learner, "_loss", loss)
    made.see(view, now := kit.step())
    made.learn(now)
    share = sum(told) / n
    assert abs(share - drop) <= kit.bound(1) * (drop * (1 - drop) / n) ** 0.5


def test_the_student_hears_its_cameras(kit):
    """With subjects of their own, only those that were seen have learnt, unless the cameras were hidden."""
    for drop, changed in ((0.0, {1, 2}), (1.0, {0})):
        prior = two(subjects=4)
        made = learner(prior, drop=drop)
        made.see(view_of(kit, prior, 2, subject=torch.tensor([1, 2])), now := kit.step())
        made.learn(now)
        moved = (made.student.means - prior.means).abs().amax((1, 2, 3, 4)) > 1e-6
        assert set(moved.nonzero()[:, 0].tolist()) == changed


def test_a_network_is_differentiated_only_where_asked(kit):
    """`predict` and `Learner.eps` cut the graph unless `graph`; then d eps / dz of a Gaussian is sigma / V^2. Both count."""
    prior = Mixture.of(torch.zeros(1, 1, 2, 2, dtype=DOUBLE), 0.5)
    view, t, made = kit.view_of(prior, draw(3, 1, 2, 2), text="0", bare="0"), torch.full((3,), 0.5, dtype=DOUBLE), learner(prior)
    alpha, sigma = (v[0].item() for v in prior.alpha_sigma(t))
    for ask in (lambda z, **k: predict(prior, z, t, view, "text", "bare", **k), lambda z, **k: made.eps(z, t, view, "bare", "text", **k)):
        before, z = prior.evaluations, view.x.clone().requires_grad_()
        assert not any(eps.requires_grad for eps in ask(z))
        one, other = ask(z, graph=True)
        assert prior.evaluations == before + 12 and torch.equal(one, other)
        (slope,) = torch.autograd.grad(one.sum(), z)
        assert torch.allclose(slope, torch.full_like(slope, sigma / (alpha**2 * 0.25 + sigma**2)), rtol=0, atol=1e-9)


def test_the_exact_prior_is_differentiable(kit):
    """Its Jacobian along a direction is what a small step along it changes, under the student too."""
    prior = small()
    view, t = view_of(kit, prior), torch.full((4,), 0.9)
    z, direction = (0.3 * view.x).requires_grad_(), torch.sign(view.x)
    for network in (prior, prior.student(rank=2)):
        eps = network.eps(z, t, view.text["text"], view.cameras)
        (slope,) = torch.autograd.grad(eps, z, direction)
        ahead, behind = (network.eps(z + h * direction, t, view.text["text"], view.cameras) for h in (1e-2, -1e-2))
        found, expected = (slope * direction).sum(), ((ahead - behind) * direction).sum() / 2e-2
        assert found.item() == pytest.approx(expected.item(), rel=1e-2)


def test_a_prior_without_a_student_is_refused_before_it_is_asked(toy_prior):
    settings = check.stages(config.load("sds-gaussian").values)[0]
    for name in ("vsd", "pgsd"):
        with pytest.raises(Mistake, match="needs .*student"):
            assemble._check_needs(name, build.load(build.signature("guidance", name)), toy_prior(), settings)


@pytest.mark.parametrize("formula, expected", [(VSD, 3), (ESD, 4), (RandomCFG, 4), (PGSD, 2)])
def test_network_evaluations(kit, formula, expected):
    """Per view and step, as the master table counts them: without the student's own training."""
    prior = two()
    guidance = formula(prior)
    guidance.gradient(view_of(kit, prior), now := kit.step())
    guidance.learn(now)
    assert prior.evaluations == expected * 4 and prior.original.evaluations == 0
