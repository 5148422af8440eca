"""The bench of the splat kernels: what it compares where, and that no first call is measured."""

import pytest
from dream3d.renderers._backends import splat_gsplat

from dream3d.bench import splats as bench
from dream3d.errors import Mistake


@pytest.fixture
def calls(monkeypatch):
    """A tiny grid, and a clock on which every first call of a kernel on new data is slow."""
    made = []

    def once(backend, data, size):
        made.append((backend, data[0].shape, size))
        return 9.0 if made.count(made[-1]) == 1 else {"numba": 0.1, "torch": 0.5}[backend]

    monkeypatch.setattr(bench, "once", once)
    monkeypatch.setattr(bench, "COUNTS", (10, 20))
    monkeypatch.setattr(bench, "SIZES", (8, 16))
    return made


def test_one_round_is_not_the_first(calls):
    rows = bench.grid(1, "cpu")
    assert [(row["numba"], row["torch"]) for row in rows] == 4 * [(100.0, 500.0)]
    assert all(row["ratio"] == 5 for row in rows) and {backend for backend, *_ in calls} == {"numba", "torch"}


def test_gsplat_is_compared_where_it_works_and_named_where_not(monkeypatch):
    monkeypatch.setattr(splat_gsplat, "trouble", lambda: "")
    assert bench.kernels("cuda") == ("gsplat", "torch") and bench.kernels("cpu") == ("numba", "torch")
    monkeypatch.setattr(splat_gsplat, "trouble", lambda: "gsplat is not installed")
    assert bench.kernels("cuda") == ("torch",)
    row = {"gaussians": 10, "size": 8, "torch": 2.0, "ratio": 1.0, "memory": 3.0}
    result = {"backends": ("torch",), "left_out": ["gsplat is left out: why"], "grid": [row], "exponents": {"time": (1, 1)},
              "ratio": 1.0, "resident_mb": None, "main_job_ms": 4.0, "device": "a card", "threads": 2, "clock": "wall"}  # fmt: skip
    text = bench.report(result)
    assert "times as fast" not in text and "gsplat is left out: why\na card, 2 threads, wall time" in text and "torch ms" in text


def test_no_device_is_a_mistake(monkeypatch, tmp_path):
    monkeypatch.setattr(bench.torch.cuda, "is_available", lambda: False)
    with pytest.raises(Mistake, match="no CUDA device"):
        bench.main(["--device", "cuda", "--out", str(tmp_path / "splats.json")])
    assert not list(tmp_path.iterdir())
