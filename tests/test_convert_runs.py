"""Conversions as runs: the command, kills, teachers that have changed or do not fit, wrong words."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from convert_scenes import learning, made, rng
from dream3d.systems import distil

from dream3d import build, checkpoint, cli, config
from dream3d.api import execute, load
from dream3d.cameras import Orbit
from dream3d.convert import source
from dream3d.convert.teacher import scene as of
from dream3d.convert.teacher import taught
from dream3d.errors import Mistake
from dream3d.folder import Folder
from dream3d.types import Step

# --- runs -----------------------------------------------------------------------------------------------------------------------------

QUICK = ["keep={preview: 0, steps: 2, seconds: 0}", "export={mesh: false, frames: 2, size: 32}", "cameras={batch: 2, resolution: 16}",
         "device=cpu"]  # fmt: skip
GRID = ["resolution=12", "samples=16", "grid=12"]


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run of Gaussians that a mesh has taught, and one of voxels that these have taught, by the command."""
    root = tmp_path_factory.mktemp("convert")
    done = root / "splats"
    words = ["convert", "car.ply", "--to", "gaussians", "--out", str(done), "--steps", "2", "--quiet", "count=150", "settle=4", *QUICK]
    assert cli.main(words) == 0
    grid = root / "grid"
    assert cli.main(["convert", str(done), "--to", "voxels", "--out", str(grid), "--steps", "3", "--quiet", *GRID, *QUICK]) == 0
    return done, grid


def test_the_command_makes_a_run(first, capsys):
    done, grid = first
    found = load(grid)
    assert type(found.scene).__name__ == "Voxels" and found.scene.geometry_grid.shape[-1] == 12
    assert (grid / "export" / "report.html").is_file() and found.metrics["decibels"] > 5
    told = config.load(str(grid / "config.yaml")).values
    assert told["system"]["teacher"] == str(done) and told["system"]["digests"] == [source.digest(str(done))]
    assert told["prior"]["type"] == "none" and told["guidance"] == [] and told["prompt"] == "car"
    assert "by views" in (grid / "log.txt").read_text() and "teacher" in (grid / "log.txt").read_text()
    assert cli.main(["convert", str(done), "--to", "voxels", "--out", str(grid), "--steps", "3", *GRID, *QUICK]) == 0
    assert "already done" in capsys.readouterr().out


