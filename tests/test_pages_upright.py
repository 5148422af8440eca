"""Pages of files that were asked for with another axis up: what they hold stands, and nothing else of it changes. Moments in pages."""

import dataclasses
import json
import os
import struct

import numpy as np
import pytest
import torch
import trimesh
from export_runs import ball, bounds, call, discs, run_of
from gltf_reader import Glb
from pages import blocks, check, finished
from test_viewer import clip, moments

from dream3d import assemble, config
from dream3d.clips import MeshClip
from dream3d.export.formats import Ask, named
from dream3d.export.held import held
from dream3d.export.moments import Moments, moving
from dream3d.export.report import write_report
from dream3d.export.splat import read_ply, write_ply
from dream3d.export.stock import settled
from dream3d.export.viewer import write_viewer
from dream3d.foreign.load import load
from dream3d.foreign.upright import JSON, told
from dream3d.types import Mesh, Points

LONG = torch.tensor([1.0, 0.5, 2.0])


def long() -> Mesh:
    """Higher than wide."""
    return dataclasses.replace(ball(), vertices=ball().vertices * LONG)


def items() -> dict:
    """A mesh, one that moves, a body."""
    mesh = long()
    scene = assemble.scene(config.load("sds-gaussian", settings={"renderer": {"type": "skinned", "motion": "wave"}}).stages[0], 0, 0)
    times = torch.linspace(0, 1, 3)
    moves = MeshClip(mesh, torch.stack([mesh.vertices * (1 + t) for t in times]), times)
    return {"mesh": mesh, "moves": moves, "body": settled(scene.clip(times))}


def shown(tmp_path, **what) -> dict:
    """The page of these files, and the .glb in it as a file."""
    made = blocks(check(write_viewer(tmp_path / "a.html", title="x", **{"splats": None, "mesh": None} | what)))
    (tmp_path / "held.glb").write_bytes(made.get("mesh", b""))
    (tmp_path / "held.ply").write_bytes(made.get("splats", b""))
    return made


def test_a_mesh_that_was_asked_for_with_z_up_stands_in_its_page(tmp_path):
    for name, item in items().items():
        lying, true = tmp_path / f"z-{name}.glb", tmp_path / f"y-{name}.glb"
        for up, path in (("z", lying), ("y", true)):
            named("glb").write(item, path, Ask({"transform": {"up": up}}, up))
        assert told(lying) == "z" and told(true) == "y"
        assert shown(tmp_path, mesh=true)["mesh"] == true.read_bytes(), "as it is"
        shown(tmp_path, mesh=lying)
        if name != "body":
            assert abs(bounds(lying) - bounds(true)).max() > 0.1
            np.testing.assert_allclose(bounds(tmp_path / "held.glb"), bounds(true), atol=1e-5)
        for time in (0.0, 0.3, 1.0) if name != "mesh" else ():
            stands, wanted = Glb(tmp_path / "held.glb").vertices(time), Glb(true).vertices(time)
            np.testing.assert_allclose(stands if name == "body" else stands @ UPRIGHT.T, wanted, atol=1e-5)


UPRIGHT = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # the reader of tests takes a mesh where it is; a body where its joints are


def test_splats_and_moments_of_another_axis_stand(tmp_path, capsys):
    run = run_of(tmp_path / "run", {"type": "dynamic_gaussians", "count": 200}, handed=discs(), stirred="field")
    words, lying, true = ["export", run, "--format", "ply,sequence", "--out"], tmp_path / "y", tmp_path / "z"
    assert call([*words, lying, "--up", "y"], capsys)[0] == call([*words, true], capsys)[0] == 0
    assert told(lying / "splats.ply") == "y" and b"comment" not in (true / "splats.ply").read_bytes()[:4096]
    assert shown(tmp_path, splats=true / "splats.ply")["splats"] == (true / "splats.ply").read_bytes()
    shown(tmp_path, splats=lying / "splats.ply")
    wanted = read_ply(true / "splats.ply")
    torch.testing.assert_close(read_ply(tmp_path / "held.ply").position, wanted.position, atol=1e-6, rtol=0)
    torch.testing.assert_close(load(lying / "splats.ply", fit=False)[0].position, wanted.position, atol=1e-6, rtol=0)
    found = moving(lying / "sequence" / "sequence.json", lying / "splats.ply")
    assert found.up == "y" and len(found.frames) == 3
    shown(tmp_path, moving=found)
    here = moments(tmp_path / "a.html")
    write_viewer(tmp_path / "a.html", splats=None, mesh=None, title="x", moving=moving(true / "sequence" / "sequence.json"))
    there = moments(tmp_path / "a.html")
    assert here[0] == there[0] and np.allclose(here[1][:, :3], there[1][:, :3], atol=1e-5), "places"
    assert np.allclose(abs(here[1]), abs(there[1]), atol=1e-5), "q and -q turn alike"
    torch.testing.assert_close(read_ply(tmp_path / "held.ply").rotation.abs(), wanted.rotation.abs(), atol=1e-6, rtol=0)


