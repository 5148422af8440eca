"""Clips: video SDS and multi-view video SDS against SDS, closed forms on Gaussians and what frames may and may not share.

Identities are exact in double precision; t and noise are drawn in single precision, the same ones on both sides.
"""

import pytest
import torch
from dream3d.guidance.mv_video_sds import MVVideoSDS
from dream3d.guidance.sds import SDS
from dream3d.guidance.video_sds import VideoSDS

from dream3d.diffusion import add_noise, cfg, draw_t, per_view, predict, x0_from_eps
from dream3d.errors import Mistake
from dream3d.interfaces import Prior, Spec
from dream3d.priors.mixture import Mixture
from dream3d.schedule import Ramp, Times
from dream3d.types import Condition, Step, View

DOUBLE, T = torch.float64, Times.parse([0.1, 0.9])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def three(form="eps"):
    return Mixture.of(draw(3, 2, 3, 3), torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE), form=form)


class Clips(Prior):
    """A prior of whole clips: a mixture over `frames` rows as the channels of one x."""

    def __init__(self, frames, channels=2, size=3):
        super().__init__()
        self.frames, self.joint = frames, Mixture.of(draw(3, frames * channels, size, size, seed=7), 0.5)
        self.spec = Spec(size, channels, frames=frames, capabilities=frozenset({"first_frame"}))
        self.asked = []

    def text(self, prompts):
        return self.joint.text(prompts)

    def alpha_sigma(self, t):
        return self.joint.alpha_sigma(t)

    def eps(self, x, t, text, cameras=None, render=None):
        self.asked.append((x, t))
        first = torch.arange(0, len(x), self.frames)
        clips = x.unflatten(0, (-1, self.frames)).flatten(1, 2)
        return self.joint.eps(clips, t[first], text.at(first)).unflatten(1, (self.frames, -1)).flatten(0, 1)

    def student(self, *, rank):
        raise NotImplementedError


def clips(kit, prior, count=6, views=1, frames=3, **rows):
    """`count` rows of x in groups of views x frames; "1" is the prompt."""
    x = draw(count, prior.spec.channels, prior.spec.size, prior.spec.size, seed=1)
    cameras = kit.seen_from(count, prior.spec.size, views=views, frames=frames)
    return kit.view_of(prior, x, cameras, **{"text": "1"} | rows)


def video(prior, **more):
    return VideoSDS(prior, **{"scale": Ramp(7.5), "t": T} | more)


def animate(prior, **more):
    return MVVideoSDS(prior, **{"scale": Ramp(6.0), "t": Times.parse([0.1, 0.5])} | more)


def sds(prior, view, now, t=T, **more):
    return SDS(prior, **{"scale": Ramp(7.5), "t": t} | more).gradient(view, now)


def close(a, b, atol=1e-9):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


class Quiet(Step):
    """A step whose noise is its own mean: where eps is affine in z this gives the expectation of a gradient."""

    def normal(self, *shape, device="cpu"):
        return torch.zeros(*shape, device=device)


def quiet():
    return Quiet(0, 100, 0, torch.Generator().manual_seed(0))


# --- video SDS ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["eps", "v", "flow"])
@pytest.mark.parametrize("gamma", [1.0, 3.0])
def test_a_clip_of_one_frame_is_image_sds(kit, form, gamma):
    prior = three(form)
    view = clips(kit, prior, frames=1)
    close(video(prior, gamma=Ramp(gamma)).gradient(view, kit.step()), sds(prior, view, kit.step()))


@pytest.mark.parametrize("w", ["sds", "uniform", "fantasia3d"])
def test_without_amplification_it_is_sds_on_every_frame(kit, w):
    for prior, frames in ((three(), 3), (Clips(3), 3), (Clips(2), 2)):
        view = clips(kit, prior, frames=frames)
        close(video(prior, w=w).gradient(view, kit.step()), sds(prior, view, kit.step(), w=w))


def test_one_t_per_clip_and_noise_of_its_own_for_every_frame(kit):
    prior = Clips(3)
    view = clips(kit, prior, count=12)
    view = View(torch.zeros_like(view.x), view.render, view.cameras, view.text)
    video(prior).gradient(view, kit.step())
    z, t = prior.asked[0]
    t = t[:12].view(4, 3)
    assert torch.equal(t, t[:, :1].expand(-1, 3)) and len(t[:, 0].unique()) == 4
    noise = z[:12] / per_view(prior.alpha_sigma(t.flatten())[1], z[:12])
    assert torch.pdist(noise.flatten(1)).min() > 1


