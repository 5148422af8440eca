"""The penalty that keeps an edited volume's densities like those it had (Vox-E)."""

import copy

import pytest
import torch
from dream3d.systems.text_to_3d import TextTo3D

from dream3d import build, checkpoint
from dream3d.background import Random
from dream3d.cameras import look_at
from dream3d.errors import Mistake
from dream3d.interfaces import Representation
from dream3d.optim import Adam
from dream3d.penalties import Penalties, correlation
from dream3d.schedule import Ramp
from dream3d.types import Render, Step

NOW = Step.make(3, 10, 0)
A = torch.zeros(1, 1, 1, 1)
RENDER = Render(A.expand(-1, -1, -1, 3), A, A)


class Cloud(Representation):
    """Density scale * (|x|^2 + mixed * x_0) + offset; in |x| < 1 the two vary independently."""

    bound = 1.0

    def __init__(self, scale: float = 1.0, offset: float = 0.0, mixed: float = 0.0):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))
        self.offset = torch.nn.Parameter(torch.tensor(offset))
        self.mixed = torch.nn.Parameter(torch.tensor(mixed))

    def told(self, x, now=None):
        return self.scale * (x.square().sum(-1) + self.mixed * x[:, 0]) + self.offset, x

    def dense(self, geometry):
        return geometry

    def render(self, cameras, now=None):
        raise NotImplementedError

    def groups(self, now):
        return []

    def handover(self):
        raise NotImplementedError


def penalty(scene, source, now=NOW) -> torch.Tensor:
    return correlation(scene, RENDER, source, Step.make(now.index, now.total, now.seed))


@pytest.mark.parametrize("scale, offset", [(1.0, 0.0), (7.0, 0.0), (0.01, 0.0), (1.0, 40.0), (3.0, -2.0)])
def test_neither_scale_nor_offset_matter(scale, offset):
    made = penalty(Cloud(scale, offset), Cloud())
    assert made.abs() < 1e-5
    made.backward()


def test_its_value_is_one_minus_pearsons():
    """In [-1, 1]^3 |x|^2 has variance 3 (1/5 - 1/9) = 4/15 and x_0 has 1/3, uncorrelated: corr = 1 / sqrt(1 + mixed^2 5/4)."""
    for mixed in (0.5, 1.0, 3.0):
        assert penalty(Cloud(mixed=mixed), Cloud()).item() == pytest.approx(1 - (1 + 1.25 * mixed**2) ** -0.5, abs=3e-3)
    assert penalty(Cloud(scale=-1.0), Cloud()).item() == pytest.approx(2, abs=1e-5)
    assert penalty(Cloud(scale=0.0), Cloud()).item() == pytest.approx(1, abs=1e-5)


def test_it_pulls_back_what_has_changed_its_shape_and_nothing_else():
    made, source = Cloud(2.0, 1.0, mixed=0.5), Cloud()
    penalty(made, source).backward()
    assert made.mixed.grad > 0.1 and abs(made.scale.grad) < 1e-5 and abs(made.offset.grad) < 1e-5
    assert all(p.grad is None for p in source.parameters())
    flat = Cloud(scale=0.0)
    penalty(flat, source).backward()
    assert all(p.grad.isfinite() for p in flat.parameters())


@pytest.mark.parametrize("kind, geometry", [("voxels", "density"), ("hashgrid", "density"), ("triplane", "volsdf"), ("nerf", "neus")])
def test_every_volume_has_it(kind, geometry):
    made = build.make("renderers", {"type": kind, "geometry": geometry}, torch.Generator().manual_seed(0))
    source = copy.deepcopy(made)
    assert penalty(made, source).abs() < 1e-5
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    changed = penalty(made, source)
    changed.backward()
    assert changed > 1e-4 and any(p.grad is not None and p.grad.abs().max() > 0 for p in made.parameters())


@pytest.mark.parametrize("kind, geometry", [("voxels", "volsdf"), ("voxels", "neus"), ("hashgrid", "density"), ("hashgrid", "volsdf")])
def test_what_goes_with_the_progress_of_steps_is_no_edit(kind, geometry):
    """An edge that has become narrower since, levels that have begun to count: without learning it is 0, and both look the same."""
    settings = {"geometry": geometry, "samples": 16, **({"levels": 4, "coarse": 2} if kind == "hashgrid" else {})}
    made = build.make("renderers", {"type": kind, **settings}, torch.Generator().manual_seed(0))
    cameras = look_at(torch.zeros(1), torch.zeros(1), size=8)
    source = copy.deepcopy(made)
    first = made.state()["width"].clone()
    drawn = made.render(cameras, Step.make(9, 10, 0))
    assert geometry == "density" or made.width < first / 2
    assert penalty(made, source, Step.make(9, 10, 0)).abs() < 1e-5
    again = source.render(cameras, Step.make(9, 10, 0))
    assert all(torch.equal(buffer, again.buffers()[name]) for name, buffer in drawn.buffers().items())


def test_what_has_no_densities_is_told_so():
    made = build.make("renderers", {"type": "gaussians", "count": 4}, torch.Generator().manual_seed(0))
    with pytest.raises(Mistake, match="densities"):
        penalty(made, made)
    with pytest.raises(Mistake, match="not kept"):
        Penalties({"correlation": Ramp(1.0)})(made, RENDER, NOW)


def _system(toy_prior, towards, weight: float) -> TextTo3D:
    from dream3d.options import Words
    from dream3d.prompt import Prompt
    from dream3d.term import Term

    prior = toy_prior()
    scene = build.make("renderers", {"type": "voxels", "resolution": 8, "samples": 16, "lr_geometry": Ramp(0.5)},
                       torch.Generator().manual_seed(0))  # fmt: skip
    azimuth = torch.tensor([0.0, 3.0])
    term = Term(towards(prior), Prompt(prior, ["a toy"], "", Words()))
    return TextTo3D(scene, [term], lambda now: look_at(azimuth, 0 * azimuth, size=16),
                    Random(), Adam(), Penalties({"correlation": Ramp(weight)}), None, 6, 0)  # fmt: skip


def test_the_system_keeps_the_scene_for_it_also_over_an_interruption(toy_prior, towards, tmp_path):
    """Nothing edits here: the source is not drawn, only kept."""
    whole, first, second = (_system(toy_prior, towards, 200.0) for _ in range(3))
    start = {name: value.clone() for name, value in whole.scene.state().items()}
    for index in range(4):
        whole.step(index)
        first.step(index) if index < 2 else None
    assert all(torch.equal(whole.source.state()[name], value) for name, value in start.items())
    checkpoint.save(tmp_path, 2, first.state(), {})
    second.restore(checkpoint.newest(tmp_path)[1])
    for index in (2, 3):
        second.step(index)
    assert all(torch.equal(second.scene.state()[name], value) for name, value in whole.scene.state().items())
    now = Step.make(4, 6, 0)
    assert whole.draw(whole.cameras(now), now).source is None


def test_it_holds_an_edited_volume_to_what_it_was(toy_prior, towards):
    free, held = (_system(toy_prior, towards, weight) for weight in (1e-9, 1e4))  # with 0 no source is kept
    for index in range(6):
        free.step(index)
        held.step(index)
    away = [penalty(system.scene, system.source).item() for system in (free, held)]
    assert away[1] < 0.5 * away[0]
