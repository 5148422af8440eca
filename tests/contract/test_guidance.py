"""Every file found in guidance/ keeps the contract, on every prior that can serve it: shape, precision, randomness from the step alone,
no view that hears of another, a student that never meets the scene, and a state that continues bit for bit."""

import dataclasses
import math

import pytest
import torch

from dream3d import build, checkpoint, claims, needs
from dream3d.cameras import look_at
from dream3d.interfaces import Spec
from dream3d.options import Words
from dream3d.priors._residual import Residual
from dream3d.prompt import Prompt
from dream3d.types import Condition, Render, Step, View

PRIORS = {"mixture": {"size": 8, "subjects": 2}, "exact": {"size": 16, "renders": 8, "others": 16, "instances": 1}}
WORDS = {"mixture": ("0", "1"), "exact": ("a red car", "a duck"), "latent": ("a red car", "a duck")}
SETTINGS = {"photo": {"image": "red-car.png"}}  # without which a formula cannot be built
SCENE = {"labels"}  # what the views here show, whatever the prior
TOGETHER = {"mvsds", "mv_video_sds", "video_sds", "grid_sds"}  # formulas over the views of a group


def prior_named(name, toy_prior):
    if name != "latent":
        return build.make("priors", {"type": name, **PRIORS[name]})

    class Latent(toy_prior):
        def __init__(self, bias=0.0):
            super().__init__()
            self.bias = bias

        def eps(self, *inputs):
            return super().eps(*inputs) + self.bias

        def student(self, *, rank):
            return Residual(self, channels=4 * rank)

    made = Latent()
    made.original = Latent(bias=0.1)
    made.spec = Spec(
        8,
        4,
        "latent",
        capabilities=frozenset({"student", "original", "depth", "inpaint", "first_frame", "views", "video"}),
    )
    return made


@pytest.fixture(params=[*PRIORS, "latent"])
def prior(request, toy_prior):
    made = prior_named(request.param, toy_prior)
    made.words = WORDS[request.param]
    return made


