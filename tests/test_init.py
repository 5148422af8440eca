"""Runs that start from a user's file: through the ordinary path, killed and continued, and told when the file is another."""

import re
import subprocess
import sys

import pytest
import torch
from dream3d.renderers._backends.project import matrix
from dream3d.renderers._backends.seeds import INSET
from foreign_files import document, glb, png
from test_run import ROOT, handlers, kill_at, quick, run_killed  # noqa: F401

from dream3d import checkpoint, cli, config
from dream3d.api import execute, load
from dream3d.errors import Mistake
from dream3d.export.splat import read_ply
from dream3d.run import Interrupted, Run

SMALL = ["export={mesh: false, frames: 2, size: 32}"]
CONVERTED = "renderer.settle=0"  # discs where the conversion puts them
ONCE = "keep={preview: 0, steps: 0, seconds: 0, checkpoints: 9}"  # at the start of each stage, and at the end


@pytest.fixture
def mesh(tmp_path):
    path = tmp_path / "tetra.glb"
    path.write_bytes(glb(*document(texture=png(5, 3))))
    return path


def first(run) -> torch.Tensor:
    """Positions of the oldest checkpoint."""
    return begun(run)[1]["scene"]["position"]


def begun(run):
    found = sorted((run / "checkpoints").glob("step_*"))
    for later in found[1:]:
        later.rename(later.with_name("x" + later.name))
    return checkpoint.newest(run / "checkpoints")


def off_surface(scene: dict, scale: float = 1.0, shift=0.0) -> float:
    """How far what discs lie below is from the faces of the tetrahedron (0 0 0, 1 0 0, 0 0 1, 0 -1 0 once z is up), at most."""
    above = INSET * scene["log_scale"][:, :1].exp() * matrix(scene["rotation"])[:, :, 2]
    p = (scene["position"] + above) / scale - shift
    x, y, z = p[:, 0], -p[:, 1], p[:, 2]
    assert float(torch.stack([x, y, z, 1 - x - y - z]).amin()) > -1e-5
    return float(torch.stack([x, y, z, 1 - x - y - z]).abs().amin(0).max())


def test_a_run_starts_on_the_surface_of_a_mesh(tmp_path, mesh):
    done = execute(quick(tmp_path / "run", f"init={mesh}", "init.fit=false", ONCE, CONVERTED, *SMALL, steps=2), quiet=True)
    assert off_surface(begun(done.path)[1]["scene"]) < 1e-5
    kept = config.load(str(done.path / "config.yaml")).values["init"]
    assert kept["file"] == str(mesh) and kept["fit"] is False and len(kept["sha256"]) == 64
    fitted = execute(quick(tmp_path / "fit", f"init={mesh}", ONCE, CONVERTED, *SMALL, steps=2), quiet=True)
    assert off_surface(begun(fitted.path)[1]["scene"], 1.4, torch.tensor([-0.5, 0.5, -0.5])) < 1e-5
    assert f"{mesh}: moved and scaled by 1.4 to fit" in (fitted.path / "log.txt").read_text()


def test_gaussians_of_a_file_are_taken_as_they_are(tmp_path, mesh):
    before = execute(quick(tmp_path / "a", *SMALL, steps=2), quiet=True)
    splats = read_ply(before.path / "export" / "splats.ply")
    after = execute(quick(tmp_path / "b", f"init={before.path / 'export' / 'splats.ply'}", "init.fit=false", *SMALL, steps=2), quiet=True)
    torch.testing.assert_close(first(after.path), splats.position)


def test_killed_and_continued_the_same_bytes(tmp_path, mesh, monkeypatch):
    more = [f"init={mesh}", *SMALL]
    whole = splats(execute(quick(tmp_path / "whole", *more), quiet=True).path)
    for step in (0, 6):
        with monkeypatch.context() as patch:
            kill_at(patch, step)
            run_killed(quick(tmp_path / f"run{step}", *more))
        assert splats(execute(quick(tmp_path / f"run{step}", *more), quiet=True).path) == whole


def splats(run) -> bytes:
    return (run / "export" / "splats.ply").read_bytes()


def test_ctrl_c_and_resume(tmp_path, mesh, monkeypatch, handlers):  # noqa: F811
    folder = quick(tmp_path / "run", f"init={mesh}", *SMALL)
    real = Run._flush

    def interrupted(self, pending):
        self.stop = 2
        return real(self, pending)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_flush", interrupted)
        with pytest.raises(Interrupted):
            execute(folder, quiet=True)
    assert cli.main(["resume", str(tmp_path / "run"), "--quiet"]) == 0
    assert splats(tmp_path / "run") == splats(execute(quick(tmp_path / "whole", f"init={mesh}", *SMALL), quiet=True).path)


