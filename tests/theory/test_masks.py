"""Inpainting: the exact joint prior under a mask against Bayes' rule by autograd, and a gradient that stays inside its box.

Everything is exact, in double precision; t and noise are drawn in single precision, the same ones on both sides.
"""

import dataclasses
import math

import pytest
import torch
from dream3d.guidance.inpaint_sds import InpaintSDS
from dream3d.guidance.sds import SDS

from dream3d.cameras import look_at
from dream3d.errors import Mistake
from dream3d.priors.exact_joint import ExactJoint
from dream3d.schedule import Ramp, Times
from dream3d.types import Render

DOUBLE, T = torch.float64, (0.1, 0.9)
LEFT = (torch.arange(8) < 4).float().expand(8, 8)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def joint(**more):
    made = ExactJoint(**{"size": 8, "instances": 3, "others": 2, "bandwidth": 0.3} | more)
    made.text(["a red car", "a duck", ""])
    return made


def around(count=3, size=8, **more):
    return look_at(0.3 + torch.arange(count) * 2.0, torch.full((count,), 0.3), size=size, **more)


def shown(kit, prior, cameras, picture, mask=None, **rows):
    """A view whose render shows `picture` (B H W 3), to be painted anew where `mask` (H W) is 1."""
    view = kit.view_of(prior, draw(len(picture), 3, 8, 8, seed=1), cameras, **{"text": "a red car"} | rows)
    alpha = torch.ones_like(picture[..., :1])
    extras = {} if mask is None else {"mask": mask[None, ..., None].expand_as(alpha).contiguous()}
    return dataclasses.replace(view, render=Render(picture, alpha, 2 * alpha, extras=extras))


def settings(**more):
    return {"scale": Ramp(7.5), "t": Times.parse(T)} | more


def sds(prior, view, now, **more):
    return SDS(prior, **settings(**more)).gradient(view, now)


# --- the prior ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("t", [0.1, 0.6])
def test_the_answer_is_the_score_given_what_is_known(kit, views, t):
    """Inside the mask -sigma grad log p(z, known), from the mixture of N(z; alpha x_k, V^2) inside times N(known; x_k, h^2) outside
    written down here; outside, the noise that hides the known picture."""
    prior, cameras = joint(views=views), around(2, views=views)
    known = torch.rand(2, 8, 8, 3, generator=torch.Generator().manual_seed(2))
    render = shown(kit, prior, cameras, known, LEFT).render
    z, time = draw(2, 3, 8, 8), torch.full((2,), t, dtype=DOUBLE)
    text = prior.text(["a red car"]).at(torch.zeros(2, dtype=torch.long))
    alpha, sigma = (v[0] for v in prior.alpha_sigma(time))
    given, h = (2 * known - 1).movedim(-1, 1).to(DOUBLE), prior.bandwidth
    spread = (alpha * h) ** 2 + sigma**2
    leaf, total = z.clone().requires_grad_(), 0
    for group in torch.arange(2).split(views):
        means = prior.pictures(text, cameras.at(group), torch.ones(views, 3)).to(DOUBLE)
        inner = (LEFT * (leaf[group] - alpha * means).square()).flatten(1).sum(1) / spread
        outer = ((1 - LEFT) * (given[group] - means).square()).flatten(1).sum(1) / h**2
        total = total + torch.logsumexp(-(inner + outer) / 2, 0)
    score = -sigma * torch.autograd.grad(total, leaf)[0]
    eps = prior.eps(z, time, text, cameras, render)
    torch.testing.assert_close(LEFT * eps, LEFT * score, rtol=0, atol=1e-9)
    torch.testing.assert_close((1 - LEFT) * eps, (1 - LEFT) * (z - alpha * given) / sigma, rtol=0, atol=1e-9)


def test_what_is_known_decides_for_what_is_not(kit):
    """At pure noise, with half of one instance in sight, the other half becomes that instance's."""
    prior, cameras = joint(bandwidth=0.02), around(1)
    text = prior.text(["a red car"])
    pictures = prior.pictures(text, cameras, torch.ones(1, 3)).to(DOUBLE)
    t = torch.full((1,), 0.98, dtype=DOUBLE)
    alpha, sigma = (v[0] for v in prior.alpha_sigma(t))
    for k, picture in enumerate(pictures):
        render = shown(kit, prior, cameras, ((picture + 1) / 2).movedim(1, -1).float(), LEFT).render
        z = draw(1, 3, 8, 8, seed=k)
        x0 = (z - sigma * prior.eps(z, t, text, cameras, render)) / alpha
        assert (LEFT * (x0 - pictures)).flatten(1).norm(dim=1).argmin() == k


