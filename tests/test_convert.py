"""One scene learns to be another: what is compared and when, what is hard comes again, every pair, killed runs, the command."""

import dataclasses
import itertools
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from dream3d.renderers import _fields, _handing
from dream3d.systems import distil

from dream3d import background, build, checkpoint, cli, config, penalties
from dream3d.api import execute, load
from dream3d.bench import convert as bench
from dream3d.cameras import Orbit, ring
from dream3d.convert import source
from dream3d.convert.lesson import CLIP, density_gap, per_ray, stage
from dream3d.convert.pool import FORGET, Pool
from dream3d.convert.teacher import scene as of
from dream3d.convert.teacher import taught
from dream3d.errors import Mistake
from dream3d.folder import Folder
from dream3d.optim import Adam
from dream3d.types import Field, Step

VOLUME = {"samples": 24, "grid": 24, "occupancy": 8}
SMALL = {"gaussians": {"count": 300, "settle": 15}, "mesh": {"max_faces": 800, "settle": 15}, "dmtet": {"resolution": 10, "settle": 15},
         "nerf": {**VOLUME, "width": 24, "layers": 2}, "hashgrid": {**VOLUME, "levels": 4, "entries": 4096, "hidden": 16},
         "voxels": {**VOLUME, "resolution": 24}, "triplane": {**VOLUME, "resolution": 16, "width": 8, "hidden": 16}}  # fmt: skip
KINDS = [*SMALL]
RING = ["gaussians:voxels", "gaussians:mesh", "voxels:hashgrid", "hashgrid:nerf", "nerf:triplane", "triplane:gaussians", "voxels:mesh",
        "mesh:dmtet", "dmtet:mesh"]  # fmt: skip


def rng():
    return torch.Generator().manual_seed(0)


def made(kind: str, **settings):
    return build.make("renderers", {"type": kind, **SMALL.get(kind, {}), **settings}, rng())


def ball(side: int = 33, bound: float = 0.8) -> Field:
    axis = torch.linspace(-bound, bound, side)
    x = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    return Field(bound, density=60 * torch.sigmoid((0.5 - x.norm(dim=-1)) / 0.03), rgb=0.5 + 0.4 * torch.sin(4 * x))


