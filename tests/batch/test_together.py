"""Several jobs as one batch: each is what it is alone, to the last bits of a network's larger batch, and none harms the others."""

import os
import signal

import pytest
import torch
from alike import last, made
from dream3d.systems.text_to_3d import TextTo3D
from safetensors.torch import load
from test_drive import Script

from dream3d.batch import drive, failures, local
from dream3d.batch.lease import Watch
from dream3d.batch.together import together
from dream3d.batch.work import work

NAMES = ("a red car", "a blue duck", "a green bus")
TOY = "prior={type: toybox}"
CLOSE = 1e-4  # of parameters after few steps, where a batch of another size sums in another order


def close(one, other):
    """Whether two checkpoints hold the same numbers but for their last bits."""
    a, b = load(one[1]), load(other[1])
    assert a.keys() == b.keys() and one[0] == other[0]
    return all(torch.allclose(a[key].double(), b[key].double(), rtol=0, atol=CLOSE) for key in a)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A library whose jobs were made one by one."""
    library = made(tmp_path_factory.mktemp("alone") / "library", NAMES, TOY, "steps=4")
    for job in library.jobs():
        assert work(library, job, Watch())["state"] == "done"
    return library


def counted(monkeypatch):
    """How many rows the network is asked for at a time."""
    from dream3d.priors.toybox import Toybox

    rows, real = [], Toybox.eps
    monkeypatch.setattr(Toybox, "eps", lambda prior, x, *rest: rows.append(len(x)) or real(prior, x, *rest))
    return rows


def test_jobs_together_are_the_jobs_alone_in_a_third_of_the_calls(tmp_path, alone, monkeypatch):
    library, told, rows = made(tmp_path / "library", NAMES, TOY, "steps=4"), [], counted(monkeypatch)
    records = together(library, library.jobs(), Watch(), tell=told.append)
    assert [(record["state"], record["together"]) for record in records] == [("done", 3)] * 3
    assert sorted(r["id"] for r in told) == sorted(r["id"] for r in records)
    assert rows == [6] * 5 + [3]  # guided steps, and the preview's two calls, each for all of them
    for job in library.jobs():
        assert close(last(library, job), last(alone, job))
        assert [row["evaluations"] for row in last(library, job)[2]] == [row["evaluations"] for row in last(alone, job)[2]]


def test_the_same_list_together_is_the_same_bytes(tmp_path):
    """With students that learn between the calls, each its own."""
    vsd = "guidance={type: vsd, scale: 7.5, rank: 2, lr: 0.01}"
    libraries = [made(tmp_path / name, NAMES[:2], TOY, vsd, "steps=3") for name in ("one", "two", "alone")]
    for library in libraries[:2]:
        together(library, library.jobs(), Watch())
    work(libraries[2], libraries[2].jobs()[1], Watch())
    for job in libraries[0].jobs():
        assert last(libraries[0], job) == last(libraries[1], job)
    job = libraries[0].jobs()[1]
    assert close(last(libraries[0], job), last(libraries[2], job))


def test_a_prior_that_remembers_stays_each_ones_own(tmp_path, monkeypatch):
    """Then nothing is shared, and jobs together are byte for byte jobs alone; they take turns all the same, so that nobody stands still."""
    exact = "prior={type: exact, size: 16, renders: 30, others: 40}"
    libraries = [made(tmp_path / name, NAMES[:2], exact, "steps=3") for name in ("one", "alone")]
    steps, real = [], TextTo3D.step
    with monkeypatch.context() as patch:
        patch.setattr(TextTo3D, "step", lambda system, i: steps.append((system.terms[0].text.strings[0], i)) or real(system, i))
        assert [record["together"] for record in together(libraries[0], libraries[0].jobs(), Watch())] == [1, 1]
    assert steps == [(name, i) for i in range(3) for name in NAMES[:2]]
    for job in libraries[1].jobs():
        work(libraries[1], job, Watch())
        assert last(libraries[0], job) == last(libraries[1], job)


def at(monkeypatch, prompt, number, act):
    """Call `act` when the run of a prompt is about to take a step."""
    real = TextTo3D.step

    def step(system, index):
        if index == number and system.terms[0].text.strings[0] == prompt:
            act()
        return real(system, index)

    monkeypatch.setattr(TextTo3D, "step", step)


def test_one_that_fails_takes_nobody_with_it(tmp_path, alone, monkeypatch):
    library = made(tmp_path / "library", NAMES, TOY, "steps=4")
    at(monkeypatch, NAMES[1], 2, lambda: 1 / 0)
    records = together(library, library.jobs(), Watch())
    assert [record["state"] for record in records] == ["done", "failed", "done"] and "ZeroDivision" in records[1]["reason"]
    for job in (library.jobs()[0], library.jobs()[2]):
        assert close(last(library, job), last(alone, job))


def test_one_that_lost_its_claim_leaves_alone(tmp_path, monkeypatch):
    library = made(tmp_path / "library", NAMES[:2], TOY, "steps=4")
    lost = []
    monkeypatch.setattr("dream3d.batch.lease.Lease.keep", lambda lease: lost.append(lease.lost))
    at(monkeypatch, NAMES[0], 1, lambda: lost[0].set())
    assert [record["state"] for record in together(library, library.jobs(), Watch())] == ["busy", "done"]
    assert library.done(library.jobs()[0]) is None


def test_a_signal_stops_all_of_them_saved(tmp_path, alone, monkeypatch):
    library = made(tmp_path / "library", NAMES, TOY, "steps=4")
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        at(patch, NAMES[0], 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert [record["state"] for record in together(library, library.jobs(), Watch())] == ["interrupted"] * 3
    assert signal.getsignal(signal.SIGTERM) is before
    assert {last(library, job)[0] for job in library.jobs()} <= {"step_0000001", "step_0000002"}
    assert [record["state"] for record in together(library, library.jobs(), Watch())] == ["done"] * 3
    for job in library.jobs():
        assert close(last(library, job), last(alone, job))


# --- who hands them out -------------------------------------------------------------------------------------------------------------------


def test_a_worker_process_makes_them_and_tells_of_each(tmp_path):
    library = made(tmp_path / "library", ["0", "1", "0 and 1"], "prior={type: mixture, size: 16}", "steps=2")
    pool, heard = local.Local(library.path, 1, failures.Policy(), 60.0, threads=1, together=2), []
    tally = drive.Drive(library, pool, failures.Policy(), tell=heard.append).go(library.jobs())
    assert len(tally.done) == 3 == len(heard) and tally.code == 0 and pool.workers == [None]
    assert sorted(record["id"] for record in library.catalogue()) == sorted(job.id for job in library.jobs())
    assert {record["tries"] for record in tally.done.values()} == {1}


def test_jobs_that_differ_in_prompt_and_seed_alone_are_given_together(tmp_path):
    library = made(tmp_path / "library", [*NAMES, "a cat", "a pink mug"], "prior.size=16")

    class Pool(Script):
        def __init__(self):
            super().__init__(library, {}, 1)
            self.together = 2

        def give(self, place, *jobs):
            self.given.append([job.prompt for job in jobs])

    library.open(library.jobs()[2])
    library.tried(library.jobs()[2], {"failure": "lost"})
    pool, todo = Pool(), drive.deque(library.jobs())
    made_by = drive.Drive(library, pool, failures.Policy())
    while todo:
        made_by._hand_out(todo)
    assert pool.given == [["a red car", "a blue duck"], ["a green bus"], ["a cat", "a pink mug"]]  # what failed before goes alone
