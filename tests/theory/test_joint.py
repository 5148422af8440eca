"""Formulas over several views at once: MVDream's score distillation with contrast taken back, and one formula over a tiled picture.

Everything is exact in double precision; t and noise are drawn in single precision, the same ones on both sides.
"""

import dataclasses

import pytest
import torch
from dream3d.guidance.grid_sds import GridSDS
from dream3d.guidance.mvsds import MVSDS
from dream3d.guidance.sds import SDS

from dream3d.cameras import Orthogonal
from dream3d.diffusion import add_noise, cfg, draw_t, per_view, predict, ratio, x0_from_eps
from dream3d.options import Words
from dream3d.priors.exact_joint import ExactJoint
from dream3d.priors.mixture import Mixture
from dream3d.prompt import Prompt
from dream3d.schedule import Ramp, Times
from dream3d.term import Term
from dream3d.types import Condition, Render, Step, View

DOUBLE = torch.float64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


class Quiet(Step):
    def normal(self, *shape, device="cpu"):
        return torch.zeros(*shape, device=device)


def quiet(seed=0):
    return Quiet(0, 100, seed, torch.Generator().manual_seed(seed))


@pytest.fixture(params=["eps", "v", "flow", "joint"])
def prior(request):
    """A mixture that answers view by view, in three parametrisations, and one that answers for four views together."""
    if request.param == "joint":
        return ExactJoint(size=8, views=4, instances=3, others=2, bandwidth=0.3)
    return Mixture.of(draw(3, 3, 8, 8), torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE), form=request.param)


def seen(kit, prior, text="1", negative="", groups=2):
    """Two groups of four views; "1" is the prior's conditional prompt."""
    if isinstance(prior, ExactJoint):
        text, negative = ("a red car" if row == "1" else "" for row in (text, negative))
    cameras = Orthogonal(8, batch=4 * groups)(kit.step())
    return kit.view_of(prior, draw(4 * groups, 3, 8, 8, seed=1), cameras, text=text, negative=negative)


def mvsds(prior, scale=50.0, rescale=0.5, t=(0.02, 0.98)):
    return MVSDS(prior, scale=Ramp(scale), rescale=rescale, t=Times.parse(t))


def replay(guidance, view, now):
    """What is drawn at this step (t, noise), z, and the two x0_hat, with and without guidance."""
    t = draw_t(guidance.t, view.cameras, now)
    noise = now.normal(*view.x.shape)
    z = add_noise(guidance.prior, view.x, t, noise)
    cond, uncond = predict(guidance.prior, z, t, view, "text", "negative")
    eps = cfg(cond, uncond, guidance.scale(0.0))
    return t, noise, eps, *(x0_from_eps(guidance.prior, z, t, e) for e in (eps, cond))


def close(a, b, atol=1e-9):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def test_without_rescaling_it_is_sds_with_sigma_over_alpha(kit, prior):
    view = seen(kit, prior)
    g = mvsds(prior, rescale=0.0).gradient(view, kit.step())
    sds = SDS(prior, scale=Ramp(50.0), t=Times.parse((0.02, 0.98)), w="uniform")
    t, *_ = replay(mvsds(prior), view, kit.step())
    close(g, per_view(ratio(prior, t), g) * sds.gradient(view, kit.step()), atol=1e-5)  # sigma times noise is rounded
    assert g.abs().max() > 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_it_is_regression_to_an_x0_with_less_contrast(kit, prior, share):
    """g is the gradient of |x - sg(x0')|^2 / 2, x0' = (1 - share) x0 + share f x0, f from all views of each group."""
    view, parts = seen(kit, prior), []
    *_, guided, plain = replay(mvsds(prior), view, kit.step())
    for rows in (slice(0, 4), slice(4, 8)):
        f = plain[rows].std() / guided[rows].std()
        parts.append((1 - share) * guided[rows] + share * f * guided[rows])
    x = view.x.clone().requires_grad_()
    ((x - torch.cat(parts).detach()).square().sum() / 2).backward()
    close(mvsds(prior, rescale=share).gradient(view, kit.step()), x.grad)


def test_full_rescaling_gives_the_contrast_of_the_prompt_alone(kit, prior):
    """Equal standard deviations per group, not per view; a scale of 50 had inflated them."""
    view = seen(kit, prior)
    *_, guided, plain = replay(mvsds(prior), view, kit.step())
    wanted = view.x - mvsds(prior, rescale=1.0).gradient(view, kit.step())
    stds = [v.unflatten(0, (2, 4)).flatten(1).std(1) for v in (wanted, plain, guided)]
    close(stds[0], stds[1])
    assert (stds[2] > 1.2 * stds[1]).all()
    alone = [v.flatten(1).std(1) for v in (wanted, plain)]
    assert (alone[0] - alone[1]).abs().max() > 1e-3