@pytest.fixture(scope="module")
def teachers():
    """Every representation of the same ball, small; fits are short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_handing, "STEPS", 60)
        patch.setattr(_handing, "BATCH", 2048)
        patch.setattr(_fields, "FINE", 24)
        found = {}

        def one(kind: str):
            if kind not in found:
                found[kind] = made(kind)
                with torch.no_grad():
                    found[kind].init_from(ball())
            return found[kind]

        yield one


def learning(student, teacher, monkeypatch, steps: int = 20, *, cameras=None, **settings) -> distil.Distil:
    monkeypatch.setattr(distil, "taught", lambda *_: (teacher, []))
    usual = cameras or Orbit(24, batch=4), background.Random(), Adam(), penalties.Penalties({})
    return distil.Distil(student, [], *usual, None, steps, 0, "test", teacher="it", **{"rays": 256, **settings})


@torch.no_grad()
def decibels(one, other) -> float:
    cameras = ring(4, size=24)
    a, b = one.render(cameras), other.render(cameras)
    error = (a.rgb - b.rgb - a.alpha + b.alpha).square().mean() + (a.alpha - b.alpha).square().mean() / 3
    return float(-10 * torch.log10(error.clamp(min=1e-12)))


# --- what is compared ---------------------------------------------------------------------------------------------------------------


def test_stages_begin_at_their_milestones():
    assert [stage(p, (0.1, 0.4)) for p in (0.0, 0.099, 0.1, 0.39, 0.4, 1.0)] == [1, 1, 2, 2, 3, 3]
    assert stage(0.0, (0.0, 0.0)) == 3


def test_log_densities_are_clipped_and_nothing_is_lost_beyond_an_end():
    low, high = (math.exp(end) for end in CLIP)
    student = torch.tensor([1e-6, low / 9, 2.0, high * 5, high / math.e, low / math.e, high * math.e], requires_grad=True)
    teacher = torch.tensor([1e-9, low / 2, 2 * math.e, high * 50, high * 7, low * math.e, high / math.e])
    gap = density_gap(student, teacher)
    torch.testing.assert_close(gap, torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0, 4.0, 4.0]), atol=1e-4, rtol=1e-4)
    gap.sum().backward()
    assert (student.grad.sign() == torch.tensor([0.0, 0, -1, 0, -1, -1, 1])).all()


def test_means_are_over_the_sections_of_a_ray():
    found = per_ray(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 2]), 3, 4)
    assert found.tolist() == [1.0, 0.0, 1.25]


def test_a_volume_beside_itself_is_equal_everywhere(teachers):
    teacher = teachers("voxels").eval()
    origin, way = (v.reshape(-1, 3) for v in ring(1, size=8).rays())
    both = teacher.beside(teacher, origin, way, Step.make(0, 10, 0))
    for one, other in (both.density, both.colour, both.rgb, both.alpha):
        assert torch.equal(one, other)
    assert both.density[0].max() > 10 and both.alpha[0].max() > 0.9


def test_beyond_its_own_cube_a_teacher_has_nothing():
    wide, small = (made("voxels", bound=bound, blob="none", sampling="stratified") for bound in (0.8, 0.4))
    for scene in (wide, small):
        scene.geometry_grid.data.fill_(1.0)
    origin, way = torch.tensor([[0.0, -3, 0], [0.6, -3, 0]]), torch.tensor([[0.0, 1, 0], [0.0, 1, 0]])
    both = wide.beside(small, origin, way, Step.make(0, 10, 0))
    assert both.alpha[1][1] == 0 and 0 < both.alpha[1][0] < both.alpha[0][0] and both.density[1][both.ray == 1].max() == 0


def test_first_densities_then_colours_then_what_is_shown(teachers, monkeypatch):
    student = made("voxels")
    system = learning(student, teachers("voxels"), monkeypatch, steps=30, milestones=(0.3, 0.6))
    moved = []
    for index in range(30):
        before = student.colour_grid.detach().clone()
        log = system.step(index)
        assert log.scalars["milestone"] == stage(index / 29, (0.3, 0.6))
        moved.append(not torch.equal(before, student.colour_grid))
    first = next(i for i in range(30) if i / 29 >= 0.3)
    assert not any(moved[:first]) and all(moved[first:])


def test_latents_and_other_kinds_are_compared_by_views(teachers, monkeypatch):
    for student in (made("gaussians"), made("voxels", features=4)):
        assert not learning(student, teachers("voxels"), monkeypatch).fields
        with pytest.raises(Mistake, match="only volumes of colours"):
            learning(student, teachers("voxels"), monkeypatch, how="fields")
    assert learning(made("nerf"), teachers("voxels"), monkeypatch).fields
    assert not learning(made("nerf"), teachers("voxels"), monkeypatch, how="views").fields


@pytest.mark.parametrize("shading", ["lambert", "textureless", {"albedo": 0.5, "lambert": 0.5}])
def test_by_views_nobody_learns_colours_that_make_up_for_lamps(shading, teachers, monkeypatch):
    for student in (made("mesh", shading=shading), made("dynamic_mesh", shading=shading, faces=80), made("nerf", shading=shading)):
        with pytest.raises(Mistake, match="make up for its lamps") as told:
            learning(student, teachers("mesh"), monkeypatch)
        assert "renderer.shading=albedo" in "\n".join(told.value.lines)
    assert learning(made("nerf", shading=shading), teachers("voxels"), monkeypatch).fields  # colours are asked for, not shown


def test_a_scene_that_is_the_teachers_own_has_nothing_to_learn(teachers, monkeypatch):
    student = made("mesh")
    student.init_from(teachers("mesh").handover())
    first = learning(student, teachers("mesh"), monkeypatch, how="views").step(0)
    assert first.scalars["error/shown"] < 1e-6


def test_what_cannot_become_another_scene_says_so(teachers, monkeypatch):
    with pytest.raises(Mistake, match="plane is no scene"):
        learning(made("plane"), teachers("voxels"), monkeypatch)


# --- what is hard comes again ---------------------------------------------------------------------------------------------------------


def test_a_pool_keeps_what_is_hardest_and_forgets():
    pool, now = Pool(3, 1), Step.make(0, 10, 0)
    assert len(pool.draw(2, now)) == 0
    pool.learn(torch.tensor([[0.0], [1], [2], [3]]), torch.tensor([5.0, 1.0, float("nan"), 3.0]))
    assert pool.rows[:, 0].tolist() == [0, 3, 1] and pool.error.tolist() == [5, 3, 1]
    drawn = pool.draw(1, now)
    pool.learn(torch.tensor([[9.0]]), torch.tensor([0.0, 4.0]))  # what was drawn has been learnt
    assert len(pool.rows) == 3 and drawn[0, 0].item() not in pool.rows[:2, 0] and 9 in pool.rows[:, 0]
    kept = {row: error for row, error in zip(pool.rows[:, 0].tolist(), pool.error.tolist(), strict=True)}
    assert all(kept[row] == pytest.approx(FORGET * was) for row, was in ((0.0, 5), (3.0, 3), (1.0, 1)) if kept.get(row))
    other = Pool(3, 1)
    other.restore({k: v.clone() for k, v in pool.state().items()})
    assert torch.equal(other.rows, pool.rows) and torch.equal(other.draw(2, now), other.rows[other.drawn])
    nothing = Pool(0, 1)
    nothing.learn(torch.ones(2, 1), torch.ones(2))
    assert len(nothing.rows) == 0


def test_a_tenth_of_the_rays_comes_from_the_pool(teachers, monkeypatch):
    student, seen = made("voxels"), []
    system = learning(student, teachers("voxels"), monkeypatch, mined=0.25)
    real = student.beside
    monkeypatch.setattr(type(student), "beside", lambda self, *given: seen.append(given[1:3]) or real(*given))
    system.step(0)
    hardest = system.pool.rows.clone()
    system.step(1)
    rows = torch.cat(seen[1], 1)
    assert len(rows) == 256 and all((hardest == row).all(1).any() for row in rows[:64])
    assert not all((hardest == row).all(1).any() for row in rows[64:])


def test_hard_views_come_again(teachers, monkeypatch):
    system = learning(made("gaussians"), teachers("voxels"), monkeypatch, mined=0.5, cameras=Orbit(16, batch=2))
    system.step(0)
    system.mined = 1.0
    before = system.pool.rows.clone()
    cameras, fresh = system._again(system.cameras(Step.make(1, 20, 0)), Step.make(1, 20, 0))
    assert len(fresh) == 0 and torch.equal(cameras.to_world.flatten(1).sort(0).values, before[:, :16].sort(0).values)
    clip = dataclasses.replace(cameras, views=2)
    assert system._again(clip, Step.make(1, 20, 0)) == (clip, None)  # what belongs together stays together


def test_what_came_again_has_the_error_it_has_now_also_where_nothing_is_new(teachers, monkeypatch):
    """A batch of one view is a hard one now and then, and new at the other times."""
    system = learning(made("gaussians"), teachers("voxels"), monkeypatch, mined=0.5, cameras=Orbit(16, batch=1))
    real, again, sizes = system._again, [], []
    monkeypatch.setattr(system, "_again", lambda *given: again.append(real(*given)) or again[-1])
    for index in range(12):
        rows, before = system.pool.rows.clone(), system.pool.error.clone()
        system.step(index)
        sizes.append(len(system.pool.rows))
        if not len(again[-1][1]):
            assert torch.equal(rows.sort(0).values, system.pool.rows.sort(0).values)
            assert not torch.equal(before.sort().values, system.pool.error.sort().values), index  # forgotten or renewed
    none = sum(not len(fresh) for _, fresh in again)
    assert 2 <= none <= 9 and sizes[-1] == 12 - none


def test_all_from_the_pool_is_refused(teachers, monkeypatch):
    for mined in (0.51, 1.0):
        with pytest.raises(Mistake, match="at most half"):
            learning(made("gaussians"), teachers("voxels"), monkeypatch, mined=mined)


# --- every pair -----------------------------------------------------------------------------------------------------------------------


def closer(pair: str, teachers, monkeypatch, steps: int) -> tuple[float, float]:
    first, second = pair.split(":")
    student = made(second)
    system = learning(student, teachers(first), monkeypatch, steps)
    before = decibels(student, teachers(first))
    system.begin(None)
    for index in range(steps):
        assert not system.step(index).skipped
    return before, decibels(student, teachers(first))


@pytest.mark.parametrize("pair", RING)
def test_each_becomes_another(pair, teachers, monkeypatch):
    before, after = closer(pair, teachers, monkeypatch, 20 if pair.endswith(("gaussians", "mesh", "dmtet")) else 30)
    assert after > before + 1.5 and after > 15.5, (before, after)


@pytest.mark.slow
@pytest.mark.parametrize("pair", [":".join(pair) for pair in itertools.product(KINDS, KINDS)])
def test_any_becomes_any(pair, teachers, monkeypatch):
    before, after = closer(pair, teachers, monkeypatch, 100)
    assert after > before + 1.5 and after > 15.5, (before, after)


def test_a_conversion_that_looks_less_alike_is_taken_back(teachers, monkeypatch):
    empty = Field(0.8, density=torch.full((9, 9, 9), 1e-3), rgb=torch.zeros(9, 9, 9, 3))
    student, teacher = made("voxels"), teachers("voxels")
    before, about = {k: v.clone() for k, v in student.state().items()}, learning(student, teacher, monkeypatch).about
    monkeypatch.setattr(type(teacher), "handover", lambda self: empty)
    system = learning(student, teacher, monkeypatch)
    system.begin(None)
    assert all(torch.equal(v, before[k]) for k, v in student.state().items())
    assert system.about == about + ", begun with nothing: converted it looked less alike"
    system.begin(empty)  # asked for by name it stays
    assert not torch.equal(student.geometry_grid, before["geometry_grid"])


def test_from_scratch_nothing_is_taken_over(teachers, monkeypatch):
    student = made("nerf")
    before = {k: v.clone() for k, v in student.state().items()}
    system = learning(student, teachers("voxels"), monkeypatch, start="nothing")
    system.begin(None)
    assert all(torch.equal(v, before[k]) for k, v in student.state().items())
    was = decibels(student, teachers("voxels"))
    for index in range(20):
        system.step(index)
    assert decibels(student, teachers("voxels")) > was + 0.5


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


def test_what_moves_is_told_to_stand_still(monkeypatch):
    moving = build.make("renderers", {"type": "dynamic_gaussians", "count": 50}, rng())
    system = learning(made("voxels", resolution=8), moving, monkeypatch)
    assert "its still scene" in system.about
    system.begin(None)
    assert not system.step(0).skipped


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


# --- the bench ------------------------------------------------------------------------------------------------------------------------


def test_what_the_bench_has_measured_is_kept(tmp_path):
    assert bench.Found(tmp_path / "x.json").get("a", lambda: 1.5) == 1.5
    assert bench.Found(tmp_path / "x.json").get("a", lambda: 1 / 0) == 1.5


@pytest.mark.parametrize("kept", ['{"a": 1.5}', '{"version": "0", "values": {"a": 1.5}}', '{"a": 1', "[]", '{"version": 1}'])
def test_what_other_code_has_measured_is_measured_again(kept, tmp_path, monkeypatch, capsys):
    path = tmp_path / "x.json"
    path.write_text(kept)
    assert bench.Found(path).get("a", lambda: 2.5) == 2.5 and "measured again" in capsys.readouterr().out
    assert bench.Found(path).get("a", lambda: 1 / 0) == 2.5 and not capsys.readouterr().out
    monkeypatch.setattr(bench, "SOURCES", {"systems": ["text_to_3d.py"]})
    assert bench.Found(path).get("a", lambda: 3.5) == 3.5


def test_fewer_steps_than_between_two_looks_are_looked_at(monkeypatch):
    monkeypatch.setattr(bench, "psnr", lambda scene, held: 12.0)
    monkeypatch.setattr(bench, "distilled", lambda path, scene, steps, size, each, **settings: [each(i + 1) for i in range(steps)])
    row = bench._way({}, SimpleNamespace(steps=10, size=8), Path(), None, None, 29.0)
    assert (row["steps"], row["psnr"], row["reached"]) == (10, 12.0, False)


def test_looking_takes_none_of_the_seconds_and_a_goal_ends_a_fit(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(bench.time, "process_time", lambda: float(next(clock)))
    monkeypatch.setattr(bench, "psnr", lambda scene, held: 30.0)
    curve = bench.Curve(made("plane"), None, 29.0)
    assert not curve(1) and curve(bench.LOOK)
    assert curve.points == [(bench.LOOK, 2.0, 30.0)] and curve.last == 4.0
