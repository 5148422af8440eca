"""`view`: pages of runs and files, and what is said where there is none to show."""

import json
import os
from pathlib import Path

import pytest
import trimesh
from export_runs import SMALL, call, discs, run_of
from pages import blocks, check, finished
from test_viewer import clip

from dream3d import cli
from dream3d.errors import Mistake
from dream3d.export import asset, moments
from dream3d.export.formats.sequence import fewer
from dream3d.view import still


@pytest.fixture
def run(tmp_path):
    return finished(tmp_path / "run")


def test_a_run_is_shown_by_its_files_and_its_page_is_kept(run, capsys):
    page, code = run / "export" / "viewer.html", cli.main(["view", str(run), "--no-open"])
    assert code == 0 and capsys.readouterr().out == f"{page}\n"
    held = {"splats": "splats.ply", "mesh": "mesh.glb"}
    assert blocks(check(page)) == {name: (run / "export" / file).read_bytes() for name, file in held.items()}
    old = page.stat().st_mtime_ns
    assert cli.main(["view", str(run), "--no-open"]) == 0 and page.stat().st_mtime_ns == old
    later = page.stat().st_mtime + 10
    os.utime(run / "export" / "mesh.glb", (later, later))
    assert cli.main(["view", str(run), "--no-open"]) == 0 and page.stat().st_mtime_ns != old


def test_a_run_that_writes_other_files_gets_a_page_too(tmp_path, capsys):
    others = {"export": SMALL["export"] | {"formats": ["stl"], "mesh": False}}
    run = run_of(tmp_path / "run", {"type": "gaussians", "count": 200}, handed=discs(), **others)
    assert cli.main(["view", str(run), "--no-open"]) == 0
    page = run / "export" / "viewer.html"
    assert capsys.readouterr().out == f"{page}\n" and {"splats", "mesh"} == set(blocks(check(page)))
    assert cli.main(["view", str(run), "--no-open", "--out", str(tmp_path / "a.html")]) == 2 and not (tmp_path / "a.html").exists()


def test_a_page_is_opened_where_there_is_a_browser(run, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)))
    assert cli.main(["view", str(run)]) == 0
    assert opened == [(run / "export" / "viewer.html").resolve().as_uri()] and "open file://" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["splats.ply", "mesh.glb"])
def test_a_file_is_shown_as_it_is(run, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["view", str(run / "export" / name), "--no-open"]) == 0
    page = tmp_path / f"{name[:-4]}-viewer.html"
    assert blocks(check(page)) == {name.split(".")[0]: (run / "export" / name).read_bytes()}