def test_meshes_as_ply_and_glb_of_ours_are_read_back_upright(tmp_path):
    for kind in ("glb", "ply"):
        for up in ("y", "z"):
            path = tmp_path / f"{up}.{kind}"
            named(kind).write(long(), path, Ask({"transform": {"up": up}}, up))
            size = load(path, fit=False)[0].vertices
            torch.testing.assert_close(size.amax(0), 0.4 * LONG, atol=1e-3, rtol=0)


def test_what_others_say_of_their_axes_is_not_heeded(tmp_path):
    for line in ("comment Vertical axis: y", 'comment dream3d {"transform": {"up": "x"}}', "comment dream3d {", "comment dream3d []"):
        (tmp_path / "a.ply").write_bytes(f"ply\nformat ascii 1.0\n{line}\nend_header\n".encode())
        assert told(tmp_path / "a.ply") is None
    head = b"glTF" + struct.pack("<II", 2, 22)
    for data in (b"glTF", b"", head + struct.pack("<II", 1 << 31, JSON), head + struct.pack("<II", 2, JSON) + b"[["):
        (tmp_path / "a.glb").write_bytes(data)
        assert told(tmp_path / "a.glb") is None
        assert "".join(held(None, tmp_path / "a.glb")).startswith("<script"), "and it is held as it is"
    trimesh.creation.box().export(tmp_path / "b.glb")
    assert told(tmp_path / "b.glb") is None


# --- moments ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def played(tmp_path):
    """A run with moments, newer than its splats."""
    run = finished(tmp_path / "run")
    (run / "export" / "sequence").mkdir()
    found = clip(run / "export" / "sequence", [0, 1, 2, 3, 4, 5], count=50)
    rows = [{"file": path.name, "time": i / 2} for i, path in enumerate(found)]
    (run / "export" / "sequence" / "sequence.json").write_text(json.dumps({"kind": "splats", "up": "z", "frames": rows}))
    return run


def in_report(run) -> set[str]:
    return set(blocks(check(write_report(run))))


def test_a_report_plays_what_moves(played, monkeypatch):
    page = write_report(played)
    assert moments(page)[0]["times"] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5] and set(blocks(check(page))) == {"splats", "mesh", "moments"}
    size = sum((played / "export" / name).stat().st_size for name in ("splats.ply", "mesh.glb"))
    frame = (played / "export" / "sequence" / "frame_0000.ply").stat().st_size
    monkeypatch.setattr("dream3d.export.report.ASSET", size + 2 * frame + 1)
    assert moments(write_report(played))[0]["times"] == [0.0, 1.0, 2.0, 2.5], "fewer where there is no room"
    monkeypatch.setattr("dream3d.export.report.ASSET", size + frame)
    assert in_report(played) == {"splats", "mesh"}
    monkeypatch.setattr("dream3d.export.report.ASSET", 0)
    assert in_report(played) == set()


def test_a_damaged_sequence_leaves_the_pages_whole(played):
    frame, splats = played / "export" / "sequence" / "frame_0001.ply", played / "export" / "splats.ply"
    good, clip_of = frame.read_bytes(), frame.with_name("sequence.json")
    frame.write_bytes(good[:-4] + b"\0\0\xc0\x7f")  # not a number
    assert in_report(played) == {"splats", "mesh"}
    frame.write_bytes(good[:-4])
    assert in_report(played) == {"splats", "mesh"} and moving(clip_of, splats) == Moments()
    frame.unlink()
    assert in_report(played) == {"splats", "mesh"} and moving(clip_of, splats) == Moments()


def test_moments_of_an_earlier_export_do_not_hide_new_splats(played):
    splats, clip_of = played / "export" / "splats.ply", played / "export" / "sequence" / "sequence.json"
    assert len(moving(clip_of, splats).frames) == 6
    later = clip_of.stat().st_mtime_ns + 10**9
    os.utime(splats, ns=(later, later))
    assert moving(clip_of, splats) == Moments() and in_report(played) == {"splats", "mesh"}
    splats.write_bytes((clip_of.parent / "frame_0000.ply").read_bytes())
    os.utime(splats, ns=(later, later))
    assert len(moving(clip_of, splats).frames) == 6, "a copied folder has other times"


def test_a_ply_of_another_axis_is_one_line_longer(tmp_path):
    one = Points(torch.zeros(1, 3), torch.zeros(1, 3), torch.ones(1, 3), torch.eye(4)[:1], torch.ones(1))
    write_ply(one, tmp_path / "z.ply")
    write_ply(one, tmp_path / "y.ply", up="y")
    lines = [(tmp_path / f"{up}.ply").read_bytes().partition(b"end_header")[0].split(b"\n") for up in "yz"]
    assert lines[0][2] == b'comment dream3d {"transform": {"up": "y"}}' and lines[0][:2] + lines[0][3:] == lines[1]
