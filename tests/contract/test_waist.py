"""The waist serves every case with no branch: cut buffers and one walk through the renderer equal one joint backward."""

import pytest
import torch
from dream3d.systems.text_to_3d import TextTo3D

from dream3d import assemble, build, config
from dream3d.background import Solid
from dream3d.cameras import look_at
from dream3d.errors import Mistake
from dream3d.optim import Adam, clip_pixels
from dream3d.options import Words
from dream3d.penalties import Penalties
from dream3d.prompt import Prompt
from dream3d.schedule import Ramp
from dream3d.sees import SEES
from dream3d.term import Term
from dream3d.types import Step

B = 4


def rig(role=None, subject=None, count=B):
    def sample(now):
        return look_at(torch.linspace(-2, 2, count), torch.zeros(count), size=16, role=role, subject=subject)

    return sample


def term(guidance, **settings):
    return Term(guidance, Prompt(guidance.prior, ["a toy"], "", Words()), **settings)


def pulled(scene, terms, cameras, *, penalties=None, clip=None):
    """The gradient on theta that one step of the real system uses."""
    caught = {}

    class Catch(Adam):
        def step(self, groups):
            caught.update({g.name: None if g.tensor.grad is None else g.tensor.grad.clone() for g in groups})
            return super().step(groups)

    TextTo3D(scene, terms, cameras, Solid(), Catch(), Penalties(penalties or {}), clip, 10, 0).step(0)
    return caught["theta"]


def joint(scene, loss, cameras):
    """The gradient of an ordinary loss through the whole graph, for comparison."""
    now = Step.make(0, 10, 0)
    rig_now = cameras(now)
    render = Solid()(scene.render(rig_now, now), rig_now, now)
    return torch.autograd.grad(loss(render, rig_now), scene.theta)[0]


def half_square(x, target=0.3):
    return 0.5 * (x - target).square().sum()


@pytest.mark.parametrize("sees", [name for name in SEES if name not in ("normal+alpha", "features") and "rgb+" not in name])
def test_step_equals_joint_backward_when_nothing_is_clipped(toy_scene, toy_prior, towards, sees):
    prior = toy_prior()
    expected = joint(toy_scene(), lambda render, _: half_square(SEES[sees](render, prior.encode)) / B, rig())
    torch.testing.assert_close(pulled(toy_scene(), [term(towards(prior), sees=sees)], rig()), expected)


def test_two_priors_on_two_buffers_with_one_of_them_clipped(toy_scene, toy_prior, towards):
    a, b = toy_prior(4), toy_prior(2)
    terms = [term(towards(a), weight=Ramp(2.0)), term(towards(b), sees="normal")]
    scene, now = toy_scene(), Step.make(0, 10, 0)
    cameras = rig()(now)
    seen = Solid()(scene.render(cameras), cameras, now).cut()
    (2 * half_square(a.encode(seen.rgb)) + half_square(SEES["normal"](seen, b.encode))).backward()
    limit = {"normal": seen.normal.grad.abs().amax().item() / 3}
    whole = Solid()(scene.render(cameras), cameras, now)
    clipped = clip_pixels(seen.gradients(), limit)
    assert not torch.equal(clipped["normal"], seen.normal.grad) and torch.equal(clipped["rgb"], seen.rgb.grad)
    whole.backward(clipped)
    got = pulled(toy_scene(), terms, rig(), clip={k: Ramp(v) for k, v in limit.items()})
    torch.testing.assert_close(got, scene.theta.grad)


def test_photo_loss_on_its_own_view(toy_scene, toy_prior, towards):
    role = ("front", "any", "any", "any")
    photo = term(towards(toy_prior(), pixel=True), views="front")
    expected = joint(toy_scene(), lambda render, _: half_square(render.rgb[:1]) / B, rig(role))
    torch.testing.assert_close(pulled(toy_scene(), [photo], rig(role)), expected)
    assert photo.guidance.seen.cameras.role == ("front",) and len(photo.guidance.seen.x) == 1


def test_a_role_nobody_shows_pulls_nothing(toy_scene, toy_prior, towards):
    assert pulled(toy_scene(), [term(towards(toy_prior()), views="back")], rig(("front",) * B)) is None


def test_source_render_is_seen_and_never_optimised(toy_scene, toy_prior, towards):
    scene, prior = toy_scene(), toy_prior()
    scene.edited = True
    twin = toy_scene()
    twin.edited = True
    expected = joint(
        twin, lambda r, _: half_square(prior.encode(r.rgb), prior.encode(r.source.rgb).detach()) / B, rig()
    )
    torch.testing.assert_close(pulled(scene, [term(towards(prior))], rig()), expected)


def test_latent_features_need_no_encoder(toy_scene, toy_prior, towards):
    expected = joint(toy_scene(), lambda render, _: half_square(render.features) / B, rig())
    torch.testing.assert_close(pulled(toy_scene(), [term(towards(toy_prior()), sees="features")], rig()), expected)


def test_normal_and_alpha_as_a_latent(toy_scene, toy_prior, towards):
    see = SEES["normal+alpha"]
    expected = joint(toy_scene(), lambda render, _: half_square(see(render, toy_prior().encode)) / B, rig())
    got = term(towards(toy_prior()), sees="normal+alpha")
    torch.testing.assert_close(pulled(toy_scene(), [got], rig()), expected)
    assert got.guidance.seen.x.shape == (B, 4, 2, 2)


