"""report.html: strict HTML, nothing loaded, numbers and curves as in the run; and both pages at the end of real runs."""

import base64
import json
import math
import re
import signal
import subprocess
import sys

import pytest
from dream3d.systems.text_to_3d import TextTo3D
from pages import Page, blocks, check, finished, prose, value, write_metrics
from test_run import kill_at, quick, run_killed

import dream3d.api
from dream3d import cli
from dream3d.api import execute
from dream3d.export import record
from dream3d.export.curves import decades, number, ticks
from dream3d.export.record import POINTS, Series
from dream3d.export.report import write_report
from dream3d.export.viewer import write_viewer
from dream3d.folder import Folder
from dream3d.run import Interrupted


@pytest.fixture
def run(tmp_path):
    return finished(tmp_path / "run")


# --- the report -------------------------------------------------------------------------------------------------------------------


def test_a_report_has_everything(run):
    write_viewer(run / "export" / "viewer.html", splats=None, mesh=None, title="")
    made = write_report(run)
    assert made == run / "export" / "report.html"
    page, words = check(made), prose(made)
    assert page.text["h1"] == ["a red car"]
    for part in ("done", "seed 0", "300 of 300 steps", "1 min 4 s", "Score Distillation Sampling",
                 "arXiv:2209.14988", "2.13.0", "Apache-2.0", "10:01:04 done", "evaluations 8"):  # fmt: skip
        assert part in words, part
    assert "Not there" not in words
    assert blocks(page) == {
        "splats": (run / "export" / "splats.ply").read_bytes(),
        "mesh": (run / "export" / "mesh.glb").read_bytes(),
    }
    assert {a["href"] for a in page.all("a")} >= set(record.EXPORTS.values())
    (video,) = page.all("video")
    assert base64.b64decode(video["src"].partition(",")[2]) == (run / "export" / "turntable.mp4").read_bytes()
    pictures = {a["alt"]: base64.b64decode(a["src"].partition(",")[2]) for a in page.all("img")}
    assert pictures["Six views around the asset"] == (run / "export" / "contact.png").read_bytes()
    assert [a["data-step"] for a in page.all("figure") if "data-step" in a] == ["0", "200", "300"]
    assert made.stat().st_size < 1e6


def test_commands_that_make_the_run_again(run):
    page = check(write_report(run))
    exact, given = (text for text in page.text["pre"] if text.startswith("python"))
    assert exact == "python launch.py --config config.yaml --plugin my.sds out=again"
    assert given == "python launch.py --config sds-gaussian.yaml 'prompt=a red car' --plugin my.sds"
    (link,) = (a for a in page.all("a") if a.get("download") == "config.yaml")
    assert base64.b64decode(link["href"].partition(",")[2]) == (run / "config.yaml").read_bytes()


def test_settings_that_differ_are_marked(run):
    text = write_report(run).read_text()
    rows = re.findall(
        r'<tr class="changed"><th scope="row">([^<]*)</th><td><code>([^<]*)</code><span class="quiet">([^<]*)', text
    )
    assert rows == [("steps", "300", "default 600"), ("scale", "20.0", "default 7.5"),
                    ("t", "{start: 0.98, end: 0.5}", "default [0.02, 0.98]"), ("opacity", "0.1", "default null")]  # fmt: skip
    assert len(re.findall("<tr>", text)) > 50


def drawn(page: Page) -> list[list[tuple[float, float]]]:
    """Curves read back from where they are drawn, by the axes that the drawing states."""
    found = []
    for svg in page.all("svg"):
        x0, x1, y0, y1 = map(float, svg["data-domain"].split())
        left, right = map(float, svg["data-frame"].split())
        line = next(
            a["points"]
            for _, a in page.elements[page.elements.index(("svg", svg)) :]
            if a.get("class", "").startswith("line")
        )
        top, bottom, log = 10, 210 - 34, svg["data-scale"] == "log"
        y0, y1 = (math.log(y0), math.log(y1)) if log else (y0, y1)
        pairs = [tuple(map(float, pair.split(","))) for pair in line.split()]
        heights = [y0 + (bottom - y) / (bottom - top) * (y1 - y0) for _, y in pairs]
        steps = [x0 + (x - left) / (right - left) * (x1 - x0) for x, _ in pairs]
        found.append([(s, math.exp(h) if log else h) for s, h in zip(steps, heights, strict=True)])
    return found


def test_curves_show_what_was_measured(run):
    page = check(write_report(run))
    (svg,) = page.all("svg")
    truth = [(float(i), value(i)) for i in range(300)]
    told = [tuple(map(float, pair.split(","))) for pair in svg["data-points"].split()]
    assert told == [(s, pytest.approx(v, rel=1e-5)) for s, v in truth]
    assert svg["data-scale"] == "log"
    for (step, height), (at, true) in zip(drawn(page)[0], truth, strict=True):
        assert step == pytest.approx(at, abs=0.01 * 300 / 358) and height == pytest.approx(true, rel=0.01 * 7 / 166)
    (stage,) = (a for a in page.all("line") if a.get("class") == "stage")
    left, right = map(float, svg["data-frame"].split())
    assert float(stage["x1"]) == pytest.approx(left + 150 / 299 * (right - left), abs=0.01)


