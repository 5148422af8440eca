"""Numbered .ply files: every frame is the scene at its time, and sequence.json says which are."""

import json
import weakref

import pytest
import torch
import trimesh
from dream3d.renderers.dynamic_gaussians import DynamicGaussians
from moving_scenes import FACTS, rolling, textured

from dream3d.clips import MeshClip, lasting
from dream3d.errors import Mistake
from dream3d.export import asset
from dream3d.export.axes import inward
from dream3d.export.formats import Ask, named
from dream3d.export.splat import read_ply
from dream3d.export.stock import Stock
from dream3d.options import Export


def test_frames_of_gaussians_are_the_scene_at_their_times(tmp_path):
    made, times = rolling(DynamicGaussians, sh_degree=1), torch.linspace(0, 1, 5)
    path = tmp_path / "sequence" / "sequence.json"
    for up in ("z", "y"):
        named("sequence").write(lasting(made.clip(times), 2.0), path, Ask(FACTS, up=up))
        said = json.loads(path.read_text())
        assert (said["kind"], said["count"], said["up"], said["seconds"], said["facts"]) == ("splats", 40, up, 2.0, FACTS)
        assert [frame["file"] for frame in said["frames"]] == [f"frame_{k:04d}.ply" for k in range(5)]
        for frame in said["frames"]:
            again = inward(read_ply(path.with_name(frame["file"])), up)
            truth = made.moved(torch.tensor(frame["time"] / 2))
            torch.testing.assert_close(again.position, truth["still.position"].detach(), atol=1e-5, rtol=0)
            torch.testing.assert_close(again.scale, truth["still.log_scale"].exp().detach(), atol=1e-5, rtol=1e-4)
            turned = torch.nn.functional.normalize(truth["still.rotation"].detach(), dim=-1)
            torch.testing.assert_close((again.rotation * turned).sum(1).abs(), torch.ones(40), atol=1e-5, rtol=0)
            torch.testing.assert_close(again.sh[:, 1:], made.still.harmonics.detach(), atol=1e-5, rtol=0)


def test_an_export_holds_one_moment_at_a_time(tmp_path, monkeypatch):
    """What was made for a moment before is gone once the next one is: of a million Gaussians each takes 236 MB."""
    made, seen, most = rolling(DynamicGaussians), weakref.WeakSet(), []
    real = DynamicGaussians.moved

    def moved(self, time):
        found = real(self, time)
        most.append(len(seen))
        seen.add(found["still.position"])
        return found

    monkeypatch.setattr(DynamicGaussians, "moved", moved)
    settings = Export(formats=["sequence"], moments=20, metres=2.0, up="y")
    with torch.no_grad():
        stock = Stock(made, settings)
        assert "splat-clip" in stock.kinds and len(most) < 3, "what it can be is known without them"
        asset.export(made, tmp_path, settings, extras=FACTS, pictures=False)
    assert len([*tmp_path.rglob("frame_*.ply")]) == 20 <= len(most) and max(most) <= 2


def test_a_shorter_clip_leaves_no_frames_of_a_longer_one(tmp_path):
    made, path = rolling(DynamicGaussians), tmp_path / "sequence.json"
    (tmp_path / "frame_mine.ply").write_bytes(b"")
    for count in (6, 3):
        named("sequence").write(made.clip(torch.linspace(0, 1, count)), path, Ask())
        files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        assert files.keys() == {"sequence.json", "frame_mine.ply", *(f"frame_{k:04d}.ply" for k in range(count))}
    named("sequence").write(made.clip(torch.linspace(0, 1, 3)), path, Ask())
    assert files == {file.name: file.read_bytes() for file in tmp_path.iterdir()}


@pytest.mark.parametrize("kind", ["vertices", "texture"])
def test_frames_of_a_mesh_open_elsewhere(kind, tmp_path):
    clip = rolling().clip(torch.linspace(0, 1, 3))
    if kind == "texture":
        clip = MeshClip(textured(clip.mesh), clip.places, clip.times)
    named("sequence").write(clip, tmp_path / "sequence.json", Ask())
    assert json.loads((tmp_path / "sequence.json").read_text())["kind"] == "mesh"
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", *[".ply"] * 3]
    for k in range(3):
        mesh = trimesh.load(tmp_path / f"frame_{k:04d}.ply", process=False)
        torch.testing.assert_close(torch.tensor(mesh.vertices).float(), clip.places[k], atol=1e-6, rtol=0)
        assert mesh.visual.kind == "vertex"


def test_too_many_frames_are_refused(tmp_path):
    clip = rolling().clip(torch.linspace(0, 1, 2))
    many = MeshClip(clip.mesh, clip.places[:1].expand(10_001, -1, -1), torch.arange(10_001.0))
    with pytest.raises(Mistake, match="10001 moments"):
        named("sequence").write(many, tmp_path / "sequence.json", Ask())
    assert not [*tmp_path.iterdir()]
