"""The export command: every flag does what it says, from runs, checkpoints and files; again gives the same, a kill loses nothing."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from export_runs import ball, bounds, call, cube_of, discs, document, faces, run_of

from dream3d import config
from dream3d.commands import export as command
from dream3d.export import roomy
from dream3d.export.formats import Format, formats
from dream3d.export.splat import read_ply
from dream3d.folder import lock
from dream3d.options import Export

GAUSSIANS = {"type": "gaussians", "count": 200}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Of Gaussians, with two checkpoints: the ball, and later a smaller one."""
    place = tmp_path_factory.mktemp("runs")
    path = run_of(place / "big", GAUSSIANS, handed=discs())
    small = dataclasses.replace(discs(), position=0.5 * discs().position, scale=0.5 * discs().scale)
    later = run_of(place / "small", GAUSSIANS, handed=small, steps=(9,))
    os.rename(later / "checkpoints" / "step_0000009", path / "checkpoints" / "step_0000009")
    return path


@pytest.fixture
def export(run, tmp_path, capsys):
    """Run the command on the run into a folder of its own: code, files by name, what it said."""

    def go(*words, what=run, out=tmp_path / "out"):
        code, told, said = call(["export", what, "--out", out, *words], capsys)
        names = [Path(line).name for line in told.splitlines()]
        assert all((out / name).is_file() for name in names), said
        return code, {name: out / name for name in names}, said

    return go


@pytest.mark.parametrize(
    "words, wanted",
    [
        ("--faces 5k", ["faces=5000", "rebake=larger"]),
        ("--faces 20K --texture 2k", ["faces=20000", "texture=2048", "rebake=always"]),
        ("--faces 123 --texture 100", ["faces=123", "texture=100", "rebake=always"]),
        ("--size 1.5 --origin base --up z", ["metres=1.5", "origin=base", "up=z"]),
        ("--lods 3 --print-size-mm 80 --web", ["lods=3", "millimetres=80", "web=true"]),
        ("--format GLB,stl --format 3mf,glb", ["formats=['glb', 'stl', '3mf', 'glb']"]),
        ("texture=64 rebake=never", ["texture=64", "rebake=never"]),
        ("--rebake", ["rebake=always"]),
        ("export.texture=64 --faces 5k faces=5000", ["texture=64", "faces=5000", "rebake=always"]),
        ("", []),
    ],
)
def test_flags_are_short_for_settings(words, wanted, monkeypatch):
    heard = []
    monkeypatch.setattr(command, "place", lambda what: (None, None, Path(what)))
    monkeypatch.setattr(command, "_file", lambda options, file, given: heard.extend(given) or 0)
    command.main(["car.glb", *words.split()])
    assert sorted(heard) == sorted(f"export.{text}" for text in wanted)
    config.load("sds-gaussian", heard)