def test_other_files_are_turned_into_what_pages_hold(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    page = still.of_file(tmp_path / "a.obj", tmp_path / "a.html")
    assert blocks(check(page))["mesh"][:4] == b"glTF"
    assert still.of_file(page, tmp_path / "b.html") == page


@pytest.mark.parametrize("axis, highest", [("z", 3.0), ("y", 2.0), ("-y", 0.0)])
def test_a_file_is_shown_the_right_way_up(axis, highest, tmp_path, monkeypatch):
    """A wedge 1 x 2 x 3 from the origin; in the page's file, which is y up."""
    monkeypatch.chdir(tmp_path)
    Path("a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 3\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 3 1 4\n")
    monkeypatch.setattr("dream3d.foreign.load._fitted", lambda data, fit, said: (data, said))
    assert cli.main(["view", "a.obj", f"--source-up={axis}", "--no-open"]) == 0
    Path("a.glb").write_bytes(blocks(check(Path("a-viewer.html")))["mesh"])
    top = trimesh.load("a.glb", force="mesh").bounds[1, 1]
    assert abs(top - highest) < 1e-4


UPS = ["RUN --source-up z", "RUN --live --source-up z", "a.html --source-up y", "a.obj --source-up -y", "a.obj --source-up x"]


@pytest.mark.parametrize("words", UPS)
def test_what_is_up_is_said_of_files_alone(words, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a.html", "a.obj"):
        Path(name).write_text("v 0 0 0")
    assert cli.main(["view", *words.replace("RUN", str(run)).split()]) == 2
    said = capsys.readouterr().err
    assert "--source-up" in said or "axis that points up" in said
    assert "-y" not in words or "--source-up=-y" in said


def sequence(folder, **changes):
    found = clip(folder, [0, 1, 2])
    told = {"version": 1, "kind": "splats", "up": "z", "frames": [{"file": p.name, "time": i / 2} for i, p in enumerate(found)]}
    (folder / "sequence.json").write_text(json.dumps(told | changes))
    return folder / "sequence.json"


def test_a_sequence_is_played(tmp_path, run):
    page = still.of_file(sequence(tmp_path), tmp_path / "a.html")
    assert b'"times":[0.0,0.5,1.0]' in blocks(check(page))["moments"]
    (run / "export" / "sequence").mkdir()
    sequence(run / "export" / "sequence")
    assert {"splats", "moments", "mesh"} == set(blocks(check(still.of_run(run))))
    made = {"splats": run / "export" / "splats.ply", "sequence": run / "export" / "sequence" / "sequence.json"}
    assert "moments" in blocks(check(asset.pages(run, made, "x")["viewer"])), "and where a run is exported"
    made["sequence"].write_text("{}")
    assert "moments" not in blocks(check(asset.pages(run, made, "x")["viewer"])), "of meshes it is none of the viewer's"


def test_gaussians_that_move_play_in_the_page_of_their_run(tmp_path, capsys, monkeypatch):
    run = run_of(tmp_path / "run", {"type": "dynamic_gaussians", "count": 200}, handed=discs(), stirred="field")
    page, frames_of = run / "export" / "viewer.html", run / "export" / "sequence"
    code, told, said = call(["export", run], capsys)
    assert code == 0 and str(frames_of / "sequence.json") in told.splitlines(), said
    assert len([*frames_of.glob("frame_*.ply")]) == SMALL["export"]["moments"]
    assert b'"times":[0.0,0.5,1.0]' in blocks(check(page))["moments"]
    assert call(["export", run, "--format", "glb"], capsys)[0] == 0
    assert "moments" in blocks(check(page)), "whatever else is written later"
    monkeypatch.setattr("dream3d.export.asset.fewer", lambda clip: fewer(clip, 2 * 4 * len(clip.frames[0].position) * 17))
    code, _, said = call(["export", run], capsys)
    assert code == 0 and "note: sequence: 2 of 3 moments" in said and len([*frames_of.glob("frame_*.ply")]) == 2


BAD = [{"kind": "mesh"}, {"up": "x"}, {"up": 3}, {"frames": [{"file": "gone.ply", "time": 0}]},
       {"frames": []}, {"frames": 3}, {"frames": [{"file": "../a.ply", "time": 0}]},
       {"frames": [{"file": "/a.ply", "time": 0}]}, {"frames": [{"file": 3, "time": 0}]}, {"frames": [{"file": "a.ply", "time": "0"}]},
       {"frames": [{"file": "a.ply", "time": -1}]}]  # fmt: skip


@pytest.mark.parametrize("changes", BAD)
def test_what_is_no_sequence_is_said(tmp_path, changes):
    with pytest.raises(Mistake, match="sequence.json is no sequence of Gaussians"):
        moments.sequence(sequence(tmp_path, **changes))


WRONG = [([], "RUN_OR_FILE"), (["nothing-here"], "neither a run nor a file"), (["x", "--live"], "not a run"),
         (["x", "--prot", "3"], "--port"), (["x", "--port", "3"], "--live --port 3"), (["x", "--listen", "0.0.0.0"], "is of --live"),
         (["x", "--live", "--out", "a.html"], "--live writes none"), ([__file__, "--live"], "test_view_command.py is a file"),
         (["x.html", "--out", "a.html"], "x.html is a page already"),
         (["x", "--out", "a.txt"], "--out x-viewer.html"), (["x.glb", "--out", "."], "--out x-viewer.html"),
         (["x", "--live", "--port", "a"], "--port: expected a whole number, but it is 'a'")]  # fmt: skip


@pytest.mark.parametrize("words, said", WRONG)
def test_mistakes_are_sentences(words, said, capsys):
    assert cli.main(["view", *words]) == 2
    assert said in capsys.readouterr().err
