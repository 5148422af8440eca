"""Runs: whatever happens to them, they end in the same bytes, or say why not."""

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from dream3d.guidance.sds import SDS
from dream3d.systems.text_to_3d import TextTo3D

import dream3d
from dream3d import assemble, checkpoint, cli, config, files
from dream3d.api import execute, generate, load
from dream3d.errors import Mistake
from dream3d.folder import Folder, check_untouched
from dream3d.run import PACKAGES, Interrupted, Run

ROOT = Path(dream3d.__file__).parent.parent
QUICK = ["prompt=0", "prior={type: mixture, size: 32}", "renderer.count=60", "cameras.batch=2", "keep={preview: 0, steps: 4, seconds: 0}",
         "export={faces: 300, texture: 64, resolution: 24, frames: 2, size: 32, fit: false}", "penalties={}"]  # fmt: skip
TWO = "stages=[{share: 1}, {share: 1, guidance: {scale: 3}, renderer: {sh_degree: 1}}]"


class Killed(BaseException):
    """Nothing in the framework may catch this: it stands for kill -9."""


def quick(out: Path, *more: str, steps: int = 10) -> Folder:
    found = config.load("sds-gaussian", [*QUICK, f"steps={steps}", f"out={out}", *more])
    return Folder(Folder.place(found), found)


def digest(run: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256((run / "export" / name).read_bytes()).hexdigest() for name in ("splats.ply", "mesh.glb")
    }


def kill_at(monkeypatch, step: int):
    """The process dies in the middle of global step `step` (stages counted), once."""
    real, count = TextTo3D.step, [0]

    def dying(self, index):
        count[0] += 1
        if count[0] == step + 1:
            raise Killed
        return real(self, index)

    monkeypatch.setattr(TextTo3D, "step", dying)


