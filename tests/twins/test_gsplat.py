"""The gsplat backend: against the dense oracle on a GPU, and everywhere against what gsplat promises of its functions."""

import pytest
import tiled
import torch
from dream3d.renderers._backends import splat_dense, splat_gsplat
from dream3d.renderers._backends.choice import kernel
from test_splats import CASES, random_splats, run

from dream3d.errors import Mistake

ON_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(bool(splat_gsplat.trouble()), reason=splat_gsplat.trouble() or "ready"),
]


class Tiled:
    """The backend over the documented contract instead of the CUDA kernels."""

    @staticmethod
    def composite(*arguments):
        return splat_gsplat.blend(*arguments, tiled)


class OnDevice:
    @staticmethod
    def composite(*arguments):
        *tensors, height, width = arguments
        image, alpha = splat_gsplat.composite(*(v.cuda() for v in tensors), height, width)
        return image.cpu(), alpha.cpu()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("backend", [
    pytest.param((Tiled, torch.float64, 1e-12), id="contract"),
    pytest.param((OnDevice, torch.float32, 2e-3), id="cuda", marks=ON_GPU),
])  # fmt: skip
def test_it_agrees_with_the_oracle_in_values_and_gradients(case, backend):
    """Float32 on CUDA with fast exponentials: a splat at the edge of 1/255 may be in or out, so the bound is of that size."""
    module, dtype, tolerance = backend
    splats, height, width = case()
    expected, found = run(splat_dense, splats, height, width, torch.float64), run(module, splats, height, width, dtype)
    for name, value in expected.items():
        assert found[name].shape == value.shape and found[name].dtype == dtype
        if value.numel():
            assert (found[name].double() - value).abs().max() <= tolerance * value.abs().max() + 1e-12, name


@pytest.mark.parametrize("channels", [1, 6, 7, 40])
def test_any_number_of_features(channels):
    splats = random_splats(21, 2, 40, channels, 20, 35)
    expected = run(splat_dense, splats, 20, 35, torch.float64)
    for name, value in run(Tiled, splats, 20, 35, torch.float64).items():
        torch.testing.assert_close(value, expected[name], atol=1e-10, rtol=0)


def test_reach_covers_every_pixel_that_shows_a_splat():
    (mean, conics, opacity, *_), height, width = random_splats(22, 1, 200, 1, 40, 40, spread=4), 40, 40
    drawn = splat_dense._alphas(mean, conics, opacity, height, width)[0] > 0
    radii = splat_gsplat.reach(mean, conics, opacity)[0]
    for n in range(200):
        rows, columns = torch.nonzero(drawn[n], as_tuple=True)
        if len(rows):
            assert (columns + 0.5 - mean[0, n, 0]).abs().max() <= radii[n, 0]
            assert (rows + 0.5 - mean[0, n, 1]).abs().max() <= radii[n, 1]
    assert (radii > 0).all(-1).float().mean() > 0.9 and radii.float().mean() < 60


def test_what_is_not_drawn_is_not_listed():
    mean, opacity = torch.full((1, 4, 2), 8.0), torch.tensor([[0.5, 0.0, 0.5, 0.5]])
    conics = torch.tensor([[[1.0, 0.0, 1.0], [1.0, 0.0, 1.0], [1.0, 2.0, 1.0], [-1.0, 0.0, 1.0]]])
    assert (splat_gsplat.reach(mean, conics, opacity)[0] > 0).all(-1).tolist() == [True, False, False, False]


def test_the_choice_says_why():
    assert kernel("cpu", True) == ("numba", "float32 on the CPU") and kernel("cpu", False)[0] == "torch"
    assert kernel("cuda", True) == ("gsplat", "float32 on CUDA") and kernel("cuda", False)[0] == "torch"
    assert kernel("cuda", True, trouble="gsplat is not installed") == ("torch", "gsplat is not installed")
    assert kernel("cpu", True, "torch") == ("torch", "asked for") and kernel("mps", True)[0] == "torch"


@pytest.mark.skipif(not splat_gsplat.trouble(), reason="gsplat works here")
def test_asking_for_it_where_it_cannot_work_says_what_is_missing():
    with pytest.raises(Mistake, match="CUDA|gsplat"):
        splat_gsplat.composite(*random_splats(23, 1, 3, 1, 8, 8), 8, 8)
