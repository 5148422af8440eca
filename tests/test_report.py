"""viewer.html and report.html: strict HTML, nothing loaded, nothing a user wrote is ever run, numbers and bytes as in the run."""

import base64
import copy
import hashlib
import html
import json
import math
import random
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import yaml
from dream3d.systems.text_to_3d import TextTo3D
from PIL import Image
from test_run import kill_at, quick, run_killed

import dream3d.api
from dream3d import cli, config
from dream3d.api import execute
from dream3d.errors import Mistake
from dream3d.export import asset, page, record, report
from dream3d.export.curves import decades, number, ticks
from dream3d.export.glb import write_glb
from dream3d.export.record import POINTS, Series
from dream3d.export.report import write_report
from dream3d.export.splat import write_ply
from dream3d.export.viewer import write_viewer
from dream3d.folder import Folder
from dream3d.run import Interrupted
from dream3d.types import Mesh, Points

EVIL = """</title></script><script>alert(1)</script>"'><img src=x onerror=alert(1)> {{bundle}} <!-- ]]> \u202e \U0001f697 &amp;"""
VOID = {"meta", "img", "input", "br", "source"}
PIECES = {"text/plain", "application/octet-stream"}  # types of script elements that no browser runs


class Page(HTMLParser):
    """Strict reading: every element closed in order, no attribute or id twice, no handler in an attribute."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert text.startswith("<!doctype html>\n") and not self.open, self.open
        ids = [a["id"] for _, a in self.elements if "id" in a]
        assert len(ids) == len(set(ids))

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs) and not [k for k, _ in attrs if k.startswith("on") or k == "style"], attrs
        self.elements.append((tag, dict(attrs)))
        self.text.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.text[tag][-1] += data

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data[:80]}")

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    def scripts(self) -> list[tuple[dict, str]]:
        return list(zip(self.all("script"), self.text.get("script", []), strict=True))


def check(path: Path) -> Page:
    """A page is well formed, loads nothing, and its policy allows exactly the scripts that it runs."""
    page = Page(path.read_text(encoding="utf-8"))
    for tag, attributes in page.elements:
        for key in ("src", "href", "action", "poster", "data", "srcset", "xlink:href"):
            value = attributes.get(key, "data:")
            assert value.startswith("data:") or re.fullmatch(r"[\w-]+\.\w+", value), (tag, key, value[:80])
        assert tag not in ("link", "base", "iframe", "object", "embed", "form") or attributes == {"method": "dialog"}
    code = "\n".join(text for _, text in page.scripts()) + "\n".join(page.text["style"])
    assert not re.search(r"@import|url\(|\bimport\s*\(|importScripts|sendBeacon|new WebSocket|new EventSource", code)
    assert not re.search(r"""(fetch|open|src|href)\s*[=(]\s*["'`](https?:)?//""", code)
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ") and not re.search(r"https?:|\*|unsafe-eval", policy)
    assert "script-src 'unsafe" not in policy and policy.count("'unsafe-inline'") == 1
    run = [text for attributes, text in page.scripts() if attributes.get("type") not in PIECES]
    run += [text for attributes, text in page.scripts() if attributes.get("id") == "bundle"]
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in run}
    assert hashes == set(re.findall(r"'sha256-[^']+'", policy)) and len(page.scripts()) <= 4
    return page


def blocks(page: Page) -> dict[str, bytes]:
    return {
        a["id"]: base64.b64decode(text) for a, text in page.scripts() if a.get("type") == "application/octet-stream"
    }


