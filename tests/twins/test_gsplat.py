"""What is the gsplat backend's own: how it asks gsplat, and when it is chosen. Values and gradients of all backends: test_splats."""

import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch
from dream3d.renderers._backends import choice, splat_dense, splat_gsplat
from dream3d.renderers._backends.choice import absent, kernel
from dream3d.renderers.gaussians import Gaussians
from test_splats import CONTRACT, random_splats, run

from dream3d.cameras import ring
from dream3d.errors import Mistake

SHAPES = [(1, 1), (1, 40), (40, 1), (15, 17), (16, 16), (17, 15), (32, 48), (33, 31)]


def agree(splats, height, width):
    expected = run(splat_dense, splats, height, width, torch.float64)
    for name, value in run(CONTRACT, splats, height, width, torch.float64).items():
        assert value.shape == expected[name].shape
        torch.testing.assert_close(value, expected[name], atol=1e-10, rtol=0)


@pytest.mark.parametrize("channels", [0, *range(1, 41), 64, 71])
def test_any_number_of_features(channels):
    agree(random_splats(21, 2, 12, channels, 9, 19, spread=3), 9, 19)


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("views", [1, 3])
def test_any_size_and_number_of_views(height, width, views):
    agree(random_splats(22, views, 30, 3, height, width), height, width)


def test_reach_covers_every_pixel_that_shows_a_splat_and_little_more():
    (mean, conics, opacity, *_), height, width = random_splats(23, 1, 200, 1, 40, 40, spread=4), 40, 40
    mean[:] = 20 + 5 * torch.randn(1, 200, 2, generator=torch.Generator().manual_seed(0))
    drawn = splat_dense._alphas(mean, conics, opacity, height, width)[0] > 0
    radii = splat_gsplat.reach(mean, conics, opacity)[0]
    assert radii.dtype == torch.int32 and drawn.flatten(1).any(1).sum() > 150
    spare = []
    for n in range(200):
        for axis, pixels in enumerate(torch.nonzero(drawn[n]).flip(1).T):
            if len(pixels):
                off = (pixels + 0.5 - mean[0, n, axis]).abs().max()
                assert off <= radii[n, axis]
                spare += [(radii[n, axis] - off).item()] if pixels.min() > 0 and pixels.max() < 39 else []  # all in the image
    assert len(spare) > 100 and sum(spare) / len(spare) < 1.5


def test_reach_leaves_room_for_the_rounding_of_tiles():
    conics, opacity = torch.tensor([[[1e-12, 0.0, 1.0]]]), torch.tensor([[1.0]])
    mean = torch.tensor([[[-3e6, 8.0]]])
    exact = 1e6 * (2 * torch.tensor(255.0).log()).sqrt()
    assert exact + 2 < splat_gsplat.reach(mean, conics, opacity)[0, 0, 0] < exact + 20


def test_what_is_not_drawn_is_not_listed():
    bad = float("nan"), float("inf")
    mean, opacity = torch.full((1, 7, 2), 8.0), torch.full((1, 7), 0.5)
    mean[0, 4:6, 1], opacity[0, 1], opacity[0, 6] = torch.tensor(bad), 0.0, float("nan")
    conics = torch.tensor([1.0, 0.0, 1.0]).repeat(1, 7, 1)
    conics[0, 2], conics[0, 3] = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, -1.0])
    radii = splat_gsplat.reach(mean, conics, opacity)[0]
    assert (radii[0] > 0).all() and radii[1:].eq(0).all()


def test_nothing_in_sight_has_no_gradient_even_where_values_are_not_finite():
    splats = random_splats(24, 1, 4, 3, 8, 8)
    splats[0][:], splats[3][:] = float("inf"), float("nan")
    found = run(CONTRACT, splats, 8, 8, torch.float64)
    assert all(value.eq(0).all() for value in found.values())


def test_depths_get_no_gradient():
    splats = [v.requires_grad_() for v in random_splats(25, 1, 10, 3, 8, 8)]
    CONTRACT.composite(*splats, 8, 8)[0].sum().backward()
    assert splats[4].grad is None and all(v.grad is not None for v in splats[:4])