@pytest.mark.parametrize("sees", ["rgb+depth", "rgb+alpha"])
def test_colour_and_a_fourth_channel(toy_scene, toy_prior, towards, sees):
    prior = toy_prior(4, inputs=4)
    expected = joint(toy_scene(), lambda render, _: half_square(SEES[sees](render, prior.encode)) / B, rig())
    torch.testing.assert_close(pulled(toy_scene(), [term(towards(prior), sees=sees)], rig()), expected)


def test_grid_makes_one_row_of_four_views(toy_scene, toy_prior, towards):
    got = term(towards(toy_prior()), sees="grid")
    pulled(toy_scene(), [got], rig(count=8))
    assert got.guidance.seen.x.shape == (2, 4, 16, 16) and len(got.guidance.seen.cameras) == 2
    assert len(got.guidance.seen.text["text"]) == 2 and len(got.guidance.seen.render) == 2


def test_particles_are_subjects(toy_scene, toy_prior, towards):
    subject = torch.tensor([0, 2, 0, 2])
    got = pulled(toy_scene(subjects=3), [term(towards(toy_prior()))], rig(subject=subject))
    assert got[1].abs().sum() == 0 and (got[[0, 2]].abs().sum((1, 2, 3)) > 0).all()


def test_penalties_alone_move_the_scene(toy_scene):
    weights = {"opacity": Ramp(0.5), "scale": Ramp(2.0)}
    expected = joint(
        toy_scene(), lambda r, _: 0.5 * r.extras["opacity"].sum() + 2 * r.extras["scale"].amax(-1).sum(), rig()
    )
    torch.testing.assert_close(pulled(toy_scene(), [], rig(), penalties=weights), expected)


def test_a_mix_of_buffers_is_drawn_by_probability(toy_scene, toy_prior, towards):
    got = term(towards(toy_prior()), sees={"rgb": 0.5, "normal": 0.5})
    shown = set()
    for index in range(40):  # both appear unless a fair coin falls 40 times the same way: error rate 2e-12
        now = Step.make(index, 40, 0)
        cameras = rig()(now)
        seen = toy_scene().render(cameras).cut()
        got.pull(seen, cameras, now)
        shown |= set(seen.gradients())
    assert shown == {"rgb", "normal"}


def test_chunks_change_nothing(toy_scene, toy_prior, towards):
    whole = pulled(toy_scene(), [term(towards(toy_prior()))], rig())
    torch.testing.assert_close(pulled(toy_scene(), [term(towards(toy_prior()), chunk=3)], rig()), whole)


def test_chunks_bring_their_own_cameras_and_text(toy_scene, toy_prior, towards):
    def told(chunk):
        got, seen = term(towards(toy_prior()), chunk=chunk), []
        real = got.guidance.gradient
        got.guidance.gradient = lambda view, now: (seen.append(view), real(view, now))[1]
        pulled(toy_scene(), [got], rig())
        assert [len(v.x) for v in seen] == ([3, 1] if chunk else [B])
        parts = [(v.x, v.render.rgb, v.cameras.azimuth, v.text["text"].tokens) for v in seen]
        return [torch.cat(column) for column in zip(*parts, strict=True)]

    whole = told(None)
    assert torch.equal(whole[2], torch.linspace(-2, 2, B)) and len(set(whole[3].flatten().tolist())) == 2
    for got, expected in zip(told(3), whole, strict=True):
        torch.testing.assert_close(got, expected)


def test_the_salt_of_a_stage_and_a_retry_reaches_every_draw(toy_scene):
    found, drawn = config.load("sds-gaussian", ["prompt=0", "prior=mixture", "renderer={type: plane}"]), []

    def sample(now):
        drawn.append(now.uniform(1).item())
        return rig()(now)

    for number, attempt in ((0, 0), (1, 0), (0, 1), (1, 1)):
        system = assemble.stage(found.stages[0], 0, "cpu", number, attempt)
        TextTo3D(toy_scene(), [], sample, Solid(), Adam(), Penalties({}), None, 10, 0, system.salt).step(0)
    assert len(set(drawn)) == 4


PLUGIN = """from dataclasses import dataclass
from typing import ClassVar

from dream3d.interfaces import Guidance


@dataclass(eq=False)
class Wishful(Guidance):
    needs: ClassVar[frozenset[str]] = frozenset({"telepathy"})

    def gradient(self, view, now):
        return 0 * view.x
"""


def test_a_guidance_that_needs_more_than_its_prior_offers_is_refused(tmp_path, monkeypatch):
    (tmp_path / "wishful.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(build, "plugins", {})
    build.add_plugin("wishful")
    found = config.load("sds-gaussian", ["prompt=0", "prior=mixture", "guidance=wishful"])
    with pytest.raises(Mistake, match="needs telepathy"):
        assemble.stage(found.stages[0], 0, "cpu", 0, 0)


def test_clamp_limits_the_gradient_on_x(toy_scene, toy_prior, towards):
    prior = toy_prior()
    clamped = term(towards(prior), clamp=Ramp(0.1))
    expected = joint(toy_scene(), lambda r, _: _huber(prior.encode(r.rgb) - 0.3) / B, rig())
    torch.testing.assert_close(pulled(toy_scene(), [clamped], rig()), expected)


def _huber(residual):
    return torch.where(residual.abs() < 0.1, residual**2 / 2, 0.1 * residual.abs()).sum()


def test_the_guidance_sees_no_graph(toy_scene, toy_prior, towards):
    got = term(towards(toy_prior()))
    pulled(toy_scene(), [got], rig())
    view = got.guidance.seen
    assert not view.x.requires_grad and not any(b.requires_grad for b in view.render.buffers().values())