MISTAKES = {
    "--format glbb": ("no format 'glbb'", "glb"), "--format ,": ("names none", "glb"), "--faces many": ("whole number", "5k"),
    "--faces 3": ("at least 4", ""), "--texture 1.5k": ("whole number", ""), "--size big": ("expected a number", ""),
    "--size -1": ("above 0", ""), "--origin bottom": ("no origin 'bottom'", "base"), "--up x": ("no axis that points up 'x'", "y"),
    "--lods 9": ("at most 6", ""), "--lods 2 --format ply": ("glb files", "--format ply,glb"), "textur=3": ("textur", "texture"),
    "formats=[]": ("no format is asked for", "glb"), "--print-size-mm 0": ("above 0", ""),
    "--size 1e": ("expected a number", ""), "--size 9999999999": ("--size 1e+10: files hold", "--size 1"),
    "--size 0.0000001": ("--size 1e-07: files hold", "--size 1"), "--print-size-mm 9999999999": ("files hold 1e-06 to 1e+09", ""),
    "--source-up y": ("--source-up is of files", "--up y"),
    "--formt glb": ("nothing is known about --formt", "--format"), "--format gltf": ("no format 'gltf'", "--format glb"),
    "--faces 5k faces=1000": ("faces is said twice: --faces 5000, and faces=1000", "one of them"),
    "--rebake rebake=never": ("rebake is said twice: --rebake, and rebake=never", "one of them"),
    "--print-size-mm 80 millimetres=9": ("millimetres is said twice: --print-size-mm 80", ""),
    "prompt=x": ("prompt is of the run", ""), "export.facs=3": ("no setting 'facs'", "faces"), "glb": ("'glb' is no setting", "glb=VALUE"),
    "--faces 2": ("--faces: expected at least 4", "--faces 10000"), "--size 0": ("--size: expected a number above 0", "--size 0"),
    "resolution=2": ("resolution: expected at least 8", "resolution=128"),
}  # fmt: skip


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes_teach_and_write_nothing(words, run, tmp_path, capsys):
    code, told, said = call(["export", run, "--out", tmp_path / "out", *words.split()], capsys)
    problem, near = MISTAKES[words]
    assert code == 2 and not told and problem in said and near in said and len(said.splitlines()) <= 5, said
    assert "export." not in said or words == "formats=[]"
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_name_is_none(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, told, said = call(["export", run, "--out", ""], capsys)
    assert code == 2 and not told and "is empty" in said and not list(tmp_path.iterdir())


def test_what_is_no_run_and_no_file_is_said(run, tmp_path, capsys):
    (tmp_path / "checkpoints" / "step_0000001").mkdir(parents=True)
    for what, problem in ((tmp_path / "nope", "neither a run nor a file"), (tmp_path, "no config.yaml"), (__file__, "of no kind"),
                          (run / "checkpoints" / "step_0000007", "no checkpoint")):  # fmt: skip
        code, told, said = call(["export", what], capsys)
        assert code == 2 and not told and problem in said, said
    assert "RUN_OR_FILE" in call(["export"], capsys)[2]


def test_a_format_without_room_for_the_scene_names_those_that_have(export, tmp_path, run):
    mesh = run_of(tmp_path / "mesh", {"type": "mesh"}, handed=ball())
    code, files, said = export("--format", "glb,ply,spz", what=mesh)
    assert code == 2 and not files and "no Gaussians" in said and "glb" in said and "convert" in said
    assert not (tmp_path / "out").exists(), "glb and ply could have been written, but it was said before"


def test_formats_are_listed(capsys):
    told = call(["export", "--list"], capsys)[1].splitlines()
    assert len(told) == 1 + len(formats()) and all(line.split()[0] in told[i + 1] for i, line in enumerate(formats()))
    assert any("dream3d[usd]" in line for line in told) and "mesh.glb" in told[1 + list(formats()).index("glb")]
    assert json.loads(call(["list", "formats", "--json"], capsys)[1])[0]["name"] == sorted(formats())[0]


# --- what is made -----------------------------------------------------------------------------------------------------------------


def test_a_run_is_exported_as_at_its_end_with_pages(run, capsys):
    code, told, said = call(["export", run], capsys)
    names = [Path(line).name for line in told.splitlines()]
    assert code == 0 and names == ["thumbnail.png", "contact.png", "splats.ply", "turntable.mp4", "mesh.glb", "mesh.json", "viewer.html",
                                   "report.html"]  # fmt: skip
    known = json.loads((run / "export" / "mesh.json").read_text())
    assert "triangles" in said and known["watertight"] is True and known["files"] == ["mesh.glb"]
    viewer = (run / "export" / "viewer.html").read_bytes()
    assert call(["export", run, "--format", "glb", "--faces", "60"], capsys)[0] == 0
    again = (run / "export" / "viewer.html").read_bytes()
    assert again != viewer and b'id="splats' in again, "the new mesh, and the Gaussians that are there"


def test_size_and_origin_are_the_same_for_every_file(export):
    code, files, _ = export("--format", "glb,obj,ply", "--size", "2", "--origin", "base")
    low, high = bounds(files["mesh.glb"])
    assert code == 0 and max(high - low) == pytest.approx(2, abs=1e-5) and low[1] == pytest.approx(0, abs=1e-6)
    assert (low + high)[[0, 2]] == pytest.approx([0, 0], abs=1e-5)
    np.testing.assert_allclose(bounds(files["mesh.obj"]), [low, high], atol=1e-6)
    told = document(files["mesh.glb"])["asset"]["extras"]["transform"]
    assert told["up"] == "y"
    small = 0.5 * discs().position  # of the newest checkpoint
    placed = told["scale"] * small + torch.tensor(told["shift"])
    torch.testing.assert_close(read_ply(files["splats.ply"]).position, placed, atol=1e-4, rtol=0)


def test_up_turns_what_every_format_writes(export, tmp_path):
    made = {up: export("--format", "glb,ply", "--up", up, "--origin", "base", out=tmp_path / up)[1] for up in "yz"}
    for up, axis in (("y", 1), ("z", 2)):
        assert bounds(made[up]["mesh.glb"])[0] == pytest.approx([0 if k == axis else -0.27 for k in range(3)], abs=0.04)
        assert document(made[up]["mesh.glb"])["asset"]["extras"]["transform"]["up"] == up
    y, z = (read_ply(made[up]["splats.ply"]).position for up in "yz")
    torch.testing.assert_close(y, torch.stack([z[:, 0], z[:, 2], -z[:, 1]], -1))


def test_levels_have_a_quarter_of_the_faces_and_half_the_texture(export):
    code, files, _ = export("--format", "glb", "--lods", "3", "--faces", "320", "--texture", "64")
    assert code == 0 and list(files) == ["mesh.glb", "mesh_LOD0.glb", "mesh_LOD1.glb", "mesh_LOD2.glb", "mesh.json"]
    assert files["mesh.glb"].read_bytes() == files["mesh_LOD0.glb"].read_bytes()
    counts = [faces(files[f"mesh_LOD{i}.glb"]) for i in range(3)]
    assert counts[0] == pytest.approx(320, rel=0.1) and counts[1] == pytest.approx(80, rel=0.1) and counts[2] == pytest.approx(20, abs=6)
    for level, side in enumerate((64, 32, 16)):
        mesh = trimesh.load(files[f"mesh_LOD{level}.glb"], force="mesh")
        assert mesh.visual.material.baseColorTexture.size == (side, side) and mesh.merge_vertices(merge_tex=True) is None
        assert mesh.is_watertight
        colour = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB")) / 255
        assert colour.std(axis=(0, 1)).min() > 0.02, "each with a bake of its own"


def test_a_flag_that_no_format_heeds_is_told(export):
    code, files, said = export("--format", "ply", "--print-size-mm", "80", "--web")
    assert code == 0 and [*files] == ["splats.ply"]
    assert "note: --print-size-mm is for stl and 3mf" in said and "note: --web is for glb" in said
    assert "stands still" not in said and "note: moments, seconds: this scene stands still" in export("moments=9", "seconds=2")[2]
    code, files, said = export("--format", "stl,glb", "--print-size-mm", "80", "--web", "--lods", "1")
    assert code == 0 and "note: --" not in said and files["mesh_LOD0.glb"].read_bytes() == files["mesh.glb"].read_bytes()


def test_an_export_is_a_folder(export, tmp_path):
    (tmp_path / "taken").write_text("mine")
    code, _, said = export(out=tmp_path / "taken")
    assert code == 2 and "is a file, and an export is a folder" in said and (tmp_path / "taken").read_text() == "mine"


def test_prints_are_in_millimetres(export):
    _, files, _ = export("--format", "stl", "--print-size-mm", "50")
    assert np.ptp(bounds(files["mesh.stl"]), axis=0).max() == pytest.approx(50, rel=1e-5)
    _, files, _ = export("--format", "stl", "--size", "0.1", "--quiet")
    assert np.ptp(bounds(files["mesh.stl"]), axis=0).max() == pytest.approx(100, rel=1e-5)


def test_the_web_gets_less(export, tmp_path):
    usual, small = (export("--format", "glb", "texture=64", *more, out=tmp_path / name)[1]["mesh.glb"] for name, more in
                    (("usual", ()), ("small", ("--web",))))  # fmt: skip
    assert small.stat().st_size < 0.7 * usual.stat().st_size
    assert document(small)["extensionsRequired"] == ["EXT_texture_webp", "KHR_mesh_quantization"]
    one, two = (trimesh.load(path, force="mesh") for path in (usual, small))
    np.testing.assert_allclose(one.vertices, two.vertices, atol=1e-6)
    assert np.array_equal(one.faces, two.faces)


def test_a_checkpoint_is_exported_as_it_was(run, export, capsys):
    newest = bounds(export("--format", "glb")[1]["mesh.glb"])
    before = bounds(export("--format", "glb", what=run / "checkpoints" / "step_0000004")[1]["mesh.glb"])
    np.testing.assert_allclose(before, 2 * newest, atol=0.1)
    told = call(["export", run / "checkpoints" / "step_0000004", "--format", "stl"], capsys)[1].splitlines()
    assert Path(told[0]) == run / "export" / "step_0000004" / "mesh.stl", "not over the run's own files"


def test_again_gives_the_same_bytes_and_a_kill_between_files_loses_nothing(export, tmp_path, monkeypatch):
    words = ("--format", "ply,glb,stl", "--size", "1")
    whole = {name: path.read_bytes() for name, path in export(*words, out=tmp_path / "one")[1].items()}
    write, names = Format.write, []

    def killed(self, item, path, ask):
        names.append(path.name)
        if len(names) == 3:
            raise KeyboardInterrupt
        write(self, item, path, ask)

    monkeypatch.setattr(Format, "write", killed)
    code, _, _ = export(*words, out=tmp_path / "two")
    assert code == 130 and names == ["splats.ply", "mesh.glb", "mesh.stl"]
    left = {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert left == {name: whole[name] for name in ("splats.ply", "mesh.glb", "mesh.json")}
    monkeypatch.undo()
    _, after, _ = export(*words, out=tmp_path / "two")
    assert whole == {name: path.read_bytes() for name, path in after.items()}


# --- files of others --------------------------------------------------------------------------------------------------------------


def test_a_foreign_mesh_is_baked_anew_where_that_is_asked(tmp_path, export):
    glb = cube_of(tmp_path / "box.glb")
    for words in (("--rebake", "texture=64"), ("--texture", "64"), ("--faces", "8", "texture=64")):
        _, files, said = export("--format", "glb", *words, what=glb)
        mesh = trimesh.load(files["mesh.glb"], force="mesh")
        assert mesh.visual.material.baseColorTexture.size == (64, 64), said
        colour = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB")).reshape(-1, 3).astype(int)
        assert (colour[:, 1] < 8).all() and (colour[:, 0] + colour[:, 2] > 240).mean() > 0.9, "its reds and blues, no others"
    _, files, _ = export("--format", "glb", "--faces", "5k", what=glb)
    assert trimesh.load(files["mesh.glb"], force="mesh").visual.material.baseColorTexture.size == (10, 20), "few faces already"


def test_foreign_gaussians_and_which_axis_is_up_in_a_file(tmp_path, export, run):
    _, files, _ = export("--format", "ply", out=tmp_path / "one")
    code, again, _ = export("--format", "ply,splat", what=files["splats.ply"], out=tmp_path / "two")
    assert code == 0 and list(again) == ["splats.ply", "splats.splat"]
    one, two = (read_ply(made["splats.ply"]) for made in (files, again))
    torch.testing.assert_close(one.position, two.position, atol=1e-6, rtol=0)
    _, files, _ = export("--format", "stl", "--source-up", "z", "--size", "1", what=cube_of(tmp_path / "box.obj"))
    np.testing.assert_allclose(np.ptp(bounds(files["mesh.stl"]), axis=0), [1000, 500, 250], rtol=1e-5)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_names_what_would_fit(error, export, monkeypatch):
    monkeypatch.setattr("dream3d.export.stock.bake", lambda *a, **k: (_ for _ in ()).throw(error))
    code, files, said = export("--format", "ply,glb", "--texture", "2k")
    assert code == 4 and not files and "out of memory while making mesh.glb" in said and "fix: --texture 1k" in said


def test_other_errors_stay_what_they_are(export, monkeypatch):
    monkeypatch.setattr("dream3d.export.stock.bake", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("shape mismatch")))
    code, _, said = export("--format", "glb")
    assert code == 1 and "shape mismatch" in said


def test_smaller_settings_fit_into_what_is_free(monkeypatch, export):
    large = Export(texture=4096, faces=50000)
    assert roomy.smaller(large, free=1e12) == "--texture 2k"
    assert roomy.smaller(large, free=roomy.needed(Export(texture=1024)) + 1) == "--texture 1k"
    assert roomy.smaller(large, free=0.0) == "--texture 512 --faces 20k" and roomy.smaller(Export(texture=256), free=0.0) == "--faces 5k"
    assert "resolution" in roomy.smaller(Export(texture=256, faces=100), free=0.0)
    assert roomy.smaller(Export(resolution=9999), free=1e9) == "--texture 512 size=256 resolution=128", "not the texture is too large"
    monkeypatch.setattr(roomy, "available", lambda: roomy.needed(Export(texture=1024, size=32, resolution=24)) + 1)
    code, files, said = export("--texture", "4k")
    assert code == 4 and not files and "are free" in said and "fix: --texture 1k" in said


def test_a_run_that_goes_on_is_exported_elsewhere(run, tmp_path, capsys):
    with lock(run):
        code, told, said = call(["export", run, "--format", "ply"], capsys)
        assert code == 2 and not told and "already going on" in said and f"export {run} --out ANOTHER" in said
        assert call(["export", run, "--format", "ply", "--out", tmp_path / "out"], capsys)[0] == 0
