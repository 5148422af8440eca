"""Gaussians that move: at rest they are the still set, and what moves them can be learnt, frozen, saved and handed over."""

import dataclasses

import pytest
import torch
from dream3d.renderers._backends.hexplane import SPACE, TIME, HexPlane
from dream3d.renderers.dynamic_gaussians import MOVED, DynamicGaussians
from dream3d.renderers.gaussians import Gaussians

from dream3d.cameras import Orbit, clips, ring
from dream3d.optim import Adam
from dream3d.types import Points, Step


def scene(count: int = 60, **settings) -> DynamicGaussians:
    return DynamicGaussians(torch.Generator().manual_seed(0), count=count, **settings)


def moving(count: int = 60, **settings) -> DynamicGaussians:
    """A scene whose field says something different everywhere."""
    made, g = scene(count, **settings), torch.Generator().manual_seed(1)
    for p in [*made.field.parameters(), *(made.whole.parameters() if made.whole else ())]:
        p.data += 0.1 * torch.randn(p.shape, generator=g)
    return made


def step(index: int = 0) -> Step:
    return Step.make(index, 20, 3)


def cameras(frames: int = 4, count: int = 2):
    return clips(ring(count, size=20), frames)


def pull(made: DynamicGaussians, seen, index: int) -> None:
    """A step of the optimiser against random colours."""
    now = step(index)
    render = made.render(seen, now)
    (render.rgb * torch.rand(render.rgb.shape, generator=now.rng)).sum().backward()


# --- at rest --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree, settings", [(0, {}), (1, {}), (0, {"field": "mlp"}), (0, {"whole": "rigid"}), (1, {"whole": "shift"})])
def test_at_time_zero_it_is_the_still_set_to_the_bit(degree, settings):
    """Whatever the field says, and also for cameras without a time, and for what an earlier stage handed over."""
    still = Gaussians(torch.Generator().manual_seed(7), count=90, sh_degree=degree)
    still.colour.data.uniform_(0, 1, generator=torch.Generator().manual_seed(2))
    made = moving(sh_degree=degree, **settings)
    made.init_from(still.handover())
    again = Gaussians(torch.Generator().manual_seed(7), count=1, sh_degree=degree)
    again.init_from(still.handover())
    seen = ring(3, size=24)
    for look in (seen, dataclasses.replace(seen, time=torch.zeros(3))):
        for name, buffer in again.render(seen).buffers().items():
            assert torch.equal(made.render(look).buffers()[name], buffer), name


def test_nothing_moves_before_it_is_learnt_and_then_it_does():
    seen = cameras()
    still, lively = (made.render(seen).rgb.unflatten(0, (2, 4)) for made in (scene(), moving()))
    assert torch.equal(still, still[:, :1].expand_as(still)) and still.max() > 0
    assert all(not torch.allclose(lively[:, f], lively[:, f + 1], atol=1e-3) for f in range(3))
    made = moving()
    assert all((made.moved(torch.tensor(0.7))[f"still.{name}"] != getattr(made.still, name)).any(0).all() for name in MOVED)


# --- rows and times -------------------------------------------------------------------------------------------------


def test_rows_in_any_order_of_time_are_those_drawn_one_by_one():
    made, seen = moving(), dataclasses.replace(ring(5, size=20), time=torch.tensor([0.6, 0.0, 1.0, 0.6, 0.2]))
    together = made.render(seen)
    for i in range(5):
        alone = made.render(seen.at(torch.tensor([i])))
        for name, buffer in together.buffers().items():
            torch.testing.assert_close(buffer[i : i + 1], alone.buffers()[name], atol=1e-5, rtol=1e-5)
    scales = [made.moved(t)["still.log_scale"].exp() for t in seen.time]
    torch.testing.assert_close(together.extras["scale"], torch.stack(scales).mean(0))
    shifts = [made.moved(torch.tensor(t))["still.position"] - made.still.position for t in (0.0, 0.2, 0.6, 1.0)]
    torch.testing.assert_close(together.extras["shift"], torch.stack(shifts))


@pytest.mark.parametrize("settings", [{"channels": 2}, {"field": "mlp", "whole": "rigid"}], ids=str)
def test_the_gradient_of_a_moving_scene_is_that_of_finite_differences(settings):
    """Central differences in float64 along random directions of every parameter, of what moves and of the still set."""
    made = moving(12, hidden=4, backend="torch", **settings).double()
    seen = dataclasses.replace(_double(ring(2, size=12)), time=torch.tensor([0.9, 0.3], dtype=torch.float64))
    g = torch.Generator().manual_seed(4)
    cotangent = torch.randn(made.render(seen).rgb.shape, generator=g, dtype=torch.float64)
    (made.render(seen).rgb * cotangent).sum().backward()
    with torch.no_grad():
        for name, p in made.named_parameters():
            if p.numel() and p.grad is not None:
                way, h = torch.randn(p.shape, generator=g, dtype=torch.float64), 1e-6
                sums = []
                for sign in (1, -2):  # to +h, then to -h
                    p += sign * h * way
                    sums.append((made.render(seen).rgb * cotangent).sum())
                p += h * way
                torch.testing.assert_close((sums[0] - sums[1]) / (2 * h), (p.grad * way).sum(), rtol=1e-4, atol=1e-6, msg=name)


def _double(seen):
    changed = {f.name: getattr(seen, f.name) for f in dataclasses.fields(seen)}
    return dataclasses.replace(seen, **{k: v.double() for k, v in changed.items() if isinstance(v, torch.Tensor)})


