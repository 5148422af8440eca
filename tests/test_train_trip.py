"""Training by the call on a borrowed machine: what is begun goes home, is unpacked, and is gone on with elsewhere."""

import argparse
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


def unpacked(out, home):
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as told:
            told.extractall(home, filter="data")


def test_what_is_begun_goes_home_and_on(tmp_path, monkeypatch):
    there, home = tmp_path / "there", tmp_path / "home"
    there.mkdir()
    run = train.Training.run
    with monkeypatch.context() as patch:
        patch.setattr(train.Training, "run", lambda self, until=None, minutes=0: run(self, 2))  # as if the time were up
        code, done = call(there, "toybox", "toybox-inpaint", monkeypatch=monkeypatch)
    assert code == 1 and done["toybox"]["step"] == 2 and not done["toybox"]["published"]
    assert done["toybox-inpaint"] == {"waits": "for toybox-latent"}
    unpacked(there / "out", home)
    assert [p.name for p in store.checkpoints(home / "train" / "toybox")] == ["step_000002"]
    assert (home / "train" / "toybox" / "pipeline" / "model_index.json").exists()
    code, done = call(home, "toybox", monkeypatch=monkeypatch)
    assert code == 0 and done["toybox"]["step"] == 4 and done["toybox"]["published"]
    assert [p.name for p in (home / "out").glob("*.tar")] == ["home.00.tar"]
    with tarfile.open(home / "out" / "home.00.tar") as told:
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
    monkeypatch.setattr(trip, "ALL", 1 << 19)
    monkeypatch.setattr(train.Training, "run", lambda self, until=None, minutes=0: run(self, 1))
    call(tmp_path, "toybox", monkeypatch=monkeypatch)
    assert "no room for train/toybox/step_000001" in capsys.readouterr().out
    unpacked(tmp_path / "out", tmp_path / "home")
    assert [p.name for p in (tmp_path / "home" / "train" / "toybox").iterdir()] == ["pipeline"]


def test_a_call_that_is_cut_off_while_it_measures_brings_home_what_it_reached(tmp_path, monkeypatch):
    """And the next one measures it without training it again; its archives do not take the place of those before."""

    def cut(*args, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.kinds, "finish", cut)
        call(tmp_path, "toybox", monkeypatch=monkeypatch)
    unpacked(tmp_path / "out", tmp_path / "home")
    assert [p.name for p in store.checkpoints(tmp_path / "home" / "train" / "toybox")] == ["step_000004"]
    monkeypatch.setattr(train.Training, "_one", lambda self: 1 / 0)
    code, done = call(tmp_path, "toybox", monkeypatch=monkeypatch)
    assert code == 0 and done["toybox"]["published"]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["archives"] == ["home.01.tar"]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"report.json", "home.00.tar", "home.01.tar"}


def test_archives_are_few_and_small_enough(tmp_path, monkeypatch):
    """Whatever there is: the files of a state all travel or all stay, and priors come before states."""
    monkeypatch.setattr(trip, "MOST", 50 * 1024)
    monkeypatch.setattr(trip, "ALL", 250 * 1024)
    given = argparse.Namespace(work=tmp_path / "train", out=tmp_path, first=0)
    for name, kilobytes in (("a", 20), ("b", 40), ("c", 30), ("d", 5)):
        for place in ("pipeline", "step_000001"):
            (given.work / name / place).mkdir(parents=True)
            (given.work / name / place / "state.json").write_bytes(b"{}")
            for i in range(2):
                (given.work / name / place / f"{i}.safetensors").write_bytes(bytes(1024 * (kilobytes if place != "pipeline" else 10)))
    trip.packed(given, "abcd")
    archives = list(tmp_path.glob("home.*.tar"))
    assert 3 < len(archives) <= trip.ARCHIVES and all(path.stat().st_size <= 60 * 1024 for path in archives)
    unpacked(tmp_path, tmp_path / "home")
    every = {path.relative_to(tmp_path / "home").as_posix() for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert {f"train/{name}/pipeline/{i}.safetensors" for name in "abcd" for i in (0, 1)} <= every
    states = {name for name in "abcd" if f"train/{name}/step_000001/state.json" in every}
    assert states == {"a", "b", "d"} and all(f"train/{name}/step_000001/1.safetensors" in every for name in states)
    trip.packed(given, "d")
    assert len(list(tmp_path.glob("home.*.tar"))) == 1


def test_a_rehearsal_takes_every_kind_through_all_of_it(tmp_path, monkeypatch):
    code, done = call(tmp_path, "--rehearse", monkeypatch=monkeypatch)
    assert code == 0 and set(done) == set(TINY) and all(row["seconds"] > 0 for row in done.values())
    monkeypatch.setattr(check, "error", lambda *a: 1 / 0)
    code, done = call(tmp_path, "toybox", "toybox-latent", "--rehearse", monkeypatch=monkeypatch)
    assert code == 5 and "ZeroDivisionError" in done["toybox-latent"]["failed"] and "seconds" in done["toybox"]
    assert "comes first" in call(tmp_path, "toybox-inpaint", "--rehearse", monkeypatch=monkeypatch)[1]["toybox-inpaint"]["failed"]
    with pytest.raises(SystemExit):
        trip.main(["toybox-64", "--out", str(tmp_path)])
