"""One body for every compositing backend: values and gradients on one random cotangent, against the dense oracle in
float64."""

from types import SimpleNamespace

import pytest
import tiled
import torch
from dream3d.renderers._backends import splat_dense, splat_gsplat, splat_numba, splat_torch
from dream3d.renderers._backends.choice import PIP

CUDA = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
GSPLAT = [pytest.mark.gpu, pytest.mark.skipif(bool(splat_gsplat.trouble()), reason=f"needs CUDA and gsplat: {PIP}")]
CONTRACT = SimpleNamespace(composite=lambda *arguments: splat_gsplat.blend(*arguments, tiled))  # gsplat as documented, on any device
BACKENDS = [
    pytest.param(splat_numba, "cpu", torch.float32, 1e-4, id="numba"),
    pytest.param(splat_torch, "cpu", torch.float32, 1e-4, id="torch"),
    pytest.param(splat_torch, "cpu", torch.float64, 1e-12, id="torch64"),
    pytest.param(splat_dense, "cpu", torch.float32, 1e-4, id="dense32"),
    pytest.param(CONTRACT, "cpu", torch.float32, 1e-4, id="gsplat-contract"),
    pytest.param(CONTRACT, "cpu", torch.float64, 1e-12, id="gsplat-contract64"),
    pytest.param(splat_torch, "cuda", torch.float64, 1e-9, id="torch64-cuda", marks=CUDA),
    pytest.param(splat_torch, "cuda", torch.float32, 1e-4, id="torch-cuda", marks=CUDA),
    pytest.param(splat_gsplat, "cuda", torch.float32, 2e-3, id="gsplat", marks=GSPLAT),  # its backward: see there
]


def random_splats(seed: int, views: int, count: int, channels: int, height: int, width: int, spread: float = 1.5):
    """Anisotropic splats all over the image and beyond; rounded to float32 so that every precision sees the same
    input."""
    g = torch.Generator().manual_seed(seed)
    size = torch.tensor([width, height])
    mean = size * (torch.rand(views, count, 2, generator=g) * 1.4 - 0.2)
    root = spread * torch.randn(views, count, 2, 2, generator=g)
    conic = torch.linalg.inv(root @ root.mT + 0.3 * torch.eye(2))
    conics = torch.stack([conic[..., 0, 0], conic[..., 0, 1], conic[..., 1, 1]], -1)
    opacity = torch.rand(views, count, generator=g)
    features = torch.randn(views, count, channels, generator=g)
    return [mean, conics, opacity, features, torch.rand(views, count, generator=g)]


def many():
    return random_splats(0, 2, 500, 5, 37, 45), 37, 45


def none():
    return random_splats(1, 2, 0, 3, 9, 10), 9, 10


def one():
    return random_splats(2, 1, 1, 4, 16, 16, spread=3), 16, 16


def one_pixel():
    return random_splats(3, 3, 20, 1, 1, 1), 1, 1


def off_screen():
    splats = random_splats(4, 1, 60, 3, 24, 24)
    splats[0][:, ::2] += 500 * torch.sign(torch.randn(1, 30, 2, generator=torch.Generator().manual_seed(0)))
    return splats, 24, 24


def not_seen():
    """Opacity 0: what projection makes of splats behind the camera."""
    splats = random_splats(5, 1, 60, 3, 24, 24)
    splats[2][:, ::3] = 0
    return splats, 24, 24


def huge():
    splats = random_splats(6, 1, 30, 3, 33, 40, spread=60)
    return splats, 33, 40


def opaque_pile():
    """Fully opaque splats on top of each other: the clamp at 0.999 and the stop at 1e-4."""
    splats = random_splats(7, 2, 200, 3, 24, 25, spread=4)
    splats[2][:, :100] = 1.0
    splats[2][:, 100:] = 0.95
    return splats, 24, 25


def needles():
    """Standard deviations from half a pixel to hundreds, at any angle."""
    splats = random_splats(8, 1, 80, 3, 30, 31)
    g = torch.Generator().manual_seed(8)
    angle, long = 6.3 * torch.rand(1, 80, generator=g), 10 ** (1 + 1.5 * torch.rand(1, 80, generator=g))
    c, s, thin, wide = angle.cos(), angle.sin(), 1 / 0.36, 1 / long**2
    splats[1] = torch.stack([c * c * wide + s * s * thin, c * s * (wide - thin), s * s * wide + c * c * thin], -1)
    return splats, 30, 31


