"""What is said when Ray cannot begin, or cannot be joined; with a stand-in for Ray, and where it is installed, with Ray itself."""

import importlib.util
import types

import pytest

from dream3d.batch import cluster, failures
from dream3d.batch.drive import Pool
from dream3d.batch.manifest import Row
from dream3d.batch.plan import Asked, plan
from dream3d.errors import Mistake


class AuthenticationError(Exception): ...


def stand_in(error=None, cpus=4.0):
    """A module that notes how it was begun."""
    told = types.SimpleNamespace(begun=None, ended=False)

    def init(**how):
        told.begun = how
        if error is not None:
            raise error

    told.init, told.shutdown = init, lambda: setattr(told, "ended", True)
    told.cluster_resources, told.exceptions = lambda: {"CPU": cpus}, types.SimpleNamespace(RayError=AuthenticationError)
    told.remote = lambda **needs: lambda worker: worker
    return told


def begin(monkeypatch, ray, tmp_path, size=2, **how):
    monkeypatch.setitem(__import__("sys").modules, "ray", ray)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    return cluster.Cluster(tmp_path, size, failures.Policy(), 60.0, **how)


def test_one_that_is_begun_here_is_reached_by_nobody_else(monkeypatch, tmp_path):
    ray = stand_in()
    begin(monkeypatch, ray, tmp_path)
    assert ray.begun["include_dashboard"] is False and ray.begun["_node_ip_address"] == "127.0.0.1" and ray.begun["address"] is None
    begin(monkeypatch, ray, tmp_path, address="10.0.0.1:6379")
    assert ray.begun["address"] == "10.0.0.1:6379" and "include_dashboard" not in ray.begun


@pytest.mark.parametrize(
    ("error", "address", "problem", "fix"),
    [
        (ConnectionError("Could not find any running Ray instance.\nPlease start one"), "auto", "no Ray cluster", "ray start"),
        (TimeoutError("timed out"), "10.0.0.9:6379", "timed out", "ray start"),
        (ValueError("bad address"), "x", "bad address", "ray start"),
        (AuthenticationError("Token authentication is enabled but no token was found"), "auto", "no token", "RAY_AUTH_TOKEN"),
        (RuntimeError("the object store does not start"), None, "cannot begin", "--executor local"),
    ],
)
def test_what_is_wrong_with_it_is_one_problem_with_where_and_a_fix(monkeypatch, tmp_path, error, address, problem, fix):
    with pytest.raises(Mistake, match=problem) as told:
        begin(monkeypatch, stand_in(error), tmp_path, address=address)
    assert fix in told.value.fix and told.value.where in (f"--address {address}", "--executor ray") and len(told.value.lines) <= 5


def test_more_than_there_is_is_refused_and_the_cluster_left(monkeypatch, tmp_path):
    ray = stand_in(cpus=1.0)
    with pytest.raises(Mistake, match="more than the cluster has"):
        begin(monkeypatch, ray, tmp_path)
    assert ray.ended


class Died(AuthenticationError): ...


class Full(AuthenticationError): ...




def test_several_jobs_at_once_are_asked_for_and_answered_together(monkeypatch, tmp_path):
    """An actor that lives, one that dies, as Ray says it, and one that was too large: every job is heard of once, and killing one of an
    actor's jobs ends that actor."""
    ray, killed = stand_in(), []
    ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError = Died, Full
    ray.wait = lambda answers, timeout: (answers, [])
    ray.kill = killed.append

    def get(answer):
        place, asked = answer
        if place:
            raise Died("It died.\n\tpid: 3\n\tip: 1.2.3.4\nMaybe SIGKILL by OOM killer") if place == 1 else Full("low on memory")
        return [{"id": job.id, "state": "done"} for job in asked]

    def actor(*told):
        place = len(actors)
        actors.append(types.SimpleNamespace(work=types.SimpleNamespace(remote=lambda *asked: (place, asked))))
        return actors[-1]

    actors, jobs = [], plan([Row(i + 2, "a red car", seed=i) for i in range(7)], Asked(), tmp_path).jobs
    ray.get, ray.remote = get, lambda **needs: lambda worker: types.SimpleNamespace(remote=actor)
    pool = begin(monkeypatch, ray, tmp_path, size=3, together=3)
    assert isinstance(pool, Pool) and pool.together == 3
    pool.give(0, *jobs[:3])
    pool.give(1, *jobs[3:6])
    pool.give(2, jobs[6])
    assert pool.free() == []
    pool.kill(jobs[4])
    assert killed == [actors[1]]
    heard = pool.heard(0.0)
    assert [job for job, _ in heard] == jobs and [record["id"] for _, record in heard] == [job.id for job in jobs]
    assert [record["state"] for _, record in heard] == ["done"] * 3 + ["lost"] * 4 and heard[6][1]["reason"] == "low on memory"
    assert [record["failure"] for _, record in heard[3:]] == ["lost"] * 3 + ["memory"]
    assert heard[3][1]["reason"] == "It died. Maybe SIGKILL by OOM killer"
    assert pool.free() == [0, 1, 2] and pool.actors == [actors[0], None, None]


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='Ray is not installed: pip install "dream3d[ray]"')
def test_where_no_cluster_is_it_says_so(monkeypatch, tmp_path):
    with pytest.raises(Mistake, match="no Ray cluster"):
        cluster.Cluster(tmp_path, 1, failures.Policy(), 60.0, address="127.0.0.1:1")