def test_long_curves_are_thinned_without_loss_of_extremes(run):
    write_metrics(run, 5000)
    with (run / "metrics.jsonl").open("a") as out:
        out.write('{"step": 5000, "loss": 77}\n["no", "entry"]\n{"step": 5001, "loss": NaN}\n{"step": 5002, "los')
    curve = record.read(run).curves["loss"]
    assert POINTS / 2 <= len(curve.points) <= POINTS and curve.each == 16 and curve.last == 77
    values = [value(i) for i in range(5000)] + [77]
    assert (min(p[2] for p in curve.points), max(p[3] for p in curve.points)) == (min(values), 77)
    for i, (step, mean, low, high) in enumerate(curve.points[:-1]):
        part = values[16 * i : 16 * i + 16]
        assert step == 16 * i + 7.5 and (low, high) == (min(part), max(part)) and mean == pytest.approx(sum(part) / 16)
    (svg,) = check(write_report(run)).all("svg")
    assert len(svg["data-points"].split()) == len(curve.points)


@pytest.mark.parametrize("count", [1, 2, POINTS, POINTS + 1, POINTS + 2, 2 * POINTS + 1, 12345])
def test_a_series_counts_every_measurement(count):
    series = Series()
    for i in range(count):
        series.add(float(i), float(i))
    assert sum(group[0] for group in series.groups) == count and len(series.points) <= POINTS
    assert series.points[0][2] == 0 and series.points[-1][3] == count - 1
    assert all(group[0] == series.each for group in series.groups[:-1])


def test_axes_have_round_numbers():
    assert ticks(0.0, 299.0, 6) == [0, 50, 100, 150, 200, 250]
    assert ticks(-1.0, 1.0) == pytest.approx([-1, -0.5, 0, 0.5, 1])
    assert decades(0.02, 3.0) == pytest.approx([0.02, 0.05, 0.1, 0.2, 0.5, 1, 2])
    assert decades(1e-8, 1.0) == pytest.approx([1e-8, 1e-6, 1e-4, 1e-2, 1])
    assert [number(v) for v in (57386.0, 0.0, 0.123456, 4.5e-7, 1234.5)] == ["57,386", "0", "0.123", "4.5e-07", "1,234"]


# --- in real runs -----------------------------------------------------------------------------------------------------------------


def test_every_run_ends_with_both_pages_and_export_writes_them_again(tmp_path, monkeypatch, capsys):
    done = execute(quick(tmp_path / "run", "export.mesh=false"), quiet=True)
    viewer, made = (tmp_path / "run" / "export" / name for name in ("viewer.html", "report.html"))
    assert done.exports["viewer"] == viewer and done.exports["report"] == made
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["exports"]["viewer"] == "export/viewer.html" and status["exports"]["report"] == "export/report.html"
    assert set(blocks(check(viewer))) == {"splats"} == set(blocks(check(made)))
    assert ">done</span>" in made.read_text() and "10 of 10 steps" in prose(made)
    with monkeypatch.context() as patch:
        kill_at(patch, 6)
        run_killed(quick(tmp_path / "killed", "export.mesh=false"))
    again = execute(quick(tmp_path / "killed", "export.mesh=false"), quiet=True)
    assert again.exports["viewer"].read_bytes() == viewer.read_bytes()
    whole = viewer.read_bytes()
    viewer.unlink(), made.unlink()
    assert cli.main(["export", str(tmp_path / "run")]) == 0
    assert viewer.read_bytes() == whole and ">done</span>" in made.read_text()
    assert str(viewer) in capsys.readouterr().out


def test_a_failed_and_an_interrupted_run_have_their_report(tmp_path, monkeypatch):
    def broken(self, index):
        raise ValueError("the <step> broke")

    with monkeypatch.context() as patch:
        patch.setattr(TextTo3D, "step", broken)
        with pytest.raises(ValueError, match="broke"):
            execute(quick(tmp_path / "failed"), quiet=True)
    made = tmp_path / "failed" / "export" / "report.html"
    assert check(made) and "This run failed." in prose(made) and "the <step> broke" in prose(made)

    with pytest.raises(Interrupted):
        interrupt(quick(tmp_path / "stopped"), monkeypatch)
    assert "This run was interrupted." in prose(tmp_path / "stopped" / "export" / "report.html")


def interrupt(folder: Folder, monkeypatch) -> None:
    real = TextTo3D.step

    def stopping(self, index):
        if index == 3:
            signal.raise_signal(signal.SIGTERM)
        return real(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(TextTo3D, "step", stopping)
        execute(folder, quiet=True)


def test_a_report_that_cannot_be_written_hides_nothing(tmp_path, monkeypatch):
    def broken(self, index):
        raise ValueError("the step broke")

    monkeypatch.setattr(TextTo3D, "step", broken)
    monkeypatch.setattr(dream3d.api, "write_report", lambda run: 1 / 0)
    with pytest.raises(ValueError, match="the step broke"):
        execute(quick(tmp_path / "run"), quiet=True)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["reason"] == "the step broke"
    assert "report.html could not be written" in (tmp_path / "run" / "log.txt").read_text()


def test_pages_need_no_torch():
    code = "import sys, dream3d.export.report, dream3d.export.viewer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
