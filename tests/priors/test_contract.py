"""Every family of full-size models keeps the contract of priors, on tiny models of the real classes: noise, conversions, the way of the
gradient through the encoder, students, and a few steps of an ordinary recipe."""

import copy

import pytest
import torch

from dream3d import assemble, build, config
from dream3d.cameras import ring
from dream3d.diffusion import add_noise, cfg, x0_from_eps
from dream3d.errors import Mistake
from dream3d.learner import Learner
from dream3d.types import Condition, Embedding, Render, Step, View


@pytest.fixture
def prior(family):
    return build.make("priors", family.settings)


def asked(prior, groups=1, seed=0):
    """z, t, text, cameras and a render for whole groups of views; t is one per group."""
    together = prior.spec.views * prior.spec.frames
    n, make = groups * together, torch.Generator().manual_seed(seed)
    z = torch.randn(n, prior.spec.channels, prior.spec.size, prior.spec.size, generator=make)
    t = (0.2 + 0.6 * torch.rand(groups, generator=make)).repeat_interleave(together)
    text = prior.text(["a red car", "a duck"]).at(torch.arange(groups).repeat_interleave(together) % 2)
    cameras = ring(n, size=16, views=prior.spec.views, frames=prior.spec.frames)
    alpha = torch.rand(n, 16, 16, 1, generator=make)
    render = Render(torch.rand(n, 16, 16, 3, generator=make), alpha, 3 * alpha, torch.rand(n, 16, 16, 3, generator=make),
                    extras={"mask": (alpha > 0.5).float()})  # fmt: skip
    return z, t, text, cameras, render


def test_eps_is_single_precision_and_hears_text_and_time(family, prior):
    z, t, text, cameras, render = asked(prior, 2)
    eps = prior.eps(z, t, text, cameras, render)
    assert eps.shape == z.shape and eps.dtype == torch.float32 and eps.isfinite().all() and not eps.requires_grad
    other = prior.text(["a blue dog"]).at(torch.zeros(len(z), dtype=torch.long))
    assert ((prior.eps(z, t, other, cameras, render) - eps).abs().max() > 1e-6) == family.words
    assert (prior.eps(z, t * 0.5, text, cameras, render) - eps).abs().max() > 1e-6
    assert not any(p.requires_grad for p in prior.parameters())


def test_groups_do_not_hear_of_each_other(prior):
    """The order of a batch is the order of its answers: what Perp-Neg and several views rely on."""
    z, t, text, cameras, render = asked(prior, 3)
    together = prior.spec.views * prior.spec.frames
    order = torch.tensor([2, 0, 1]).repeat_interleave(together) * together + torch.arange(together).repeat(3)
    eps = prior.eps(z, t, text, cameras, render)
    again = prior.eps(z[order], t[order], text.at(order), cameras.at(order), render.at(order))
    torch.testing.assert_close(again, eps[order], rtol=0, atol=2e-5)


def test_noise_is_the_schedulers(family, prior):
    """alpha x + sigma eps against what the pipeline's own scheduler adds at floor(t T)."""
    z, t, *_ = asked(prior, 4)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(add_noise(prior, z, t, noise), family.noised(prior, z, t, noise), rtol=0, atol=1e-5)


def test_a_step_of_the_pipelines_own_scheduler_agrees(family, prior):
    """x0 from our eps is what the scheduler makes of the raw network's answer."""
    z, t, text, cameras, render = asked(prior, 1)
    t = t[:1].expand(len(z))
    ours = x0_from_eps(prior, z, t, prior.eps(z, t, text, cameras, render))
    torch.testing.assert_close(ours, family.x0(prior, z, t, text, cameras, render), rtol=1e-4, atol=1e-4)


def test_the_gradient_through_the_encoder_is_that_of_finite_differences(prior):
    n, seen = prior.spec.frames, 4 if "depth" in prior.spec.capabilities else 3
    image = torch.rand(n, 40, 40, seen, generator=torch.Generator().manual_seed(0)).requires_grad_()
    way = torch.randn(n, 40, 40, seen, generator=torch.Generator().manual_seed(1))
    x = prior.encode(image) if prior.spec.channels in (3, 4) or prior.spec.space == "latent" else pytest.skip("not an image")
    assert x.shape == (n, prior.spec.channels, prior.spec.size, prior.spec.size) and x.dtype == torch.float32
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    (slope,) = torch.autograd.grad((weight * x).sum(), image)
    with torch.no_grad():  # of fourth order: curvature along the way cancels
        far, near, back, last = ((weight * prior.encode(image + h * way)).double().sum().item() for h in (2e-2, 1e-2, -1e-2, -2e-2))
    assert (slope * way).sum().item() == pytest.approx((8 * (near - back) - (far - last)) / 12e-2, rel=1e-2)


