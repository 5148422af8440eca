"""Watching a run: what control.json asks is done between steps, told, kept, survives kills; without it nothing changes by a byte."""

import json
import signal
import threading
import time

import pytest
from dream3d.systems.text_to_3d import TextTo3D
from test_run import digest, kill_at, quick, run_killed

from dream3d.api import execute
from dream3d.export import report
from dream3d.folder import read_status
from dream3d.run import Interrupted, Run
from dream3d.view import control

BROKEN = [b"{", b"[]", b'"x"', b'{"pause": 1}', b'{"guidance": {"t": 1}}', b'{"guidance": 3}', b'{"guidance": {"scale": "9"}}',
          b'{"guidance": {"scale": NaN}}', b'{"guidance": {"scale": -1}}', b'{"guidance": {"scale": 1e9}}', b'{"watch": true}',
          b'{"until": Infinity}', b"[" * 60000, b" " * 70000, b"\xff\xfe"]  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What a run that nobody watches makes."""
    done = execute(quick(tmp_path_factory.mktemp("plain") / "run"), quiet=True)
    assert "changed" not in read_status(done.path) and not (done.path / "live").exists()
    return digest(done.path)


def at_step(monkeypatch, number: int, act) -> None:
    """Call `act` when the run is about to take step `number`."""
    real = TextTo3D.step

    def step(self, index):
        if index == number:
            act()
        return real(self, index)

    monkeypatch.setattr(TextTo3D, "step", step)


def scales(monkeypatch) -> dict[int, float]:
    """The scale of every step that is taken."""
    seen, real = {}, TextTo3D.step

    def step(self, index):
        seen[index] = self.terms[0].guidance.scale(index / 9)
        return real(self, index)

    monkeypatch.setattr(TextTo3D, "step", step)
    return seen


@pytest.mark.parametrize("asked", [{}, {"watch": 0.0, "until": 4e9}])
def test_who_only_watches_changes_nothing(tmp_path, plain, asked, monkeypatch):
    seen = []
    at_step(monkeypatch, 9, lambda: seen.extend(sorted(p.name for p in (tmp_path / "run" / "live").glob("step_*"))))
    folder = quick(tmp_path / "run")
    control.ask(tmp_path / "run", **asked)
    assert digest(execute(folder, quiet=True).path) == plain
    assert bool(seen) == bool(asked) and len(seen) <= 1
    assert "changed" not in read_status(tmp_path / "run") and not (tmp_path / "run" / "live").exists()


@pytest.mark.parametrize("data", BROKEN)
def test_what_is_no_request_is_said_and_ignored(tmp_path, data):
    told, job = [], object()
    (tmp_path / control.NAME).write_bytes(data)
    watched = control.Control(tmp_path, told.append)
    assert not watched.heed(job, None) and not watched.heed(job, None)
    assert len(told) == 1 and told[0].startswith("control.json is ignored: ")


def test_a_changed_scale_is_used_told_and_kept(tmp_path, plain, monkeypatch):
    run, seen = tmp_path / "run", scales(monkeypatch)
    at_step(monkeypatch, 3, lambda: control.ask(run, scale=50))
    at_step(monkeypatch, 6, lambda: control.ask(run, scale=None))
    done = execute(quick(run), quiet=True)
    usual = seen[0]
    assert usual != 50 and [seen[i] for i in range(10)] == 4 * [usual] + 3 * [50] + 3 * [usual]
    assert read_status(run)["changed"] == [{"step": 4, "guidance.scale": 50}, {"step": 7, "guidance.scale": None}]
    log = (run / "log.txt").read_text()
    assert "before step 4: guidance.scale is 50 now, whatever config.yaml says" in log
    assert "before step 7: guidance.scale is what config.yaml says again" in log
    assert digest(done.path) != plain
    page = (run / "export" / "report.html").read_text()
    assert "guidance.scale 50 from step 4; guidance.scale as configured from step 7" in page and "byte for byte" not in page


def test_a_change_survives_a_kill(tmp_path, monkeypatch):
    run = tmp_path / "run"
    folder = quick(run)
    control.ask(run, scale=30)
    with monkeypatch.context() as patch:
        kill_at(patch, 6)
        run_killed(folder)
    seen = scales(monkeypatch)
    execute(quick(run), quiet=True)
    assert set(seen) == {4, 5, 6, 7, 8, 9} and set(seen.values()) == {30}
    assert read_status(run)["changed"] == [{"step": 0, "guidance.scale": 30}]


def test_a_paused_run_waits_saved_and_goes_on(tmp_path, plain, monkeypatch):
    run, states = tmp_path / "run", []

    def resume():
        end = time.monotonic() + 60
        while read_status(run).get("reason") != "paused" and time.monotonic() < end:
            time.sleep(0.01)
        states.append(read_status(run) | {"saved": max(p.name for p in (run / "checkpoints").glob("step_*"))})
        control.ask(run, pause=False)

    def pause():
        control.ask(run, pause=True)
        threading.Thread(target=resume, daemon=True).start()

    at_step(monkeypatch, 5, pause)
    assert digest(execute(quick(run), quiet=True).path) == plain, "a pause changes nothing"
    assert [(s["state"], s["step"], s["saved"]) for s in states] == [("running", 6, "step_0000006")]
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 10
    log = (run / "log.txt").read_text()
    assert "paused before step 6" in log and "goes on from step 6" in log


def test_a_paused_run_can_be_stopped_and_stays_paused(tmp_path, plain, monkeypatch):
    run, real = tmp_path / "run", Run._check_stop

    def stop(self):
        if read_status(run).get("reason") == "paused":
            self.stop = signal.SIGTERM
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_check_stop", stop)
        at_step(patch, 5, lambda: control.ask(run, pause=True))
        with pytest.raises(Interrupted):
            execute(quick(run), quiet=True)
    assert read_status(run)["state"] == "interrupted" and read_status(run)["step"] == 6
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()] == list(range(6))
    (run / control.NAME).unlink()
    assert digest(execute(quick(run), quiet=True).path) == plain


def test_what_is_not_named_stays(tmp_path):
    control.ask(tmp_path, pause=True, scale=3.5)
    control.ask(tmp_path, watch=2.0, until=5.0)
    assert control.read(tmp_path) == {"pause": True, "scale": 3.5, "watch": 2.0, "until": 5.0}
    with pytest.raises(ValueError, match="scale is no number from 0 to 1e"):
        control.ask(tmp_path, scale=-1)
    assert control.read(tmp_path)["scale"] == 3.5


def test_a_report_takes_no_change_on_trust():
    status = {"changed": [{"step": "<b>", "guidance.scale": "<i>"}, 3, None]}
    assert [report._scale(entry) for entry in report._changes(status)] == ["as configured"]
