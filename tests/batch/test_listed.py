"""Launchers that share a library: the catalogue is read once, each begins with its own part, what others made is not asked for."""

import json
import os

import pytest

from dream3d.batch import closing, drive, failures, listed, plan, slurm
from dream3d.batch.library import Library
from dream3d.batch.listed import Listed, parted
from dream3d.batch.manifest import Row


@pytest.fixture
def library(tmp_path):
    made = Library(tmp_path / "library")
    made.begin(plan.plan([Row(i + 2, "a red car", seed=i) for i in range(6)], plan.Asked(), tmp_path))
    return made


def finish(library, job):
    library.open(job)
    assert library.finish(job, {"id": job.id, "name": job.name, "state": "done", "prompt": job.prompt, "seconds": 1.0})


class Maker:
    """A pool of one worker that makes what it is given, and lets another launcher make `meanwhile` before."""

    name, together = "maker", 1

    def __init__(self, library, meanwhile=()):
        self.library, self.meanwhile, self.at, self.given = library, list(meanwhile), [], []

    def prepare(self, jobs, stopping, tell): ...

    def free(self):
        return [] if self.at else [0]

    def give(self, place, job):
        self.at.append(job)
        self.given.append(job)

    def heard(self, seconds):
        for job in self.meanwhile:
            finish(self.library, job)
        self.meanwhile = []
        done = [(job, {"id": job.id, "state": "done", "before": True}) for job in self.at if self.library.done(job) or self._make(job)]
        self.at = []
        return done

    def _make(self, job):
        finish(self.library, job)
        return True

    def kill(self, job): ...

    def stop(self): ...

    def close(self, seconds=60.0): ...


def test_only_what_was_appended_is_read_and_torn_lines_wait(library):
    found, jobs = Listed(library.path), library.jobs()
    assert found.ids() == set()
    finish(library, jobs[0])
    assert found.ids() == {jobs[0].id}
    with open(library.path / "catalog.jsonl", "a") as file:
        file.write(f'nonsense\n[1]\n{json.dumps({"id": [1]})}\n{{"id": "{jobs[1].id}"')
        file.flush()
        assert found.ids() == {jobs[0].id}
        file.write("}\n")
    assert found.ids() == {jobs[0].id, jobs[1].id}
    os.remove(library.path / "catalog.jsonl")
    assert len(found.ids()) == 2  # it cannot be read just now
    library.mend()
    assert found.ids() == {jobs[0].id}


def test_what_is_begun_again_is_not_listed_and_leaves_no_line(library):
    found, job = Listed(library.path), library.jobs()[0]
    finish(library, job)
    assert found.ids() and library.again(job, done=True)
    assert found.ids() == set() and library.mend() == [] and (library.path / "catalog.jsonl").read_text() == ""


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_parts_are_all_of_it_and_each_goes_on_where_it_ends(count):
    jobs = list(range(6))
    parts = [parted(jobs, (k, count)) for k in range(count)]
    assert sum((own for own, _ in parts), []) == jobs and all(sorted(own + others) == jobs for own, others in parts)
    assert parted(jobs, (0, 3)) == ([0, 1], [2, 3, 4, 5]) and parted(jobs, (1, 3)) == ([2, 3], [4, 5, 0, 1])


def test_what_others_made_meanwhile_is_not_asked_for(library, monkeypatch):
    monkeypatch.setattr(drive, "LOOK", 0.0)
    own, others = parted(library.jobs(), (1, 3))
    pool = Maker(library, meanwhile=others[:3])
    tally = drive.Drive(library, pool, failures.Policy(), tell=lambda line: None).go(own, others)
    assert [job for job in pool.given if job in others] == others[3:] and set(own) <= set(pool.given)
    assert tally.before == 3 and len(tally.done) == 3 and len(library.catalogue()) == 6


def test_a_record_that_was_removed_by_hand_is_made_again_whatever_the_catalogue_says(library, monkeypatch):
    monkeypatch.setattr(drive, "LOOK", 0.0)
    jobs = library.jobs()
    for job in jobs:
        finish(library, job)
    (library.folder(jobs[2]) / "done.json").unlink()
    pool = Maker(library)
    drive.Drive(library, pool, failures.Policy(), tell=lambda line: None).go(jobs)
    assert pool.given == [jobs[2]] and library.done(jobs[2])


def test_a_catalogue_that_is_nonsense_lists_nothing(tmp_path):
    (tmp_path / "catalog.jsonl").write_bytes(b"\xff\xfe\n{}\n" + b"[" * 100_000 + b"\n")
    assert Listed(tmp_path).ids() == set() and listed.Listed(tmp_path / "nowhere").ids() == set()


def test_of_many_launchers_that_end_together_one_writes_the_page(library, monkeypatch):
    jobs, written = library.jobs(), []
    for job in jobs[:3]:
        finish(library, job)
    real = closing.tables.listed
    monkeypatch.setattr(closing.tables, "listed", lambda library: written.append(1) or real(library))
    for _ in range(3):
        page, table = closing.closed(library, [], shared=True)
    assert written == [1] and page.is_file() and table is None
    library.tried(jobs[3], {"failure": "error", "reason": "x"}) if library.open(jobs[3]) else None
    assert closing.closed(library, [jobs[3].id], shared=True)[1].is_file() and len(written) == 2  # it has what failed here
    closing.closed(library, [jobs[3].id], shared=True)
    finish(library, jobs[4])
    closing.closed(library, [], shared=True)
    closing.closed(library, [], shared=False)
    assert len(written) == 4 and jobs[4].name in page.read_text()


@pytest.mark.parametrize(
    ("told", "part"),
    [({"ID": "7", "MIN": "4", "COUNT": "5"}, (3, 5)), ({}, (0, 1)), ({"ID": "7"}, (0, 1)), ({"ID": "x", "MIN": "0", "COUNT": "2"}, (0, 1)),
     ({"ID": "9", "MIN": "0", "COUNT": "2"}, (0, 1))],
)  # fmt: skip
def test_a_launcher_knows_its_place_in_the_array(monkeypatch, told, part):
    for name in ("ID", "MIN", "COUNT"):
        monkeypatch.delenv(f"SLURM_ARRAY_TASK_{name}", raising=False)
    for name, text in told.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", text)
    assert slurm.part() == part