def test_without_guidance_nothing_is_rescaled(kit, prior):
    """s = 1, or the same text in both rows at any s: f = 1."""
    view = seen(kit, prior)
    one = mvsds(prior, scale=1.0, rescale=0.0).gradient(view, kit.step())
    close(mvsds(prior, scale=1.0, rescale=1.0).gradient(view, kit.step()), one)
    same = seen(kit, prior, negative="1")
    for rescale in (0.0, 0.5, 1.0):
        close(mvsds(prior, scale=50.0, rescale=rescale).gradient(same, kit.step()), one)


def test_permuting_views_permutes_gradients(kit, prior):
    """With cameras that go along, for a prior that has no favourite view."""
    view, order = seen(kit, prior, groups=1), torch.tensor([2, 0, 3, 1])
    g = mvsds(prior).gradient(view, quiet())
    close(mvsds(prior).gradient(view.at(order), quiet()), g[order])


def test_views_hear_of_each_other_through_the_group_alone(kit, prior):
    """Another first view changes its group's other gradients, but nothing of the other group."""
    view = seen(kit, prior)
    changed = View(view.x.clone(), view.render, view.cameras, view.text)
    changed.x[0] *= 3
    a, b = (mvsds(prior).gradient(v, kit.step()) for v in (view, changed))
    close(a[4:], b[4:])
    assert (a[1:4] - b[1:4]).abs().amax((1, 2, 3)).min() > 1e-6


def test_one_noise_level_per_group_and_noise_of_its_own_per_view(kit):
    prior, asked = ExactJoint(size=8, views=4, instances=2, others=1), []
    real = prior.eps
    prior.eps = lambda x, t, *more: asked.append((x, t)) or real(x, t, *more)
    view = seen(kit, prior)
    mvsds(prior).gradient(view, kit.step())
    ((z, t),) = asked
    assert len(t) == 16 and len(t[:8].unique()) == 2 and t[:4].unique().numel() == 1 and torch.equal(t[:8], t[8:])
    alpha, sigma = prior.alpha_sigma(t[:8])
    noise = (z[:8] - per_view(alpha, view.x) * view.x) / per_view(sigma, view.x)
    closeness = torch.corrcoef(noise.flatten(1)) - torch.eye(8)
    assert closeness.abs().max() < 0.4  # 192 numbers: 5.5 standard deviations of a correlation


def test_the_expected_gradient_on_a_gaussian(kit):
    """E[g] = sigma^2 (x - mu) / V^2 at scale 1: eps is affine in z, so noise may be its mean."""
    prior = Mixture.of(torch.full((1, 1, 2, 2), 0.3, dtype=DOUBLE), 0.5)
    view = kit.view_of(prior, draw(4, 1, 2, 2), text="0", negative="0")
    g = mvsds(prior, scale=1.0, t=0.5).gradient(view, quiet())
    alpha, sigma = (v.double() for v in prior.alpha_sigma(torch.tensor([0.5])))
    close(g, sigma**2 * (view.x - 0.3) / (alpha**2 * 0.25 + sigma**2))


def test_the_authors_window_of_noise_levels():
    times = MVSDS(Mixture()).t
    assert times.window(0.0) == (0.98, 0.98)
    assert times.window(0.4) == pytest.approx((0.5, 0.74))
    assert times.window(0.8) == times.window(1.0) == (0.02, 0.5)


def test_evaluations_per_view(kit, prior):
    """Two; four with two Perp-Neg rows, which change nothing at weight 0."""
    view = seen(kit, prior)
    mvsds(prior).gradient(view, kit.step())
    assert prior.evaluations == 2 * 8
    other = prior.text(["0" if isinstance(prior, Mixture) else "a duck"]).at(torch.zeros(8, dtype=torch.long))
    rows = {**view.text.rows, "front": other, "back": view.text["text"]}
    plain = mvsds(prior).gradient(view, kit.step())
    none = {name: torch.zeros(8, dtype=DOUBLE) for name in ("front", "back")}
    perp = View(view.x, view.render, view.cameras, Condition(rows, none))
    close(mvsds(prior).gradient(perp, kit.step()), plain)
    assert prior.evaluations == (2 + 2 + 4) * 8
    some = View(view.x, view.render, view.cameras, Condition(rows, {"front": torch.full((8,), -1.0, dtype=DOUBLE)}))
    assert not torch.allclose(mvsds(prior).gradient(some, kit.step()), plain, rtol=0, atol=1e-3)


# --- grids --------------------------------------------------------------------------------------------------------------


