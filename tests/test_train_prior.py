"""Trained priors: what a training is shown and says, that it goes on to the bit, and that what it writes opens as a prior."""

import dataclasses
import json
import os
import shutil
import signal
import textwrap
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file

from dream3d import assemble, build, config, models, vocabulary
from dream3d.errors import Mistake
from dream3d.toybox import train
from dream3d.toybox.language import COLOURS, OBJECTS, Wish, captions, parse
from dream3d.toybox.shapes import Dice
from dream3d.toybox.training import data, kinds, measure, network, store, words
from dream3d.toybox.training.presets import TIERS, Place, Tier
from dream3d.toybox.world import builder

TINY = Tier("tiny", 16, 4, heads=1, layers=1, width=32, readers=1, shown=("a red car",))
HERE = Place(steps=12, batch=8, views=2, chunk=3, rate=5e-3, keep=0.9)


@pytest.fixture(scope="module", autouse=True)
def offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DREAM3D_OFFLINE", "1")
        patch.setattr(train, "SAVE", 0.0)
        patch.setattr(train, "WARM", 3)
        yield


def training(folder, steps=None, until=None):
    made = train.Training(TINY, HERE, folder, seed=3, steps=steps)
    made.run(until)
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return training(tmp_path_factory.mktemp("train"))


# --- what it is shown ---------------------------------------------------------------------------------------------------------


def test_held_out_pairs_are_never_drawn_and_the_rest_is():
    dice, mix = Dice(0), data.Mix(patterned=0.5)
    drawn = Counter((thing.name, thing.colour) for _ in range(12000) for thing in data.random_wish(dice, mix).things)
    assert not data.HELD_OUT & set(drawn)
    every = {(name, colour) for name in OBJECTS for colour in (*COLOURS, None)}
    assert every - data.HELD_OUT == set(drawn)
    assert all(drawn[pair] > 30 for pair in data.core_pairs() if pair not in data.HELD_OUT)


def test_held_out_pairs_are_of_the_world_and_no_objects_own_colour():
    """An object without a named colour is not by nature what is held out; within what paint varies."""
    assert sum(pair in data.HELD_OUT for pair in data.core_pairs()) == 6
    for name, colour in data.HELD_OUT:
        away = [max(abs(a - b) for a, b in zip(tone, COLOURS[colour], strict=True)) for tone in builder(name)[1]]
        assert min(away) > 0.1, (name, colour)


def test_pictures_and_captions_are_those_of_the_chunk_and_mean_what_they_show():
    order = data.Order(count=48, views=4, size=16, seed=5, mix=data.Mix(silent=0.2, pairs=0.3))
    (x, said), (again, same), (other, _) = (data.Feed(order).chunk(i).values() for i in (2, 2, 3))
    assert x.shape == (48, 3, 16, 16) and x.min() >= -1 and x.max() <= 1
    assert torch.equal(x, again) and said == same and not torch.equal(x, other)
    wishes = [parse(text) for text in said]  # every caption is of the world's language
    assert "" in said and {wish.view for wish in wishes} >= {"front", "side", "back", None}
    corners = x[:, :, 0, 0]
    assert corners.std(0).min() > 0.2  # backgrounds differ


def test_a_pool_of_builders_changes_nothing():
    order = data.Order(count=8, views=4, size=16, seed=5)
    pooled = data.Feed(order, workers=1)
    try:
        pooled.chunk(0)
        for pid in pooled.pool._processes:  # as Ctrl-C in a terminal reaches every process
            os.kill(pid, signal.SIGINT)
        x, said = [pooled.chunk(i).values() for i in (1, 2, 9)][-1]
    finally:
        pooled.close()
    alone = data.Feed(order).chunk(9)
    assert torch.equal(x, alone["x"]) and said == alone["said"]


# --- words ----------------------------------------------------------------------------------------------------------------------


def test_every_word_of_every_caption_is_one_token():
    tokenizer = words.tokenizer()
    dice, longest = Dice(1), 0
    for _ in range(60):
        wish = data.random_wish(dice, data.Mix(pairs=0.5, patterned=0.8))
        for text in captions(dataclasses.replace(wish, motion="spinning"), "overhead"):
            told = tokenizer(text).input_ids
            assert len(told) == 2 + len(text.replace(",", " ,").replace("3d", "3 d").split()), text
            longest = max(longest, len(told))
    assert longest <= words.LENGTH
    assert len(tokenizer("crimson").input_ids) > 3  # spelled


# --- training -------------------------------------------------------------------------------------------------------------------