@pytest.mark.parametrize("kind, step", [("voxels", 3), ("gaussians", 2)])
def test_a_killed_conversion_ends_as_the_same_bytes(first, tmp_path, monkeypatch, kind, step):
    own = {"voxels": ["resolution=10", "samples=12", "grid=10"], "gaussians": ["count=80", "settle=2"]}[kind]

    def folder(name: str) -> Folder:
        words = [f"renderer={kind}", *(f"renderer.{text}" for text in own), *QUICK, "steps=5", f"out={tmp_path / name}", "system.rays=64"]
        found = config.load("distil-gaussian", words, {"system.teacher": str(first[1]), "system.mined": 0.5})
        return Folder(Folder.place(found), found)

    whole, count, real = execute(folder("whole"), quiet=True), [0], distil.Distil.step

    def dying(self, index):
        count[0] += 1
        if count[0] == step + 1:
            raise Killed
        return real(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(distil.Distil, "step", dying)
        begun = folder("killed")
        with pytest.raises(Killed):
            execute(begun, quiet=True)
        begun.lock.release(force=True)
    again = execute(folder("killed"), quiet=True)
    one, other = whole.scene.state(), again.scene.state()
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
    assert (whole.path / "metrics.jsonl").read_text() == (again.path / "metrics.jsonl").read_text()


def test_a_teacher_that_has_changed_is_refused(first):
    with pytest.raises(Mistake, match="not as it was when the conversion began"):
        of(str(first[0]), "0" * 64)
    with pytest.raises(Mistake, match=r"car\.ply is not the file"):
        of("car.ply", "0" * 64)


PLY = ("ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\nelement face 4\n"
       "property list uchar int vertex_indices\nend_header\n{}3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n")  # fmt: skip


def _corner(path: Path, size: float) -> Path:
    """The corner of a cube of `size` metres, cut off."""
    path.write_text(PLY.format(f"0 0 0\n{size} 0 0\n0 {size} 0\n0 0 {size}\n"))
    return path


def test_what_was_done_to_a_file_is_said(tmp_path):
    big, done = _corner(tmp_path / "big.ply", 110.0), tmp_path / "run"
    words = ["--to", "gaussians", "--out", str(done), "--steps", "1", "--quiet", "count=40", "settle=1", *QUICK]
    assert cli.main(["convert", str(big), *words]) == 0
    log = (done / "log.txt").read_text()
    assert "big.ply: 110 m across" in log and "to fit" in log


def test_what_is_laid_over_another_stays_where_it_is(tmp_path):
    """A scene alone is fitted into the room; a second one is not moved against the first."""
    hat = _corner(tmp_path / "hat.ply", 0.3)
    alone, _ = taught(str(hat))
    both, _ = taught("car.ply", (), str(hat), (0.0, 0.0, 0.0, 0.8, 0.8, 0.8), 24)
    density = both.handover().density
    axis = torch.linspace(-0.8, 0.8, len(density))
    assert alone.handover().vertices.max() > 0.6 and (axis >= 0).sum() > 8
    part = density[axis >= 0][:, axis >= 0][:, :, axis >= 0]
    assert part[:5, :5, :5].max() > 5 and part[5:].max() < 1 and part[:, 5:].max() < 1


def _gone(state: dict) -> dict:
    return {"scene": dict([*state["scene"].items()][::2])}


ODD = {"no stage": lambda about, state: ({}, state), "another stage": lambda about, state: ({**about, "stage": 9}, state),
       "a stage before all": lambda about, state: ({**about, "stage": -1}, state),
       "half of a scene": lambda about, state: (about, _gone(state)), "no scene": lambda about, state: (about, {}),
       "another scene": lambda about, state: (about, {"scene": {"net": torch.zeros(3)}})}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_a_checkpoint_that_does_not_fit_its_run_teaches_nothing_and_is_not_loaded(first, tmp_path, kind):
    """Whole by its checksum, but of another recipe or written by another hand."""
    shutil.copytree(first[1], tmp_path / "odd")
    root = tmp_path / "odd" / "checkpoints"
    about, state = ODD[kind](*checkpoint.newest(root))
    checkpoint.save(root, 9, state, about)
    for read in (load, of):
        with pytest.raises(Mistake, match="does not fit the configuration") as told:
            read(str(tmp_path / "odd"))
        assert told.value.code == 2 and len(told.value.lines) <= 5
    status = tmp_path / "odd" / "status.json"
    status.write_text(json.dumps({**json.loads(status.read_text()), "state": "interrupted"}))
    found = config.load(str(tmp_path / "odd" / "config.yaml"), [f"out={tmp_path / 'odd'}"])
    with pytest.raises(Mistake, match="does not fit the configuration"):
        execute(Folder(Folder.place(found), found), quiet=True)


def test_a_teacher_that_is_not_finished_is_told_of(first, tmp_path):
    shutil.copytree(first[1], tmp_path / "half")
    assert taught(str(tmp_path / "half"))[1] == []
    status = tmp_path / "half" / "status.json"
    status.write_text(json.dumps({**json.loads(status.read_text()), "state": "interrupted"}))
    assert "half is not finished: once it goes on it forgets the checkpoint" in taught(str(tmp_path / "half"))[1][0]


def test_what_moves_stands_still_or_is_seen_to_move(monkeypatch):
    """As it is told: by single views its still scene, by clips as it moves."""
    moving = build.make("renderers", {"type": "dynamic_gaussians", "count": 50}, rng())
    moving.field.out.data += 0.5 * torch.randn(moving.field.out.shape, generator=rng())
    for frames, said in ((1, "its still scene"), (3, "as it moves")):
        system = learning(made("voxels", resolution=8), moving, monkeypatch, cameras=Orbit(16, batch=1, frames=frames))
        assert said in system.about
        system.begin(None)
        assert not system.step(0).skipped
        shown = system.draw(system.cameras(Step.make(0, 1, 0)), Step.make(0, 1, 0)).source
        assert torch.equal(shown.rgb[0], shown.rgb[-1]) == (frames == 1)


# --- what is wrong --------------------------------------------------------------------------------------------------------------------

WRONG = {
    "nope --to mesh": "neither a run nor a file", "car.ply --to hashgird": "try: hashgrid", "car.ply": "missing: --to",
    ". --to mesh": "holds no run", "car.ply --to mesh hashgrid": "fix: --to hashgrid", "car.ply --to mesh fases=3": "try: faces",
    "car.ply --to mesh --mask cut": "fix: --merge", "car.ply --to mesh --merge nope": "neither a run nor a file",
    "car.ply --to mesh --merge car.ply --mask nope": "there is no mask 'nope'", "x.txt --to mesh": "of no kind that can be read",
    "car.ply --to mesh --steps 0": "steps must be at least 1", "car.ply --to mesh system.teecher=x": "try: teacher",
}  # fmt: skip


@pytest.mark.parametrize("line", WRONG)
def test_wrong_words_teach(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.txt").write_text("x")
    assert cli.main(["convert", *line.split()]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and WRONG[line] in err and len(err.splitlines()) <= 5
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]


def test_a_run_without_a_checkpoint_teaches_nothing_yet(tmp_path):
    (tmp_path / "config.yaml").write_text(config.load("sds-gaussian").text())
    with pytest.raises(Mistake, match="no checkpoint yet"):
        source.digest(str(tmp_path))


def test_no_prior_answers_nothing_and_says_so(tmp_path):
    with pytest.raises(Mistake, match="no prior to ask"):
        build.make("priors", {"type": "none"}).text(["a red car"])
    with pytest.raises(Mistake, match="there is no guidance"):
        config.load("sds-gaussian", ["guidance=[]"])
    found = config.load("sds-gaussian", ["prior=none", f"out={tmp_path / 'run'}"])
    with pytest.raises(Mistake, match="no prior to ask"):
        execute(Folder(Folder.place(found), found), quiet=True)
    assert not (tmp_path / "run").exists()


def test_the_shell_completes_it(first, monkeypatch):
    from dream3d.commands.complete import candidates

    assert "convert" in candidates("dream3d conv") and "hashgrid" in candidates("dream3d convert car.ply --to ha")
    assert "levels=" in candidates("dream3d convert car.ply --to hashgrid lev") and "--merge" in candidates("dream3d convert car.ply --me")