def grid(prior, w="sds"):
    return GridSDS(prior, scale=Ramp(7.5), t=Times.parse((0.02, 0.98)), w=w)


@pytest.mark.parametrize("w", ["sds", "uniform", "fantasia3d"])
def test_a_picture_of_one_view_is_sds(kit, prior, w):
    view = seen(kit, prior)
    sds = SDS(prior, scale=Ramp(7.5), t=Times.parse((0.02, 0.98)), w=w)
    assert torch.equal(grid(prior, w).gradient(view, kit.step()), sds.gradient(view, kit.step()))


def tiled(kit):
    """Two groups of four views, and a term that sees them as two pictures."""
    prior = ExactJoint(size=16, buffers="grid", instances=3, others=2, bandwidth=0.3)
    cameras = Orthogonal(8, batch=8)(kit.step())
    rgb, alpha = draw(8, 8, 8, 3).float().sigmoid(), torch.ones(8, 8, 8, 1)
    prompt = Prompt(prior, ["a red car"], "", Words(views=False))
    return prior, prompt, cameras, Render(rgb, alpha, 3 * alpha).cut()


def test_the_gradient_is_sliced_back_exactly(kit):
    """What reaches view i is tile i of the gradient on the picture (times 2: x is 2 rgb - 1), and nothing else."""
    prior, prompt, cameras, render = tiled(kit)
    Term(grid(prior), prompt, sees="grid").pull(render, cameras, kit.step())
    pictures = torch.stack(
        [torch.cat([torch.cat([*v[:2]], 1), torch.cat([*v[2:]], 1)], 0) for v in render.rgb.split(4)]
    )
    first = dataclasses.replace(cameras.at(torch.tensor([0, 4])), views=1)
    x = 2 * pictures.detach().movedim(-1, 1) - 1
    g = grid(prior).gradient(View(x, render.detach().at(torch.tensor([0, 4])), first, prompt(first)), kit.step())
    for i in range(8):
        tile = g[i // 4, :, 8 * (i % 4 // 2) :, 8 * (i % 2) :][:, :8, :8]
        torch.testing.assert_close(render.rgb.grad[i], 2 * tile.movedim(0, -1), rtol=0, atol=0)
    assert render.rgb.grad.flatten(1).abs().amax(1).min() > 0.1


def test_two_evaluations_per_picture(kit):
    prior, prompt, cameras, render = tiled(kit)
    Term(grid(prior), prompt, sees="grid").pull(render, cameras, kit.step())
    assert prior.evaluations == 2 * 2  # for eight views


def test_permuting_tiles_permutes_gradients(kit):
    """For a prior without a favourite place: components come in all four turns of the tiles."""

    def turned(x, i):
        tiles = [x[..., :4, :4], x[..., :4, 4:], x[..., 4:, :4], x[..., 4:, 4:]]
        a, b, c, d = tiles[i:] + tiles[:i]
        return torch.cat([torch.cat([a, b], -1), torch.cat([c, d], -1)], -2)

    means = draw(2, 3, 8, 8)
    prior = Mixture.of(torch.cat([turned(means, i) for i in range(4)]), 0.6)
    x = draw(3, 3, 8, 8, seed=1)
    g = grid(prior).gradient(kit.view_of(prior, x, text="0 1 2 3 4 5 6 7"), quiet())
    for i in range(1, 4):
        view = kit.view_of(prior, turned(x, i), text="0 1 2 3 4 5 6 7")
        close(grid(prior).gradient(view, quiet()), turned(g, i))
        assert not torch.allclose(turned(g, i), g)


def test_tiles_share_what_the_picture_shows(kit):
    """Three tiles of one instance decide what the fourth, which could be any, is drawn to."""
    prior = ExactJoint(size=16, buffers="grid", instances=4, others=1, bandwidth=0.1)
    first = dataclasses.replace(Orthogonal(8)(kit.step()).at(torch.tensor([0])), views=1)
    pictures = prior.pictures(prior.text(["a red car"]), first, torch.ones(1, 3))[:, 0].double()
    for k in range(4):
        x = pictures[k].clone()
        x[:, 8:, 8:] = pictures.mean(0)[:, 8:, 8:]
        view = kit.view_of(prior, x[None], first, text="a red car", negative="a red car")
        pull = GridSDS(prior, scale=Ramp(1.0), t=Times.parse(0.3), w="uniform").gradient(view, quiet())[0]
        wanted = (x - pull)[:, 8:, 8:] - x[:, 8:, 8:]
        towards = [(wanted * (p - x)[:, 8:, 8:]).sum() / (p - x)[:, 8:, 8:].norm() for p in pictures]
        assert int(torch.stack(towards).argmax()) == k