@pytest.mark.parametrize("views", [1, 2])
def test_amplification_scales_what_differs_from_the_clips_mean(kit, views):
    """gamma keeps every clip's mean gradient and multiplies the rest; gamma 0 pulls all frames alike."""
    prior = three()
    view = clips(kit, prior, count=12, views=views)
    plain = video(prior).gradient(view, kit.step()).unflatten(0, (-1, 3))
    mean = plain.mean(1, keepdim=True)
    for gamma in (0.0, 0.5, 4.0):
        g = video(prior, gamma=Ramp(gamma)).gradient(view, kit.step()).unflatten(0, (-1, 3))
        close(g.mean(1, keepdim=True), mean)
        close(g - mean, gamma * (plain - mean))
    assert (plain - mean).abs().max() > 0.1


def test_a_constant_residual_is_not_changed(kit):
    """Frames that are alike, without noise: there is no motion to amplify."""
    prior = three()
    view = clips(kit, prior)
    view = View(view.x[[0, 0, 0, 3, 3, 3]], view.render, view.cameras, view.text)
    g = [video(prior, gamma=Ramp(gamma)).gradient(view, quiet()) for gamma in (1.0, 10.0)]
    close(*g)
    assert g[0].abs().max() > 0.1


def test_the_expected_gradient_on_a_gaussian(kit):
    """E[g] = w sigma alpha ((x - mu) + (gamma - 1)(x - mean over the clip)) / V^2: amplified motion is amplified curvature."""
    mean, std, gamma = 0.3, 0.5, 2.5
    prior = Mixture.of(torch.full((1, 2, 3, 3), mean, dtype=DOUBLE), std)
    view = clips(kit, prior, text="0", negative="0")
    g = video(prior, gamma=Ramp(gamma), t=Times.parse(0.4), w="uniform").gradient(view, quiet())
    alpha, sigma = prior.alpha_sigma(torch.tensor([0.4]))
    off = view.x - view.x.unflatten(0, (-1, 3)).mean(1).repeat_interleave(3, 0)
    expected = sigma * alpha * (view.x - mean + (gamma - 1) * off) / (alpha**2 * std**2 + sigma**2)
    close(g, expected, 1e-6)  # alpha and sigma are single precision here


def test_a_still_scene_is_pulled_by_the_sum_over_frames(kit):
    """The same scene in every frame: the derivative of what it shows is the sum of the frames' gradients, whatever gamma."""
    prior, scene = three(), draw(1, 2, 3, 3, seed=3).requires_grad_()
    pulled = []
    for gamma in (1.0, 5.0):
        view = clips(kit, prior, count=3)
        view = View(scene.expand(3, -1, -1, -1).detach(), view.render, view.cameras, view.text)
        g = video(prior, gamma=Ramp(gamma)).gradient(view, kit.step())
        (pull,) = torch.autograd.grad(scene.expand(3, -1, -1, -1), scene, g)
        close(pull, g.sum(0, keepdim=True))
        pulled.append(pull)
    close(*pulled)


def test_clips_do_not_hear_of_each_other(kit):
    prior = Clips(3)
    view, clip = clips(kit, prior), torch.tensor([3, 4, 5])
    both = video(prior, gamma=Ramp(2.0), t=Times.parse(0.5)).gradient(view, quiet())
    close(video(prior, gamma=Ramp(2.0), t=Times.parse(0.5)).gradient(view.at(clip), quiet()), both[clip], 1e-12)


@pytest.mark.parametrize("make", [video, animate])
def test_two_evaluations_per_frame_and_two_more_for_perp_neg(kit, make):
    prior = three()
    view = clips(kit, prior, side="0", back="2")
    make(prior).gradient(view, kit.step())
    assert prior.evaluations == 2 * 6
    plain = make(prior).gradient(view, kit.step())
    perp = Condition(view.text.rows, {"side": torch.zeros(6, dtype=DOUBLE), "back": torch.zeros(6, dtype=DOUBLE)})
    told = View(view.x, view.render, view.cameras, perp)
    close(make(prior).gradient(told, kit.step()), plain, 1e-12)
    assert prior.evaluations == (2 + 2 + 4) * 6


