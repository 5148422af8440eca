"""What goes wrong around a job: full disks, claims that change hands, damaged records, workers that cannot begin, two launchers at once."""

import csv
import errno
import json
import math
import multiprocessing
import subprocess
import sys
import threading

import pytest
from test_drive import Script

from dream3d.batch import best, drive, evaluate, failures, lease, local, page, plan, tables, work
from dream3d.batch.lease import Watch
from dream3d.batch.library import Library
from dream3d.batch.manifest import Row
from dream3d.commands import batch
from dream3d.errors import Mistake


@pytest.fixture
def library(tmp_path):
    made = Library(tmp_path / "library")
    made.begin(plan.plan([Row(2, "a red car"), Row(3, "a cat")], plan.Asked(), tmp_path))
    return made


@pytest.fixture
def job(library):
    return library.jobs()[0]


def full(*args, **more):
    raise OSError(errno.ENOSPC, "No space left on device")


def go(library, pool):
    return drive.Drive(library, pool, failures.Policy(), tell=lambda line: None).go(library.jobs())


# --- full disks -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["open", "take", "run", "finish", "tried"])
def test_a_full_disk_is_no_try_and_nobody_waits_for_it(library, job, monkeypatch, where):
    monkeypatch.setattr(work, "_run", full if where == "run" else lambda run, config, host: 1 / 0)
    if where == "open":
        monkeypatch.setattr(library, "open", full)
    elif where == "take":
        monkeypatch.setattr(lease.Path, "write_bytes", full)
    elif where == "finish":
        monkeypatch.setattr(work, "_run", lambda run, config, host: None)
        monkeypatch.setattr(work, "recorded", lambda *args: {"id": job.id, "state": "done"})
        monkeypatch.setattr(library, "finish", full)
    elif where == "tried":
        monkeypatch.setattr(library, "tried", full)
    assert work.work(library, job, Watch())["state"] == "full"
    monkeypatch.undo()
    assert library.tries(job) == [] and tables.state(library, [job])["failed"] == []


def test_a_full_disk_ends_the_launcher_with_what_to_do(library, job):
    class Full(Script):
        def _does(self, job):
            return {"id": job.id, "state": "full", "reason": "no space left to write x"}

    pool = Full(library, {})
    with pytest.raises(Mistake, match="no space left") as told:
        go(library, pool)
    assert "same command" in told.value.fix and pool.ended


def test_a_record_whose_line_could_not_be_written_is_done_all_the_same(library, job, monkeypatch):
    monkeypatch.setattr(work, "_run", lambda run, config, host: None)
    monkeypatch.setattr(work, "recorded", lambda *args: {"id": job.id, "state": "done"})
    monkeypatch.setattr(library, "enlist", full)
    assert work.work(library, job, Watch())["state"] == "done" and library.tries(job) == []
    assert [row["id"] for row in library.mend()] == [job.id]


def test_a_claim_that_cannot_be_given_back_hides_nothing(library, job, monkeypatch):
    def stuck(claim):
        claim._ended.set()  # or it would beat on through the tests to come
        full()

    monkeypatch.setattr(work, "_run", lambda run, config, host: 1 / 0)
    monkeypatch.setattr(lease.Lease, "release", stuck)
    assert work.work(library, job, Watch())["failure"] == "error" and len(library.tries(job)) == 1


def test_a_line_behind_a_torn_one_is_read(library, job):
    library.open(job)
    (library.folder(job) / "tries.jsonl").write_text('{"failure": "lo')
    library.tried(job, {"failure": "memory"})
    assert [row["failure"] for row in library.tries(job)] == ["memory"]


# --- claims ---------------------------------------------------------------------------------------------------------------------------


def test_a_run_that_a_paused_process_still_has_is_left_to_it(library, job):
    """Its claim was taken over, but it may wake up: that is no mistake of the user's."""
    run = library.folder(job) / "run"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("x: 1\n")
    code = f"from filelock import FileLock; lock = FileLock({str(run / '.lock')!r}); lock.acquire(); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert work.work(library, job, Watch())["state"] == "busy" and library.tries(job) == []
        other.communicate("\n")
    assert not work._going_on(run)


