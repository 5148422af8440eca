"""Every file found in renderers/ and dream3d/priors/ keeps the contract of its interface."""

import pytest
import torch

from dream3d import build
from dream3d.cameras import ring
from dream3d.interfaces import Prior, Representation
from dream3d.optim import Adam
from dream3d.types import Field, Mesh, Points, Step

PAIR = {"objects": [{"name": "ball"}, {"name": "cube"}], "relations": ["ball on cube"]}
SETTINGS = {"composed": {"layout": PAIR, "object": {"type": "gaussians", "count": 20}},
            "exact": {"size": 16, "renders": 8, "others": 16, "instances": 1}, "gaussians": {"count": 40},
            **dict.fromkeys(("nerf", "hashgrid", "voxels", "triplane"), {"samples": 12, "grid": 16, "occupancy": 8}),
            "exact_joint": {"size": 16, "instances": 2, "others": 2},
            "personal": {"size": 16, "renders": 8, "others": 16, "instances": 2}}  # fmt: skip
PROMPTS = {"exact_joint": ["a red car", "a duck, side view", ""],
           "personal": ["a red car", "a duck, side view", ""],
           "exact": ["a red car", "a duck, side view", ""], "mixture": ["0", "1 and 2", ""]}  # fmt: skip
ALONE = {name: build.signature("priors", name).parameters for name in build.available("priors")}
PRIORS = [name for name, known in ALONE.items()  # the rest, which need a model or other priors: tests/priors; none: tests/test_convert
          if name != "none" and "model" not in known and all(default is not build.MISSING for _, default in known.values())]


def representation(name: str) -> Representation:
    return build.make("renderers", {"type": name, **SETTINGS.get(name, {})}, torch.Generator().manual_seed(0))


def prior(name: str) -> Prior:
    return build.make("priors", {"type": name, **SETTINGS.get(name, {})})


@pytest.mark.parametrize("name", build.available("renderers"))
def test_a_representation_draws_learns_and_continues(name):
    scene, now, cameras = representation(name), Step.make(0, 10, 0), ring(3, size=20)
    render = scene.render(cameras, now)
    for buffer in render.buffers().values():
        assert buffer.shape[:3] == (3, 20, 20) and buffer.isfinite().all() and buffer.dtype == torch.float32
    assert render.alpha.min() >= 0 and render.alpha.max() <= 1 and render.rgb.min() >= 0 and render.rgb.max() <= 1
    (render.rgb * torch.rand(render.rgb.shape, generator=now.rng)).sum().backward()
    groups, before = scene.groups(now), {k: v.clone() for k, v in scene.state().items()}
    assert len({g.name for g in groups}) == len(groups) and all(g.lr > 0 for g in groups)
    assert Adam().step(groups)
    assert any(not torch.equal(v, before[k]) for k, v in scene.state().items())

    other = representation(name)
    other.restore({k: v.clone() for k, v in scene.state().items()})
    assert torch.equal(other.render(cameras).rgb, scene.render(cameras).rgb)


@pytest.mark.parametrize("name", build.available("renderers"))
def test_a_representation_hands_over_without_a_graph(name):
    handed = representation(name).handover()
    assert isinstance(handed, Points | Mesh | Field)
    tensors = [v for v in vars(handed).values() if isinstance(v, torch.Tensor)]
    assert tensors and not any(v.requires_grad for v in tensors)


@pytest.mark.parametrize("name", build.available("renderers"))
def test_the_same_seed_starts_the_same_scene(name):
    a, b = (representation(name).state() for _ in range(2))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_answers_in_the_language_of_the_house(name):
    made, t = prior(name), torch.tensor([0.1, 0.5, 0.9])
    text, spec = made.text(PROMPTS[name]), made.spec
    alpha, sigma = made.alpha_sigma(t)
    if not spec.flow:
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(3))
    assert (alpha.diff() < 0).all() and (sigma.diff() > 0).all()
    x = torch.randn(3, spec.channels, spec.size, spec.size, generator=torch.Generator().manual_seed(0))
    eps = made.eps(x, t, text)
    assert eps.shape == x.shape and eps.dtype == torch.float32 and eps.isfinite().all()
    assert not any(p.requires_grad for p in made.parameters())
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(made.eps(x[order], t[order], text.at(order)), eps[order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", PRIORS)
def test_a_student_starts_as_its_prior_and_leaves_it_alone(name):
    made = prior(name)
    text, t = made.text(PROMPTS[name]), torch.tensor([0.1, 0.5, 0.9])
    x = torch.randn(3, made.spec.channels, made.spec.size, made.spec.size, generator=torch.Generator().manual_seed(0))
    before, student = made.eps(x, t, text), made.student(rank=4)
    torch.testing.assert_close(student.eps(x, t, text), before, atol=1e-5, rtol=1e-4)
    learnt = [p for p in student.parameters() if p.requires_grad]
    loss = student.eps(x, t, text, ring(3)).square().sum()
    for p, g in zip(learnt, torch.autograd.grad(loss, learnt, allow_unused=True), strict=True):
        if g is not None:
            p.data -= 0.01 * g
    assert not torch.allclose(student.eps(x, t, text, ring(3)), before) and torch.equal(made.eps(x, t, text), before)


@pytest.mark.parametrize("name", PRIORS)
def test_pictures_go_in_and_out(name):
    made = prior(name)
    image = torch.rand(2, 2 * made.spec.size, 2 * made.spec.size, 3, generator=torch.Generator().manual_seed(1))
    x = made.encode(image)
    assert x.shape == (2, made.spec.channels, made.spec.size, made.spec.size) and x.abs().max() <= 1 + 1e-5
    torch.testing.assert_close(made.decode(x).mean((1, 2)), image.mean((1, 2)), atol=1e-2, rtol=0)
    torch.testing.assert_close(made.encode(made.decode(x)), x)