def test_another_file_is_another_run(tmp_path, mesh, monkeypatch, capsys):
    more, good = [f"init={mesh}", *SMALL], mesh.read_bytes()
    with monkeypatch.context() as patch:
        kill_at(patch, 6)
        run_killed(quick(tmp_path / "run", *more))
    mesh.write_bytes(glb(*document(texture=png(5, 3, seed=1))))
    with pytest.raises(Mistake, match="another configuration"):
        quick(tmp_path / "run", *more)
    assert cli.main(["resume", str(tmp_path / "run")]) == 2
    assert "is not the file that this run began with" in capsys.readouterr().err
    mesh.unlink()
    assert cli.main(["resume", str(tmp_path / "run")]) == 2 and "there is no file" in capsys.readouterr().err
    mesh.write_bytes(good)
    assert cli.main(["resume", str(tmp_path / "run"), "--quiet"]) == 0
    mesh.unlink()
    assert len(load(tmp_path / "run").scene) > 0  # what is finished needs it no more
    assert cli.main(["resume", str(tmp_path / "run")]) == 0


def test_a_stage_of_its_own(tmp_path, mesh, monkeypatch):
    """The second stage begins from the file, the first does not; and the other way round."""
    stages = f"stages=[{{share: 1}}, {{share: 1, init: {{file: {mesh}, fit: false}}}}]"
    found = config.load("sds-gaussian", [stages, "prompt=a"])
    assert [stage["init"]["file"] for stage in found.stages] == [None, str(mesh)] and len(found.stages[1]["init"]["sha256"]) == 64
    top = config.load("sds-gaussian", [f"init={mesh}", "stages=[{share: 1}, {share: 1}]", "prompt=a"])
    assert [stage["init"]["file"] for stage in top.stages] == [str(mesh), None]
    with monkeypatch.context() as patch:
        kill_at(patch, 5)
        run_killed(quick(tmp_path / "run", stages, ONCE, CONVERTED, *SMALL))
    about, state = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert about["stage"] == 1 and about["index"] == 0 and off_surface(state["scene"]) < 1e-5
    again = execute(quick(tmp_path / "run", stages, ONCE, CONVERTED, *SMALL), quiet=True)
    assert splats(again.path) == splats(execute(quick(tmp_path / "whole", stages, ONCE, CONVERTED, *SMALL), quiet=True).path)


def test_the_settings(tmp_path, mesh, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain, other = config.load("sds-gaussian", ["prompt=a"]), config.load("sds-gaussian", ["prompt=a", "init=tetra.glb"])
    assert plain.values["init"] == {"file": None, "fit": None, "up": None, "sha256": None} and plain.hash != other.hash
    same = config.load("sds-gaussian", ["prompt=a", "init={file: tetra.glb}"])
    assert same.hash == other.hash != config.load("sds-gaussian", ["prompt=a", "init=tetra.glb", "init.fit=true"]).hash
    (tmp_path / "c.yaml").write_text(other.text())
    assert config.load("c.yaml").hash == other.hash and config.load("c.yaml", ["init=null"]).values["init"]["file"] is None
    mesh.write_bytes(glb(*document()))
    assert config.load("sds-gaussian", ["prompt=a", "init=tetra.glb"]).hash != other.hash
    assert config.load("c.yaml").hash == other.hash  # a run's configuration says what it began with


@pytest.mark.parametrize("given, words", [
    (["init=tetr.glb"], "try: .*tetra.glb"), (["init=."], "is no file"), (["init.fit=true"], "names no file"),
    (["init={files: a}"], "try: file"), (["init=tetra.glb", "init.up=x"], "init.up"), (["init=c.yaml"], "of no kind"),
    (["stages=[{init: no.glb}]"], "stages.0.init: there is no file"), (["init=3"], "expected a section"),
    (["init=tetra.glb", f"init.sha256={'a' * 64}"], "is not the file that this run began with"),
])  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_done(tmp_path, mesh, monkeypatch, capsys, given, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("prompt: a red car\n")
    before = {path.name for path in tmp_path.iterdir()}
    assert cli.main(["--config", "c.yaml", "prompt=a red car", *given, "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert re.search(words, said), said
    assert len(said.strip().splitlines()) <= 5 and {path.name for path in tmp_path.iterdir()} == before


def test_a_dry_run_knows_it_without_torch(mesh):
    code = ("import sys; from dream3d import cli; done = cli.main(sys.argv[1:]); "
            "sys.exit(done or 9 * any(name in sys.modules for name in ('torch', 'numpy', 'trimesh')))")  # fmt: skip
    words = ["--config", "sds-gaussian", "prompt=a red car", f"init={mesh}", "--dry-run"]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"stage 1 starts from {mesh}: glTF" in done.stdout and "sha256: " in done.stdout


def test_nothing_is_left_of_a_run_whose_file_is_broken(tmp_path, mesh):
    mesh.write_bytes(mesh.read_bytes()[:200])
    with pytest.raises(Mistake, match="cannot read"):
        execute(quick(tmp_path / "run", f"init={mesh}", *SMALL), quiet=True)
    assert not (tmp_path / "run").exists()
