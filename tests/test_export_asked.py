"""What an export does with what cannot be, or is asked in vain: folders that cannot be written, Gaussians without a surface, settings that
nothing heeds."""

import dataclasses
import warnings

import pytest
from export_runs import ball, call, discs, run_of
from test_run import quick

from dream3d import files
from dream3d.api import execute
from dream3d.commands import export as command
from dream3d.errors import Mistake
from dream3d.export.noted import noted
from dream3d.export.splat import read_ply
from dream3d.foreign.files import kind
from dream3d.options import Export

GAUSSIANS = {"type": "gaussians", "count": 200}


@pytest.fixture
def faint(tmp_path):
    """Gaussians that hide nothing."""
    return run_of(tmp_path / "faint", GAUSSIANS, handed=dataclasses.replace(discs(), opacity=0 * discs().opacity + 0.001))


def test_gaussians_without_a_surface_are_exported_without_a_mesh(faint, capsys):
    code, told, said = call(["export", faint, "--size", "2", "--origin", "base"], capsys)
    names = {line.rpartition("/")[2] for line in told.splitlines()}
    assert code == 0 and {"splats.ply", "viewer.html", "turntable.mp4"} <= names and not {"mesh.glb", "mesh.json"} & names, said
    assert said.count("no mesh.glb: there is no surface to export: the Gaussians are too thin") == 1
    assert abs(read_ply(faint / "export" / "splats.ply").position.amax(0)[:2].max() - 1) < 0.2, "and as large as they were asked for"


def test_a_mesh_that_was_asked_for_and_cannot_be_is_said(faint, capsys, tmp_path):
    for words in (["--format", "ply,glb"], ["--lods", "1"]):
        code, _, said = call(["export", faint, "--out", tmp_path / "out", *words], capsys)
        assert code == 2 and "too thin to hide anything" in said and "--format ply" in said


def test_what_lies_elsewhere_has_no_surface(tmp_path, capsys):
    run = run_of(tmp_path / "far", GAUSSIANS, handed=dataclasses.replace(discs(), position=100 + discs().position))
    assert "no Gaussian lies within 0.8 m" in call(["export", run, "--format", "glb"], capsys)[2]


@pytest.mark.parametrize("place, said", [("file/x", "Not a directory"), ("there", "splats.ply is a folder there")])
def test_what_cannot_be_written_is_said_before_any_work(tmp_path, place, said, capsys, monkeypatch):
    run = run_of(tmp_path / "run", GAUSSIANS, handed=discs())
    (tmp_path / "file").write_text("")
    (tmp_path / "there" / "splats.ply").mkdir(parents=True)
    monkeypatch.setattr("dream3d.export.asset.thumbnail", lambda *what: pytest.fail("pictures were drawn"))
    code, _, told = call(["export", run, "--out", tmp_path / place], capsys)
    assert code == 2 and said in told and not [*(tmp_path / "there").rglob("*.png")]


def test_files_of_another_run_are_left_alone(tmp_path, capsys):
    runs = [run_of(tmp_path / name, GAUSSIANS, handed=discs()) for name in ("one", "two")]
    code, _, said = call(["export", runs[0], "--out", runs[1] / "export"], capsys)
    assert code == 2 and "holds the files of another run" in said and "one-export" in said and not (runs[1] / "export").exists()
    assert call(["export", runs[0], "--out", runs[0] / "export", "--format", "ply"], capsys)[0] == 0


@pytest.mark.parametrize("head, end", [(b"glTF" + bytes(60), ".glb"), (b"ply\n", ".ply"), (b"NGSP", ".spz")])
def test_a_wrong_ending_is_told_the_right_one(head, end, tmp_path):
    (tmp_path / "car.gltf").write_bytes(head)
    with pytest.raises(Mistake, match="not what its name says") as caught:
        kind(tmp_path / "car.gltf")
    assert caught.value.fix == f"rename it: car{end}" and not caught.value.near


def test_a_folder_is_made_and_left_empty(tmp_path):
    files.check_folder(tmp_path / "a" / "b", ["c.glb"])
    assert (tmp_path / "a" / "b").is_dir() and not [*(tmp_path / "a" / "b").iterdir()]
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "at all")
    with pytest.raises(Mistake, match="cannot write files"):
        files.check_folder(tmp_path / "link")


def test_settings_that_nothing_heeds_are_told(tmp_path, capsys):
    run = run_of(tmp_path / "run", GAUSSIANS, handed=discs())
    code, _, said = call(["export", run, "--format", "ply", "--faces", "5k", "fit=true", "mesh=false"], capsys)
    assert code == 0 and "note: --faces, fit: of meshes, and none is written" in said and "note: mesh=false is of" in said
    code, _, said = call(["export", run, "--format", "ply", "--size", "2"], capsys)
    assert code == 0 and "note:" not in said
    assert command.idle(Export(mesh=False, web=True)) and not command.idle(Export(web=True)) and not command.meshless({"metres"})


def test_a_mesh_is_not_fitted_and_that_is_told(tmp_path, capsys):
    run = run_of(tmp_path / "run", {"type": "mesh"}, handed=ball())
    code, _, said = call(["export", run, "--format", "stl", "fit=true"], capsys)
    assert code == 0 and "note: fit: this scene is a mesh already" in said
    assert "fit" not in call(["export", run, "--format", "stl"], capsys)[2]  # nobody asked for it


def test_sizes_may_be_written_with_an_exponent():
    assert command._number("--size", "1e-3") == "1e-3" and command._number("--size", "2.5E+2") == "2.5E+2"
    for text in ("1e", "e3", "1e999", "nan", "inf", "0x10", "1_0"):
        with pytest.raises(Mistake, match="expected a number"):
            command._number("--size", text)


def test_what_writers_warn_of_stands_in_the_log_of_a_run(tmp_path, monkeypatch):
    def export(*scene, **how):

        warnings.warn("sequence: 2 of 3 moments", stacklevel=2)
        return {}

    monkeypatch.setattr("dream3d.export.asset.export", export)
    done = execute(quick(tmp_path / "run"), quiet=True)
    assert " note: sequence: 2 of 3 moments\n" in (done.path / "log.txt").read_text()


def test_a_warning_is_told_once_and_also_where_the_work_fails():

    heard = []
    with pytest.raises(ValueError, match="no"), noted(heard.append):
        for _ in range(2):
            warnings.warn("thinned", stacklevel=1)
        warnings.warn("of programmers", DeprecationWarning, stacklevel=1)
        raise ValueError("no")
    assert heard == ["note: thinned"]
