"""Light on surfaces: the lamp, both factors of the split sum against sums over all directions, and white furnaces."""

import dataclasses
import math

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dream3d.renderers import _light
from dream3d.renderers._light import Sky, environment, lambert, lamps, reflected, to_display, to_linear

from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.types import Step


def unit_vectors(count: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)), dim=-1)


def seen(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Normals, and directions to the camera above them."""
    normal, towards = unit_vectors(count, seed), unit_vectors(count, seed + 1)
    return normal, torch.where((normal * towards).sum(-1, keepdim=True) < 0, -towards, towards)


def lattice(count: int) -> torch.Tensor:
    """Directions evenly over the sphere, in double precision."""
    i = torch.arange(count, dtype=torch.double)
    z, phi = 1 - (2 * i + 1) / count, i * math.pi * (3 - 5**0.5)
    return torch.stack([(1 - z**2).sqrt() * phi.cos(), (1 - z**2).sqrt() * phi.sin(), z], -1)


def microfacets(light, normal, towards, roughness: float, f0: float):
    """The specular BRDF times the cosine, written as in Heitz 2014: D G2 F / (4 nv), for directions of light."""
    half = F.normalize(light + towards, dim=-1)
    nl, nv, nh, vh = ((a * b).sum(-1).clamp(min=0) for a, b in ((normal, light), (normal, towards), (normal, half), (towards, half)))
    a2 = roughness**4
    d = a2 / (math.pi * (nh**2 * (a2 - 1) + 1) ** 2)
    lam = [(-1 + (1 + a2 * (1 / c.clamp(min=1e-9) ** 2 - 1)).sqrt()) / 2 for c in (nl, nv)]
    g = 1 / (1 + lam[0] + lam[1])
    return d * g * (f0 + (1 - f0) * (1 - vh) ** 5) / (4 * nv) * (nl > 0)


def test_display_and_linear_are_inverse_and_standard():
    x = torch.linspace(0, 1, 101)[:, None].expand(-1, 3)
    torch.testing.assert_close(to_display(to_linear(x)), x, atol=1e-6, rtol=0)
    assert to_linear(torch.full((1, 3), 0.5))[0, 0].item() == pytest.approx(0.21404, abs=1e-5)
    bright = torch.full((1, 3), 1.5, requires_grad=True)
    shown = to_display(bright)
    (out,), (back,) = (torch.autograd.grad(sign * shown.sum(), bright, retain_graph=True) for sign in (-1, 1))
    assert shown.allclose(torch.ones(3)) and out.eq(0).all() and back.gt(0).all()  # no further out, but back inside


@pytest.mark.parametrize("roughness", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("cosine", [0.2, 0.6, 0.95])
def test_the_second_factor_is_the_sum_over_all_directions(roughness, cosine):
    """A plain sum of the BRDF over the sphere, with another formula for the shadowing than the code's."""
    towards = torch.tensor([(1 - cosine**2) ** 0.5, 0.0, cosine], dtype=torch.double)
    light, up = lattice(100_000), torch.tensor([0.0, 0.0, 1.0], dtype=torch.double)
    factor = Sky(environment("constant")).factor(torch.tensor([[cosine]]), torch.tensor([[roughness]]))[0]
    for f0 in (0.0, 0.04, 1.0):
        whole = microfacets(light, up, towards, roughness, f0).mean().item() * 4 * math.pi
        assert float(f0 * factor[0] + factor[1]) == pytest.approx(whole, rel=0.015, abs=2e-4)


def test_white_surfaces_vanish_in_a_white_furnace():
    """Albedo 1 in a constant environment: every roughness, metalness and angle returns it, though single bounces lose up to half."""
    normal, towards = seen(3000)
    rough, metal = torch.rand(2, 3000, 1, generator=torch.Generator().manual_seed(3))
    sky = Sky(0.7 * environment("constant"))
    out = sky(torch.ones(3000, 3), rough, metal, normal, towards)
    assert (out / 0.7 - 1).abs().max() < 0.002
    assert reflected(32, 512).sum(-1).min() < 0.75  # what would be missing without further bounces


def test_coloured_surfaces_in_a_furnace_never_return_more_than_came():
    normal, towards = seen(2000)
    g = torch.Generator().manual_seed(2)
    albedo, (rough, metal) = torch.rand(2000, 3, generator=g), torch.rand(2, 2000, 1, generator=g)
    sky = Sky(environment("constant"))
    out = sky(albedo, rough, metal, normal, towards)
    assert out.min() >= 0 and out.max() <= 1.001
    assert (sky(0.9 * albedo, rough, metal, normal, towards) < out).all()


def test_a_black_dielectric_reflects_four_per_cent_head_on():
    sky, up = Sky(environment("constant")), torch.tensor([[0.0, 0.0, 1.0]])
    for rough, near in ((0.05, 0.001), (0.5, 0.01)):
        lit = sky(torch.zeros(1, 3), torch.tensor([[rough]]), torch.zeros(1, 1), up, up)
        torch.testing.assert_close(lit, torch.full((1, 3), 0.04), atol=near, rtol=0)


def test_diffuse_light_is_that_of_the_whole_hemisphere():
    """Against the sum over all directions, in the studio: harmonics of degree 2 keep all but a few per cent."""
    image = environment("studio")
    sky, normal = Sky(image), unit_vectors(200)
    way, area = _light._ways(*image.shape[:2])
    cosine = (normal @ way.view(-1, 3).T).clamp(min=0)
    exact = cosine @ (area.reshape(-1, 1) * image.view(-1, 3)) / math.pi
    error = (sky.irradiance(normal) - exact).abs()
    assert error.mean() < 0.03 * exact.mean() and error.max() < 0.12 * exact.mean()


def test_the_split_sum_is_near_the_whole_one():
    """In the studio, against the unsplit sum for one bounce, over surfaces seen at up to 60 degrees. The lobe that is taken as round
    costs up to an eighth of the light on average."""
    image = environment("studio")
    way, area = _light._ways(*image.shape[:2])
    way, area = way.view(-1, 3).double(), area.reshape(-1, 1).double()
    radiance = image.view(-1, 3).double()
    sky, (normal, towards) = Sky(image), seen(200)
    keep = (normal * towards).sum(-1) > 0.5
    normal, towards = normal[keep], towards[keep]
    for roughness in (0.35, 0.6, 0.9):
        exact = torch.stack([
            (microfacets(way, n, t, roughness, 1.0)[:, None] * radiance * area).sum(0)
            for n, t in zip(normal.double(), towards.double(), strict=True)
        ])  # fmt: skip
        rough = torch.full((len(normal), 1), roughness)
        factor = sky.factor((normal * towards).sum(-1, keepdim=True), rough)
        split = factor.sum(-1, keepdim=True) * sky.radiance(sky.peak(normal, towards, rough), rough)
        assert ((split - exact).abs().mean() / exact.mean()).item() < 0.13
        assert (split.mean() / exact.mean()).item() == pytest.approx(1, abs=0.03)


def test_a_mirror_shows_the_environment_where_it_is():
    """A picture whose colours are directions; also across the seam behind, and smoothly over all levels of roughness."""
    way, _ = _light._ways(128, 256)
    sky, direction = Sky(way / 2 + 0.5), unit_vectors(500)
    mirror = 2 * sky.radiance(direction, torch.full((500, 1), 0.0)) - 1
    assert (mirror - direction).abs().max() < 0.03
    previous = mirror
    for roughness in torch.linspace(0.05, 1, 20):
        now = 2 * sky.radiance(direction, roughness.expand(500, 1)) - 1
        assert (now - previous).abs().max() < 0.2
        previous = now
    assert (F.normalize(previous, dim=-1) * direction).sum(-1).min() > 0.99 and previous.norm(dim=-1).max() < 0.8


def test_an_environment_turns_about_the_vertical():
    sky, (normal, towards) = Sky(environment("studio")), seen(50)
    material = torch.full((50, 3), 0.8), torch.full((50, 1), 0.3), torch.full((50, 1), 0.5)
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    turned = sky(*material, normal @ quarter.T, towards @ quarter.T, torch.full((50, 1), math.pi / 2))
    torch.testing.assert_close(turned, sky(*material, normal, towards), atol=2e-2, rtol=2e-2)
    assert not torch.allclose(sky(*material, normal @ quarter.T, towards @ quarter.T), turned, atol=5e-2)


def test_light_has_a_derivative_in_everything():
    """Against central differences, away from where the tables bend."""
    sky, (normal, towards) = Sky(environment("studio")).double(), seen(40)
    keep = (normal * towards).sum(-1) > 0.3
    values = [torch.full((40, 3), 0.6), torch.full((40, 1), 0.43), torch.full((40, 1), 0.3), normal]
    values = [v[keep].double().requires_grad_() for v in values]
    towards = towards[keep].double()
    g = torch.Generator().manual_seed(0)
    grads = torch.autograd.grad(sky(*values, towards).sum(), values)
    for k, (value, grad) in enumerate(zip(values, grads, strict=True)):
        step = 1e-6 * torch.randn(value.shape, generator=g, dtype=torch.double)
        ends = [sky(*[v + s * step if i == k else v for i, v in enumerate(values)], towards).sum().item() for s in (1, -1)]
        wanted = (ends[0] - ends[1]) / 2
        assert float((grad * step).sum()) == pytest.approx(wanted, rel=1e-3, abs=1e-10)


def test_a_lamp_is_near_its_camera_and_turns_by_chance():
    cameras = ring(4)
    torch.testing.assert_close(lamps(cameras, None), cameras.centre)
    drawn = torch.stack([lamps(cameras, Step.make(i, 100, 0)) for i in range(100)])
    ratio = drawn.norm(dim=-1) / cameras.centre.norm(dim=-1)
    assert ratio.min() >= 0.8 and ratio.max() <= 1.5
    cosine = (F.normalize(drawn, dim=-1) * F.normalize(cameras.centre, dim=-1)).sum(-1)
    assert cosine.mean() > 0.7 and cosine.std() > 0.05
    assert torch.equal(lamps(cameras, Step.make(7, 100, 0)), drawn[7])


def test_a_camera_in_the_middle_of_the_world_has_a_lamp_too():
    cameras = ring(2)
    inside = dataclasses.replace(cameras, to_world=torch.eye(4).repeat(2, 1, 1))
    for now in (None, Step.make(3, 10, 0)):
        assert lamps(inside, now).eq(0).all()


def test_lambert_is_brightest_towards_the_lamp_and_ambient_behind():
    albedo, normal = torch.tensor([[0.8, 0.4, 0.2]]), torch.tensor([[0.0, 0.0, 1.0]])
    for place, share in (((0.0, 0.0, 2.0), 1.0), ((0.0, 3**0.5, 1.0), 0.1 + 0.9 / 2), ((0.0, 0.0, -2.0), 0.1)):
        lit = lambert(albedo, normal, torch.zeros(1, 3), torch.tensor([place]), 0.1)
        torch.testing.assert_close(lit, share * albedo)


@pytest.mark.parametrize("suffix", ["hdr", "png"])
def test_environments_from_pictures(tmp_path, suffix):
    path = tmp_path / f"sky.{suffix}"
    image = np.random.default_rng(0).random((16, 32, 3)).astype(np.float32)
    imageio.imwrite(path, image if suffix == "hdr" else (255 * image).round().astype(np.uint8))
    read, wanted = environment(str(path)), torch.from_numpy(image)
    torch.testing.assert_close(read, wanted if suffix == "hdr" else to_linear(wanted), atol=1e-2, rtol=2e-2)


def test_pictures_that_are_none(tmp_path):
    with pytest.raises(Mistake, match="no environment 'studo'"):
        environment("studo")
    (tmp_path / "broken.hdr").write_bytes(b"#?RADIANCE\nnothing")
    with pytest.raises(Mistake, match="cannot be read"):
        environment(str(tmp_path / "broken.hdr"))
    imageio.imwrite(tmp_path / "grey.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(Mistake, match="no picture in colour"):
        environment(str(tmp_path / "grey.png"))