def test_a_training_that_was_interrupted_gives_the_same_weights(whole, tmp_path):
    """Stopped between two chunks, within one, and by force, so that a step is done twice."""
    training(tmp_path, until=3)
    assert training(tmp_path, until=8).step == 8
    shutil.rmtree(tmp_path / "step_000008")
    last = training(tmp_path)
    for name in ("model", "mean"):
        pairs = zip(getattr(whole, name).state_dict().values(), getattr(last, name).state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert last.step == 12 and (tmp_path / "samples_000012.png").exists()
    assert [path.name for path in store.checkpoints(tmp_path)] == ["step_000011", "step_000012"]


def test_it_stops_when_it_is_told_to_and_torn_checkpoints_are_none(tmp_path):
    made = train.Training(TINY, HERE, tmp_path, seed=3)
    made.run(minutes=0.0)
    assert made.step == 1
    made.step, made.stopped = 6, True
    made.run()
    assert made.step == 6
    (tmp_path / "step_000006" / "state.json").unlink()
    assert train.Training(TINY, HERE, tmp_path, seed=3).step == 1
    with pytest.raises(Mistake, match="began with seed 3"):
        train.Training(TINY, HERE, tmp_path, seed=4)


def test_it_learns(whole):
    """On pictures of another seed, the moving average is far better than the answer zero it began with."""
    rows = data.Feed(data.Order(64, 4, 16, seed=99)).chunk(0)
    first = network.Pixels(TINY)
    losses = [network.loss(m, rows, torch.Generator().manual_seed(0)).item() for m in (first, whole.model)]
    assert losses[1] < 0.95 * losses[0]


def test_files_are_small_enough(whole):
    tensors = {str(i): torch.zeros(1000) for i in range(10)}
    parts = store.shards(tensors, most=9000)
    assert [len(part) for part in parts] == [2, 2, 2, 2, 2] and [k for part in parts for k in part] == list(tensors)
    with torch.device("meta"):
        model = network.Pixels(TIERS["toybox"])
    assert sum(p.numel() for p in model.net.parameters()) <= 6e6


def test_the_learning_rate_may_be_told_another_end_until_it_falls():
    assert train.rate(0, 1000) == 1 / train.WARM and train.rate(500, 1000) == train.rate(500, 2000) == 1
    assert train.rate(999, 1000) < 0.005


# --- what it writes ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prior(whole):
    return build.make("priors", {"type": "toybox", "model": str(whole.out / "pipeline"), "precision": "float32"})


def test_the_folder_answers_as_the_training_does(whole, prior):
    """eps of the loaded prior against the network in memory, in half precision's rounding; texts as the world understands them."""
    rng = torch.Generator().manual_seed(0)
    z, t = torch.randn(3, 3, 16, 16, generator=rng), torch.tensor([0.1, 0.5, 0.9])
    said = ["a red car, side view", "", "a striped blue cat, back view"]
    alpha, sigma = (v[:, None, None, None] for v in prior.alpha_sigma(t))
    with torch.no_grad():
        v = whole.mean(z, (t * 1000).long(), {"said": said})
    torch.testing.assert_close(prior.eps(z, t, prior.text(said)), alpha * v + sigma * z, rtol=0, atol=3e-3)
    one, other = prior.text(["a photo of a blue, stripy kitten seen from behind"]), prior.text(said[2:])
    assert torch.equal(one.tokens, other.tokens)
    with pytest.raises(Mistake, match="does not know 'wolf'"):
        prior.text(["a wolf"])
    weights = load_file(whole.out / "pipeline" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}


def test_diffusers_own_pipeline_opens_it(whole, prior):
    """Its sampler with our pipeline folder, by the very lines of the README: pixels where others have latents."""
    diffusers = pytest.importorskip("diffusers")
    told = (whole.out / "pipeline" / "README.md").read_text()
    given = {"diffusers": diffusers, "torch": torch, "folder": whole.out / "pipeline"}
    exec(textwrap.dedent(told.partition("\n\n")[2]), given)
    assert given["x"].shape == (1, 3, 16, 16) and given["x"].isfinite().all() and given["x"].dtype == torch.float32
    assert words.LENGTH == 24  # as the README says


def test_a_student_learns_over_it(prior):
    z, t, text = torch.randn(2, 3, 16, 16), torch.tensor([0.4, 0.6]), prior.text(["a red car", "a duck"])
    student, before = prior.student(rank=2), prior.eps(z, t, text)
    torch.testing.assert_close(student.eps(z, t, text), before, rtol=0, atol=1e-6)
    optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], 1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        value = (student.eps(z, t, text) - z).square().mean()
        value.backward()
        optimizer.step()
    assert value < (before - z).square().mean() and torch.equal(prior.eps(z, t, text), before)


