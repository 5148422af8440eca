"""Pixel-wise gradient clipping's algebra, and Adam with rows that come and go."""

import pytest
import torch

from dream3d.interfaces import Group
from dream3d.optim import Adam, clip_pixels, clipped_share


@pytest.fixture
def gradient():
    return torch.randn(2, 5, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def clip(g, c):
    return clip_pixels({"rgb": g}, c)["rgb"]


def test_pgc_limits_every_pixel_and_keeps_its_direction(gradient):
    out, largest = clip(gradient, 0.5), gradient.abs().amax(-1)
    torch.testing.assert_close(out.abs().amax(-1), largest.clamp(max=0.5))
    torch.testing.assert_close(torch.cosine_similarity(out, gradient, -1), torch.ones_like(largest))


def test_pgc_is_idempotent_homogeneous_and_the_identity_below_its_limit(gradient):
    torch.testing.assert_close(clip(clip(gradient, 0.5), 0.5), clip(gradient, 0.5))
    torch.testing.assert_close(clip(3 * gradient, 1.5), 3 * clip(gradient, 0.5))
    assert torch.equal(clip(gradient, 100.0), gradient) and torch.equal(clip(gradient, None), gradient)


def test_pgc_equals_a_clamp_only_where_one_channel_is_too_large(gradient):
    clamp, out = gradient.clamp(-0.5, 0.5), clip(gradient, 0.5)
    single = torch.zeros_like(gradient)
    single[..., 1] = gradient[..., 1]
    torch.testing.assert_close(clip(single, 0.5), single.clamp(-0.5, 0.5))
    assert not torch.allclose(out, clamp)


def test_pgc_is_safe_at_zero_and_leaves_other_buffers_alone(gradient):
    zero = torch.zeros(1, 2, 2, 3)
    assert torch.equal(clip(zero, 0.1), zero)
    both = clip_pixels({"rgb": gradient, "normal": gradient}, {"normal": 0.1})
    assert torch.equal(both["rgb"], gradient) and both["normal"].abs().max() <= 0.1 + 1e-12
    assert clip(torch.full((1, 1, 1, 3), torch.nan), 0.1).isnan().all()


def test_clipped_share_counts_pixels(gradient):
    share = (gradient.abs().amax(-1) > 1.0).double().mean().item()
    assert clipped_share({"rgb": gradient}, 1.0) == pytest.approx(share) and 0 < share < 1
    assert clipped_share({"rgb": gradient}, None) == 0


def _descend(step, parameter, target, count=30):
    for k in range(count):
        parameter.grad = None
        ((parameter - target).square() * (1 + k % 3)).sum().backward()
        step()


def test_adam_equals_torch():
    target = torch.arange(6.0)
    ours, theirs = torch.zeros(6, requires_grad=True), torch.zeros(6, requires_grad=True)
    adam, reference = Adam(betas=(0.9, 0.99), eps=1e-8), torch.optim.Adam([theirs], lr=0.1, betas=(0.9, 0.99), eps=1e-8)
    _descend(lambda: adam.step([Group("p", ours, 0.1)]), ours, target)
    _descend(reference.step, theirs, target)
    torch.testing.assert_close(ours, theirs)


def test_a_non_finite_gradient_changes_nothing_and_is_counted():
    a, b = torch.ones(3, requires_grad=True), torch.ones(3, requires_grad=True)
    adam, groups = Adam(), [Group("a", a, 0.1), Group("b", b, 0.1)]
    for bad in (torch.nan, torch.inf):
        a.grad, b.grad = torch.ones(3), torch.tensor([0.0, bad, 0.0])
        assert not adam.step(groups)
    assert (adam.skipped, adam.streak) == (2, 2) and torch.equal(a, torch.ones(3)) and not adam.moments
    a.grad = torch.ones(3)
    assert adam.step(groups) and (adam.skipped, adam.streak) == (2, 0) and not torch.equal(a, torch.ones(3))


def test_moments_follow_their_rows():
    p = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    adam = Adam()
    p.grad = torch.arange(12.0).reshape(4, 3)
    adam.step([Group("p", p, 0.1), Group("other", torch.zeros(1), 0.1)])
    m, v, _ = (x.clone() for x in adam.moments["p"])
    adam.remap(["p", "absent"], torch.tensor([3, 1, 1]), torch.tensor([False, False, True]))
    assert torch.equal(adam.moments["p"][0][:2], m[[3, 1]]) and torch.equal(adam.moments["p"][1][:2], v[[3, 1]])
    assert adam.moments["p"][0][2].abs().sum() == 0 and adam.moments["p"][1][2].abs().sum() == 0


def test_state_continues_bit_for_bit():
    target = torch.arange(6.0)
    a = torch.zeros(6, requires_grad=True)
    first = Adam()
    _descend(lambda: first.step([Group("p", a, 0.1)]), a, target, 7)
    b, second = a.detach().clone().requires_grad_(), Adam()
    a.grad = torch.full((6,), torch.nan)
    first.step([Group("p", a, 0.1)])
    second.restore(first.state())
    assert (second.skipped, second.streak) == (1, 1)
    for adam, p in ((first, a), (second, b)):
        _descend(lambda adam=adam, p=p: adam.step([Group("p", p, 0.1)]), p, target, 7)
    assert torch.equal(a, b)
