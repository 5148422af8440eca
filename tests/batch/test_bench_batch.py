"""The bench of libraries: what it is asked, what it measures of a disk, jobs that only wait, pools that stay."""

import importlib.util
import json

import pytest

from dream3d.batch.failures import Policy
from dream3d.batch.library import Library
from dream3d.batch.manifest import Row
from dream3d.batch.plan import Asked, plan
from dream3d.bench import batch, batch_disk, batch_ray
from dream3d.bench.batch_pool import Held
from dream3d.errors import Mistake


def test_every_dealing_with_the_disk_takes_some_time(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_disk, "ROWS", 12)
    alone, crowd = batch_disk.measured(tmp_path, count=12, at_once=4)
    for name, value in vars(alone).items():
        assert 0 <= getattr(crowd, name) <= value < 60 and (value > 0 or name == "append"), name
    assert len(Library(tmp_path / "alone").catalogue()) == 12


def test_what_a_thread_raises_is_told(tmp_path):
    with pytest.raises(ZeroDivisionError):
        batch_disk._over(lambda job: 1 / job, [1, 2, 0, 3], 2)


def test_the_world_is_written_down(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(batch_disk, "ROWS", 100)
    words = ["--parts", "world", "--disk", str(tmp_path / "d"), "--out", str(tmp_path / "x.json"), "--jobs", "60", "--workers", "6"]
    assert batch.main(words) == 0
    found = json.loads((tmp_path / "x.json").read_text())["world"]
    assert len(found["worlds"]) == 9 and {row["seconds"] for row in found["worlds"]} == {3.0, 30.0, 300.0}
    assert any(row["hours"] for row in found["worlds"]) and "beat" in capsys.readouterr().out and not any((tmp_path / "d").iterdir())


def test_parts_that_there_are_not(tmp_path):
    with pytest.raises(Mistake, match="no part"):
        batch.main(["--parts", "overhead,wrold"])


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_it_says_what_to_install(tmp_path):
    assert "dream3d[ray]" in batch_ray.efficiency(tmp_path)["missing"]


class One:
    """A pool of one place whose worker waits."""

    name, together = "one", 1

    def __init__(self, library, fails=False):
        self.worker, self.at, self.ended, self.fails = batch_ray.Waiter(str(library.path), Policy(), 60.0, "one"), None, [], fails

    def free(self):
        return [] if self.at else [0]

    def give(self, place, job):
        self.at = job

    def heard(self, seconds):
        job, self.at = self.at, None
        if job is None:
            return []
        if self.fails:
            return [(job, {"id": job.id, "state": "failed", "failure": "error", "reason": "it broke"})]
        return [(job, record) for record in self.worker.work(job)]

    def prepare(self, jobs, stopping, tell): ...

    def kill(self, job): ...

    def stop(self):
        self.ended.append("stop")

    def close(self, seconds=60.0):
        self.ended.append("close")


def test_a_pool_stays_for_the_next_part(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_ray, "SECONDS", 0.0)
    library = Library(tmp_path / "library")
    library.begin(plan([Row(i + 2, "a red car", seed=i) for i in range(4)], Asked(), tmp_path))
    jobs, pool = library.jobs(), One(library)
    held = Held(pool)
    assert len(held.make(library, jobs[:1])) == 1 and len(held.make(library, jobs[1:])) == 3 and pool.ended == []
    held.end()
    assert pool.ended == ["stop", "close"] and len(library.catalogue()) == 4
    library.again(jobs[0], done=True)
    with pytest.raises(Mistake, match="it broke"):
        Held(One(library, fails=True)).make(library, jobs[:1])


NOTHING = ["--pairs 0", "--rounds -1", "--most 0", "--jobs 0", "--workers 0", "--lost 1", "--lost nan", "--disk FILE/x"]


@pytest.mark.parametrize("words", NOTHING)
def test_what_would_measure_nothing_or_never_end_is_refused(tmp_path, words):
    (tmp_path / "FILE").write_text("in the way")
    with pytest.raises(Mistake):
        batch.main(["--parts", "world", *words.replace("FILE", str(tmp_path / "FILE")).split()])