def prose(path: Path) -> str:
    """What a reader sees, without the code."""
    text = re.sub(r"<(script|style)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.S)
    return html.unescape(re.sub(r"<[^>]*>", " ", text))


@pytest.fixture
def run(tmp_path):
    """A finished run, written by hand: files as the framework writes them, numbers that a test can know."""
    folder = tmp_path / "run"
    (folder / "export").mkdir(parents=True)
    (folder / "previews").mkdir()
    found = config.load(
        "sds-gaussian", ["prompt=a red car", "steps=300", "guidance.scale=20", "penalties.opacity=0.1", f"out={folder}"]
    )
    (folder / "config.yaml").write_text(found.text(), encoding="utf-8")
    (folder / "command.txt").write_text(
        "/some/where/launch.py --config sds-gaussian.yaml 'prompt=a red car' --plugin my.sds\n"
    )
    environment = {"python": "3.11.7", "device": "cpu", "packages": {"torch": "2.13.0"}}
    (folder / "environment.json").write_text(json.dumps(environment))
    status = {"state": "done", "step": 300, "reason": "", "started": 1.7e9, "updated": 1.7e9 + 64, "version": "0.1.0"}
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "log.txt").write_text("10:00:00 stage 1 of 1\n10:01:04 done\n")
    write_metrics(folder, 300)
    for step in (0, 200, 300):
        Image.new("RGB", (60, 80), (step // 2, 0, 0)).save(folder / "previews" / f"step_{step:06d}.png")
    for name in ("thumbnail.png", "contact.png"):
        Image.new("RGB", (32, 32), (200, 30, 20)).save(folder / "export" / name)
    (folder / "export" / "turntable.mp4").write_bytes(bytes(range(256)) * 20)
    position = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    turn = torch.eye(4)[:1].expand(50, 4)
    points = Points(position, position.sigmoid(), position.exp(), turn, position[:, 0].sigmoid())
    write_ply(points, folder / "export" / "splats.ply")
    write_glb(Mesh(position[:4], torch.tensor([[0, 1, 2], [0, 2, 3]])), folder / "export" / "mesh.glb", {})
    return folder


def value(step: int) -> float:
    return 10 * math.exp(-step / 50) + 0.1 * (step % 7)


def write_metrics(folder: Path, count: int) -> None:
    lines = ({"step": i, "stage": int(i >= count // 2), "loss": value(i), "evaluations": 8.0} for i in range(count))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


# --- the viewer -------------------------------------------------------------------------------------------------------------------


def test_a_viewer_holds_the_very_files(run):
    files = {"splats": run / "export" / "splats.ply", "mesh": run / "export" / "mesh.glb"}
    made = write_viewer(run / "export" / "viewer.html", **files, title="a red car")
    page = check(made)
    assert blocks(page) == {name: path.read_bytes() for name, path in files.items()}
    assert page.text["title"] == ["a red car"] and page.text["h1"] == ["a red car"]
    assert "three.js authors" in prose(made) and "Permission is hereby granted" in prose(made)
    size = made.stat().st_size
    assert size < 0.8e6 + sum(4 / 3 * path.stat().st_size + 200 for path in files.values())
    again = write_viewer(run / "again.html", **files, title="a red car")
    assert again.read_bytes() == made.read_bytes()


@pytest.mark.parametrize("kinds", [(), ("splats",), ("mesh",)])
def test_a_viewer_of_less_is_a_viewer(run, kinds):
    files = {"splats": run / "export" / "splats.ply", "mesh": run / "export" / "mesh.glb"}
    made = write_viewer(run / "viewer.html", **{k: p if k in kinds else None for k, p in files.items()}, title="")
    assert set(blocks(check(made))) == set(kinds)


def test_pieces_of_a_large_file_join(tmp_path, monkeypatch):
    monkeypatch.setattr("dream3d.export.page.CHUNK", 3)
    (tmp_path / "splats.ply").write_bytes(random.Random(0).randbytes(1000))
    made = write_viewer(tmp_path / "viewer.html", splats=tmp_path / "splats.ply", mesh=None, title="x")
    assert blocks(check(made))["splats"] == (tmp_path / "splats.ply").read_bytes()


def test_pages_show_every_file_of_a_run(run):
    made = {kind: run / "export" / record.EXPORTS[kind] for kind in ("splats", "mesh")}
    found = asset.pages(run, made, ["a red car", "a duck"], status={"state": "failed"})
    assert list(found) == ["viewer", "report"] and all(set(blocks(check(path))) == set(made) for path in found.values())
    assert check(found["viewer"]).text["h1"] == ["a red car / a duck"] and "This run failed." in prose(found["report"])


def test_no_script_can_end_its_element(monkeypatch):
    monkeypatch.setattr(page, "web", lambda name: "a = '</script><!--<script>'")
    assert page.script("any.js") == "a = '<\\/script><\\!--<script>'"


def test_a_hostile_title_is_only_text(tmp_path):
    page = check(write_viewer(tmp_path / "viewer.html", splats=None, mesh=None, title=(EVIL * 40)[:2000]))
    (shown,) = page.text["h1"]
    assert shown == (EVIL * 40)[:299] + "\u2026" and page.text["title"] == [shown] and not page.all("img")


def test_the_bundle_is_small_and_names_its_licences():
    web = Path(dream3d.api.__file__).parent.parent / "assets" / "web"
    bundle = (web / "viewer.js").read_bytes()
    assert len(bundle) < 1e6 and bundle.isascii() and b"</script" not in bundle and b"<!--" not in bundle
    needs = json.loads((web / "source" / "package.json").read_text())["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in needs.values())
    licences = (web / "LICENSES.txt").read_text()
    assert f"three.js r{needs['three'].split('.')[1]} " in licences
    assert sum(p.stat().st_size for p in (web / "source").iterdir()) < 50_000
    assert {p.name for p in (web / "source").iterdir()} == {
        "README.md",
        "package.json",
        "viewer.js",
        "stage.js",
        "splats.js",
    }


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


# --- runs that went wrong, and folders that are damaged -----------------------------------------------------------------------------


@pytest.mark.parametrize("state, words", [("failed", "This run failed."), ("interrupted", "This run was interrupted.")])
def test_a_run_that_did_not_end_says_why_and_how_to_go_on(run, state, words):
    for name in ("mesh.glb", "splats.ply", "turntable.mp4", "contact.png", "thumbnail.png"):
        (run / "export" / name).unlink()
    (run / "status.json").write_text(json.dumps({"state": state, "step": 12, "reason": "no <b>space</b> left"}))
    made = write_report(run)
    page, text = check(made), prose(made)
    assert words in text and "no <b>space</b> left" in text and "12 of 300 steps" in text
    assert f"python launch.py resume {run} --plugin my.sds" in page.text["pre"]
    assert "Not there: mesh.glb, splats.ply, turntable.mp4" in text
    assert not [a for a in page.all("div") if a.get("id") == "viewer" or a.get("class") == "side"]
    assert not page.all("video") and not blocks(page) and made.stat().st_size < 200_000


def test_a_run_without_a_mesh_says_that_none_was_wanted(run):
    (run / "export" / "mesh.glb").unlink()
    text = (run / "config.yaml").read_text().replace("  mesh: true", "  mesh: false")
    (run / "config.yaml").write_text(text)
    made = write_report(run)
    assert set(blocks(check(made))) == {"splats"} and "mesh.glb (export.mesh is false)" in prose(made)


def test_only_a_configuration(run, tmp_path):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    made = write_report(tmp_path / "bare")
    assert check(made).text["h1"] == ["a red car"] and "The state of this run is unknown." in prose(made)
    with pytest.raises(Mistake, match="not a run folder"):
        write_report(tmp_path)


def test_a_hostile_run_is_only_text(run):
    prompt = (EVIL * 40)[:2000]
    settings = config.load("sds-gaussian", settings={"prompt": prompt, "negative": EVIL, "out": EVIL})
    (run / "config.yaml").write_text(settings.text(), encoding="utf-8")
    (run / "command.txt").write_text("launch.py '" + EVIL.replace("'", "") + "\x00'")
    (run / "environment.json").write_text(
        json.dumps({"python": EVIL, "packages": {EVIL: EVIL}, "models": [{"name": EVIL}, 3]})
    )
    (run / "status.json").write_text(
        json.dumps({"state": EVIL, "reason": EVIL, "step": EVIL, "started": EVIL, "version": EVIL})
    )
    (run / "log.txt").write_bytes(EVIL.encode() + b"\xff\x00\x1b[31m\n")
    (run / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": i, EVIL: i, "stage": EVIL}) + "\n" for i in range(9))
    )
    made = write_report(run)
    page = check(made)
    assert page.text["h1"] == [prompt] and page.text["h1"][0].count("alert(1)") > 20
    assert {a["src"][:10] for a in page.all("img")} == {"data:image"}
    assert EVIL in prose(made) and "\x00" not in made.read_text() and "\x1b" not in made.read_text()
    assert page.text["b"].count(EVIL) == 1, "the name of its curve"


@pytest.mark.parametrize(
    "name", ["config.yaml", "status.json", "environment.json", "metrics.jsonl", "log.txt", "command.txt"]
)
def test_damaged_files_are_missing_not_fatal(run, name):
    for data in (b"", b"\xff\xfe{[", b'{"a": [1, 2', b"[" * 100_000, b"[]", b"3", b"'"):
        (run / name).write_bytes(data)
        check(write_report(run))


ODD = (
    None,
    True,
    -1,
    1e299,
    -5e-324,
    10**400,
    "1",
    [],
    [3],
    {},
    {"type": 3},
    {"start": {}},
    [{"type": []}],
    math.inf,
    math.nan,
)


@pytest.mark.parametrize("seed", range(20))
def test_any_value_anywhere_is_shown_or_left_out(run, seed):
    chance = random.Random(seed)
    for name in ("status.json", "environment.json"):
        keys = [*json.loads((run / name).read_text()), "models", "reason"]
        (run / name).write_text(json.dumps({key: chance.choice(ODD) for key in keys}))
    values = yaml.safe_load((run / "config.yaml").read_text())
    for _ in range(8):
        section = values[chance.choice(list(values))]
        place = section if isinstance(section, dict) and section and chance.random() < 0.5 else values
        place[chance.choice(list(place))] = copy.deepcopy(chance.choice(ODD))
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    rows = [{key: chance.choice(ODD) for key in ("step", "stage", "loss", "a", "b")} | {"step": chance.choice((3, -1e299, 7.5, 0))}
            for _ in range(chance.choice((1, 2, 500)))]  # fmt: skip
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    check(write_report(run))


@pytest.mark.parametrize("harm", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(60)])
def test_damaged_pictures_are_left_out(run, harm):
    whole = (run / "export" / "contact.png").read_bytes()
    (run / "export" / "contact.png").write_bytes(harm or whole[:-30])
    (run / "previews" / "step_000200.png").write_bytes(harm or whole[:-30])
    page = check(write_report(run))
    assert [a["data-step"] for a in page.all("figure") if "data-step" in a] == ["0", "300"]
    assert "Six views around the asset" not in [a["alt"] for a in page.all("img")]


def test_large_things_stay_outside(run, monkeypatch):
    monkeypatch.setattr(report, "VIDEO", 5119)
    monkeypatch.setattr(report, "ASSET", 2000)
    monkeypatch.setattr(report, "PIXELS", 32 * 32)
    page = check(write_report(run))
    assert page.all("video")[0]["src"] == "turntable.mp4" and not blocks(page)
    assert "too large for this page" in prose(run / "export" / "report.html")
    assert [a["alt"] for a in page.all("img")] == ["A view of the asset", "Six views around the asset"]
    monkeypatch.undo()
    for step in range(1, 100):
        Image.new("RGB", (1000, 10)).save(run / "previews" / f"step_{step:06d}.png")
    page = check(write_report(run))
    steps = [int(a["data-step"]) for a in page.all("figure") if "data-step" in a]
    assert len(steps) == report.FRAMES and steps[0] == 0 and steps[-1] == 300 and steps == sorted(steps)
    assert max(int(a["width"]) for a in page.all("img")) == report.WIDTH


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
