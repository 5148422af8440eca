"""Training by the call on a borrowed machine: what is begun goes home, is unpacked, and is gone on with elsewhere."""

import dataclasses
import functools
import json
import tarfile

import pytest
import torch

from dream3d.toybox import train, trip
from dream3d.toybox.training import check, kinds, store
from dream3d.toybox.training.presets import TIERS, Place, Tier

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install dream3d[diffusion]")

SMALL = {"size": 16, "width": 32}
TINY = {"toybox": Tier("tiny", 16, 4, heads=1, layers=1, width=32, readers=1, shown=("a red car",)),
        "toybox-latent": dataclasses.replace(TIERS["toybox-latent"], **SMALL, readers=1, coder=(8, 16), levels=(8, 16)),
        "toybox-inpaint": dataclasses.replace(TIERS["toybox-inpaint"], **SMALL)}  # fmt: skip
HERE = Place(steps=4, batch=2, views=2, chunk=2, rate=5e-3, keep=0.8)


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setenv("DREAM3D_OFFLINE", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(check, "STEPS", 2)
    places = {(name, "cpu"): dataclasses.replace(HERE, early=2 * (name == "toybox-latent")) for name in TINY}
    for module in (train, trip):
        monkeypatch.setattr(module, "TIERS", TINY)
        monkeypatch.setattr(module, "PLACES", places)
    monkeypatch.setattr(trip, "place", lambda name: tmp_path / name)
    monkeypatch.setattr(train.kinds, "finish", functools.partial(kinds.finish, brief=True))


def call(folder, *words, monkeypatch):
    monkeypatch.chdir(folder)
    code = trip.main([*words, "--preset", "cpu", "--out", "out"])
    return code, json.loads((folder / "out" / "report.json").read_text())["tiers"]


def test_what_is_begun_goes_home_and_on(tmp_path, monkeypatch):
    there, home = tmp_path / "there", tmp_path / "home"
    there.mkdir()
    run = train.Training.run
    with monkeypatch.context() as patch:
        patch.setattr(train.Training, "run", lambda self, until=None, minutes=0: run(self, 2))  # as if the time were up
        code, done = call(there, "toybox", "toybox-inpaint", monkeypatch=monkeypatch)
    assert code == 1 and done["toybox"]["step"] == 2 and not done["toybox"]["published"]
    assert done["toybox-inpaint"] == {"waits": "for toybox-latent"}
    for path in (there / "out").glob("*.tar"):
        with tarfile.open(path) as told:
            told.extractall(home, filter="data")
    assert [p.name for p in store.checkpoints(home / "train" / "toybox")] == ["step_000002"]
    code, done = call(home, "toybox", monkeypatch=monkeypatch)
    assert code == 0 and done["toybox"]["step"] == 4 and done["toybox"]["published"] and done["toybox"]["archives"] == ["toybox.tar"]
    with tarfile.open(home / "out" / "toybox.tar") as told:
        names = set(told.getnames())
    assert {"assets/toybox/card.json", "assets/toybox/transformer/diffusion_pytorch_model.safetensors", "train/toybox/metrics.json",
            "train/toybox/samples_000004.png", "train/toybox/log.jsonl"} - names <= {"train/toybox/log.jsonl"}  # fmt: skip
    code, done = call(home, "toybox", monkeypatch=monkeypatch)  # and nothing is done twice
    assert code == 0 and done == {"toybox": {"published": True}}


def test_a_call_has_an_end_and_a_failure_costs_no_other(tmp_path, monkeypatch):
    code, done = call(tmp_path, "toybox", "--limit", "10", monkeypatch=monkeypatch)
    assert code == 1 and done == {"toybox": {"waits": "for the next call"}} and not (tmp_path / "train").exists()
    train.Training(TINY["toybox"], HERE, tmp_path / "train" / "toybox", seed=5).run(1)
    code, done = call(tmp_path, "toybox", "toybox-latent", monkeypatch=monkeypatch)
    assert code == 5 and "began with seed 5" in done["toybox"]["failed"] and done["toybox-latent"]["published"]


def test_a_state_that_is_too_large_stays(tmp_path, monkeypatch, capsys):
    run = train.Training.run
    monkeypatch.setattr(trip, "TRAVELS", 1000)
    monkeypatch.setattr(train.Training, "run", lambda self, until=None, minutes=0: run(self, 1))
    _, done = call(tmp_path, "toybox", monkeypatch=monkeypatch)
    assert done["toybox"]["archives"] == ["toybox.tar"] and "too large to travel" in capsys.readouterr().out


def test_a_rehearsal_takes_every_kind_through_all_of_it(tmp_path, monkeypatch):
    code, done = call(tmp_path, "--rehearse", monkeypatch=monkeypatch)
    assert code == 0 and set(done) == set(TINY) and all(row["seconds"] > 0 for row in done.values())
    monkeypatch.setattr(check, "error", lambda *a: 1 / 0)
    code, done = call(tmp_path, "toybox", "toybox-latent", "--rehearse", monkeypatch=monkeypatch)
    assert code == 5 and "ZeroDivisionError" in done["toybox-latent"]["failed"] and "seconds" in done["toybox"]
    assert "comes first" in call(tmp_path, "toybox-inpaint", "--rehearse", monkeypatch=monkeypatch)[1]["toybox-inpaint"]["failed"]
    with pytest.raises(SystemExit):
        trip.main(["toybox-64", "--out", str(tmp_path)])