# --- the field ------------------------------------------------------------------------------------------------------


def test_six_planes_are_read_where_a_point_is_and_multiplied():
    """At texels nothing is interpolated: the feature is the product of six numbers, one of each plane. Beyond the box: its border's."""
    field = HexPlane(torch.Generator(), outputs=1, side=5, moments=3, channels=2, levels=1, hidden=2, bound=0.5)
    for planes in (*field.space, *field.time):
        planes.data.uniform_(0.5, 2, generator=torch.Generator().manual_seed(5))
    texel = (3, 0, 4, 2)  # x, y, z, t
    point = torch.tensor([[3 / 4 - 0.5, -0.5, 0.5]])
    expected = torch.ones(2)
    for planes, pairs in ((field.space[0], SPACE), (field.time[0], TIME)):
        for plane, (first, second) in zip(planes, pairs, strict=True):  # the first of a pair is a plane's column
            expected = expected * plane[:, texel[second], texel[first]]
    for where in (point, point * torch.tensor([1.0, 3.0, 2.0])):
        torch.testing.assert_close(field.features(where, torch.tensor(1.0))[0], expected)


def test_a_field_learns_a_steady_motion_and_a_turn():
    """Half of the Gaussians drive along -y at 0.4 m, the others turn around z by 60 degrees: within 1 cm (root mean square) after 300
    steps, and between frames too."""
    made, optimizer = scene(200, frozen=True), Adam()
    x = made.still.position.detach()
    left = (x[:, :1] < 0).float()

    def target(time: float) -> torch.Tensor:
        a = torch.tensor(time * torch.pi / 3)
        turned = torch.stack([x[:, 0] * a.cos() - x[:, 1] * a.sin(), x[:, 0] * a.sin() + x[:, 1] * a.cos(), x[:, 2]], 1)
        return left * (x + time * torch.tensor([0.0, -0.4, 0.0])) + (1 - left) * turned

    for i in range(300):
        error = sum((made.moved(torch.tensor(t))["still.position"] - target(t)).square().sum() for t in (1 / 3, 2 / 3, 1.0))
        error.backward()
        optimizer.step(made.groups(Step.make(i, 300, 0)))
    for t in (0.2, 0.5, 1.0):
        off = (made.moved(torch.tensor(t))["still.position"] - target(t)).norm(dim=1)
        assert off.square().mean().sqrt() < 0.01, (t, off.square().mean().sqrt())


# --- optimising, saving, handing over -------------------------------------------------------------------------------


def test_a_gradient_reaches_both_and_a_frozen_set_stays_to_the_bit():
    seen = cameras()
    for frozen in (False, True):
        made, optimizer = scene(frozen=frozen), Adam()
        made.init_from(Gaussians(torch.Generator().manual_seed(1), count=70).handover())
        before = {k: v.clone() for k, v in made.state().items()}
        for i in range(2):  # zero weights let nothing through to the planes at first
            pull(made, seen, i)
            assert optimizer.step(made.groups(step(i)))
        changed = {k for k, v in made.state().items() if not torch.equal(v, before[k])}
        assert {f"field.{name}" for name, _ in made.field.named_parameters()} <= changed
        assert any(k.startswith("still.") for k in changed) is not frozen
        assert not frozen or all(p.grad is None for p in made.still.parameters())


def test_the_first_frame_does_not_pull_the_field():
    made, seen = moving(), cameras()
    render = made.render(seen, step())
    render.rgb[::4].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in made.field.parameters())
    assert made.still.colour.grad.any()


def test_a_run_continues_to_the_bit():
    """Also into a scene of another size, and with its optimiser."""
    one, two, seen = scene(), scene(9), cameras(3)
    one.init_from(Gaussians(torch.Generator().manual_seed(1), count=70).handover())
    optimizers = Adam(), Adam()
    for i in range(6):
        if i == 3:
            two.restore({k: v.clone() for k, v in one.state().items()})
            optimizers[1].restore(optimizers[0].state())
            kept = one.render(seen).rgb
            assert torch.equal(two.render(seen).rgb, kept) and len(two) == 70
        for made, optimizer in zip((one, two), optimizers, strict=True):
            if made is one or i >= 3:
                pull(made, seen, i)
                optimizer.step(made.groups(step(i)))
    assert all(torch.equal(v, two.state()[k]) for k, v in one.state().items()) and not torch.equal(one.render(seen).rgb, kept)
    frozen = scene(9, frozen=True)
    frozen.restore(one.state())
    assert not any(p.requires_grad for p in frozen.still.parameters())


def test_the_still_set_is_handed_over_whole():
    made = moving()
    handed = made.handover()
    assert isinstance(handed, Points) and len(handed.position) == len(made) == 60
    other = Gaussians(torch.Generator().manual_seed(5), count=3)
    other.init_from(handed)
    torch.testing.assert_close(other.render(ring(2, size=20)).rgb, made.render(ring(2, size=20)).rgb, atol=1e-5, rtol=0)


def test_labels_come_along():
    made, labelled = moving(), Gaussians(torch.Generator().manual_seed(1), count=70, halves="above")
    made.init_from(labelled.handover())
    labels = made.render(Orbit(20, batch=2, frames=3)(step())).labels
    assert labels.shape == (6, 20, 20, 3)
    torch.testing.assert_close(labels.sum(-1), torch.ones(6, 20, 20), atol=1e-4, rtol=0)
