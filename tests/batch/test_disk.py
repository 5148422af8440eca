"""Disks that do not answer, and claims that change hands while a run is under way: nobody is blamed, and nothing is written into what is
another's."""

import errno
import hashlib

import pytest
from dream3d.systems.text_to_3d import TextTo3D
from test_drive import Script

from dream3d.batch import closing, disk, drive, failures, lease, plan, tables, work
from dream3d.batch.lease import Watch
from dream3d.batch.library import Library
from dream3d.batch.manifest import Row
from dream3d.errors import Mistake

TINY = ("steps=8", "prior={type: mixture, size: 16}", "export={mesh: false, frames: 2, size: 32}", "cameras.batch=1",
        "keep={preview: 0, steps: 2, seconds: 0}")  # fmt: skip


@pytest.fixture
def library(tmp_path):
    made = Library(tmp_path / "library")
    made.begin(plan.plan([Row(2, "0"), Row(3, "1")], plan.Asked("sds-plane", (0,), TINY), tmp_path))
    return made


@pytest.fixture
def job(library):
    return library.jobs()[0]


def broken(number):
    def fails(*args, **more):
        raise OSError(number, "it does not answer")

    return fails


# --- claims -----------------------------------------------------------------------------------------------------------------------------


def test_a_run_whose_claim_was_taken_over_ends_and_writes_nothing_more(library, job, monkeypatch):
    """Another has waited long enough; the next beat notices, and the step under way is the last."""
    held, steps, before = [], [], {}
    real = TextTo3D.step

    def files():
        run = library.run(job)
        return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in run.rglob("*") if p.is_file() and "tensorboard" not in str(p)}

    def step(system, index):
        steps.append(index)
        if index == 3:
            assert Watch(0.0).take(library.folder(job)).number == 2
            assert not held[0].beat()
            before.update(files())
        return real(system, index)

    monkeypatch.setattr(TextTo3D, "step", step)
    monkeypatch.setattr(lease.Lease, "keep", lambda lease: held.append(lease))
    assert work.work(library, job, Watch())["state"] == "busy"
    assert steps == [0, 1, 2, 3] and files() == before and before
    assert library.done(job) is None and library.tries(job) == [] and not work._going_on(library.run(job))
    monkeypatch.setattr(TextTo3D, "step", lambda system, index: steps.append(index) or real(system, index))
    library.folder(job).joinpath("beat.2.json").write_text('{"beats": 1, "released": true}')
    assert work.work(library, job, Watch())["state"] == "done" and steps[4:] == [2, 3, 4, 5, 6, 7]  # from the checkpoint


def test_a_disk_that_does_not_answer_tells_nothing_of_a_claim(tmp_path, monkeypatch):
    held = Watch().take(tmp_path)
    monkeypatch.setattr(lease.os, "listdir", broken(errno.ESTALE))
    with pytest.raises(OSError):
        held.beat()
    assert not held.lost.is_set()
    monkeypatch.undo()
    assert held.beat()


# --- disks ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "state"), [(errno.EIO, "away"), (errno.ESTALE, "away"), (errno.ENOTCONN, "away"),
                                               (errno.EROFS, "full"), (errno.EDQUOT, "full"), (errno.EACCES, "invalid")])  # fmt: skip
@pytest.mark.parametrize("said", ["plainly", "as a mistake"])
def test_what_a_disk_does_is_no_try_of_the_job(library, job, monkeypatch, number, state, said):
    def fails(run, config, host):
        error = OSError(number, "it does not answer")
        if said == "plainly":
            raise error
        raise Mistake("cannot write latest.png") from error

    monkeypatch.setattr(work, "_run", fails)
    record = work.work(library, job, Watch())
    if state == "invalid":
        assert record["state"] == "failed" and record["failure"] == ("error" if said == "plainly" else "invalid")
    else:
        assert record["state"] == state and library.tries(job) == [] and not library.claimed(job)


def test_a_model_that_could_not_be_fetched_is_no_disk(library):
    try:
        try:
            raise OSError(errno.ETIMEDOUT, "the hub does not answer")
        except OSError as error:
            raise Mistake("the model cannot be fetched", code=3) from error
    except Mistake as mistake:
        assert disk.trouble(mistake) is None and disk.trouble(mistake.__cause__) == "away"


