"""One body for every compositing backend: values and gradients on one random cotangent, against the dense oracle in
float64."""

import pytest
import torch
from dream3d.renderers._backends import splat_dense, splat_numba, splat_torch

BACKENDS = {
    "numba": (splat_numba, torch.float32, 1e-4),
    "torch": (splat_torch, torch.float32, 1e-4),
    "torch64": (splat_torch, torch.float64, 1e-12),
    "dense32": (splat_dense, torch.float32, 1e-4),
}


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


CASES = [many, none, one, one_pixel, off_screen, not_seen, huge, opaque_pile, needles, ties]


def run(module, splats, height, width, dtype):
    leaves = [v.to(dtype).requires_grad_(k < 4) for k, v in enumerate(v.detach().clone() for v in splats)]
    image, alpha = module.composite(*leaves, height, width)
    g = torch.Generator().manual_seed(99)
    pulls = [torch.randn(v.shape, generator=g, dtype=torch.float64).to(dtype) for v in (image, alpha)]
    gradients = torch.autograd.grad([image, alpha], leaves[:4], pulls)
    names = ("image", "alpha", "means2d", "conics", "opacities", "features")
    return dict(zip(names, (image, alpha, *gradients), strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_backends_agree_in_values_and_gradients(case, backend):
    splats, height, width = case()
    module, dtype, tolerance = BACKENDS[backend]
    expected = run(splat_dense, splats, height, width, torch.float64)
    found = run(module, splats, height, width, dtype)
    for name, value in expected.items():
        assert found[name].shape == value.shape and found[name].dtype == dtype
        scale = value.abs().max().item() if value.numel() else 0.0
        worst = (found[name].double() - value).abs().max().item() if value.numel() else 0.0
        assert worst <= tolerance * scale, name


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


@pytest.mark.parametrize("module", [splat_numba, splat_torch, splat_dense], ids=["numba", "torch", "dense"])
def test_works_without_gradients_and_with_constant_features(module):
    splats, height, width = random_splats(12, 1, 20, 3, 8, 8), 8, 8
    with torch.no_grad():
        assert not module.composite(*splats, height, width)[0].requires_grad
    splats[0].requires_grad_()
    module.composite(*splats, height, width)[1].sum().backward()
    assert splats[0].grad.ne(0).any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_torch_twin_on_the_gpu():
    splats, height, width = many()
    expected = run(splat_dense, splats, height, width, torch.float64)
    found = run(splat_torch, [v.cuda() for v in splats], height, width, torch.float64)
    for name, value in expected.items():
        torch.testing.assert_close(found[name].cpu(), value, atol=1e-9, rtol=0)
