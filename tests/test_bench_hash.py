"""The bench of the hash grid's kernels: what it compares where, and that no first call is measured."""

import pytest
from dream3d.renderers._backends import hash_cuda

from dream3d.bench import _speed
from dream3d.bench import hash as bench
from dream3d.errors import Mistake


def test_a_small_grid_is_measured_and_told(monkeypatch):
    monkeypatch.setattr(bench, "COUNTS", (500, 2000))
    monkeypatch.setattr(bench, "AT", 2000)
    monkeypatch.setattr(_speed, "alone", lambda function, name, count: 7.0)
    result = bench.measure(1)
    assert [row["places"] for row in result["grid"]] == [500, 2000] and result["ratio"] == result["grid"][1]["ratio"]
    assert all(row[name] > 0 for row in result["grid"] for name in ("numba", "torch", "slopes", "memory"))
    kept = (2000 * 16 + len(bench.places(1)[1]) * 2) * 4 / 2**20  # the answer, and the gradient of the entries
    assert kept <= result["grid"][1]["memory"] < kept + 0.3
    text = bench.report(result)
    assert f"numba {result['ratio']:.1f} times as fast as torch" in text and "+ 7 MB (torch)" in text


def test_one_round_is_not_the_first(monkeypatch):
    made = []

    def once(backend, data, slopes=False):
        made.append((backend, len(data[0]), slopes))
        return 9.0 if made.count(made[-1]) == 1 else {"numba": 0.1, "torch": 0.5}[backend]

    monkeypatch.setattr(bench, "once", once)
    monkeypatch.setattr(bench, "COUNTS", (10, 20))
    assert [(row["numba"], row["torch"], row["slopes"], row["ratio"]) for row in bench.grid(1, "cpu")] == 2 * [(100, 500, 100, 5)]


def test_exponents():
    rows = [{"places": n, "even": 3.0, "linear": 2.0 * n, "square": n**2.0} for n in (10, 100, 1000)]
    assert [bench.exponent(rows, name) for name in ("even", "linear", "square")] == pytest.approx([0, 1, 2])


def test_what_cannot_run_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(hash_cuda, "trouble", lambda: "too old")
    assert bench.kernels("cuda") == ("torch",) and bench.kernels("cpu") == ("numba", "torch")
    monkeypatch.setattr(bench.torch.cuda, "is_available", lambda: False)
    with pytest.raises(Mistake, match="no CUDA device"):
        bench.main(["--device", "cuda", "--out", str(tmp_path / "hash.json")])
    assert not list(tmp_path.iterdir())
