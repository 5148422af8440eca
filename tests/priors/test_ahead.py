"""A library's texts are embedded once, before its jobs: the same bits as without, from an encoder that is read once."""

import pytest
import torch
from safetensors.torch import save_file

from dream3d import assemble, build
from dream3d.batch import local, plan, texts
from dream3d.batch.library import Library
from dream3d.batch.manifest import Row
from dream3d.host import Loaded
from dream3d.priors._pipeline import Source
from dream3d.priors.stable_diffusion import StableDiffusion

from .conftest import stable_diffusion
from .test_texts import lora

NAMES = ("a red car", "a blue duck")


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return stable_diffusion(tmp_path_factory.mktemp("ahead") / "model")


@pytest.fixture
def library(sd, tmp_path):
    made = Library(tmp_path / "library")
    settings = {"type": "stable_diffusion", "model": str(sd)}
    rows = [Row(i, name, settings=(("prior", settings),)) for i, name in enumerate(NAMES, 2)]
    found = plan.plan(rows, plan.Asked("sds-gaussian", (0, 1)), tmp_path)
    assert not found.wrong, found.wrong[0][1]
    made.begin(found)
    return made


def read(monkeypatch):
    """How often which component is read."""
    names, real = [], Source._get
    monkeypatch.setattr(Source, "_get", lambda source, name: names.append(name) or real(source, name))
    return names


def rows(embedding):
    return [value for value in vars(embedding).values() if value is not None]


def test_what_a_text_becomes_does_not_depend_on_its_company(sd, monkeypatch, tmp_path):
    made, names = build.make("priors", {"type": "stable_diffusion", "model": str(sd)}), read(monkeypatch)
    both = made.text([*NAMES, NAMES[0]])
    assert names.count("text_encoder") == 1
    monkeypatch.setenv("DREAM3D_CACHE", str(tmp_path / "other"))
    for i, name in enumerate((*NAMES, NAMES[0])):
        for one, other in zip(rows(both.at(torch.tensor([i]))), rows(made.text([name])), strict=True):
            assert torch.equal(one, other)


def test_what_is_learnt_goes_into_a_held_encoder_once(sd, tmp_path, monkeypatch):
    encoder = build.make("priors", {"type": "stable_diffusion", "model": str(sd)}).source.get("text_encoder")
    lora(encoder, tmp_path / "lora.safetensors", 0)
    save_file({"<cat>": torch.randn(2, 16, generator=torch.Generator().manual_seed(0))}, tmp_path / "word.safetensors")
    told = {"type": "stable_diffusion", "model": str(sd), "lora": str(tmp_path / "lora.safetensors"),
            "inversion": str(tmp_path / "word.safetensors")}  # fmt: skip
    whole = build.make("priors", told).text(["a <cat>", "a red car", "a red <cat>"])
    for i, name in enumerate(("a <cat>", "a red car", "a red <cat>")):
        monkeypatch.setenv("DREAM3D_CACHE", str(tmp_path / f"cache{i}"))
        assert torch.equal(whole.at(torch.tensor([i])).tokens, build.make("priors", told).text([name]).tokens)


def test_texts_of_all_jobs_are_embedded_once_and_workers_need_no_encoder(library, monkeypatch, tmp_path):
    jobs, names = library.jobs(), read(monkeypatch)
    assert texts.embed(library, jobs) == 2 * 5 + 1  # both seeds say the same, and nothing is everybody's negative
    assert names.count("text_encoder") == 1 and len(list((library.path / "texts").glob("*.safetensors"))) == 11
    assert not (tmp_path / "cache").exists()
    stage = library.config(jobs[0]).stages[0]
    plain = Loaded().get(stage, "cpu").text(assemble.told(stage))
    loaded = Loaded(texts.texts(library.path)).get(stage, "cpu")
    monkeypatch.setattr(StableDiffusion, "_embed", lambda prior, prompts: pytest.fail("the encoder was asked"))
    for one, other in zip(rows(loaded.text(assemble.told(stage))), rows(plain), strict=True):
        assert torch.equal(one, other)
    assert texts.embed(library, jobs) == 11  # all there


def test_no_more_than_there_is_room_for(library, monkeypatch):
    assert texts.embed(library, library.jobs(), most=0) == 0
    monkeypatch.setattr(texts.disk, "state", lambda path: "full")
    assert texts.embed(library, library.jobs()) == 0


def test_who_is_told_ahead(library, tmp_path, monkeypatch):
    """Only models of full size; for others no process is begun."""
    small = Library(tmp_path / "small")
    rows = [Row(2, "a red car"), Row(3, "a cat", settings=(("prior", {"type": "toybox"}),))]
    small.begin(plan.plan(rows, plan.Asked("sds-plane"), tmp_path))
    assert len(small.jobs()) == 2 and not texts.wanted(small, small.jobs()) and texts.wanted(library, library.jobs())
    begun, said = [], []

    class Process:
        def __init__(self, target, args, daemon):
            begun.append((target, args[1]))

        def is_alive(self):
            return False

        start = terminate = join = lambda self: None

    monkeypatch.setattr(local.multiprocessing, "get_context", lambda how: type("Context", (), {"Process": Process}))
    for one in (small, library):
        local.Local(one.path, 1, local.Policy(), 60.0).prepare(one.jobs(), lambda: False, said.append)
    assert begun == [(local._embed, library.jobs())] and len(said) == 1
