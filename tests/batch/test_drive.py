"""Who gives out jobs: what fails is tried as often as it should be, what is lost is found, and nothing is made twice."""

import csv

import pytest

from dream3d import files
from dream3d.batch import drive, failures, plan, tables, work
from dream3d.batch.lease import Watch
from dream3d.batch.library import Library
from dream3d.batch.manifest import Row
from dream3d.commands import batch
from dream3d.errors import Mistake

NAMES = ("a red car", "a blue duck", "a green bus", "a cat", "a pink mug")


class Script:
    """A pool whose workers do what is told for each prompt, try by try; the last of it again and again."""

    def __init__(self, library, told, size=2):
        self.library, self.told, self.size, self.at, self.given, self.ended = library, told, size, {}, [], False
        self.name, self.together = "script", 1

    def prepare(self, jobs, stopping, tell): ...

    def free(self):
        return [i for i in range(self.size) if i not in self.at]

    def give(self, place, job):
        self.at[place] = job
        self.given.append(job.prompt)

    def heard(self, seconds):
        found = [(job, self._does(job)) for job in self.at.values()]
        self.at.clear()
        return [(job, record) for job, record in found if record is not None]

    def _does(self, job):
        told = self.told.get(job.prompt, ["done"])
        what = told.pop(0) if len(told) > 1 else told[0]
        if what == "done":
            record = {"id": job.id, "state": "done", "prompt": job.prompt, "seconds": 2.0}
            self.library.open(job)
            return record if self.library.finish(job, record) else self.library.done(job)
        if what in ("busy", "interrupted"):
            return {"id": job.id, "state": what}
        if what.startswith("lost"):
            Watch(0.0, self.name).take(self.library.open(job))
            return {"id": job.id, "state": "lost", "failure": what.partition(" ")[2] or "lost", "reason": "ended by SIGKILL"}
        self.library.open(job)
        return work._failed(self.library, job, what, "it went wrong", failures.Policy())

    def kill(self, job): ...

    def stop(self):
        self.ended = True

    def close(self, seconds=60.0): ...


class Killer(Script):
    """Notes what it is asked to kill."""

    def __init__(self, library, killed):
        super().__init__(library, {})
        self.kill = killed.append


@pytest.fixture
def library(tmp_path):
    made = Library(tmp_path / "library")
    made.begin(plan.plan([Row(i, name) for i, name in enumerate(NAMES, 2)], plan.Asked(), tmp_path))
    return made


def go(library, told=None, **more):
    pool = Script(library, told or {})
    return drive.Drive(library, pool, failures.Policy(), tell=lambda line: None, **more).go(library.jobs()), pool


def test_every_job_is_made_once_and_the_next_time_none(library):
    tally, pool = go(library)
    assert sorted(pool.given) == sorted(NAMES) and len(tally.done) == 5 and tally.code == 0 and pool.ended
    tally, pool = go(library)
    assert pool.given == [] and tally.before == 5
    assert [row["prompt"] for row in library.catalogue()] == list(NAMES)


@pytest.mark.parametrize(
    ("told", "tries", "ends"),
    [
        (["error", "done"], 1, "failed"),
        (["invalid", "done"], 1, "failed"),
        (["memory", "done"], 2, "done"),
        (["memory", "memory", "done"], 2, "failed"),
        (["diverged", "diverged", "done"], 3, "done"),
        (["diverged", "diverged", "diverged", "done"], 3, "failed"),
        (["lost", "lost", "lost", "done"], 4, "done"),
        (["lost"], 4, "failed"),
        (["lost memory", "done"], 2, "done"),
        (["interrupted", "done"], 2, "done"),
    ],
)
def test_what_fails_is_tried_as_often_as_its_kind_deserves(library, told, tries, ends):
    tally, pool = go(library, {"a red car": list(told)})
    assert pool.given.count("a red car") == tries
    assert len(getattr(tally, ends)) == (5 if ends == "done" else 1) and tally.code == (0 if ends == "done" else 6)
    if ends == "failed":
        _, pool = go(library)  # for good
        assert set(pool.given) == {"a red car"}