def test_who_has_lost_the_claim_tells_of_no_failure(library, job, monkeypatch):
    def fails(run, config, host):
        assert Watch(0.0).take(library.folder(job)).number == 2
        raise Mistake("its files were swept away")

    monkeypatch.setattr(work, "_run", fails)
    assert work.work(library, job, Watch())["state"] == "busy" and library.tries(job) == []


def test_a_beat_in_the_making_does_not_take_back_a_release(tmp_path, monkeypatch):
    held, slow, writes = Watch().take(tmp_path), threading.Event(), []
    real = lease._put

    def write(path, value):
        if not writes:
            writes.append(1)
            slow.wait(0.5)
        real(path, value)

    monkeypatch.setattr(lease, "_put", write)
    beating = threading.Thread(target=held.beat)
    beating.start()
    while not writes:
        pass
    releasing = threading.Thread(target=held.release)
    releasing.start()
    releasing.join(0.1)
    slow.set()
    beating.join()
    releasing.join()
    assert held.beat() and json.loads((tmp_path / "beat.1.json").read_text())["released"]  # nor does a later one


def test_a_link_whose_answer_was_lost_is_ones_own(tmp_path, monkeypatch):
    real = lease.os.link

    def link(source, target):
        real(source, target)
        raise FileExistsError

    monkeypatch.setattr(lease.os, "link", link)
    assert Watch().take(tmp_path).number == 1


def test_a_worker_that_can_never_begin_is_not_replaced_for_ever(library, job):
    class Dies(Script):
        def _does(self, job):
            return {"id": job.id, "state": "lost", "failure": "lost", "reason": "its process ended with exit code 1"}

    pool = Dies(library, {})
    tally = go(library, pool)
    assert len(tally.failed) == 2 and len(pool.given) <= 2 * 8 and tally.code == 6


def test_a_worker_that_ends_as_it_is_given_a_job_is_heard_of(library, job):
    here, there = multiprocessing.Pipe()
    there.close()
    pool = local.Local(library.path, 1, failures.Policy(), 60.0)
    pool.workers[0] = local.Worker(type("Process", (), {"is_alive": lambda self: True})(), here, 0)
    pool.give(0, job)
    assert pool.workers[0].jobs == {job.id: job}


# --- records --------------------------------------------------------------------------------------------------------------------------


def test_a_damaged_record_is_made_again(library, job, monkeypatch):
    library.open(job)
    (library.folder(job) / "done.json").write_text("{")
    monkeypatch.setattr(work, "_run", lambda run, config, host: None)
    monkeypatch.setattr(work, "recorded", lambda *args: {"id": job.id, "state": "done"})
    assert work.work(library, job, Watch())["state"] == "done" and library.done(job)["id"] == job.id
    assert not library.finish(job, {"id": "other"}) and library.done(job)["id"] == job.id


def test_the_catalogue_is_of_the_last_run_even_where_its_line_is_not(library, job, monkeypatch):
    """After --force a process was killed between the record and its line."""
    library.open(job)
    library.finish(job, {"id": job.id, "state": "done", "seconds": 1.0})
    assert library.again(job, done=True)
    monkeypatch.setattr(library, "enlist", lambda record: None)
    library.finish(job, {"id": job.id, "state": "done", "seconds": 2.0})
    assert library.mend() == [{"id": job.id, "state": "done", "seconds": 2.0}]
    assert [json.loads(line)["seconds"] for line in (library.path / "catalog.jsonl").read_text().splitlines()] == [2.0]


def test_what_is_no_number_or_no_text_is_told_all_the_same(library, job, monkeypatch):
    assert work._finite({"loss": math.nan, "step": 3}) == {"loss": None, "step": 3} == evaluate._finite({"loss": math.inf, "step": 3})

    def fails(run, config, host):
        raise ValueError("no \udce9 here")

    monkeypatch.setattr(work, "_run", fails)
    assert work.work(library, job, Watch())["reason"] == "ValueError: no ? here"


