"""viewer.html: strict HTML, nothing loaded, nothing a user wrote is ever run, the very bytes of the files."""

import json
import random
import re
from pathlib import Path

import pytest
from pages import EVIL, blocks, check, finished, prose

import dream3d.api
from dream3d.export import asset, page, record
from dream3d.export.viewer import write_viewer


@pytest.fixture
def run(tmp_path):
    return finished(tmp_path / "run")


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