def view_of(made, count=4, seed=0, dtype=torch.float32):
    """Views all around, of two subjects, with every row and buffer that a formula may ask for, as it sees them; two frames where it
    is about what follows the first."""
    rng, frames = torch.Generator().manual_seed(seed), 2 if "first_frame" in made.needs else 1
    azimuth = torch.arange(count) * (2 * math.pi / count)
    cameras = look_at(azimuth, torch.full((count,), 0.2), size=16, subject=torch.arange(count) % 2, frames=frames)
    text = Prompt(made.prior, list(made.prior.words), "", Words(views=False))(cameras)
    rows = {"source": text["bare"], "region/0": text["text"], "region/1": text["empty"]}
    rgb, alpha = torch.rand(count, 16, 16, 3, generator=rng), torch.ones(count, 16, 16, 1)
    labels = torch.rand(count, 16, 16, 3, generator=rng)
    render = Render(rgb.to(dtype), alpha, 3 * alpha, labels=labels / labels.sum(-1, keepdim=True))
    x, source = (made.encode(image.float()).to(dtype) for image in (render.rgb, 1 - render.rgb))
    words = dict.fromkeys(("text", "bare"), ("a red car", "a duck") * (count // 2))
    return View(x, render, cameras, Condition({**text.rows, **rows}, words=words), source)


def guidance(name, prior):
    """Built as a run builds it; skipped where the prior cannot serve it (every one is served by some prior, see below)."""
    needs = build.load(build.signature("guidance", name)).needs
    if needs - prior.spec.capabilities - SCENE:
        pytest.skip(f"{name} needs {', '.join(sorted(needs))}")
    return build.make("guidance", {"type": name, **SETTINGS.get(name, {})}, prior)


def serving(name, toy_prior):
    """The first prior that can."""
    needed = build.load(build.signature("guidance", name)).needs - SCENE
    made = next(p for kind in (*PRIORS, "latent") if needed <= (p := prior_named(kind, toy_prior)).spec.capabilities)
    made.words = WORDS["latent" if made.spec.space == "latent" else "mixture" if made.spec.size == 8 else "exact"]
    return made


class Still(Step):
    """No noise, and the middle of every window: what is left depends on each view alone."""

    def normal(self, *shape, device="cpu"):
        return torch.zeros(*shape, device=device)

    def uniform(self, *shape, device="cpu"):
        return torch.full(shape, 0.5, device=device)

    def fixed(self, name, *shape, device="cpu"):
        return torch.zeros(*shape, device=device)


def still(index=30):
    return Still(index, 100, 0, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", build.available("guidance"))
def test_the_gradient_is_one_of_x(name, prior):
    view = view_of(made := guidance(name, prior))
    before = view.x.clone()
    made.gradient(view, now := Step.make(2, 100, 0))
    made.learn(now)  # what compares a prior with its student may rest at first, while they are equal
    g = made.gradient(view, Step.make(3, 100, 0))
    assert g.shape == view.x.shape and g.dtype == view.x.dtype and g.isfinite().all() and not g.requires_grad
    assert torch.equal(view.x, before) and g.abs().max() > 0


@pytest.mark.parametrize("name", build.available("guidance"))
def test_all_randomness_is_the_steps(name, prior):
    state = torch.get_rng_state()
    one, two = (
        made.gradient(view_of(made), Step.make(3, 100, 5)) for made in (guidance(name, prior) for _ in range(2))
    )
    assert torch.equal(one, two) and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", [n for n in build.available("guidance") if n not in TOGETHER])
def test_no_view_hears_of_another(name, prior):
    made, order = guidance(name, prior), torch.tensor([2, 0, 3, 1])
    view = view_of(made)
    together = made.gradient(view, still())
    near = {"rtol": 0, "atol": 1e-3 * together.abs().max().item()}  # sums of another order, sharpened by a softmax
    torch.testing.assert_close(made.gradient(view.at(order), still()), together[order], **near)
    torch.testing.assert_close(made.gradient(view.at(order[:1]), still()), together[order[:1]], **near)


@pytest.mark.parametrize("name", build.available("guidance"))
def test_learning_stays_on_its_own_side_and_continues(name, prior, tmp_path):
    torch.manual_seed(0)
    made, again = (guidance(name, prior) for _ in range(2))
    if not made.state():
        pytest.skip(f"{name} learns nothing")
    frozen = {k: v.clone() for k, v in prior.state_dict().items()}
    view = view_of(made)
    for index in range(3):
        now = Step.make(index, 100, 0)
        made.gradient(view, now)
        made.learn(now)
        if index == 1:
            checkpoint.save(tmp_path, index, made.state(), {})
    assert all(torch.equal(v, frozen[k]) for k, v in prior.state_dict().items())
    again.restore(checkpoint.newest(tmp_path)[1])
    now = Step.make(2, 100, 0)
    again.gradient(view, now)
    again.learn(now)
    later = Step.make(3, 100, 0), Step.make(3, 100, 0)
    assert torch.equal(made.gradient(view, later[0]), again.gradient(view, later[1]))


@pytest.mark.parametrize("name", build.available("guidance"))
def test_some_part_offers_what_it_needs(name):
    needed = build.load(build.signature("guidance", name)).needs
    assert needed == (build.signature("guidance", name).needs or frozenset())
    assert all(needs.givers(need) for need in needed), needed


@pytest.mark.parametrize("name", build.available("guidance"))
def test_it_heeds_perp_neg_or_says_that_it_does_not(name, toy_prior):
    made = guidance(name, prior := serving(name, toy_prior))
    view, asked = view_of(made), []
    rows = {"front": view.text["bare"], "side": view.text["empty"]}
    for perp in ({}, dict.fromkeys(rows, -torch.ones(4))):
        text = Condition(view.text.rows | rows, perp, view.text.words)
        before = prior.evaluations
        made.gradient(dataclasses.replace(view, text=text), Step.make(3, 100, 0))
        asked.append(prior.evaluations - before)
    assert (asked[1] > asked[0]) == build.load(build.signature("guidance", name)).perp_neg


@pytest.mark.parametrize("catalogue", ["priors", "renderers"])
def test_what_a_part_offers_is_what_it_has(catalogue):
    for name in build.available(catalogue):
        found = build.signature(catalogue, name)
        assert build.load(found).offers == (found.offers or {})
    settings = [{"type": "exact"}, {"type": "exact", "camera": 20.0}, {"type": "mixture"}, {"type": "personal"}, {"type": "exact_joint"},
                {"type": "exact_joint", "views": 4}, {"type": "exact_joint", "buffers": "rgb+depth"}]  # fmt: skip
    for given in settings:
        found = build.signature("priors", given["type"])
        own = {k: v for k, (_, v) in found.parameters.items()} | given
        assert build.make("priors", given).spec.capabilities == claims.offered(found.offers, own)


def test_a_new_file_is_found(tmp_path, monkeypatch):
    import dream3d

    (tmp_path / "guidance").mkdir()
    text = (build.place("guidance") / "sds.py").read_text(encoding="utf-8").replace("class SDS", "class Mine")
    before = build.available("guidance")
    (tmp_path / "guidance" / "mine.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(dream3d, "__path__", [*dream3d.__path__, str(tmp_path)])
    assert set(build.available("guidance")) - set(before) == {"mine"}