def test_what_was_lost_for_good_elsewhere_has_failed(library, job, monkeypatch):
    """Its worker was on another machine and never gave its claim back."""
    monkeypatch.setattr(lease, "_me", lambda: {"host": "elsewhere", "boot": "x", "pid": 1, "began": "1"})
    Watch().take(library.open(job))
    assert tables.state(library, [job])["working"] == [job]
    library.tried(job, {"failure": "error"})
    assert tables.state(library, [job])["failed"] == [job] and tables.failed(library, [job]).is_file()


def test_who_is_at_work_is_left_alone(library, job, capsys):
    """--force and --retry-failed beside another launcher; what nobody is at, and what has failed, begins again."""
    other = library.jobs()[1]
    for one in (job, other):
        (library.open(one) / "run").mkdir()
        library.tried(one, {"failure": "lost"})
    held = Watch().take(library.folder(job))
    batch._again(batch.parser().parse_args(["list.csv", "--retry-failed"]), library, [job, other])
    assert len(library.tries(job)) == 1 == len(library.tries(other))  # neither has failed for good
    batch._again(batch.parser().parse_args(["list.csv", "--force"]), library, [job, other])
    assert library.run(job).is_dir() and not library.run(other).exists() and library.tries(other) == []
    assert job.name in capsys.readouterr().err
    held.release()
    library.tried(other, {"failure": "error"})
    batch._again(batch.parser().parse_args(["list.csv", "--retry-failed"]), library, [job, other])
    assert library.tries(other) == []


# --- what is hostile --------------------------------------------------------------------------------------------------------------------


def test_numbers_that_are_none_leave_the_page_and_the_best_as_they_are(tmp_path):
    metrics = {"a": math.nan, "b": math.inf, "c": 10**400, "d": 1.5}
    rows = [{"name": "x", "prompt": "p", "seed": math.nan, "metrics": metrics, "tags": None}, {"metrics": [1], "seed": 1}]
    text = page.write_gallery(tmp_path, rows, "t").read_text()
    assert "NaN" not in text.partition('id="records">')[2].partition("</script>")[0] and '"metrics":{"d":1.5}' in text
    row = {"prompt": "p", "seed": 0, "metrics": metrics}
    assert best.marked([row], 1, "d")[0]["best"]
    with pytest.raises(Mistake):
        best.marked([row], 1, "c")


def test_tables_of_large_numbers_and_of_none(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install dream3d[batch]")
    tables._parquet(tmp_path / "a.parquet", [{"id": "a", "n": 1 << 70}, {"id": "b", "n": 1.5}])
    tables._parquet(tmp_path / "b.parquet", [])
    assert (tmp_path / "a.parquet").is_file() and (tmp_path / "b.parquet").is_file()


def test_no_table_holds_a_formula_where_the_separator_is_another():
    for text in ("a;=1+1", "a\n=1+1", "a\t@x", "\uff1d1", "a;-1"):
        told = next(csv.reader([tables.table([{"id": text}], ("id",)).partition("\r\n")[2]], delimiter=";"), [""])
        assert not any(part.strip('"\r\n').startswith(("=", "@", "-", "\uff1d")) for cell in told for part in cell.splitlines()), text
    assert tables.cell("red; - blue = green") == "red; - blue = green"


@pytest.mark.parametrize("words", [["--patience", "1"], ["--patience", "nan"], ["--hang", "0"], ["--hang", "nan"]])
def test_times_that_would_take_jobs_from_the_living(tmp_path, words):
    (tmp_path / "list.csv").write_text("prompt\na red car\n")
    with pytest.raises(Mistake, match="taken for gone|stands still"):
        batch.main([str(tmp_path / "list.csv"), "--out", str(tmp_path / "lib"), "--dry-run", *words])


def test_every_word_of_only_is_a_job(library):
    with pytest.raises(Mistake, match="'b'"):
        batch._chosen(library.jobs(), ["a-red-car", "b"])
