"""Every representation leaves files that open; what moves has its animation in them; no prior is loaded for it."""

import subprocess
import sys

import numpy as np
import pytest
import trimesh
from export_runs import ball, bounds, call, discs, document, run_of

import dream3d
from dream3d import build
from dream3d.errors import Mistake
from dream3d.export.formats import Format
from dream3d.export.splat import read_ply

FEW = {"samples": 24, "grid": 16, "occupancy": 8}  # of volumes
TINY = {
    "gaussians": ({"count": 200}, discs), "mesh": ({}, ball), "dynamic_mesh": ({"settle": 0}, ball), "skinned": ({"motion": "wave"}, None),
    "dynamic_gaussians": ({"count": 200}, discs), "voxels": ({"resolution": 16, **FEW}, None), "nerf": ({"width": 16, **FEW}, None),
    "hashgrid": ({"hidden": 16, **FEW}, None), "triplane": ({"resolution": 16, **FEW}, None),
    "dmtet": ({"resolution": 12}, None), "plane": ({}, None),
    "composed": ({"object": {"type": "gaussians", "count": 100},
                  "layout": {"objects": [{"name": "one", "box": {"centre": [-0.3, 0, 0], "size": 0.5}},
                                         {"name": "two", "prompt": "a blue cube", "box": {"centre": [0.3, 0, 0], "size": 0.5}}]}}, None),
}  # fmt: skip
SPLATS = {"gaussians", "dynamic_gaussians", "composed"}


def test_no_representation_is_left_out():
    assert set(TINY) == set(build.available("renderers"))


@pytest.mark.parametrize("name", [name for name in TINY if name != "plane"])
def test_every_representation_is_exported(name, tmp_path, capsys):
    settings, start = TINY[name]
    run = run_of(tmp_path / "run", {"type": name, **settings}, handed=start and start(), stirred="field")
    words = ["export", run, "--format", "glb,ply", "--size", "1", "faces=300", "texture=16"]
    code, told, said = call(words, capsys)
    made = tmp_path / "run" / "export"
    assert code == 0, said
    low, high = bounds(made / "mesh.glb")
    assert max(high - low) == pytest.approx(1, abs=0.02), "a body is measured at rest, and shown as it stands"
    assert document(made / "mesh.glb")["asset"]["extras"]["representation"] == name
    moves = {"dynamic_mesh", "skinned"} & {name}
    assert ("animations" in document(made / "mesh.glb")) == bool(moves)
    assert (made / "splats.ply").is_file() == (name in SPLATS) and (made / "mesh.ply").is_file() == (name not in SPLATS)
    if name in SPLATS:
        assert len(read_ply(made / "splats.ply").position) >= 100
    else:
        assert len(trimesh.load(made / "mesh.ply", force="mesh").faces) > 10


def test_a_picture_is_an_upright_square(tmp_path, capsys):
    run = run_of(tmp_path / "run", {"type": "plane"})
    code, _, said = call(["export", run, "--format", "glb", "--origin", "base"], capsys)
    assert code == 0, said
    low, high = bounds(run / "export" / "mesh.glb")
    assert [*low, *high] == pytest.approx([-0.5, 0, 0, 0.5, 1, 0], abs=1e-6), "it faces the front"


def test_moments_and_seconds_are_those_asked_for(tmp_path, capsys):
    run = run_of(tmp_path / "run", {"type": "skinned", "motion": "wave"})
    assert call(["export", run, "--format", "glb", "moments=5", "seconds=2", "faces=300", "texture=16"], capsys)[0] == 0
    found = document(run / "export" / "mesh.glb")
    times = {sampler["input"] for sampler in found["animations"][0]["samplers"]}
    assert all(found["accessors"][i]["max"] == [2.0] and found["accessors"][i]["count"] <= 5 for i in times)


def test_a_run_that_could_not_write_its_files_does_not_begin(tmp_path, monkeypatch):
    def missing(self):
        raise Mistake(f"{self.name} needs something")

    monkeypatch.setattr(Format, "check", missing)
    with pytest.raises(Mistake, match="stl needs something"):
        dream3d.generate("a red car", out=str(tmp_path / "run"), **{"export.formats": ["stl"]})
    assert not list(tmp_path.iterdir())


def test_no_diffusion_model_is_touched(tmp_path):
    prior = {"type": "stable_diffusion", "model": str(tmp_path / "there" / "is-none")}
    run = run_of(tmp_path / "run", {"type": "gaussians", "count": 200}, handed=discs(), prior=prior)
    ask = """import sys; from dream3d.cli import main; code = main(sys.argv[1:])
print(code, [name for name in sys.modules if name.startswith(("diffusers", "transformers", "dream3d.priors."))])"""
    words = [sys.executable, "-c", ask, "export", str(run), "--format", "glb,ply"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
    low, high = bounds(run / "export" / "mesh.glb")
    assert np.isfinite(high - low).all()
