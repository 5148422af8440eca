"""Exports of files that others wrote: they stay where and as they are; what is said of them; names and limits of this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from export_runs import call, cube_of, document

import dream3d
from dream3d import config
from dream3d.export import about


@pytest.mark.parametrize("name", ["box.glb", "box.obj", "box.ply"])
def test_a_foreign_mesh_stays_where_and_as_it_is(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cube_of(tmp_path / name, side=30.0, at=(100.0, 20.0, -7.0))
    code, told, said = call(["export", name, "--format", "glb"], capsys)
    made = Path("box-export/mesh.glb")
    assert code == 0 and told.split() == [str(made), "box-export/mesh.json"], said
    before, after = (trimesh.load(path, force="mesh") for path in (name, made))
    turned = np.array(before.vertices) if name != "box.ply" else before.vertices[:, [0, 2, 1]] * [1, 1, -1]  # a PLY is z up
    np.testing.assert_allclose(after.bounds, [turned.min(0), turned.max(0)], atol=1e-3)
    assert len(after.faces) == 12
    if name != "box.ply":
        uv = {tuple(np.round(row, 4)) for row in before.visual.uv}
        assert {tuple(np.round(row, 4)) for row in after.visual.uv} <= uv and after.visual.material.baseColorTexture.size == (10, 20)
    told = document(made)["asset"]["extras"]
    assert told["source"] == [name] and "prompt" not in told and str(tmp_path).encode() not in made.read_bytes()


def test_facts_name_models_and_licences_and_no_places():
    prior = {"type": "stable_diffusion", "model": "/secret/place/my-sd"}
    found = config.load("sds-gaussian", settings={"prompt": "a duck", "negative": "fog", "seed": 3, "prior": prior, "name": "/home/x/mine"})
    told = about.of_run(found)
    assert told["models"] == [{"name": "my-sd", "licence": "unknown"}] and "secret" not in json.dumps(told)
    assert (told["prompt"], told["negative"], told["seed"], told["recipe"]) == ("a duck", "fog", 3, "mine")
    assert (told["representation"], told["prior"], told["version"]) == ("gaussians", ["stable_diffusion"], dream3d.__version__)
    known = config.load("sds-gaussian", settings={"prompt": "a duck", "prior": {"type": "stable_diffusion", "model": "sd-2.1-base"}})
    (model,) = about.of_run(known)["models"]
    assert model["name"] == "sd-2.1-base" and "OpenRAIL" in model["licence"].replace(" ", "") and model["commercial"] is True
    own = about.of_run(config.load("sds-gaussian", settings={"prompt": "a duck", "prior": {"type": "toybox"}}))
    assert own["models"] == [{"name": "toybox-32", "licence": "Apache-2.0"}]


def test_the_process_has_a_limit_of_its_own():
    """A child that may take one gigabyte of addresses is told how much of that is left."""
    ask = "from dream3d.export import roomy; print(roomy.available())"
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); {ask}"
    done = subprocess.run([sys.executable, "-c", limited], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and 0 < float(done.stdout) < 1 << 30, done.stderr


def test_a_file_far_away_is_moved_but_not_said_to_be_scaled(tmp_path, capsys):
    far = cube_of(tmp_path / "far.obj", at=(1e6, 0.0, 0.0))
    code, _, said = call(["export", far, "--format", "stl", "--out", tmp_path / "out"], capsys)
    assert code == 0 and "moved to the origin" in said and "scaled" not in said


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names of files are text here")
def test_names_that_are_no_text_are_written_as_far_as_they_are(tmp_path, capsys):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.obj"))
    os.rename(cube_of(tmp_path / "box.obj"), odd)
    code, _, said = call(["export", odd, "--format", "glb,obj,3mf", "--out", tmp_path / "out"], capsys)
    assert code == 0, said
    assert '"a?.obj"' in (tmp_path / "out" / "mesh.obj").read_text().splitlines()[0]


def test_what_is_read_is_not_written_over(tmp_path, capsys):
    box = cube_of(tmp_path / "mesh.obj")
    before = box.read_bytes()
    assert call(["export", box, "--format", "stl", "--out", tmp_path], capsys)[0] == 0
    assert call(["export", box, "--format", "obj", "--out", tmp_path], capsys)[0] == 2
    assert call(["blender", "quads", box, "--faces", "100", "--out", box], capsys)[0] == 2
    code, _, said = call(["view", box, "--no-open", "--out", box], capsys)
    assert code == 2 and "does not end in .html" in said and box.read_bytes() == before
    page = tmp_path / "page.html"
    page.write_text("<html></html>")
    code, _, said = call(["view", page, "--no-open", "--out", page], capsys)
    assert code == 2 and "take the place of page.html" in said and page.read_text() == "<html></html>"