def test_an_ordinary_recipe_runs_with_it(whole):
    told = ["prior=toybox", f"prior.model={whole.out / 'pipeline'}", "prompt=a red car", "steps=4", "renderer.count=20"]
    system = assemble.stage(config.load("sds-gaussian", told).stages[0], 0, "cpu", 0, 0)
    assert system.step(0).scalars["gradient/rgb"] > 0
    with pytest.raises(Mistake, match="'wolf'"):
        vocabulary.check_vocabulary(config.load("sds-gaussian", [*told, "prompt=a wolf"]))


def test_models_that_ship_are_found_by_name(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(models.build, "place", lambda name: tmp_path)
    assert models.local("small") is None
    (whole.out / "pipeline").joinpath("model_index.json").exists()
    (tmp_path / "small").symlink_to(whole.out / "pipeline")
    assert models.local("small") == tmp_path / "small"


# --- measures ---------------------------------------------------------------------------------------------------------------------


def test_true_renders_are_named_right_and_noise_is_not():
    asked = measure.cases(data.CORE_OBJECTS[:3], ("red", "blue"))
    by = measure.judge.load()
    every = torch.ones(len(asked), dtype=torch.bool)
    right = measure.judged(measure.truth(asked, 32), asked, by).shares(every)
    wrong = measure.judged(torch.rand(len(asked), 3, 32, 32, generator=torch.Generator().manual_seed(0)), asked, by).shares(every)
    assert min(right["object"], right["colour"]) > 90 and right["view"] > 70 and wrong["object"] < 50


def test_kid_is_nothing_for_one_law_and_much_for_two():
    rng = torch.Generator().manual_seed(0)
    one, other, like = torch.randn(3, 500, 8, generator=rng)
    assert abs(measure.kid(one, other, like)) < 0.02 < 0.2 < measure.kid(one + 0.7, other, like)


def test_the_card_tells_how(whole, tmp_path, capsys, monkeypatch):
    from dream3d.toybox.training import card

    monkeypatch.setattr(card, "CORE_OBJECTS", ("car",))
    monkeypatch.setattr(card, "CORE_COLOURS", ("red", "purple"))
    card.finish(whole, "tiny", "cpu", tmp_path / "tiny")
    told = json.loads((tmp_path / "tiny" / "card.json").read_text())
    assert told["pictures"] == 96 and told["licence"] == "Apache-2.0" and "purple car" in told["held_out"]
    assert {"seen", "held_out", "true_renders", "kid_x1000"} <= set(told["metrics"]) and told["metrics"]["samples"] == 4 + 4 * measure.OFTEN
    assert build.make("priors", {"type": "toybox", "model": str(tmp_path / "tiny")}).spec.size == 16
    assert "kid" in capsys.readouterr().out


def test_a_training_may_begin_with_published_weights(whole, tmp_path):
    """Those at first; it goes on without being told of them again, but not from others; its card says where they came from."""
    from dream3d.toybox.training import card

    base = tmp_path / "base"
    card.publish(whole.mean, base)
    (base / "card.json").write_text(json.dumps(card.card(whole, "tiny", "cpu", {})))
    assert kinds.base_of(TIERS["toybox-32"], base) == base and kinds.base_of(TIERS["toybox-32"], None) is None
    made = train.Training(TINY, HERE, tmp_path / "on", seed=4, base=base)
    halves = zip(whole.mean.parameters(), made.model.parameters(), strict=True)
    assert made.step == 0 and all(torch.equal(a.half().float(), b) for a, b in halves)
    made.run(2)
    again = train.Training(TINY, HERE, tmp_path / "on", seed=4)
    assert again.step == 2 and again.base == made.base
    told = card.card(again, "tiny", "cpu", {})
    assert told["command"].endswith("--base FOLDER") and told["base"]["pictures"] == 96
    shutil.copytree(base, tmp_path / "other")
    card.publish(again.mean, tmp_path / "other")
    with pytest.raises(Mistake, match="another base"):
        train.Training(TINY, HERE, tmp_path / "on", seed=4, base=tmp_path / "other")
    wide = dataclasses.replace(TINY, width=64)
    with pytest.raises(Mistake, match="not this network's weights"):
        train.Training(wide, HERE, tmp_path / "wide", base=base)


def test_an_empty_wish_is_the_empty_prompt(prior):
    assert torch.equal(prior.text([""]).tokens, prior.text(["a photo of the"]).tokens)
    assert captions(Wish())[0] == ""
