"""The bench of conversions keeps what it has measured, and measures again what other code has."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from convert_scenes import made

from dream3d.bench import convert as bench


def test_what_the_bench_has_measured_is_kept(tmp_path):
    assert bench.Found(tmp_path / "x.json").get("a", lambda: 1.5) == 1.5
    assert bench.Found(tmp_path / "x.json").get("a", lambda: 1 / 0) == 1.5


@pytest.mark.parametrize("kept", ['{"a": 1.5}', '{"version": "0", "values": {"a": 1.5}}', '{"a": 1', "[]", '{"version": 1}'])
def test_what_other_code_has_measured_is_measured_again(kept, tmp_path, monkeypatch, capsys):
    path = tmp_path / "x.json"
    path.write_text(kept)
    assert bench.Found(path).get("a", lambda: 2.5) == 2.5 and "measured again" in capsys.readouterr().out
    assert bench.Found(path).get("a", lambda: 1 / 0) == 2.5 and not capsys.readouterr().out
    monkeypatch.setattr(bench, "SOURCES", {"systems": ["text_to_3d.py"]})
    assert bench.Found(path).get("a", lambda: 3.5) == 3.5


def test_fewer_steps_than_between_two_looks_are_looked_at(monkeypatch):
    monkeypatch.setattr(bench, "psnr", lambda scene, held: 12.0)
    monkeypatch.setattr(bench, "distilled", lambda path, scene, steps, size, each, seed, **settings: [each(i + 1) for i in range(steps)])
    row = bench._way({}, SimpleNamespace(steps=10, size=8), Path(), None, None, 29.0, 0)
    assert (row["steps"], row["psnr"], row["reached"]) == (10, 12.0, False)


def test_looking_takes_none_of_the_seconds_and_a_goal_ends_a_fit(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(bench.time, "process_time", lambda: float(next(clock)))
    monkeypatch.setattr(bench, "psnr", lambda scene, held: 30.0)
    curve = bench.Curve(made("plane"), None, 29.0)
    assert not curve(1) and curve(bench.LOOK)
    assert curve.points == [(bench.LOOK, 2.0, 30.0)] and curve.last == 4.0


def test_pixels_as_views_show_what_whole_views_show():
    seen, _ = bench.known(bench.thing(), 6)
    cameras, truth = bench.pixels(seen)
    assert len(cameras) == 24 * 36 and (cameras.height, cameras.width) == (1, 1)
    for one, many in zip(seen[0].rays(), cameras.rays(), strict=True):
        assert torch.allclose(one.reshape(-1, 3), many.reshape(-1, 3), atol=1e-6)
    assert torch.equal(truth.rgb.reshape(24, 6, 6, 3), seen[1].rgb) and torch.equal(truth.alpha.reshape(24, 6, 6, 1), seen[1].alpha)


def test_only_who_arrives_is_faster(capsys):
    row = {"steps": 5, "seconds": 2.0, "psnr": 20.0, "reached": True}
    lost = row | {"reached": False}
    fits = [row | {"seconds": 8.0}, lost | {"seconds": 9.0}]
    assert bench.faster([row, row, lost], [*fits, row]) == "not with every seed (4.0, at least 4.5, not)"
    assert bench.faster([row, row], fits) == "at least 4.2 times faster (4.0, at least 4.5)"
    bench.tell({name: [row] for name in bench.WAYS})
    assert capsys.readouterr().out.count("times faster") == 4


def test_the_whole_bench_tells_every_way(tmp_path, monkeypatch, capsys):
    """With nothing measured: what it prints of numbers that are given."""
    row = {"steps": 25, "seconds": 2.0, "psnr": 30.0, "reached": True, "curve": []}
    for name, value in {"psnr": 30.0, "teacher": tmp_path, "taken": None, "_mining": 0.5, "_way": row}.items():
        monkeypatch.setattr(bench, name, lambda *_, value=value: value)
    assert bench.main(["--seeds", "2", "--size", "6", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "the goal is 28.5 dB" in said and "mining at 120 steps: +0.50 dB (goal 0.3); by seed +0.50, +0.50" in said
    assert said.count("goal reached") == 2 * len(bench.WAYS) and said.count("1.0 times faster (1.0, 1.0); goal 5") == 4