def ties():
    splats = random_splats(9, 1, 60, 3, 20, 20)
    splats[4] = (splats[4] * 3).floor()
    return splats, 20, 20


def flat():
    """Every third conic is not positive definite: negative, a saddle, or a line."""
    splats = random_splats(10, 2, 60, 3, 20, 36)
    for k, conic in enumerate(([-1 / 512, 0.0, -1 / 512], [1 / 512, 1 / 256, 1 / 512], [1 / 512, 1 / 256, 1 / 128])):
        splats[1][:, 3 * k :: 9] = torch.tensor(conic)
    return splats, 20, 36


def behind():
    """Depths may be negative: they only order."""
    splats = random_splats(13, 1, 60, 3, 20, 20)
    splats[4] -= 0.5
    return splats, 20, 20


def far():
    """Needles that end in the image, with their middles up to a million pixels away."""
    splats = random_splats(14, 1, 24, 3, 24, 24)
    away = 10 ** torch.linspace(2, 6, 24)
    splats[0][0, :, 0], splats[2][:] = -away, 0.9
    splats[1] = torch.stack([1 / away**2, 0 * away, torch.full_like(away, 0.01)], -1)[None]
    return splats, 24, 24


def nothing_in_sight():
    splats = random_splats(15, 2, 10, 3, 24, 24)
    splats[0] += 500
    return splats, 24, 24


CASES = [many, none, one, one_pixel, off_screen, not_seen, huge, opaque_pile, needles, ties, flat, behind, far, nothing_in_sight]


def run(module, splats, height, width, dtype, device="cpu"):
    leaves = [v.detach().clone().to(device, dtype).requires_grad_(k < 4) for k, v in enumerate(splats)]
    image, alpha = module.composite(*leaves, height, width)
    g = torch.Generator().manual_seed(99)
    pulls = [torch.randn(v.shape, generator=g, dtype=torch.float64).to(device, dtype) for v in (image, alpha)]
    gradients = torch.autograd.grad([image, alpha], leaves[:4], pulls)
    names = ("image", "alpha", "means2d", "conics", "opacities", "features")
    return dict(zip(names, (image, alpha, *gradients), strict=True))


@pytest.mark.parametrize(("module", "device", "dtype", "tolerance"), BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_backends_agree_in_values_and_gradients(case, module, device, dtype, tolerance):
    splats, height, width = case()
    expected = run(splat_dense, splats, height, width, torch.float64)
    found = run(module, splats, height, width, dtype, device)
    for name, value in expected.items():
        assert found[name].shape == value.shape and found[name].dtype == dtype
        scale = value.abs().max().item() if value.numel() else 0.0
        worst = (found[name].double().cpu() - value).abs().max().item() if value.numel() else 0.0
        assert worst <= scale * (min(tolerance, 1e-4) if name in ("image", "alpha") else tolerance), name


def test_cases_reach_what_they_are_for():
    light = 1 - run(splat_dense, *opaque_pile(), torch.float64)["alpha"]
    assert light.min() <= 1.01e-3  # one splat at 0.999, and no room for a second
    assert run(splat_dense, *huge(), torch.float64)["alpha"].mean() > 0.5
    gone = run(splat_dense, *off_screen(), torch.float64)["features"]
    assert gone[:, ::2].eq(0).all() and gone[:, 1::2].ne(0).any()


def test_oracle_matches_finite_differences():
    splats, height, width = random_splats(11, 1, 6, 2, 9, 9), 9, 9
    leaves = [v.double().requires_grad_(k < 4) for k, v in enumerate(splats)]
    assert torch.autograd.gradcheck(lambda *v: splat_dense.composite(*v, height, width), leaves, eps=1e-7, atol=1e-5)


def test_numba_is_bitwise_repeatable_with_any_number_of_threads():
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            results.append(run(splat_numba, *many(), torch.float32))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(results[0][name], other[name]) for name in other)


@pytest.mark.parametrize(
    "module", [splat_numba, splat_torch, splat_dense, CONTRACT], ids=["numba", "torch", "dense", "gsplat-contract"]
)
def test_works_without_gradients_and_with_constant_features(module):
    splats, height, width = random_splats(12, 1, 20, 3, 8, 8), 8, 8
    with torch.no_grad():
        assert not module.composite(*splats, height, width)[0].requires_grad
    splats[0].requires_grad_()
    module.composite(*splats, height, width)[1].sum().backward()
    assert splats[0].grad.ne(0).any()
