"""Hash grids as a scene: coarse levels first, the same with every kernel; what all volumes do: test_volumes."""

import pytest
import torch
from dream3d.renderers import _handing
from dream3d.renderers._backends import hash_cuda
from dream3d.renderers.hashgrid import HashGrid, spread

from dream3d import build, estimate
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.optim import Adam
from dream3d.types import Field, Step


def scene(**more) -> HashGrid:
    return HashGrid(torch.Generator().manual_seed(0), **{"samples": 12, "entries": 1 << 10, "finest": 64, **more})


def shown(grid: HashGrid, index: int, total: int = 10) -> int:
    grid.render(ring(1, size=4), Step.make(index, total, 0))
    return int(grid.shown)


def test_levels_come_one_by_one_and_stay():
    grid = scene(levels=6, coarse=2, levels_from=0.2, levels_until=0.6)
    assert [shown(grid, index) for index in range(10)] == [2, 2, 2, 3, 4, 5, 6, 6, 6, 6]
    assert shown(grid, 0) == 6
    assert shown(scene(levels=6, coarse=2, levels_from=0.0, levels_until=0.0), 0) == 6  # no schedule: all of them
    assert shown(scene(levels=3, coarse=9), 0) == 3
    late = scene(levels=4, coarse=1, levels_from=0.5, levels_until=0.5)
    assert [shown(late, index) for index in (0, 4, 5)] == [1, 1, 4]


def test_what_does_not_count_yet_neither_shows_nor_learns():
    grid, cameras = scene(levels=4, coarse=2, levels_until=0.5), ring(2, size=8)
    before = grid.render(cameras, Step.make(0, 10, 0)).rgb
    (before - 0.3).square().sum().backward()
    fine = grid.first[2]
    assert grid.table.grad[fine:].eq(0).all() and grid.table.grad[:fine].ne(0).any()
    grid.table.data[fine:] = 5.0
    assert torch.equal(grid.render(cameras, Step.make(0, 10, 0)).rgb, before)
    assert not torch.allclose(grid.render(cameras, Step.make(5, 10, 0)).rgb, before, atol=0.01)


def test_a_look_outside_a_run_sees_as_many_levels_as_the_run_did():
    grid, cameras = scene(levels=4, coarse=1, levels_until=0.5), ring(1, size=8)
    torch.nn.init.normal_(grid.table, generator=torch.Generator().manual_seed(1))
    assert shown(grid, 2) == 2
    other = scene(levels=4, coarse=1, levels_until=0.5)
    other.restore({k: v.clone() for k, v in grid.state().items()})
    assert torch.equal(other.render(cameras).rgb, grid.render(cameras).rgb) and int(other.shown) == 2
    assert not torch.equal(scene(levels=4, coarse=4).render(cameras).rgb, grid.render(cameras).rgb)


def test_a_scene_that_starts_from_another_has_all_levels_at_once(monkeypatch):
    monkeypatch.setattr(_handing, "STEPS", 250)
    monkeypatch.setattr(_handing, "BATCH", 1 << 13)
    grid, axis = scene(levels=4, coarse=1, levels_until=0.9, entries=1 << 12), torch.linspace(-0.8, 0.8, 32)
    x = torch.cartesian_prod(axis, axis, axis).view(32, 32, 32, 3)
    grid.init_from(Field(0.8, density=40.0 * (x.norm(dim=-1) < 0.5).float(), rgb=torch.ones_like(x) * torch.tensor([0.9, 0.2, 0.1])))
    assert int(grid.shown) == 4 and shown(grid, 0) == 4
    density, rgb = grid.handover().density, grid.handover().rgb
    there = torch.cartesian_prod(*[torch.linspace(-0.8, 0.8, len(density))] * 3).view(*density.shape, 3).norm(dim=-1)
    assert density[there < 0.4].min() > 10 and density[there > 0.6].median() < 1
    assert (rgb[there < 0.4].mean(0) - torch.tensor([0.9, 0.2, 0.1])).abs().max() < 0.03


def test_every_kernel_draws_the_same_and_learns_the_same():
    def drawn(backend):
        grid = scene(backend=backend)
        torch.nn.init.normal_(grid.table, generator=torch.Generator().manual_seed(1))
        render = grid.render(ring(2, size=12), Step.make(0, 10, 0))
        (render.rgb.sum() + render.normal.sum()).backward()
        return [render.rgb, render.normal, grid.table.grad, *(p.grad for p in grid.net.parameters())]

    for a, b in zip(drawn("numba"), drawn("torch"), strict=True):
        assert (a - b).abs().max() <= 1e-3 * b.abs().max()


def test_the_same_seed_gives_the_same_bytes():
    def after():
        grid, optimizer = scene(), Adam()
        for index in range(4):
            now = Step.make(index, 4, 0)
            render = grid.render(ring(2, size=10), now)
            (render.rgb - 0.3).square().sum().backward()
            optimizer.step(grid.groups(now))
            grid.refine(render, optimizer, now)
        return grid.state()

    one, other = after(), after()
    assert all(torch.equal(one[name], other[name]) for name in one) and one["table"].abs().max() > 1e-3


def test_what_it_says_of_itself():
    assert scene().about == f"{len(scene().table)} entries on numba: float32 on the CPU"
    assert scene(backend="torch").about.endswith("torch: asked for") and scene().double().about.endswith("torch: not float32")
    assert spread(16, 256, 5) == (16, 32, 64, 128, 256) and spread(8, 99, 1) == (8,) and spread(20, 20, 3) == (20, 20, 20)
    known = build.signature("renderers", "hashgrid")
    own = {name: default for name, (_, default) in known.parameters.items()} | {"views": 4, "side": 64}
    small, large = (estimate._evaluate(known.memory, own | {"entries": n}) for n in (1 << 10, 1 << 19))
    assert large - small == pytest.approx(48 * 8 * ((1 << 19) - (1 << 10)))


def test_what_cannot_be():
    with pytest.raises(Mistake, match="finest level"):
        scene(coarsest=64, finest=16)
    if hash_cuda.trouble():
        with pytest.raises(Mistake, match="cuda backend"):
            scene(backend="cuda").render(ring(1, size=4))
