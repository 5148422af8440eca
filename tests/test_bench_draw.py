"""The bench of drawing: that it measures what it says, that parts of a frame are the frame, and how libraries are called directly."""

import inspect
from types import ModuleType

import pytest
import torch
from dream3d.renderers._backends import hash_torch

from dream3d.bench import _speed, direct
from dream3d.bench import draw as bench
from dream3d.cameras import ring


def test_every_representation_is_walked_back_and_told(monkeypatch):
    monkeypatch.setattr(_speed, "alone", lambda function, name, sizes: [float(size**2) for size in sizes])
    monkeypatch.setattr(bench, "once", lambda scene, cameras: 1e-6 * cameras.width**3)
    result = bench.measure(1, names=["mesh", "voxels"], sizes=[16, 8])
    assert [(r["name"], r["size"]) for r in result["grid"]] == [("mesh", 8), ("mesh", 16), ("voxels", 8), ("voxels", 16)]
    for power in result["exponents"].values():
        assert power == {"ms": pytest.approx(1.5), "memory": pytest.approx(1.0)}
    assert list(result["parts"]) == ["voxels"] and max(result["parts"]["voxels"].values()) <= bench.SAME
    text = bench.report(result)
    assert "mesh: exponent in pixels 1.50 of time, 1.00 of memory" in text and "voxels, an eighth of the frame" in text


@pytest.mark.parametrize("name", bench.NAMES)
def test_one_call_reaches_what_is_learnt(name):
    scene, view = bench.made(name), ring(1, size=8)
    assert bench.once(scene, view) > 0
    assert sum(float(p.grad.abs().sum()) for p in scene.parameters() if p.grad is not None) > 0
    asked = bench.samples(scene, view)
    assert asked == 0 if name in ("gaussians", "dmtet", "mesh") else 64 < asked <= 8 * 8 * (64 + 4)


def test_parts_that_differ_are_seen(monkeypatch):
    real = bench.drawn

    def other(scene, cameras):
        buffers = real(scene, cameras)
        return buffers if scene.chunk > 64 * 8 else {k: 1.01 * v for k, v in buffers.items()}

    monkeypatch.setattr(bench, "drawn", other)
    assert bench.parted("voxels", 8, "cpu")["values"] == pytest.approx(0.01, rel=1e-3)


def test_growth_is_what_a_call_keeps():
    """60 MB for as long as the call lasts, whatever was freed before."""
    grown = _speed.alone(_held, 60)
    assert 55 < grown < 75


def _held(megabytes: int) -> float:
    before = torch.ones(100 * 2**18)
    del before
    return _speed.growth(lambda: torch.ones(megabytes * 2**18).sum())


def module(**names) -> ModuleType:
    made = ModuleType("stand_in")
    vars(made).update(names)
    return made


def signed(parameters: str, answer):
    """A function that takes what the library's own takes, and nothing else."""
    names = parameters.replace(" ", "").split(",")
    found = inspect.Signature([inspect.Parameter(n.partition("=")[0], inspect.Parameter.POSITIONAL_OR_KEYWORD,
                                                 default=None if "=" in n else inspect.Parameter.empty) for n in names])  # fmt: skip

    def call(*given, **more):
        return answer(**found.bind(*given, **more).arguments)

    return call