def test_what_failed_for_good_is_begun_again_only_when_asked(library):
    go(library, {"a red car": ["error"]})
    job = library.jobs()[0]
    assert tables.state(library, library.jobs())["failed"] == [job]
    assert work.work(library, job, Watch())["state"] == "failed"
    library.again(job)
    assert tables.state(library, library.jobs())["waiting"] == [job]


def test_the_next_try_has_what_the_last_one_lacked(library):
    values = library.config(library.jobs()[0]).values
    low = failures.changes(values, [{"failure": "memory"}])
    assert low["export.texture"] < values["export"]["texture"] and low["cameras.batch"] < values["cameras"]["batch"]
    assert library.config(library.jobs()[0], low).values["export"]["texture"] == low["export.texture"]
    seeds = [failures.changes(values, [{"failure": "diverged"}] * n)["seed"] for n in (1, 2)]
    assert len({values["seed"], *seeds}) == 3
    both = failures.changes(values, [{"failure": "memory"}, {"failure": "diverged"}])
    assert both.keys() > low.keys() and failures.changes(values, [{"failure": "lost"}] * 3) == {}
    assert [failures.marked(c) for c in ({}, low, {"seed": 5}, {**low, "seed": 5})] == ["run", "run-small", "run-seed5", "run-small-seed5"]


def test_a_job_that_another_launcher_makes_is_waited_for(library, monkeypatch):
    monkeypatch.setattr(drive, "APART", 0.0)
    tally, pool = go(library, {"a cat": ["busy", "busy", "done"]})
    assert pool.given.count("a cat") == 3 and len(tally.done) == 5


def test_a_worker_that_died_after_its_record_has_lost_nothing(library):
    job = library.jobs()[0]
    library.open(job)
    library.finish(job, {"id": job.id, "state": "done"})
    made = drive.Drive(library, Script(library, {}), failures.Policy())
    assert made._lost(job, {"failure": "lost", "reason": ""})["state"] == "done" and library.tries(job) == []


def test_a_worker_that_died_before_the_job_was_its_own_has_not_tried_it(library):
    job, pool = library.jobs()[0], Script(library, {})
    made = drive.Drive(library, pool, failures.Policy())
    assert made._lost(job, {"failure": "lost", "reason": ""})["state"] == "busy"
    held = Watch(0.0, "another launcher").take(library.open(job))
    assert made._lost(job, {"failure": "lost", "reason": ""})["state"] == "busy" and library.tries(job) == []
    held.release()
    Watch(0.0, pool.name).take(library.open(job))
    assert made._lost(job, {"failure": "lost", "reason": ""})["state"] == "retry" and len(library.tries(job)) == 1


def test_a_run_that_stands_still_is_ended_and_one_that_moves_is_not(library, monkeypatch):
    now, killed = [0.0], []
    monkeypatch.setattr(drive.time, "monotonic", lambda: now[0])
    made = drive.Drive(library, Killer(library, killed), failures.Policy(), hang=100.0)
    still, moves = library.jobs()[:2]
    Watch(0.0, "script").take(library.open(still))
    made.at = {job.id: job for job in (still, moves)}
    for step in range(30):
        now[0] += 10
        files.write_text(library.run(moves) / "metrics.jsonl", str(step))
        made._look()
    assert set(killed) == {still}
    assert made._lost(still, {"failure": "lost", "reason": ""})["failure"] == "timeout"


def test_it_stops_when_asked_and_says_so(library):
    tally, pool = go(library, stopping=lambda: True)
    assert tally.stopped and pool.given == [] and pool.ended


# --- one job ------------------------------------------------------------------------------------------------------------------------


def test_a_failure_is_of_the_kind_that_its_mistake_says(library, monkeypatch):
    job = library.jobs()[0]
    for code, kind in ((2, "invalid"), (3, "invalid"), (4, "memory"), (5, "diverged"), (1, "error")):
        library.again(job)

        def fails(run, config, host, code=code):
            raise Mistake("so it is", code=code)

        monkeypatch.setattr(work, "_run", fails)
        record = work.work(library, job, Watch())
        assert record["failure"] == kind and record["reason"] == "so it is" and library.tries(job)[-1]["failure"] == kind
    monkeypatch.setattr(work, "_run", lambda run, config, host: 1 / 0)
    library.again(job)
    assert work.work(library, job, Watch())["reason"].startswith("ZeroDivisionError")


