"""What a training keeps: killed at any moment, on a full disk, with damaged files, asked twice or for what cannot be, nothing is lost."""

import dataclasses
import errno
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from dream3d import files
from dream3d.errors import Mistake
from dream3d.toybox import train
from dream3d.toybox.training import store
from dream3d.toybox.training.presets import Place, Tier

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install dream3d[diffusion]")

TINY = Tier("tiny", 16, 4, heads=1, layers=1, width=32, readers=1, shown=("a red car",))
HERE = Place(steps=4, batch=2, views=2, chunk=2, rate=5e-3, keep=0.9)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setenv("DREAM3D_OFFLINE", "1")
    monkeypatch.setattr(train, "TIERS", {"tiny": TINY})
    monkeypatch.setattr(train, "PLACES", {("tiny", preset): HERE for preset in ("cpu", "gpu")})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(train.Training, "grid", lambda self: None)


def row(value):
    return {"x": torch.full((3,), float(value)), "y": torch.full((2, 2), float(value))}


class Killed(BaseException):
    """As a kill: no `except Exception` sees it."""


def killed_at(monkeypatch, number):
    """The `number`-th call that touches the disk does not return."""
    calls = [0]

    def counted(real):
        def one(*args, **more):
            calls[0] += 1
            if calls[0] == number:
                raise Killed
            return real(*args, **more)

        return one

    for owner, name in ((files, "flush"), (Path, "rename"), (shutil, "rmtree"), (os, "replace"), (Path, "mkdir")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    return calls


# --- checkpoints ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [False, True], ids=["next step", "same step"])
def test_a_kill_at_any_moment_leaves_a_checkpoint(tmp_path, monkeypatch, again):
    monkeypatch.setattr(store, "LARGEST", 16)
    number, ended = 0, False
    while not ended:
        number += 1
        work = tmp_path / str(number)
        store.write(work, 1, row(1), {})
        store.write(work, 2, row(2), {})
        if again:  # the newest is written once more over a damaged one
            next((work / "step_000002").glob("0*")).write_bytes(b"no")
        with monkeypatch.context() as patch:
            calls = killed_at(patch, number)
            try:
                store.write(work, 2 if again else 3, row(2 if again else 3), {})
            except Killed:
                pass
            ended = calls[0] < number
        _, about, tensors = store.newest(work)
        assert about["step"] in (1, 2, 3) and torch.equal(tensors["x"], row(about["step"])["x"]) and len(tensors) == 2
        assert about["step"] >= (1 if again else 2)
        with store.claimed(work):
            assert {p.name for p in work.iterdir()} <= {"step_000001", "step_000002", "step_000003", ".lock"}
    assert number > 10 and about["step"] == (2 if again else 3)


def test_the_same_content_is_left_as_it_is(tmp_path):
    store.write(tmp_path, 1, row(1), {})
    before = (tmp_path / "step_000001" / "00.safetensors").stat().st_ino
    store.write(tmp_path, 1, row(1), {})
    assert (tmp_path / "step_000001" / "00.safetensors").stat().st_ino == before and not list(tmp_path.glob("*.part"))
    store.write(tmp_path, 1, row(5), {})
    assert store.newest(tmp_path)[2]["x"][0] == 5


@pytest.mark.parametrize("harm", ["cut", "flipped", "gone", "state"])
def test_a_damaged_checkpoint_is_passed_over_and_said(tmp_path, capsys, harm):
    store.write(tmp_path, 1, row(1), {})
    store.write(tmp_path, 2, row(2), {})
    for step, folder in enumerate(store.checkpoints(tmp_path)[::-1]):
        path = folder / ("state.json" if harm == "state" else "00.safetensors")
        data = bytearray(path.read_bytes())
        data[-3] ^= 1
        path.write_bytes(data if harm == "flipped" else data[:-5])
        if harm == "gone":
            path.unlink()
        if step == 0:
            assert store.newest(tmp_path)[1]["step"] == 1
            assert "step_000002 is damaged" in capsys.readouterr().out
    with pytest.raises(Mistake, match="no checkpoint here can be read"):
        store.newest(tmp_path)


def test_a_full_disk_is_said_and_the_last_checkpoint_stays(tmp_path, monkeypatch):
    made = train.Training(TINY, HERE, tmp_path)
    made.run(until=1)
    with monkeypatch.context() as patch:

        def full(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(files, "flush", full)
        with pytest.raises(Mistake, match="no space left"):
            made.run(until=2)
    assert train.Training(TINY, HERE, tmp_path).step == 1


def test_weights_that_are_no_numbers_are_not_kept(tmp_path):
    made = train.Training(TINY, HERE, tmp_path)
    made.run(until=1)
    next(made.model.net.parameters()).data.fill_(torch.nan)
    with pytest.raises(Mistake, match="no numbers") as told:
        made.run(until=2)
    assert told.value.code == 5 and "step_000001 is whole" in str(told.value)
    again = train.Training(TINY, HERE, tmp_path)
    assert again.step == 1 and all(p.isfinite().all() for p in again.model.parameters())


def test_older_checkpoints_without_digests_are_read(tmp_path):
    train.Training(TINY, HERE, tmp_path).run(until=1)
    state = tmp_path / "step_000001" / "state.json"
    told = json.loads(state.read_text())
    state.write_text(json.dumps({name: told[name] for name in ("step", "seconds", "seed", "batch", "base")}))
    assert train.Training(TINY, HERE, tmp_path, steps=7).step == 1


def test_what_began_otherwise_is_refused(tmp_path):
    train.Training(TINY, HERE, tmp_path).run(until=1)
    with pytest.raises(Mistake, match="of another tier: tiny"):
        train.Training(dataclasses.replace(TINY, what="other"), HERE, tmp_path)
    with pytest.raises(Mistake, match="not this network's weights"):
        train.Training(dataclasses.replace(TINY, layers=2), HERE, tmp_path)


def test_other_threads_are_said(tmp_path, capsys):
    train.Training(TINY, HERE, tmp_path).run(until=1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        train.Training(TINY, HERE, tmp_path)
    finally:
        torch.set_num_threads(before)
    assert "not the same bits" in capsys.readouterr().out


# --- steps ------------------------------------------------------------------------------------------------------------------------------


def test_the_end_may_be_moved_until_the_rate_falls():
    train.check_steps(700, 1000, 5000, 0, "")
    train.check_steps(751, 1000, 1000, 0, "")
    train.check_steps(751, 1000, 2000, 0, "")  # its step 750 was still at the full rate
    train.check_steps(1600, 8000, 2200, 1600, "")
    with pytest.raises(Mistake, match="falls towards its end already"):
        train.check_steps(752, 1000, 2000, 0, "")
    with pytest.raises(Mistake, match="would have fallen by now") as told:
        train.check_steps(700, 1000, 800, 0, "")
    train.check_steps(700, 1000, 932, 0, "")  # what it advises
    assert "--steps 932 or more" in str(told.value)
    with pytest.raises(Mistake):
        train.check_steps(700, 1000, 931, 0, "")


def test_a_training_says_so_and_a_measured_one_has_its_own_number(tmp_path):
    train.Training(TINY, HERE, tmp_path, steps=8).run(until=8)
    with pytest.raises(Mistake, match="too late for 4"):
        train.Training(TINY, HERE, tmp_path)
    assert train.Training(TINY, HERE, tmp_path, measured=True).steps == 8


# --- the command ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", ["--steps 0", "--steps -5", "--minutes 0", "--minutes nan", "--minutes -1", "--workers -1", "--threads -2",
                                  "--seed -1", "--seed 2147483648", "--evaluate --publish"])  # fmt: skip
def test_what_cannot_be_is_refused(tmp_path, told, capsys):
    with pytest.raises(SystemExit) as end:
        train.main(["tiny", "--work", str(tmp_path / "work"), *told.split()])
    assert end.value.code == 2 and not (tmp_path / "work").exists()


def test_nothing_is_published_that_was_not_trained(tmp_path):
    for what in ("--publish", "--evaluate"):
        with pytest.raises(Mistake, match="no checkpoint to measure"):
            train.main(["tiny", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), what])
    assert not list(tmp_path.iterdir())
    with pytest.raises(Mistake, match="no CUDA device"):
        train.main(["tiny", "--preset", "gpu", "--work", str(tmp_path / "work")])