def run_killed(folder: Folder) -> None:
    with pytest.raises(Killed):
        execute(folder, quiet=True)
    folder.lock.release(force=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of two stages."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return execute(quick(out, TWO), quiet=True)


def test_a_finished_run_is_complete(whole):
    status = json.loads((whole.path / "status.json").read_text())
    assert status["state"] == "done" and status["step"] == 10
    assert {"splats.ply", "mesh.glb", "turntable.mp4", "thumbnail.png"} <= {
        p.name for p in (whole.path / "export").iterdir()
    }
    for name in ("config.yaml", "command.txt", "environment.json", "log.txt", "metrics.jsonl", "previews/latest.png"):
        assert (whole.path / name).stat().st_size > 0
    assert saved(whole.path) == [5, 9, 10], "the newest three of 0, 4, 5, 9, 10"
    previews = {p.name for p in (whole.path / "previews").iterdir()}
    assert previews == {"latest.png", "step_000005.png", "step_000010.png"}, "only where a stage ends"
    lines = [json.loads(line) for line in (whole.path / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in lines] == list(range(10)) and [entry["stage"] for entry in lines] == [0] * 5 + [
        1
    ] * 5
    assert not [p for p in whole.path.rglob("*") if ".part" in p.name or p.name.startswith(".step")]


def saved(run: Path) -> list[int]:
    return sorted(int(p.name.removeprefix("step_")) for p in checkpoint.listed(run / "checkpoints"))


def test_a_run_says_where_it_ran(whole):
    found = json.loads((whole.path / "environment.json").read_text())
    assert found["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert found["threads"] == torch.get_num_threads()
    assert found["packages"] == {name: version(name) for name in PACKAGES} and "torch" in PACKAGES


def test_previews_and_checkpoints_come_when_they_are_asked_for(tmp_path, monkeypatch):
    real, certain = TextTo3D.step, []

    def watched(self, index):
        certain.append(torch.are_deterministic_algorithms_enabled())
        return real(self, index)

    monkeypatch.setattr(TextTo3D, "step", watched)
    torch.use_deterministic_algorithms(False)
    keep = ["keep.preview=2", "keep.steps=0", "keep.seconds=1e-6", "keep.checkpoints=99"]
    done = execute(quick(tmp_path / "run", "device=cpu", *keep, steps=5), quiet=True)
    names = sorted(p.name for p in (done.path / "previews").iterdir())
    assert names == ["latest.png", *(f"step_{i:06d}.png" for i in (0, 2, 4, 5))]
    assert saved(done.path) == [0, 1, 2, 3, 4, 5] and certain == [True] * 5


@pytest.mark.parametrize("step", [0, 2, 4, 5, 6, 9])
def test_killed_anywhere_the_same_bytes(whole, tmp_path, monkeypatch, step):
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        run_killed(quick(tmp_path / "run", TWO))
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "running"
    with open(tmp_path / "run" / "metrics.jsonl", "a") as out:  # measured after the last checkpoint, the last line torn
        out.writelines(f'{{"step": {later}}}\n' for later in range(step, 10))
        out.write('{"step": 1')
    if step == 0:  # nothing whole to continue from
        shutil.rmtree(tmp_path / "run" / "checkpoints")
    again = execute(quick(tmp_path / "run", TWO), quiet=True)
    assert digest(again.path) == digest(whole.path)
    steps = [json.loads(line)["step"] for line in (again.path / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(10))


def test_killed_between_stages_and_in_the_export(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_enter", _dies_on_stage(1, Run._enter))
        run_killed(quick(tmp_path / "run", TWO))
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_export", lambda self, scene: (_ for _ in ()).throw(Killed()))
        run_killed(quick(tmp_path / "run", TWO))
    assert digest(execute(quick(tmp_path / "run", TWO), quiet=True).path) == digest(whole.path)


def _dies_on_stage(number, real):
    def enter(self, stage, handed):
        if stage == number:
            raise Killed
        return real(self, stage, handed)

    return enter


def test_another_seed_gives_other_bytes(whole, tmp_path):
    assert digest(execute(quick(tmp_path / "run", TWO, "seed=1"), quiet=True).path) != digest(whole.path)


@pytest.mark.parametrize(
    "harm",
    ["truncate tensors", "flip a tensor bit", "truncate json", "flip a json bit", "empty", "remove", "index", "skipped"],
)  # fmt: skip
def test_a_damaged_checkpoint_falls_back_to_the_one_before(whole, tmp_path, monkeypatch, harm):
    with monkeypatch.context() as patch:
        kill_at(patch, 8)
        run_killed(quick(tmp_path / "run", TWO))
    _damage(checkpoint.listed(tmp_path / "run" / "checkpoints")[0], harm)
    again = execute(quick(tmp_path / "run", TWO), quiet=True)
    assert "is damaged" in (again.path / "log.txt").read_text() and digest(again.path) == digest(whole.path)


def _damage(folder: Path, harm: str) -> None:
    if harm in ("index", "skipped"):
        return _edit(folder / "state.json", harm)
    path = folder / ("state.json" if "json" in harm else "state.safetensors")
    data = bytearray(path.read_bytes())
    if harm == "remove":
        return path.unlink()
    if harm.startswith("flip"):
        data[len(data) * 2 // 3] ^= 4
    path.write_bytes(bytes(data[: {"e": 0, "t": len(data) // 2}.get(harm[0], len(data))]))


def _edit(path: Path, key: str) -> None:
    """Another number, in a file that is still whole JSON."""
    body = json.loads(path.read_text())
    holder = body["about"] if key == "index" else body["state"]["optimizer"]
    holder[key] += 1
    path.write_text(json.dumps(body))


def test_a_full_disk_is_said_and_harms_nothing(tmp_path, monkeypatch):
    real, calls = files.flush, []

    def full(path):
        calls.append(path.name.startswith(".state"))
        if calls[-1] and sum(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "flush", full)
        with pytest.raises(Mistake, match="no space left"):
            execute(quick(tmp_path / "run"), quiet=True)
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "failed" and "no space left" in status["reason"]
    assert checkpoint.newest(tmp_path / "run" / "checkpoints") is not None
    assert execute(quick(tmp_path / "run"), quiet=True).path.is_dir()


def poison(monkeypatch, steps, *, attempts=(0,)):
    """Gradients are NaN on these steps of these attempts."""
    real = SDS.gradient

    def gradient(self, view, now):
        g = real(self, view, now)
        return g * torch.nan if now.index in steps and poison.attempt in attempts else g

    real_build = assemble.stage

    def stage(settings, seed, device, number, attempt, priors):
        poison.attempt = attempt
        return real_build(settings, seed, device, number, attempt, priors)

    monkeypatch.setattr(assemble, "stage", stage)
    monkeypatch.setattr(SDS, "gradient", gradient)


def test_a_non_finite_step_is_skipped_and_counted(tmp_path, monkeypatch):
    poison(monkeypatch, {3, 5})
    assert execute(quick(tmp_path / "run"), quiet=True).metrics["skipped"] == 2


def test_many_non_finite_steps_roll_back(tmp_path, monkeypatch):
    poison(monkeypatch, set(range(6, 30)))
    done = execute(quick(tmp_path / "run", steps=20), quiet=True)
    log = (done.path / "log.txt").read_text()
    assert "non-finite" in log and "rolled back to step 4" in log and "attempt 2" in log
    assert [json.loads(line)["step"] for line in (done.path / "metrics.jsonl").read_text().splitlines()] == list(
        range(20)
    )
    with monkeypatch.context() as patch:  # again, and killed at step 18 of the second attempt, which saved at 16
        kill_at(patch, 16 + 18 - 4)
        run_killed(quick(tmp_path / "killed", steps=20))
    assert checkpoint.newest(tmp_path / "killed" / "checkpoints")[0] == {"stage": 0, "index": 16, "attempt": 1}
    assert digest(execute(quick(tmp_path / "killed", steps=20), quiet=True).path) == digest(done.path)


def test_a_run_that_keeps_diverging_says_so(tmp_path, monkeypatch):
    poison(monkeypatch, set(range(6, 30)), attempts=range(10))
    with pytest.raises(Mistake, match="diverged") as caught:
        execute(quick(tmp_path / "run", steps=20), quiet=True)
    assert caught.value.code == 5 and json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"


SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.fixture
def handlers():
    """A signal that no run takes fails the test instead of ending its process; the command line's handlers are undone."""
    before = {
        number: signal.signal(number, lambda *_: pytest.fail("nobody waited for this signal")) for number in SIGNALS
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_saves_exactly_where_it_stopped(tmp_path, monkeypatch, handlers, number):
    real = TextTo3D.step

    def asked(self, index):
        if index == 6:
            signal.raise_signal(number)
        return real(self, index)

    monkeypatch.setattr(TextTo3D, "step", asked)
    with pytest.raises(Interrupted) as caught:
        execute(quick(tmp_path / "run"), quiet=True)
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert caught.value.number == number and (status["state"], status["step"]) == ("interrupted", 7)
    assert checkpoint.newest(tmp_path / "run" / "checkpoints")[0]["index"] == 7 and saved(tmp_path / "run")[-1] == 7


def test_what_made_a_mesh_is_written_in_it_also_after_resume(tmp_path, handlers):
    prompt, name = "1  and 2", "My: recipe"
    done = execute(quick(tmp_path / "run", f"prompt={prompt}", f"name='{name}'", "seed=3", steps=2), quiet=True)
    data = (done.path / "export" / "mesh.glb").read_bytes()
    document = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])
    facts = {"prompt": prompt, "seed": 3, "recipe": name}
    assert facts.items() <= document["asset"]["extras"].items()
    assert facts.items() <= document["nodes"][0]["extras"].items()

    shutil.rmtree(done.path / "export")
    status = json.loads((done.path / "status.json").read_text())
    (done.path / "status.json").write_text(json.dumps(status | {"state": "running"}))
    assert cli.main(["resume", "--quiet", str(done.path)]) == 0
    assert (done.path / "export" / "mesh.glb").read_bytes() == data


def test_a_finished_folder_is_left_alone(whole, capsys):
    before = {p: p.stat().st_mtime_ns for p in whole.path.rglob("*") if p.is_file() and p.name != ".lock"}
    words = ["--config", "sds-gaussian", *QUICK, "steps=10", f"out={whole.path}", TWO]
    assert cli.main(words) == 0 and "already done" in capsys.readouterr().out
    assert cli.main(["resume", str(whole.path)]) == 0
    assert before == {p: p.stat().st_mtime_ns for p in before}
    assert cli.main([*words, "seed=9"]) == 2 and "another configuration" in capsys.readouterr().err


def test_a_run_killed_while_resuming_keeps_its_checkpoints(tmp_path, monkeypatch):
    """A second start that got nowhere must not make the folder look empty to another configuration."""
    with monkeypatch.context() as patch:
        kill_at(patch, 8)
        run_killed(quick(tmp_path / "run"))
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_resume", lambda self: (_ for _ in ()).throw(Killed()))
        run_killed(quick(tmp_path / "run"))
    kept = checkpoint.listed(tmp_path / "run" / "checkpoints")
    with pytest.raises(Mistake, match="another configuration"):
        quick(tmp_path / "run", "seed=9")
    assert kept and kept == checkpoint.listed(tmp_path / "run" / "checkpoints")


def test_saving_a_step_again_never_removes_the_first_before_the_second_stands(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 5, {"a": torch.ones(2)}, {"n": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            checkpoint.save(tmp_path, 5, {"a": torch.zeros(2)}, {"n": 2})
    assert checkpoint.newest(tmp_path)[0] == {"n": 1}
    checkpoint.save(tmp_path, 5, {"a": torch.zeros(2)}, {"n": 2}, keep=1)
    assert checkpoint.newest(tmp_path)[0] == {"n": 2} and len(checkpoint.listed(tmp_path)) == 1


@pytest.mark.parametrize("harm", ["", "{", "[]", "gone"])
def test_a_damaged_status_does_not_stop_the_same_command(tmp_path, monkeypatch, harm):
    with monkeypatch.context() as patch:
        kill_at(patch, 8)
        run_killed(quick(tmp_path / "run"))
    status = tmp_path / "run" / "status.json"
    status.unlink() if harm == "gone" else status.write_text(harm)
    with pytest.raises(Mistake, match="another configuration"):
        quick(tmp_path / "run", "seed=9")
    quick(tmp_path / "run").close()


def test_one_process_per_folder(tmp_path):
    first = quick(tmp_path / "run")
    with pytest.raises(Mistake, match="already going on"):
        quick(tmp_path / "run")
    first.close()
    quick(tmp_path / "run").close()


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(Mistake, match="not a run"):
        quick(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) in (["thesis.tex"], [".lock", "thesis.tex"])


def test_from_python(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {key: yaml.safe_load(value) for key, value in (text.split("=", 1) for text in QUICK[1:])}
    first = generate("0", seed=2, steps=3, **settings)
    assert first.path.parts[:2] == ("runs", "sds-gaussian") and "-0-" in first.path.name
    again = generate("0", seed=2, steps=3, **settings)
    assert again.path == first.path and again.exports.keys() == first.exports.keys()
    from dream3d.cameras import ring

    torch.testing.assert_close(again.scene.render(ring(2)).rgb, first.scene.render(ring(2)).rgb)
    assert load(whole.path).metrics["step"] == 9


def start(out: Path, steps: int) -> subprocess.Popen:
    words = [sys.executable, "launch.py", "--config", "sds-gaussian", *QUICK, TWO, f"steps={steps}", f"out={out}"]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for(folder: Path, process: subprocess.Popen) -> None:
    """Until this very process runs the folder."""
    for _ in range(1200):
        if process.poll() is not None or _owner(folder) == process.pid:
            return
        time.sleep(0.05)
    raise AssertionError("the run did not get going")


def _owner(folder: Path) -> int | None:
    try:
        return json.loads((folder / "status.json").read_text())["pid"]
    except (OSError, ValueError):
        return None


def test_kill_and_terminate_a_real_process(tmp_path):
    """kill -9 at random moments, then SIGTERM, then the same command: the bytes of a run nobody touched."""
    steps, rng = 120, random.Random(5)
    for number in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        process = start(tmp_path / "a", steps)
        wait_for(tmp_path / "a", process)
        time.sleep(rng.uniform(0, 6))
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        if number == signal.SIGTERM and process.returncode:
            assert process.returncode == 143 and "resume" in error
            assert json.loads((tmp_path / "a" / "status.json").read_text())["state"] == "interrupted"
    assert start(tmp_path / "a", steps).wait(120) == 0
    execute(quick(tmp_path / "b", TWO, steps=steps), quiet=True)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_a_run_of_an_older_version_continues_when_settings_were_added(tmp_path, monkeypatch):
    """The hash counts every setting; the file is what the run began with."""
    words = ["prompt=a red ball", "steps=2", f"out={tmp_path / 'run'}"]
    found = config.load("sds-gaussian", words)
    Folder(tmp_path / "run", found).close()
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    (tmp_path / "run" / "status.json").write_text(json.dumps({**status, "config": "of a time with fewer settings", "step": 1}))
    Folder(tmp_path / "run", found).close()
    check_untouched(tmp_path / "run", found)
    with pytest.raises(Mistake, match="another configuration"):
        Folder(tmp_path / "run", config.load("sds-gaussian", [*words, "seed=3"]))
    (tmp_path / "run" / "config.yaml").write_text(found.text() + "# touched\n")
    with pytest.raises(Mistake, match="not the one"):
        check_untouched(tmp_path / "run", found)


def test_numba_leaves_the_number_of_threads_alone():
    """In a process of its own, whose first parallel call this is."""
    code = ("import torch, numpy as np\nfrom dream3d import run\nrun.one_team_of_threads()\nimport numba\n"
            "@numba.njit(parallel=True)\ndef f(x):\n    for i in numba.prange(len(x)):\n        x[i] += 1\n    return x\n"
            "f(np.zeros(9)); print(torch.get_num_threads(), numba.get_num_threads())")  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    said = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["1", "1"]
