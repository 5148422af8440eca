"""The bench of mesh drawing: what it compares where, that no first call is measured, and that costs grow as they should."""

import pytest
import torch
from dream3d.renderers._backends import raster_nvdiffrast

from dream3d.bench import mesh as bench
from dream3d.cameras import ring
from dream3d.errors import Mistake


def test_one_round_is_not_the_first(monkeypatch):
    made = []

    def once(part, backend, vertices, faces, cameras):
        made.append((part, backend, len(faces), cameras.height))
        return 9.0 if made.count(made[-1]) == 1 else {"numba": 0.1, "torch": 0.5}[backend]

    monkeypatch.setattr(bench, "once", once)
    monkeypatch.setattr(bench, "memory", lambda *_: 1.0)
    monkeypatch.setattr(bench, "FACES", (80, 5120))
    monkeypatch.setattr(bench, "SIZES", (8, 256))
    result = bench.measure(1)
    assert len(result["grid"]) == 4 and all(row[part] == {"numba": 100, "torch": 500} for row in result["grid"] for part in bench.PARTS)
    assert result["ratios"] == dict.fromkeys(bench.PARTS, 5.0) and max(map(abs, result["exponents"]["step"])) < 1e-9
    text = bench.report(result)
    assert "5120 faces, 256 px, z-buffer: numba 5.0 times as fast as torch (goal: 8)" in text and "cpu, " in text


def test_nvdiffrast_is_compared_where_it_works_and_named_where_not(monkeypatch):
    monkeypatch.setattr(raster_nvdiffrast, "trouble", lambda: "")
    assert bench.kernels("cuda") == ("nvdiffrast", "torch") and bench.kernels("cpu") == ("numba", "torch")
    monkeypatch.setattr(raster_nvdiffrast, "trouble", lambda: "nvdiffrast is not installed")
    assert bench.kernels("cuda") == ("torch",)


def test_memory_is_linear_in_faces_and_pixels():
    """What the kernels take is 90 to 400 bytes for every face and view, 30 to 250 for every pixel."""
    costs = {}
    for faces, size in ((20480, 16), (81920, 16), (80, 128), (80, 256)):
        mesh = (*bench.sphere(faces), ring(2, size=size))
        bench.once("ends", "numba", *mesh)
        costs[faces, size] = bench.memory("numba", *mesh) * 2**20
    per_face = (costs[81920, 16] - costs[20480, 16]) / (2 * 61440)
    per_pixel = (costs[80, 256] - costs[80, 128]) / (2 * (256**2 - 128**2))
    assert 90 < per_face < 400 and 30 < per_pixel < 250
    assert costs[81920, 16] < 4.4 * costs[20480, 16] and costs[80, 256] < 4.4 * costs[80, 128]


@pytest.mark.parametrize("part", bench.PARTS)
def test_every_part_runs_and_takes_time(part):
    assert all(bench.once(part, name, *bench.sphere(80), ring(1, size=8)) > 0 for name in bench.kernels("cpu"))


def test_no_device_is_a_mistake(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Mistake, match="no CUDA device"):
        bench.main(["--device", "cuda", "--out", str(tmp_path / "mesh.json")])
    assert not list(tmp_path.iterdir())
