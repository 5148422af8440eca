"""The light that sections of rays take: torch and nerfacc, and when nerfacc is chosen."""

from types import ModuleType, SimpleNamespace

import pytest
import torch
from dream3d.renderers._backends import light_nerfacc, light_torch
from dream3d.renderers._backends.light_nerfacc import kernel
from dream3d.renderers.voxels import Voxels

from dream3d.cameras import ring
from dream3d.errors import Mistake


def documented(alphas, packed_info=None, ray_indices=None, n_rays=None, prefix_trans=None):
    """nerfacc.render_transmittance_from_alpha as 0.5 documents it for packed samples, and as strict as its kernels about shapes and types;
    float64 is allowed here, so that only the wrapper's own errors show."""
    assert alphas.ndim == 1 and alphas.is_contiguous() and (ray_indices, n_rays, prefix_trans) == (None, None, None)
    assert packed_info.dtype == torch.int64 and packed_info.ndim == 2 and packed_info.shape[1] == 2
    assert int(packed_info[:, 1].sum()) == len(alphas) and (alphas < 1).all()  # its derivative is wrong where nothing is left
    rays = [alphas[start : start + count] for start, count in packed_info.tolist()]
    return torch.cat([torch.cat([ray.new_ones(min(len(ray), 1)), (1 - ray[:-1]).cumprod(0)]) for ray in rays])


def package(function) -> ModuleType:
    made = ModuleType("nerfacc")
    made.render_transmittance_from_alpha = function
    return made


CONTRACT = SimpleNamespace(weigh=lambda alpha, index: light_nerfacc.ask(alpha, index, package(documented)))
NERFACC = [pytest.mark.gpu, pytest.mark.skipif(bool(light_nerfacc.trouble()), reason=f"needs CUDA and nerfacc: {light_nerfacc.PIP}")]
BACKENDS = [
    pytest.param(CONTRACT, "cpu", torch.float32, 1e-5, id="nerfacc-contract"),
    pytest.param(CONTRACT, "cpu", torch.float64, 1e-12, id="nerfacc-contract64"),
    pytest.param(light_nerfacc, "cuda", torch.float32, 1e-4, id="nerfacc", marks=NERFACC),
]


def rays(share: float, dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """50 rays of 30 sections, of which about `share` take light; some take all of it."""
    some = torch.Generator().manual_seed(0)
    alpha = torch.rand(50, 30, generator=some, dtype=torch.float64).pow(3)
    alpha[torch.rand(50, 30, generator=some) < 0.02] = 1.0
    index = (torch.rand(50, 30, generator=some) < share).flatten().nonzero()[:, 0]
    return torch.zeros(1500, dtype=torch.float64).index_copy(0, index, alpha.flatten()[index]).view(50, 30).to(dtype), index


@pytest.mark.parametrize("module, device, dtype, close", BACKENDS)
@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
def test_both_find_the_same_light_and_derivatives(share, module, device, dtype, close):
    pull = torch.randn(50, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = []
    for backend, where, kind in ((light_torch, "cpu", torch.float64), (module, device, dtype)):
        alpha, index = (v.to(where) for v in rays(share, kind))
        alpha.requires_grad_()
        weights = backend.weigh(alpha, index)
        (weights * pull.to(weights)).sum().backward()
        found.append((weights.detach().cpu().double(), alpha.grad.cpu().double().flatten()[index.cpu()]))
    (light, slope), (other, found_slope) = found
    assert torch.allclose(light, other, atol=close) and torch.allclose(slope, found_slope, atol=20 * close, rtol=20 * close)
    assert share == 0 or light.sum() > 1


def test_the_torch_twin_has_the_derivatives_of_its_values():
    alpha, index = rays(1.0, torch.float64)
    torch.autograd.gradcheck(lambda a: light_torch.weigh(a, index), 0.9 * alpha[:3, :6].clone().requires_grad_())


def test_what_nerfacc_says_of_whole_rays_is_what_we_say():
    """The part of it that needs no GPU."""
    nerfacc = pytest.importorskip("nerfacc", reason="nerfacc is not installed")
    alpha, index = rays(1.0, torch.float64)
    weights, left = nerfacc.render_weight_from_alpha(alpha.clamp(max=light_torch.OPAQUE))
    assert torch.allclose(left, light_torch.transmittance(alpha))
    assert torch.allclose(weights, light_torch.weigh(alpha, index), atol=2e-6)
    rgb = torch.rand(50, 30, 3, dtype=torch.float64)
    assert torch.allclose(nerfacc.accumulate_along_rays(weights, rgb), (weights[..., None] * rgb).sum(1))


def test_kernels_are_asked_before_they_are_trusted():
    def wrong(alphas, packed_info):
        return documented(alphas, packed_info).detach() + 0 * alphas  # values without derivatives

    assert light_nerfacc._sound(package(documented), "cpu")
    assert not light_nerfacc._sound(package(wrong), "cpu")


def test_which_is_chosen_and_why():
    def unasked():
        raise AssertionError("nerfacc is looked at only where it would be chosen")

    assert kernel("cpu", True, trouble=unasked) == ("torch", "float32 on cpu")
    assert kernel("cuda", False, trouble=unasked)[0] == "torch"
    assert kernel("cuda", True, "torch", unasked) == ("torch", "asked for")
    assert kernel("cuda", True, trouble=str) == ("nerfacc", "float32 on CUDA")  # str() is "": no trouble
    assert kernel("cuda", True, trouble=lambda: "no nerfacc") == ("torch", "on cuda, no nerfacc")
    assert kernel("cuda", True, "nerfacc", str)[0] == "nerfacc"
    for device, trouble in (("cpu", unasked), ("cuda", lambda: "no nerfacc")):
        with pytest.raises(Mistake, match="nerfacc backend cannot be used"):
            kernel(device, True, "nerfacc", trouble)


def test_a_volume_says_what_composites_it():
    scene = Voxels(torch.Generator().manual_seed(0), resolution=4, samples=4)
    assert scene.about == "light by torch: float32 on cpu"
    with pytest.raises(Mistake, match="renderer.light"):
        Voxels(torch.Generator().manual_seed(0), resolution=4, samples=4, light="nerfacc").render(ring(1, size=4))