# --- the choice -----------------------------------------------------------------------------------------------------


def _never():
    raise AssertionError("gsplat is looked at only where it would be chosen")


def _unbuilt(name):
    raise RuntimeError("ninja failed\nline 2 of many")


def test_the_choice_needs_no_torch():
    code = "import sys, dream3d.renderers._backends.choice as c; c.absent(); print('torch' in sys.modules, 'gsplat' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == ["False", "False"]


def test_the_choice_says_why():
    assert kernel("cpu", True, trouble=_never) == ("numba", "float32 on the CPU")
    assert kernel("cpu", False, trouble=_never) == kernel("cuda", False, trouble=_never) == ("torch", "not float32")
    assert kernel("mps", True, trouble=_never) == ("torch", "mps device")
    assert kernel("cuda", True, "torch", _never) == ("torch", "asked for")
    assert kernel("cuda", True, trouble=str) == ("gsplat", "float32 on CUDA")  # str() is "": no trouble
    assert kernel("cuda", True, "gsplat", str) == ("gsplat", "asked for")
    assert kernel("cuda", True, trouble=lambda: "no gsplat") == ("torch", "on cuda, no gsplat")


def test_what_is_asked_for_is_never_replaced():
    for device, single in (("cpu", True), ("cpu", False), ("cuda", False)):
        with pytest.raises(Mistake, match="gsplat backend needs CUDA and float32") as caught:
            kernel(device, single, "gsplat", _never)
        assert choice.PIP in caught.value.fix
    with pytest.raises(Mistake, match="cannot be used: it broke") as caught:
        kernel("cuda", True, "gsplat", lambda: "it broke")
    assert caught.value.fix == choice.PIP
    with pytest.raises(Mistake, match="numba backend needs the CPU"):
        kernel("cuda", True, "numba", _never)


def test_a_scene_that_asks_for_gsplat_on_the_cpu_stops():
    scene = Gaussians(torch.Generator().manual_seed(0), count=3, backend="gsplat")
    with pytest.raises(Mistake, match="gsplat backend needs CUDA"):
        _ = scene.about
    with pytest.raises(Mistake, match="gsplat backend needs CUDA"):
        scene.render(ring(1, size=8))
    with pytest.raises(Mistake, match="gsplat backend needs CUDA"):
        splat_gsplat.composite(*random_splats(26, 1, 3, 1, 8, 8), 8, 8)


@pytest.mark.parametrize("version", ["1.5.0", "1.5.3+pt24cu124", "1.4.0", "1.6.0", "1.50.0"])
def test_only_versions_that_draw_as_we_do(monkeypatch, version):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    assert absent() == ("" if version.startswith("1.5.") else f"gsplat {version} is not 1.5; {choice.PIP}")


def test_why_gsplat_cannot_be_used(monkeypatch):
    """The wrong machine, not installed, no compiler, kernels that do not build; and nothing where all is well."""

    def trouble():
        splat_gsplat.trouble.cache_clear()
        return splat_gsplat.trouble()

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert trouble() == "there is no CUDA device"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(metadata, "version", missing)
    assert trouble() == f"gsplat is not installed; {choice.PIP}"
    monkeypatch.setattr(metadata, "version", lambda name: "1.5.3")
    for name in ("gsplat", "gsplat.cuda"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(__path__=[]))
    backend = "gsplat.cuda._backend"
    monkeypatch.setitem(sys.modules, backend, None)
    assert "do not build" in trouble() and backend in trouble()
    with monkeypatch.context() as patched:
        patched.setattr(splat_gsplat.importlib, "import_module", _unbuilt)
        assert trouble() == "gsplat's kernels do not build: ninja failed"
    monkeypatch.setitem(sys.modules, backend, SimpleNamespace(_C=None))
    assert "nvcc" in trouble()
    monkeypatch.setitem(sys.modules, backend, SimpleNamespace(_C=object()))
    assert trouble() == ""
    splat_gsplat.trouble.cache_clear()