def test_an_image_of_other_channels_is_a_mistake(prior):
    """Of a pixel prior the term says so, by its channels."""
    if prior.spec.space == "latent":
        with pytest.raises(Mistake, match="channels, but is shown 5"):
            prior.encode(torch.rand(prior.spec.frames, prior.spec.pixels, prior.spec.pixels, 5))


def test_decoding_undoes_encoding_in_shape(prior):
    x = torch.randn(2 * prior.spec.frames, prior.spec.channels, prior.spec.size, prior.spec.size)
    image = prior.decode(x)
    assert image.shape[1:3] == (prior.spec.pixels, prior.spec.pixels) and image.dtype == torch.float32


# --- students ---------------------------------------------------------------------------------------------------------------------------


def test_a_student_begins_as_its_prior_and_shares_its_tensors(prior):
    z, t, text, cameras, render = asked(prior, 2)
    student = prior.student(rank=2)
    for seen in (cameras, None):
        before = prior.eps(z, t, text, seen, render)
        torch.testing.assert_close(student.eps(z, t, text, seen, render), before, rtol=0, atol=1e-5)
    base = {p.data_ptr() for p in prior.parameters()}
    own = [p for p in student.parameters() if p.requires_grad]
    assert own and not any(p.data_ptr() in base for p in own)
    assert all(p.data_ptr() in base for p in student.parameters() if not p.requires_grad)
    assert sum(p.numel() for p in prior.student(rank=0).parameters() if p.requires_grad) < sum(p.numel() for p in own)


def test_a_student_learns_and_its_prior_does_not_change(prior):
    z, t, text, cameras, render = asked(prior, 2)
    frozen = {k: v.clone() for k, v in prior.state_dict().items()}
    before = prior.eps(z, t, text, cameras, render)
    view = View(z, render, cameras, Condition({"bare": text}))
    made = [Learner(prior, prior.student(rank=2), lr=1e-2, drop=0.0) for _ in range(2)]
    for index in range(3):
        made[0].see(view, now := Step.make(index, 10, 0))
        made[0].learn(now)
        if index == 1:
            made[1].restore(copy.deepcopy(made[0].state()))
    made[1].see(view, now := Step.make(2, 10, 0))
    made[1].learn(now)
    eps = [learner.student.eps(z, t, text, cameras, render) for learner in made]
    assert torch.equal(*eps) and (eps[0] - before).abs().max() > 1e-4
    assert (made[0].student.eps(z, t, text, None, render) - eps[0]).abs().max() > 1e-7  # it has learnt what a camera means
    assert torch.equal(prior.eps(z, t, text, cameras, render), before)
    assert all(torch.equal(v, frozen[k]) for k, v in prior.state_dict().items())
    state = made[0].state()["parameters"]
    assert all("lora_" in name or "camera" in name for name in state)


# --- the ordinary way -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("formula", ["sds", "vsd"])
def test_steps_of_an_ordinary_recipe(family, formula):
    prior = {k: v for k, v in family.settings.items()}
    found = config.load("sds-gaussian", ["prompt=a car", "steps=10", "renderer.count=20", f"guidance={formula}", *family.overrides],
                        settings={"prior": prior})  # fmt: skip
    stage = found.stages[0]
    system = assemble.stage(stage, 0, "cpu", 0, 0)
    before = {k: v.clone() for k, v in system.scene.state_dict().items()}
    logs = [system.step(index) for index in (0, 1)]
    assert not any(log.skipped for log in logs) and logs[0].scalars["gradient/rgb"] > 0
    assert any(not torch.equal(v, before[k]) for k, v in system.scene.state_dict().items())


def test_texts_are_read_from_disk_the_second_time(prior, family, monkeypatch):
    one = getattr(prior, "base", prior).text(["a red car", ""])
    again = build.make("priors", family.settings)
    again = getattr(again, "base", again)
    monkeypatch.setattr(type(again), "_embed", lambda prior, prompts: pytest.fail("the encoder was asked"))
    two = again.text(["", "a red car"])
    for a, b in zip(vars(one.at(torch.tensor([1, 0]))).values(), vars(two).values(), strict=True):
        assert (a is None) == (b is None) and (a is None or torch.equal(a, b))


def test_guidance_is_of_one_kind(prior):
    """uncond + s (cond - uncond), by hand."""
    z, t, text, cameras, render = asked(prior, 1)
    none = prior.text([""]).at(torch.zeros(len(z), dtype=torch.long))
    both = prior.eps(torch.cat([z, z]), torch.cat([t, t]), Embedding.cat([text, none]),
                     cameras.at(torch.arange(len(z)).repeat(2)), render.at(torch.arange(len(z)).repeat(2)))  # fmt: skip
    cond, free = both.chunk(2)
    torch.testing.assert_close(cfg(cond, free, 7.5), free + 7.5 * (prior.eps(z, t, text, cameras, render) - free), rtol=0, atol=1e-4)