def test_a_mask_over_everything_changes_nothing(kit):
    prior, cameras, picture = joint(), around(), torch.rand(3, 8, 8, 3)
    view = shown(kit, prior, cameras, picture, torch.ones(8, 8))
    t, text = torch.full((3,), 0.4, dtype=DOUBLE), view.text["text"]
    assert torch.equal(prior.eps(view.x, t, text, cameras, view.render), prior.eps(view.x, t, text, cameras))


def test_depth_is_known_too(kit):
    """With colour and depth, the depth outside the mask is that of the render."""
    prior, cameras = joint(buffers="rgb+depth"), around(1)
    render = shown(kit, prior, cameras, torch.rand(1, 8, 8, 3), 0 * LEFT).render
    ramp = torch.linspace(1, 2, 64).view(1, 8, 8, 1)
    render = dataclasses.replace(render, depth=ramp)
    z, t = draw(1, 4, 8, 8), torch.tensor([0.5], dtype=DOUBLE)
    alpha, sigma = (v[0] for v in prior.alpha_sigma(t))
    eps = prior.eps(z, t, prior.text(["a duck"]), cameras, render)
    x0 = (z - sigma * eps) / alpha
    torch.testing.assert_close(x0[:, 3], (2 * (2 - ramp[..., 0]) - 1).to(DOUBLE), rtol=0, atol=1e-5)


# --- the guidance ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("w", ["sds", "uniform", "fantasia3d"])
def test_a_box_around_everything_is_sds(kit, w):
    """With a mask of ones the network is asked the same question: bit for bit."""
    prior, cameras = joint(), around()
    view = shown(kit, prior, cameras, torch.rand(3, 8, 8, 3))
    g = InpaintSDS(prior, **settings(w=w), low=(-9.0, -9.0, -9.0), high=(9.0, 9.0, 9.0)).gradient(view, kit.step())
    assert torch.equal(g, sds(prior, view, kit.step(), w=w)) and g.abs().max() > 0.1


def test_a_box_that_no_view_sees_pulls_nothing(kit):
    prior, cameras = joint(), around()
    view = shown(kit, prior, cameras, torch.rand(3, 8, 8, 3))
    behind = InpaintSDS(prior, **settings(), low=(-0.5, -0.5, 40.0), high=(0.5, 0.5, 41.0))
    assert (behind.gradient(view, kit.step()) == 0).all()


def test_inside_the_box_it_is_sds_with_the_masked_network_and_outside_nothing(kit):
    prior, cameras = joint(), around()
    view, above = shown(kit, prior, cameras, torch.rand(3, 8, 8, 3)), InpaintSDS(prior, **settings(), low=(-0.75, -0.75, 0.1))
    inside = above.silhouette(cameras)[:, None].to(DOUBLE)
    assert 0.1 < inside.mean() < 0.5
    g, whole = above.gradient(view, kit.step()), sds(prior, above.told(view), kit.step())
    assert torch.equal(g, inside * whole) and not torch.equal(inside * sds(prior, view, kit.step()), g)


def test_the_network_is_not_told_what_lies_inside_the_box(kit):
    """E(x (1 - M)): another picture inside changes nothing, another one outside does."""
    prior, cameras, now = joint(), around(), kit.step
    box = InpaintSDS(prior, **settings(), low=(-0.75, -0.75, 0.1))
    inside = box.silhouette(cameras)[..., None]
    picture = torch.rand(3, 8, 8, 3)
    one, two, three = (
        box.gradient(shown(kit, prior, cameras, p), now())
        for p in (picture, picture * (1 - inside), picture * inside + (1 - inside) * (1 - picture))
    )
    assert torch.equal(one, two) and not torch.allclose(one, three)