# --- multi-view video SDS -----------------------------------------------------------------------------------------------


def later(view):
    return torch.arange(len(view.x)) % view.cameras.frames > 0


@pytest.mark.parametrize("views, frames", [(1, 3), (2, 3), (1, 2), (2, 6)])
def test_without_rescaling_it_is_sds_on_what_follows_the_first_frame(kit, views, frames):
    """F / (F - 1) times SDS with w = sigma / alpha, for a prior that answers frame by frame; exactly 0 on the first frame."""
    for form in ("eps", "v", "flow"):
        prior = three(form)
        view = clips(kit, prior, count=12, views=views, frames=frames)
        g = animate(prior, rescale=0.0).gradient(view, kit.step())
        plain = sds(prior, view, kit.step(), scale=Ramp(6.0), w="x0", t=Times.parse([0.1, 0.5]))
        close(g[later(view)], frames / (frames - 1) * plain[later(view)], 2e-6)  # alpha and sigma are single precision
        assert (g[~later(view)] == 0).all() and g[later(view)].abs().min() > 0


def test_the_first_frame_goes_in_clean(kit):
    """Not merely left out of the loss: the network is shown x itself, at the t of the others."""
    prior = Clips(3)
    view = clips(kit, prior, count=12, views=2)
    animate(prior).gradient(view, kit.step())
    z, t = prior.asked[0]
    first = ~later(view).repeat(2)
    assert torch.equal(z[first], view.x.repeat(2, 1, 1, 1)[first])
    assert (z - view.x.repeat(2, 1, 1, 1))[~first].flatten(1).norm(dim=1).min() > 0.1
    assert torch.equal(t[:12].view(2, 6), t[:12].view(2, 6)[:, :1].expand(-1, 6))


def test_a_prior_of_clips_hears_the_first_frame(kit):
    """Another first frame changes what the others are pulled to."""
    prior = Clips(3)
    view = clips(kit, prior)
    other = view.x.clone()
    other[~later(view)] += 1
    a, b = (animate(prior).gradient(View(x, *rest(view)), kit.step()) for x in (view.x, other))
    assert (a - b)[later(view)].abs().max() > 1e-3


def rest(view):
    return view.render, view.cameras, view.text


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("share", [0.25, 1.0])
def test_contrast_is_measured_over_all_views_and_later_frames(kit, views, share):
    """x0_hat' = share f x0_hat + (1 - share) x0_hat, f by hand, group by group."""
    prior, times = three(), Times.parse([0.1, 0.5])
    view = clips(kit, prior, count=12, views=views)
    now = kit.step()
    t = draw_t(times, view.cameras, now)
    z = add_noise(prior, view.x, t, now.normal(*view.x.shape))
    z[~later(view)] = view.x[~later(view)]
    cond, uncond = predict(prior, z, t, view, "text", "negative")
    full, plain = (x0_from_eps(prior, z, t, e) for e in (cfg(cond, uncond, 6.0), cond))
    g = animate(prior, rescale=share).gradient(view, kit.step())
    for group in range(4 // views):
        rows = torch.nonzero(later(view) & (view.cameras.group == group))[:, 0]
        f = plain[rows].std() / full[rows].std()
        target = share * f * full[rows] + (1 - share) * full[rows]
        close(g[rows], 3 / 2 * (view.x[rows] - target))


def test_frames_that_are_averaged_are_made_up_for(kit):
    """The pull on a still scene under the mean over all frames is that of the mean over the later ones."""
    prior = three()
    view = clips(kit, prior)
    g = animate(prior, rescale=0.0).gradient(view, kit.step())
    plain = sds(prior, view, kit.step(), scale=Ramp(6.0), w="x0", t=Times.parse([0.1, 0.5]))
    close(g.mean(0), plain[later(view)].mean(0), 2e-6)


def test_small_noise_refines_an_existing_clip(kit):
    """The default window keeps t below 0.2; a clip of one frame is a mistake."""
    prior = three()
    assert MVVideoSDS(prior).t.window(0.3) == (0.02, 0.2)
    with pytest.raises(Mistake, match="one frame"):
        animate(prior).gradient(clips(kit, prior, frames=1), kit.step())
