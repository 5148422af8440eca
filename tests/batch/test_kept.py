"""What a worker keeps from job to job changes nothing: jobs after each other are what each is in a process of its own."""

import errno
import multiprocessing
import threading

import pytest
import torch
from alike import last, made
from safetensors import SafetensorError

from dream3d import build, host, interfaces
from dream3d.batch import plan
from dream3d.batch.lease import Watch
from dream3d.batch.library import Library
from dream3d.batch.manifest import Row
from dream3d.batch.work import work
from dream3d.host import Host, Loaded
from dream3d.priors import _texts
from dream3d.types import Embedding

VSD = "guidance={type: vsd, scale: 7.5, rank: 2, lr: 0.01}"


def _alone(path, place, threads):
    torch.set_num_threads(threads)
    library = Library(path)
    assert work(library, library.jobs()[place], Watch())["state"] == "done"


def counted(monkeypatch):
    """How often a prior is made."""
    found, real = [], build.make

    def make(catalogue, settings, *rest):
        found.extend([settings["type"]] if catalogue == "priors" else [])
        return real(catalogue, settings, *rest)

    monkeypatch.setattr(build, "make", make)
    return found


@pytest.mark.parametrize("prior", ["prior={type: toybox}", "prior={type: exact, size: 16, renders: 40, others: 60}"])
def test_jobs_after_each_other_are_those_of_fresh_processes(tmp_path, monkeypatch, prior):
    """With a student that learns, whose LoRA hangs in the shared network's copy; the second of two seeds is the same question again."""
    prompts = ["a red car"] if "exact" in prior else ["a red car", "a blue duck"]
    seeds = (0, 1) if "exact" in prior else (0,)
    libraries = [made(tmp_path / name, prompts, prior, VSD, "steps=3", seeds=seeds) for name in ("one", "fresh")]
    priors, own = counted(monkeypatch), Host()
    for job in libraries[0].jobs():
        assert work(libraries[0], job, Watch(), host=own)["state"] == "done"
    assert len(priors) == 1
    process = multiprocessing.get_context("spawn").Process(target=_alone, args=(tmp_path / "fresh", 1, torch.get_num_threads()))
    process.start()
    process.join()
    first, second = libraries[0].jobs()
    assert last(libraries[0], second) == last(libraries[1], second)
    assert last(libraries[0], first)[1] != last(libraries[0], second)[1]


def test_a_prior_that_was_asked_for_something_else_is_another(tmp_path, monkeypatch):
    library = made(tmp_path / "library", ["a red car", "a blue duck"], "steps=1")
    stages = [library.config(job).stages[0] for job in library.jobs()]
    exact = {"type": "exact", "size": 16, "renders": 20, "others": 20}
    priors, loaded = counted(monkeypatch), Loaded()
    red = loaded.get({**stages[0], "prior": exact}, "cpu")
    assert loaded.get({**stages[0], "prior": exact, "steps": 7}, "cpu") is red
    assert loaded.get({**stages[0], "prior": exact, "text": {**stages[0]["text"], "views": False}}, "cpu") is not red
    assert loaded.get({**stages[1], "prior": exact}, "cpu") is not red and len(priors) == 3
    toys = [loaded.get({**stage, "prior": {"type": "toybox"}}, "cpu") for stage in stages]
    assert toys[0] is toys[1] and len(priors) == 4
    assert loaded.get({**stages[0], "prior": {"type": "toybox", "precision": "float32"}}, "cpu") is not toys[0]


def test_only_one_is_in_memory_and_none_after_a_failure(tmp_path, monkeypatch):
    loaded, gone = Loaded(), []
    monkeypatch.setattr(host.build, "make", lambda *rest: Thing(gone))
    for type in ("toybox", "none"):
        loaded.get({"prior": {"type": type}, "prompt": "", "negative": "", "guidance": {"type": "sds"}, "text": {},
                    "renderer": {"type": "plane"}}, "cpu")  # fmt: skip
    assert len(gone) == 1
    loaded.clear()
    assert len(gone) == 2


class Thing:
    def __init__(self, gone):
        self.gone = gone

    def to(self, device):
        return self

    def modules(self):
        return []

    def __del__(self):
        self.gone.append(threading.get_ident())


def test_who_says_nothing_remembers():
    assert interfaces.Prior.remembers and host.remembers({"type": "exact"}) and not host.remembers({"type": "stable_diffusion"})


def test_jobs_of_the_same_prior_follow_each_other(tmp_path):
    small, large = (("prior.size", 16),), (("prior.size", 24),)
    rows = [Row(i, "a red car", settings=s) for i, s in enumerate([small, large, (*small, ("steps", 5)), large], 2)]
    found = plan.plan(rows, plan.Asked("sds-plane", (0, 1)), tmp_path)
    sizes = [found.configs[job.recipe].values["prior"]["size"] for job in found.jobs]
    assert sizes == [16] * 4 + [24] * 2


@pytest.mark.parametrize("wrong", ["the folder", "the disk"])
def test_texts_that_cannot_be_kept_are_told_all_the_same(tmp_path, monkeypatch, wrong):
    """A cache that cannot be written is a slow one: no job fails of it."""
    if wrong == "the folder":
        def save(values, path):
            raise SafetensorError("I/O error: Permission denied (os error 13)")

        monkeypatch.setattr(_texts, "save_file", save)
    else:
        def flush(path):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(_texts.files, "flush", flush)
    def embed(words):
        return Embedding(torch.full((1, 2, 4), float(ord(words[0]))), torch.ones(1, 2, dtype=torch.bool))

    told = _texts.Texts(tmp_path).embedded(["a", "b"], "x", embed)
    assert told.tokens[:, 0, 0].tolist() == [97.0, 98.0] and not list(tmp_path.glob("*.safetensors"))