def test_coarse_renders_and_fine_ones_have_the_same_mask(kit):
    prior, fine = joint(), around(size=32)
    view = shown(kit, prior, fine, torch.rand(3, 32, 32, 3))
    box = InpaintSDS(prior, **settings(), low=(-0.5, -0.5, -0.5), high=(0.5, 0.5, 0.5))
    assert box.told(view).render.extras["mask"].shape == (3, 32, 32, 1)
    assert box.gradient(view, kit.step()).shape == (3, 3, 8, 8)
    pooled = torch.nn.functional.avg_pool2d(box.silhouette(fine), 4)
    assert ((pooled >= 0.5).float() - box.silhouette(fine.sized(8, 8))).abs().mean() < 0.06


def test_the_silhouette_is_the_boxs_convex_hull():
    """Every corner of the box projects onto its border; points of the box inside, points beyond its corners outside. From within the
    box everything is inside; a box behind the camera is not seen."""
    cameras = around(5, size=64)
    box = InpaintSDS(joint(), low=(-0.3, -0.2, -0.4), high=(0.4, 0.5, 0.1))
    seen = box.silhouette(cameras)
    rng = torch.Generator().manual_seed(0)
    low, high = torch.tensor(box.low), torch.tensor(box.high)

    def pixels(points):
        local = points @ cameras.to_camera[:, :3, :3].mT + cameras.to_camera[:, None, :3, 3]
        flat = local @ cameras.intrinsics.mT
        return (flat[..., :2] / flat[..., 2:]).floor().long().clamp(0, 63)

    within = pixels(low + (high - low) * (0.02 + 0.96 * torch.rand(500, 3, generator=rng)))
    assert all(seen[b, within[b, :, 1], within[b, :, 0]].mean() > 0.97 for b in range(5))  # pixels at the very border may go either way
    for b in range(5):
        corners = pixels(torch.cartesian_prod(*torch.stack([low, high], 1)))[b]
        rows, columns = seen[b].nonzero().unbind(1)
        assert (torch.stack([columns.min(), rows.min()]) - corners.amin(0)).abs().max() <= 1
        assert (torch.stack([columns.max(), rows.max()]) - corners.amax(0)).abs().max() <= 1
    near = look_at(torch.zeros(1), torch.zeros(1), 0.1, size=8)
    assert box.silhouette(near).min() == 1
    behind = InpaintSDS(joint(), low=(-1.0, -9.0, -1.0), high=(1.0, -8.0, 1.0))
    assert behind.silhouette(look_at(torch.zeros(1), torch.zeros(1), size=8)).max() == 0


def test_two_evaluations_per_view_and_an_empty_box_is_a_mistake(kit):
    prior = joint()
    InpaintSDS(prior, **settings()).gradient(shown(kit, prior, around(), torch.rand(3, 8, 8, 3)), kit.step())
    assert prior.evaluations == 2 * 3
    with pytest.raises(Mistake, match="nothing in this box"):
        InpaintSDS(prior, low=(0.0, 0.0, 0.5), high=(1.0, 1.0, 0.5))


def test_the_fixed_point_paints_what_belongs_beside_what_is_known(kit):
    """Descending the expected residual at s = 1 from noise, with half of an instance known: the half inside becomes the instance's,
    within its bandwidth; the half outside stays."""
    prior, cameras = joint(bandwidth=0.05, views=1), around(1)
    pictures = prior.pictures(prior.text(["a red car"]), cameras, torch.ones(1, 3)).to(DOUBLE)
    guidance = InpaintSDS(prior, scale=Ramp(1.0), t=Times.parse([0.3, 0.9]), w="uniform", low=(-0.75, -0.75, 0.0))
    inside = guidance.silhouette(cameras)[:, None].to(DOUBLE)
    start = x = inside * draw(1, 3, 8, 8) + (1 - inside) * pictures[1]
    view = shown(kit, prior, cameras, ((pictures[1] + 1) / 2).movedim(1, -1).float())
    for i in range(250):
        x = x - 0.2 * guidance.gradient(dataclasses.replace(view, x=x), kit.step(i, 250))
    assert torch.equal((1 - inside) * x, (1 - inside) * start)
    off = (inside * (x - pictures)).square().flatten(1).sum(1).sqrt() / math.sqrt(3 * inside.sum())
    assert off.argmin() == 1 and off[1] < 0.1 and (off[[0, 2]] > 2 * off[1]).all()