def test_under_a_lost_mount_nothing_is_made(library, job, monkeypatch):
    (library.path / "jobs.jsonl").rename(library.path.parent / "elsewhere.jsonl")
    monkeypatch.setattr(disk, "WAIT", 0.0)
    assert work.work(library, job, Watch())["state"] == "away" and not library.folder(job).exists()


def test_a_disk_without_hard_links_is_told_before_anything_begins(library, tmp_path, monkeypatch):
    """exFAT, say: every job of thousands would fail."""
    found = plan.plan([Row(2, "2")], plan.Asked("sds-plane", (0,), TINY), tmp_path)
    for number, said in ((errno.EPERM, "no hard links"), (errno.ENOSPC, "no space left")):
        monkeypatch.setattr("dream3d.batch.library.os.link", broken(number))
        with pytest.raises(Mistake, match=said):
            library.begin(found)
    assert len(library.jobs()) == 2 and not list(library.path.glob(".probe*"))


def test_a_lock_that_cannot_be_made_is_no_bug_of_ours(library, monkeypatch):
    monkeypatch.setattr("dream3d.batch.library.FileLock.acquire", broken(errno.EROFS))
    for act in (library.mend, lambda: closing.closed(library, ())):
        with pytest.raises(Mistake, match="cannot write") as told:
            act()
        assert disk.trouble(told.value) == "full"


def test_what_cannot_be_begun_again_is_no_bug_of_ours(library, job, monkeypatch):
    library.open(job)
    (library.run(job) / "x").mkdir(parents=True)
    monkeypatch.setattr("dream3d.batch.library.shutil.rmtree", broken(errno.EROFS))
    with pytest.raises(Mistake, match="cannot write"):
        library.again(job, done=True)
    assert not library.claimed(job)


def test_a_worker_waits_for_its_disk_and_says_when_it_is_back(library, monkeypatch):
    states, slept = ["away", "away", None], []
    monkeypatch.setattr(disk, "state", lambda path: states.pop(0))
    monkeypatch.setattr(disk.time, "sleep", slept.append)
    disk.wait(library.path)
    assert slept == [disk.LOOK] * 2 and states == []


def test_what_is_wrong_with_a_disk_shows_by_writing(library, monkeypatch):
    assert disk.state(library.path) is None and [p for p in library.path.iterdir() if "probe" in p.name] == []
    for number, state in ((errno.EIO, "away"), (errno.EROFS, "full"), (errno.EACCES, "away")):
        monkeypatch.setattr(disk.Path, "write_bytes", broken(number))
        assert disk.state(library.path) == state


class Away(Script):
    """Workers whose disk does not answer for one prompt."""

    def _does(self, job):
        if job.prompt == "0" and self.told.setdefault("times", 99) > 0:
            self.told["times"] -= 1
            Watch(0.0, self.name).take(self.library.open(job)).release()
            return {"id": job.id, "state": "away", "failure": "lost", "reason": "OSError: it does not answer"}
        return super()._does(job)


def go(library, pool):
    return drive.Drive(library, pool, failures.Policy(), tell=lambda line: None).go(library.jobs())


def test_a_worker_that_lost_the_disk_has_tried_nothing(library, job):
    tally = go(library, Away(library, {"times": 3}))
    assert len(tally.done) == 2 and library.tries(job) == []


def test_a_job_that_always_meets_a_broken_disk_fails_alone(library, job):
    pool = Away(library, {})
    tally = go(library, pool)
    assert len(tally.done) == 1 and tables.state(library, [job])["failed"] == [job] and tally.code == 6
    assert {row["failure"] for row in library.tries(job)} == {"lost"} and pool.given.count("0") == 7


def test_a_launcher_whose_own_disk_is_away_ends_and_says_so(library, job, monkeypatch):
    monkeypatch.setattr(disk, "state", lambda path: "away")
    pool = Away(library, {})
    with pytest.raises(Mistake, match="does not answer") as told:
        go(library, pool)
    assert "answers again" in told.value.fix and pool.ended and library.tries(job) == []
