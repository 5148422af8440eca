"""viewer.html: strict HTML, nothing loaded, nothing a user wrote is ever run, the very bytes of the files."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import EVIL, blocks, check, finished, prose

import dream3d.api
from dream3d.errors import Mistake
from dream3d.export import asset, page, record
from dream3d.export.moments import Moments
from dream3d.export.splat import write_ply
from dream3d.export.viewer import write_viewer
from dream3d.types import Points


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
    used = {p.name for p in (web / "source").glob("*.js")}
    assert set(re.findall(r'from "\./(\w+\.js)"', "".join((web / "source" / n).read_text() for n in used))) == used - {"viewer.js"}


# --- what moves -----------------------------------------------------------------------------------------------------------------------


def cloud(step: float, count: int = 5) -> Points:
    """Gaussians that fly apart, turn by half a turn a step and become brighter; sizes and opacities stay."""
    make = torch.Generator().manual_seed(1)
    place, colour = torch.randn(count, 3, generator=make), torch.rand(count, 3, generator=make) * 0.5
    angle = torch.full((count,), 0.4 + step * torch.pi / 2)
    turn = torch.stack([angle.cos(), 0 * angle, 0 * angle, angle.sin()], -1)
    return Points(place * (1 + step), colour + 0.1 * step, torch.full((count, 3), 0.1), turn, torch.full((count,), 0.5))


def clip(folder: Path, steps: list[float], count: int = 5) -> list[Path]:
    found = [folder / f"frame_{i:04}.ply" for i in range(len(steps))]
    for path, step in zip(found, steps, strict=True):
        write_ply(cloud(step, count), path)
    return found


def moments(made: Path) -> tuple[dict, np.ndarray]:
    data = blocks(check(made))["moments"]
    head, _, body = data.partition(b"\n")
    said = json.loads(head)
    assert (len(head) + 1) % 4 == 0
    return said, np.frombuffer(body, "<f4").reshape(len(said["times"]), len(said["columns"]), said["count"])


def test_of_splats_that_move_only_what_moves_is_there_twice(tmp_path):
    frames = clip(tmp_path, [0, 1, 2, 3])
    made = write_viewer(tmp_path / "viewer.html", splats=None, mesh=None, title="x", moving=Moments(frames, [0, 0.5, 1, 2]))
    said, values = moments(made)
    assert blocks(check(made))["splats"] == frames[0].read_bytes()
    assert said["times"] == [0, 0.5, 1, 2] and set(said["columns"]) == {"x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "rot_0", "rot_3"}
    at = {name: i for i, name in enumerate(said["columns"])}
    for moment in range(4):
        assert np.allclose(values[moment, at["y"]], cloud(moment).position[:, 1], atol=1e-6)
    turns = values[:, [at["rot_0"], at["rot_3"]]]
    assert (turns[1:] * turns[:-1]).sum(1).min() > -1e-6, "a rotation goes on the short way"


def test_of_long_clips_every_second_moment_is_there(tmp_path, monkeypatch):
    frames = clip(tmp_path, [0, 1, 2, 3, 4])
    monkeypatch.setattr("dream3d.export.held.MOST", 4 * 8 * 5 * 3)
    made = write_viewer(tmp_path / "viewer.html", splats=None, mesh=None, title="x", moving=Moments(frames, range(5)))
    assert moments(made)[0]["times"] == [0, 2, 4]


def test_frames_that_are_not_one_clip_are_refused(tmp_path):
    one = clip(tmp_path, [0, 1])
    with pytest.raises(Mistake, match="2 frames need as many times"):
        write_viewer(tmp_path / "a.html", splats=None, mesh=None, title="x", moving=Moments(one, [0]))
    with pytest.raises(Mistake, match="times that grow"):
        write_viewer(tmp_path / "a.html", splats=None, mesh=None, title="x", moving=Moments(one, [1, 0]))
    write_ply(cloud(1, 4), one[1])
    with pytest.raises(Mistake, match="frame_0001.ply has 4 Gaussians, the first frame 5"):
        write_viewer(tmp_path / "a.html", splats=None, mesh=None, title="x", moving=Moments(one, [0, 1]))
    assert not (tmp_path / "a.html").exists()