def test_libraries_are_called_as_they_are_written(monkeypatch):
    """Stand-ins with the parameters of the libraries' own functions, in order: every pair runs, forward and back, on tensors of the shapes
    that they document."""
    monkeypatch.setattr(direct, "SIZE", 16)
    monkeypatch.setattr(direct, "COUNT", 50)
    monkeypatch.setattr(direct, "FACES", 80)
    monkeypatch.setattr(direct, "PLACES", 100)
    seen = []

    def splatted(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **more):
        seen.append("gsplat")
        assert means.shape == scales.shape == (50, 3) and quats.shape == (50, 4) and opacities.shape == (50,)
        assert viewmats.shape == (1, 4, 4) and Ks.shape == (1, 3, 3) and (width, height) == (16, 16)
        mean = (colors.mean(0) + (means.sum() + quats.sum() + scales.sum() + opacities.sum())).expand(1, 16, 16, 8)
        return mean, mean[..., :1], {}

    gsplat = module(rasterization=signed(
        "means, quats, scales, opacities, colors, viewmats, Ks, width, height, near_plane=, far_plane=, radius_clip=, eps2d=, sh_degree=, "
        "packed=, tile_size=, backgrounds=, render_mode=, sparse_grad=, absgrad=, rasterize_mode=", splatted))  # fmt: skip

    def covered(glctx, pos, tri, resolution, grad_db):
        assert pos.shape == (1, 42, 4) and pos.is_contiguous() and tri.dtype == torch.int32 and resolution == [16, 16]
        return pos.sum() * torch.ones(1, 16, 16, 4), None

    def outlined(color, rast, pos, tri):
        seen.append("nvdiffrast")
        return color

    nvdiffrast = module(
        RasterizeCudaContext=lambda device: None, rasterize=signed("glctx, pos, tri, resolution, ranges=, grad_db=", covered),
        interpolate=signed("attr, rast, tri, rast_db=, diff_attrs=", lambda attr, rast, tri: (attr.mean(1) * rast[..., :1], None)),
        antialias=signed("color, rast, pos, tri, topology_hash=, pos_gradient_boost=", outlined))
    monkeypatch.setitem(direct._surface.BACKENDS, "nvdiffrast", direct._surface.BACKENDS["torch"])

    def weighed(alphas, packed_info):
        seen.append("nerfacc")
        assert packed_info[-1].sum() == len(alphas) and packed_info.shape == (256, 2)
        return alphas * 2, alphas

    along = "alphas, packed_info=, ray_indices=, n_rays=, prefix_trans="
    nerfacc = module(render_weight_from_alpha=signed(along, weighed),
                              render_transmittance_from_alpha=signed(along, lambda alphas, packed_info: alphas))  # fmt: skip

    class Encoding(torch.nn.Module):
        def __init__(self, n_input_dims, encoding_config, seed=1337, dtype=None):
            super().__init__()
            assert encoding_config["log2_hashmap_size"] == 15 and encoding_config["n_levels"] == 8 and n_input_dims == 3
            scale = encoding_config["per_level_scale"]
            assert encoding_config["base_resolution"] * scale**7 == pytest.approx(64)
            self.weight = torch.nn.Parameter(torch.ones(1, 16, dtype=dtype))

        def forward(self, x):
            seen.append("tinycudann")
            return x[:, :1] * self.weight

    monkeypatch.setattr(direct.hash_cuda, "encode", hash_torch.encode)
    modules = {"gsplat": gsplat, "nvdiffrast.torch": nvdiffrast, "nerfacc": nerfacc, "tinycudann": module(Encoding=Encoding)}
    monkeypatch.setattr(direct, "PAIRS", {k: (m, lambda: "", pair) for k, (m, _, pair) in direct.PAIRS.items()})
    monkeypatch.setattr(direct.importlib, "import_module", modules.__getitem__)
    rows, left_out = direct.measure(1, "cpu")
    assert [row["name"] for row in rows] == ["gsplat", "nvdiffrast", "nerfacc", "tinycudann"] and left_out == []
    assert all(row["ours"] > 0 and row["direct"] > 0 for row in rows) and set(seen) == {row["name"] for row in rows}


@pytest.mark.skipif(torch.cuda.is_available(), reason="where there is CUDA some of them may be")
def test_libraries_that_are_not_there_are_named():
    rows, left_out = direct.measure(1, "cuda")
    assert rows == [] and [line.partition(" ")[0] for line in left_out] == ["gsplat", "nvdiffrast", "nerfacc", "tinycudann"]