def test_what_is_not_of_a_training_is_never_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    for out in ("mine", "mine/thesis.txt"):
        with pytest.raises(Mistake, match="something else is here"):
            train.main(["tiny", "--work", str(tmp_path / "work"), "--out", str(tmp_path / out)])
    assert not (tmp_path / "work").exists() and (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    out = tmp_path / "out"
    for text in ("one", "two"):
        with store.anew(out) as part:
            (part / f"{text}.txt").write_text(text)
    assert [p.name for p in out.iterdir()] == ["two.txt"] and list(tmp_path.iterdir()) == [out]
    with pytest.raises(Killed), store.anew(out) as part:
        (part / "three.txt").write_text("three")
        raise Killed
    assert [p.name for p in out.iterdir()] == ["two.txt"] and list(tmp_path.iterdir()) == [out]


def test_a_second_process_is_told_to_wait(tmp_path):
    words = ["tiny", "--work", str(tmp_path), "--out", str(tmp_path / "out")]
    with store.claimed(tmp_path), pytest.raises(Mistake, match="another process trains"):
        train.main(words)
    assert train.main([*words, "--minutes", "0.000001"]) == 0  # and then it may
    assert len(store.checkpoints(tmp_path)) == 1


@pytest.fixture
def interrupts():
    """Ctrl-C as a terminal's process has it: whoever runs the tests may ignore it, as in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_stops_and_saves_and_twice_ends_it(interrupts, tmp_path, capfd):
    made = train.Training(TINY, HERE, tmp_path)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), train.stopping(made):
        os.kill(os.getpid(), signal.SIGINT)
        assert made.stopped
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before and "once more" in capfd.readouterr().err
    with train.stopping(made):
        made.run()
    assert made.step == 0 and store.checkpoints(tmp_path)


def test_measuring_can_be_interrupted(tmp_path, monkeypatch):
    """Once it no longer trains, Ctrl-C means what it means elsewhere."""
    usual, seen = signal.getsignal(signal.SIGINT), []
    monkeypatch.setattr(train.kinds, "finish", lambda *a: seen.append(signal.getsignal(signal.SIGINT)))
    assert train.main(["tiny", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]) == 0
    assert seen == [usual]
