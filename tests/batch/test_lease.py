"""One process alone has a job, whoever else wants it, whatever their clocks say."""

import json
import multiprocessing
import os
import time

import pytest

from dream3d import files
from dream3d.batch import lease
from dream3d.batch.lease import Watch


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "job"
    made.mkdir()
    return made


def foreign(folder, monkeypatch):
    """From here on claims are made as another machine would."""
    monkeypatch.setattr(lease, "_me", lambda: {"host": "elsewhere", "boot": "x", "pid": 1, "began": "1"})


def test_a_job_is_had_once_until_it_is_given_back(folder):
    one = Watch().take(folder)
    assert one is not None and Watch(patience=1e9).take(folder) is None
    one.release()
    again = Watch(patience=1e9).take(folder)
    assert again.number == 2 and not one.beat() and one.lost.is_set()


def test_a_claim_without_beats_is_taken_over_after_patience_and_not_before(folder, monkeypatch):
    foreign(folder, monkeypatch)
    now = [100.0]
    monkeypatch.setattr(lease.time, "monotonic", lambda: now[0])
    held, watch = Watch().take(folder), Watch(patience=60.0)
    assert watch.take(folder) is None  # seen for the first time
    now[0] += 59
    assert held.beat() and watch.take(folder) is None  # it beats
    now[0] += 59
    assert watch.take(folder) is None
    now[0] += 2
    taken = watch.take(folder)
    assert taken is not None and taken.number == 2
    assert not held.beat() and held.lost.is_set() and taken.beat()


def test_clocks_that_disagree_do_not_matter(folder, monkeypatch):
    """Times of files and of the wall are not looked at: an hour behind, an hour ahead."""
    foreign(folder, monkeypatch)
    held = Watch().take(folder)
    for skew in (-3600, 3600):
        stamp = time.time() + skew
        for path in folder.iterdir():
            os.utime(path, (stamp, stamp))
        assert held.beat() and Watch(patience=30.0).take(folder) is None


def test_a_process_of_this_machine_that_is_gone_is_not_waited_for(folder):
    process = multiprocessing.get_context("spawn").Process(target=_take, args=(folder,))
    process.start()
    process.join()
    assert json.loads((folder / "lease.1.json").read_text())["pid"] == process.pid
    assert Watch(patience=1e9).take(folder).number == 2


def _take(folder):
    Watch().take(folder)


def test_a_number_that_came_again_is_another_process(folder):
    files.write_json(folder / "lease.1.json", lease._me() | {"began": "1"})
    assert Watch(patience=1e9).take(folder).number == 2


def test_of_many_who_want_a_job_one_has_it(tmp_path):
    """Eight processes and twenty jobs: every job is had by one of them."""
    folders = [tmp_path / str(i) for i in range(20)]
    for path in folders:
        path.mkdir()
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.map(_all, [folders] * 8)
        had = [sum(column) for column in zip(*found, strict=True)]
    assert had == [1] * 20


def _all(folders):
    return [Watch(patience=1e9).take(folder) is not None for folder in folders]


def test_a_claim_that_was_torn_or_damaged_is_waited_for(folder):
    (folder / "lease.3.json").write_text("{")
    (folder / "beat.3.json").write_text("null")
    watch = Watch(patience=0.05)
    assert watch.take(folder) is None
    time.sleep(0.06)
    assert watch.take(folder).number == 4


def test_beats_go_on_in_a_thread_and_end(folder):
    held = Watch().take(folder)
    held.keep(every=0.01)
    time.sleep(1.0)
    assert json.loads((folder / "beat.1.json").read_text())["beats"] > 3
    held.release()
    assert Watch(patience=1e9).take(folder).number == 2