def test_a_job_is_left_alone_while_another_process_has_it(library, monkeypatch):
    job = library.jobs()[0]
    held = Watch().take(library.open(job))
    monkeypatch.setattr(work, "_run", lambda run, config, host: pytest.fail("it is not ours"))
    assert work.work(library, job, Watch(1e9))["state"] == "busy"
    held.release()
    library.finish(job, {"id": job.id, "state": "done"})
    assert work.work(library, job, Watch())["state"] == "done"


def test_who_has_lost_the_claim_makes_no_record(library, monkeypatch):
    job = library.jobs()[0]

    def slow(run, config, host):
        assert Watch(0.0).take(library.folder(job)).number == 2  # another has waited long enough

    monkeypatch.setattr(work, "_run", slow)
    assert work.work(library, job, Watch())["state"] == "busy" and library.done(job) is None


# --- tables and the command ---------------------------------------------------------------------------------------------------------


def test_no_table_holds_a_formula(library):
    rows = [{"id": text} for text in ("=1+1", "+1", "-1", "@x", "\t=1", "fine", 'a "b", c')]
    cells = [row[0] for row in csv.reader(tables.table(rows, ("id",)).splitlines())][1:]
    assert cells == ["'=1+1", "'+1", "'-1", "'@x", "'\t=1", "fine", 'a "b", c']


def test_failures_are_written_down_with_their_lines_and_go_when_they_are_mended(library):
    go(library, {"a cat": ["error"]})
    path = tables.failed(library, library.jobs())
    row = next(csv.DictReader(path.open(encoding="utf-8", newline="")))
    assert (row["prompt"], row["lines"], row["failure"], row["tries"], row["reason"]) == ("a cat", "5", "error", "1", "it went wrong")
    library.again(library.jobs()[3])
    go(library)
    assert tables.failed(library, library.jobs()) is None and not path.exists()


def test_the_catalogue_as_a_table_and_a_page(library):
    go(library, {"a cat": ["error"]})
    page = tables.listed(library)
    assert "it went wrong" in page.read_text() and "a pink mug" in page.read_text()
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install dream3d[batch]")
    rows = parquet.read_table(library.path / "catalog.parquet").to_pylist()
    assert [row["prompt"] for row in rows] == [name for name in NAMES if name != "a cat"] and rows[0]["seconds"] == 2.0


def test_columns_of_records_that_differ(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install dream3d[batch]")
    records = [{"id": "a", "metrics": {"loss": 1, "x": "y"}, "tags": ["t"]}, {"id": "b", "metrics": {"loss": 0.5, "x": 3}, "card": None}]
    tables._parquet(tmp_path / "c.parquet", records)
    rows = parquet.read_table(tmp_path / "c.parquet").to_pylist()
    assert [row["metrics.loss"] for row in rows] == [1.0, 0.5] and rows[1]["metrics.x"] == "3" and rows[0]["tags"] == '["t"]'


@pytest.mark.parametrize("text", ["{}", "[1]", '{"id": "another"}', "{", ""])
def test_a_record_that_is_none_of_the_job_is_made_again(library, text):
    job = library.jobs()[0]
    files.write_text(library.open(job) / "done.json", text)
    assert library.done(job) is None and job in tables.state(library, library.jobs())["waiting"]
    tally, pool = go(library)
    assert len(tally.done) == 5 and library.done(job)["id"] == job.id


def test_status_tells_while_it_works_and_afterwards(library, capsys):
    Watch().take(library.open(library.jobs()[4]))
    go(library, {"a cat": ["error"]}, stopping=iter([False] + [True] * 99).__next__)
    assert batch.main(["status", str(library.path)]) == 0
    said = capsys.readouterr().out
    assert "of 5" in said and "s a job so far" in said
    with pytest.raises(Mistake, match="no library"):
        batch.main(["status", str(library.path / "jobs")])
