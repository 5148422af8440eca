"""The exact renders: numba against torch, and both against geometry."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from skimage.draw import polygon

from dream3d.cameras import look_at, ring
from dream3d.errors import Mistake
from dream3d.toybox.language import OBJECTS, PATTERNS, Thing, Wish, parse
from dream3d.toybox.mesh import truth
from dream3d.toybox.render import ALL, render
from dream3d.toybox.world import build

PLAIN = "ball cube cone cylinder donut mushroom table tree lamp cactus apple teapot"
FRONTED = set(OBJECTS) - set(PLAIN.split())


def _everything(render_):
    return render_.buffers() | render_.extras


def _scenes(precision):
    """Every object and pattern and some pairs, each from one random side, and once from the side exactly."""
    wishes = [Wish((Thing(name, "red", (None, *PATTERNS)[i % 4]),)) for i, name in enumerate(OBJECTS)]
    wishes += [parse("a red donut on a striped cube"), parse("mug next to a teapot")]
    random = torch.Generator().manual_seed(0)
    azimuth, elevation = torch.rand(2, len(wishes), dtype=torch.float64, generator=random)
    azimuth, elevation = azimuth * 2 * math.pi, elevation * 1.7 - 0.2
    azimuth[:4], elevation[:4] = torch.arange(4) * math.pi / 2, 0.0
    cameras = look_at(azimuth, elevation, size=(20, 24), subject=torch.arange(len(wishes)))
    exact = {f.name: getattr(cameras, f.name) for f in dataclasses.fields(cameras)}
    cast = {
        k: v.to(precision) if isinstance(v, torch.Tensor) and v.is_floating_point() else v for k, v in exact.items()
    }
    return [build(wish, i) for i, wish in enumerate(wishes)], dataclasses.replace(cameras, **cast)


def _compare(a, b, tolerance, share):
    assert a.keys() == b.keys() == set(ALL)
    for name in ALL:
        assert a[name].shape == b[name].shape and a[name].dtype == b[name].dtype
        off = (a[name].double() - b[name].double().cpu()).abs() > tolerance
        assert off.float().mean() <= share, (name, off.float().mean())


def test_twins_agree_in_double_precision():
    """Both compute in double: only a ray that meets an edge to 1e-15 falls to either side: 1 pixel in 1e4."""
    soups, cameras = _scenes(torch.float64)
    numba, twin = (_everything(render(soups, cameras, buffers=ALL, backend=b)) for b in ("numba", "torch"))
    _compare(numba, twin, 1e-5, 1e-4)


def test_the_twin_in_single_precision():
    """Float32 moves silhouettes, seams and pattern borders by 1e-6: under one pixel in 200 changes."""
    soups, cameras = _scenes(torch.float32)
    numba, twin = (_everything(render(soups, cameras, buffers=ALL, backend=b)) for b in ("numba", "torch"))
    _compare(numba, twin, 1e-2, 5e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_twin_on_the_gpu():
    soups, cameras = _scenes(torch.float32)
    there = render(soups, cameras.to("cuda"), buffers=ALL)
    assert there.rgb.device.type == "cuda"
    _compare(_everything(render(soups, cameras, buffers=ALL)), _everything(there), 1e-2, 5e-3)


def test_bitwise_repeatable_and_independent_of_the_batch():
    soups, cameras = _scenes(torch.float32)
    first, again = (_everything(render(soups, cameras, buffers=ALL)) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in ALL)
    some = torch.tensor([5, 2, 33])
    part = _everything(render(soups, cameras.at(some), buffers=ALL))
    assert all(torch.equal(part[name][..., :2], first[name][some][..., :2]) for name in ALL if name != "labels")


@pytest.mark.parametrize("name", ["car", "donut"])
def test_resolution_independence(name):
    """The same samples, averaged in two places: 64 px with 2 x 2 against 32 px with 4 x 4."""
    soup, cameras = build(Wish((Thing(name, "blue", "checkered"),)), 3), ring(3, start=20.0, size=64)
    fine, coarse = render([soup], cameras), render([soup], cameras.sized(32, 32), supersample=4)
    for key, value in coarse.buffers().items():
        pooled = torch.nn.functional.avg_pool2d(fine.buffers()[key].movedim(-1, 1), 2).movedim(1, -1)
        assert torch.allclose(pooled, value, atol=1e-4), key


def test_what_is_asked_for():
    soup, cameras = build(parse("a red ball"), 0), ring(2, size=16)
    shown = render([soup], cameras, buffers=("alpha",))
    assert shown.normal is None and shown.labels is None and not shown.extras
    assert shown.rgb.shape == (2, 16, 16, 3) and shown.rgb.max() == 0 and shown.alpha.max() == 1
    with pytest.raises(Mistake, match="shadow"):
        render([soup], cameras, buffers=("shadow",))
    with pytest.raises(Mistake, match="subject"):
        render([soup, soup], cameras)
    with pytest.raises(Mistake, match="subject"):
        render([soup], dataclasses.replace(cameras, subject=torch.tensor([0, 1])))


@pytest.mark.parametrize("name", OBJECTS)
def test_buffers_hang_together(name):
    soup = build(Wish((Thing(name),)), 11)
    shown = render([soup], ring(4, elevation=20.0, size=32), buffers=ALL)
    assert (
        (shown.alpha.mean((1, 2, 3)) > 0.03).all()
        and shown.alpha[:, [0, -1]].max() == 0
        and shown.alpha[:, :, [0, -1]].max() == 0
    )
    assert torch.allclose(shown.labels.sum(-1), torch.ones(4, 32, 32)) and torch.allclose(
        shown.labels[..., -1:], 1 - shown.alpha
    )
    assert (shown.rgb >= 0).all() and (shown.rgb <= shown.alpha + 1e-6).all()
    parts = shown.extras["parts"]
    assert ((parts >= 0) == (shown.alpha > 0)).all() and parts.max() < len(soup.parts)
    depth = (shown.depth / shown.alpha.clamp(min=1e-6))[shown.alpha > 0]
    assert depth.min() > 1.9 and depth.max() < 4.1


@pytest.mark.parametrize("name", OBJECTS)
def test_normals_are_the_slope_of_the_depth(name):
    soup, cameras = build(Wish((Thing(name),)), 5), ring(2, start=25.0, elevation=20.0, size=96)
    shown = render([soup], cameras, buffers=ALL, supersample=1)
    solid = shown.alpha[..., 0] == 1
    assert torch.allclose(shown.normal[solid].norm(dim=-1), torch.ones(int(solid.sum())), atol=1e-5)
    origins, rays = cameras.rays()
    assert ((shown.normal * rays).sum(-1)[solid] < 1e-5).all()  # every visible surface faces the camera
    points = origins + shown.depth * rays
    across, down = points[:, 1:-1, 2:] - points[:, 1:-1, :-2], points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    slope = torch.nn.functional.normalize(torch.linalg.cross(down, across), dim=-1)
    inner = [shown.normal[:, 1 + i : 95 + i, 1 + j : 95 + j] for i, j in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))]
    smooth = torch.stack([(n * inner[0]).sum(-1) for n in inner[1:]]).amin(0) > 0.97  # no edge between the neighbours
    parts = shown.extras["parts"][..., 0]
    shifted = [parts[:, 1 + i : 95 + i, 1 + j : 95 + j] for i, j in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))]
    smooth &= torch.stack([other == shifted[0] for other in shifted[1:]]).all(0)
    smooth &= (across.norm(dim=-1) < 0.15) & (down.norm(dim=-1) < 0.15)
    agreement = (slope * inner[0]).sum(-1)[smooth]
    assert len(agreement) > 300 and (agreement > 0.97).float().mean() > 0.9


def test_fronts_are_not_backs():
    soups = [build(Wish((Thing(name),)), 3) for name in sorted(FRONTED)]
    subject = torch.arange(len(soups)).repeat_interleave(2)
    azimuth = torch.tensor([0.0, math.pi]).repeat(len(soups))
    albedo = render(
        soups, look_at(azimuth, torch.full_like(azimuth, 0.2), size=32, subject=subject), buffers=("albedo",)
    ).extras["albedo"]
    front, back = albedo[0::2], albedo[1::2].flip(2)
    differs = ((front - back).abs().amax(-1) > 0.15).float().sum((1, 2)) / (front.amax(-1) > 0).float().sum((1, 2))
    assert (differs > 0.06).all(), dict(zip(sorted(FRONTED), differs.tolist(), strict=True))


@pytest.mark.parametrize("name", OBJECTS)
def test_the_mesh_has_the_same_silhouette(name):
    soup, cameras = build(Wish((Thing(name),)), 8), look_at(torch.tensor([0.7]), torch.tensor([0.4]), size=96)
    mesh, drawn = truth(soup, fine=4), np.zeros((96, 96), bool)
    camera = mesh.vertices @ cameras.to_camera[0, :3, :3].T + cameras.to_camera[0, :3, 3]
    pixels = camera @ cameras.intrinsics[0].T
    pixels = (pixels[:, :2] / pixels[:, 2:] - 0.5).numpy()
    for corners in pixels[mesh.faces.numpy()]:
        drawn[polygon(corners[:, 1], corners[:, 0], drawn.shape)] = True
    shown = render([soup], cameras, buffers=("alpha",), supersample=1).alpha[0, :, :, 0].numpy() > 0
    assert (drawn & shown).sum() / (drawn | shown).sum() > 0.95
