"""report.html of runs that went wrong and of folders that are damaged or hostile: what is missing is left out, nothing is ever run."""

import copy
import json
import math
import random

import pytest
import yaml
from pages import EVIL, blocks, check, finished, prose
from PIL import Image

from dream3d import config
from dream3d.errors import Mistake
from dream3d.export import report
from dream3d.export.report import write_report


@pytest.fixture
def run(tmp_path):
    return finished(tmp_path / "run")


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
