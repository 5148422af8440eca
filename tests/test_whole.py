"""Everything moves as one body: rigid motions in closed form, and a whole turn learnt from clips that grow."""

import math

import pytest
import torch
from dream3d.renderers._moving import Rigid
from dream3d.renderers.dynamic_gaussians import DynamicGaussians

from dream3d import config
from dream3d.cameras import Unfolding, look_at
from dream3d.errors import Mistake
from dream3d.needs import check_needs
from dream3d.optim import Adam
from dream3d.schedule import Ramp
from dream3d.types import Step


@pytest.mark.parametrize("turns", [False, True])
def test_a_whole_is_rigid_and_its_turn_is_about_its_axis(turns):
    whole = Rigid(3, turns=turns)
    whole.shift.data[:] = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    more, shift = whole(torch.tensor(0.75))
    assert shift.tolist() == pytest.approx([0.75 * 1.5, 0, 0]) and not more.any()
    if turns:
        whole.turn.data[:] = torch.tensor([0.0, 0.0, math.pi])
        more, _ = whole(torch.tensor(0.5))
        torch.testing.assert_close(more + torch.eye(3), torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), atol=1e-6, rtol=0)
        torch.testing.assert_close(whole.quaternion(torch.tensor(0.5)), torch.tensor([0.5**0.5, 0, 0, 0.5**0.5]))
    assert not whole(torch.tensor(0.0))[0].any() and whole.quaternion(torch.tensor(0.0)).tolist() == [1, 0, 0, 0]
    whole.zero_grad()
    sum(part.sum() for part in whole(torch.tensor(0.0))).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in whole.parameters())


def gaussians(**settings) -> DynamicGaussians:
    """Some that differ from each other."""
    made, g = DynamicGaussians(torch.Generator().manual_seed(0), count=80, **settings), torch.Generator().manual_seed(2)
    for name in ("log_scale", "rotation", "colour", "logit"):
        made.still.get_parameter(name).data += 0.4 * torch.randn(made.still.get_parameter(name).shape, generator=g)
    return made


def test_a_whole_that_turns_gaussians_is_a_camera_that_goes_around():
    made = gaussians(whole="rigid")
    made.whole.turn.data[2] = 0.8
    azimuth, elevation = torch.tensor([0.3, 2.0]), torch.tensor([0.2, -0.1])
    turned = made.render(look_at(azimuth, elevation, size=24, time=torch.ones(2)))
    torch.testing.assert_close(turned.rgb, made.render(look_at(azimuth - 0.8, elevation, size=24)).rgb, atol=1e-4, rtol=0)


@pytest.mark.parametrize("until, end", [(Ramp(0.05, 1.0, until=0.7), 1.0), (Ramp(1.0), 0.0)], ids=["growing", "whole"])
def test_a_turn_is_found_in_clips_that_grow_and_not_in_whole_ones(until, end):
    """Once around z in a clip of four moments, fitted to colours: within 5 degrees of it, or not a tenth of the way."""
    still = {"lr_planes": Ramp(1e-9), "lr_field": Ramp(1e-9)}  # the field has no say
    made, optimizer, total = gaussians(whole="rigid", frozen=True, lr_whole=Ramp(2e-2, 1e-3), **still), Adam(), 90
    cameras = Unfolding(20, batch=2, frames=4, until=until)
    for i in range(total):
        seen = cameras(now := Step.make(i, total, 0))
        with torch.no_grad():
            truth = made.render(look_at(seen.azimuth - 2 * math.pi * seen.time, seen.elevation, size=20))
        (made.render(seen, now).rgb - truth.rgb).square().sum().backward()
        optimizer.step(made.groups(now))
    turns = made.whole.turn / (2 * math.pi)
    assert (turns - torch.tensor([0, 0, end])).norm() < (5 / 360 if end else 0.1), turns


def test_clips_unfold():
    """From the beginning alone to the whole, every view a clip; Orbit's cameras otherwise."""
    cameras = Unfolding(8, batch=2, frames=3, until=Ramp(0.2, 1.0, until=0.5))
    for index, end in ((0, 0.2), (25, 0.6), (50, 1.0), (100, 1.0)):
        seen = cameras(Step.make(index, 101, 0))
        assert seen.time.tolist() == pytest.approx(2 * [0, end / 2, end]) and seen.frames == 3 and len(seen) == 6
        assert torch.equal(seen.to_world[:3], seen.to_world[:1].expand(3, -1, -1))
    for wrong in (Ramp(0.0, 1.0), Ramp(0.5, 1.5), Ramp(-0.1)):
        with pytest.raises(Mistake, match="ends after time 0"):
            Unfolding(8, until=wrong)
    check_needs(config.load("sds-gaussian", ["renderer=dynamic_mesh", "cameras=unfolding"]))
