"""What a training's loss is, what its captions say, and whether its numbers are what they are called."""

import dataclasses
import math
from collections import Counter

import pytest
import torch

from dream3d.cameras import view_index
from dream3d.interfaces import Prior, Spec
from dream3d.toybox import world
from dream3d.toybox.language import COLOURS, OBJECTS, Thing, Wish, captions, parse
from dream3d.toybox.render import render
from dream3d.toybox.shapes import Dice
from dream3d.toybox.training import check, data, latent, measure, network
from dream3d.types import Embedding

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install dream3d[diffusion]")

# --- loss -------------------------------------------------------------------------------------------------------------------------------


class Said(network.Learner):
    """Answers what it is given as a function of z and the level; notes the levels."""

    def __init__(self, answer, group=1):
        super().__init__()
        self.answer, self.group, self.scheduler, self.levels = answer, group, network.scheduler(), []

    def target(self, rows):
        return rows["x"]

    def forward(self, z, index, rows):
        self.levels.append(index)
        keep = self.scheduler.alphas_cumprod[index].double()[:, None, None, None]
        return self.answer(z.double(), keep, rows["x"].double()).float()

    publish = None


def loss_of(answer, value=0.6, count=2000, group=1):
    model = Said(answer, group)
    return network.loss(model, {"x": torch.full((count, 3, 4, 4), value)}, torch.Generator().manual_seed(0)).item(), model


def test_the_loss_is_that_of_v_weighted_by_min_snr():
    """Closed forms of E |v - answer|^2 at x = 0.6: of the answer 0, of one that means eps = 0, and of the truth."""
    keep = network.scheduler().alphas_cumprod.double()
    snr = keep / (1 - keep)
    weight = torch.clip(snr, 0.25, 5.0) / (snr + 1)
    nothing, _ = loss_of(lambda z, keep, x: torch.zeros_like(z))
    assert nothing == pytest.approx((weight * (keep + (1 - keep) * 0.36)).mean().item(), rel=0.01)
    clean, _ = loss_of(lambda z, keep, x: -(1 - keep).sqrt() * z / keep.sqrt().clamp(min=0.1), count=20000)
    wrong = keep.sqrt().clamp(min=0.1)
    error = (keep.sqrt() + (1 - keep) / wrong).square() + (1 - keep) * 0.36 * (keep.sqrt() / wrong - 1).square()
    assert clean == pytest.approx((weight * error).mean().item(), rel=0.01)
    right, _ = loss_of(lambda z, keep, x: keep.sqrt() * (z - keep.sqrt() * x) / (1 - keep).sqrt() - (1 - keep).sqrt() * x)
    assert right < 1e-6


def test_levels_are_stratified_and_shared_by_a_group():
    _, model = loss_of(lambda z, keep, x: z, count=1000)
    assert sorted(model.levels[0].tolist()) == list(range(1000))
    _, model = loss_of(lambda z, keep, x: z, count=40, group=8)
    assert torch.equal(model.levels[0].unflatten(0, (5, 8)).unique(dim=1)[:, 0] // 200, torch.arange(5))


def test_the_last_level_is_pure_noise_and_the_others_what_is_written():
    keep = network.scheduler().alphas_cumprod
    assert keep[-1] == 0 == latent.scheduler().alphas_cumprod[-1]
    assert [round(keep[i].sqrt().item(), 2) for i in (500, 800)] == [0.49, 0.13]


def test_even_views_are_one_word_after_the_other_and_the_rest_is_an_orbits():
    order = data.Order(4000, 4, 16, 0, data.Mix(even=1.0))
    cameras = data.orbit(order, torch.Generator().manual_seed(0))
    assert torch.equal(view_index(cameras), torch.arange(4000) % 4)
    assert torch.equal(cameras.subject, torch.arange(4000) // 4)
    low, high = (torch.rad2deg(f(cameras.elevation)).item() for f in (torch.min, torch.max))
    assert -10 <= low < -9 and 74 < high <= 75 + 1e-3
    some = (dataclasses.replace(order, mix=data.Mix(even=share)) for share in (0.0, 0.5))
    shares = [view_index(data.orbit(one, torch.Generator().manual_seed(0))).bincount() / 4000 for one in some]
    assert shares[0][3] == pytest.approx(0.088, abs=0.02) and shares[1][3] == pytest.approx(0.169, abs=0.02)  # 0.02: over 3 deviations


# --- captions ---------------------------------------------------------------------------------------------------------------------------


def test_every_side_is_called_by_its_word_up_to_its_border(monkeypatch):
    """Azimuths and elevations beside every border; the word of each row, however rows are shuffled. A caption's view is what the world
    hears in it."""
    degrees = [(0, 0, "front"), (44.9, 30, "front"), (-44.9, 0, "front"), (45.1, 0, "side"), (-45.1, 0, "side"), (134.9, 59.9, "side"),
               (-134.9, 0, "side"), (135.1, 0, "back"), (-135.1, 0, "back"), (180, 10, "back"), (-180, 10, "back"), (314.9, 0, "side"),
               (315.1, 0, "front"), (0, 60.1, "overhead"), (100, 60.1, "overhead"), (180, 74, "overhead"), (0, 59.9, "front")]  # fmt: skip
    order = data.Order(len(degrees), 1, 16, 5, dataclasses.replace(data.Mix(), silent=0.0, viewless=0.0))
    azimuth, elevation = torch.deg2rad(torch.tensor([row[:2] for row in degrees])).T
    monkeypatch.setattr(data, "orbit", lambda order, rng: data.look_at(azimuth, elevation, size=16, subject=torch.arange(len(degrees))))
    kept = []
    monkeypatch.setattr(data, "shuffled", lambda rows, rng: kept.append(rows) or rows)
    said = data.pictures(order, 0, data.scenes(order, 0))["said"]
    assert [parse(text).view for text in said] == [word for *_, word in degrees]


def test_a_picture_keeps_its_own_caption_when_rows_are_shuffled():
    """The silhouette's mean colour is nearest to the colour that is named, but for a few in the shade."""
    mix = dataclasses.replace(data.Mix(), silent=0.0, pairs=0.0, plain=0.0, patterned=0.0, only_view=0.0, core=1.0)
    rows = data.pictures(order := data.Order(48, 4, 24, 5, mix), 0, data.scenes(order, 0))
    table, right = torch.tensor(list(COLOURS.values())), 0
    for x, text in zip(rows["x"], rows["said"], strict=True):
        thing = parse(text).things[0]
        picture = (x.flatten(1).T + 1) / 2
        near = torch.cdist(picture, table).argmin(1)[(picture - picture[0]).abs().amax(1) > 0.02]
        right += torch.bincount(near, minlength=len(COLOURS))[list(COLOURS).index(thing.colour)] >= 0.15 * len(near)
    assert right >= 40


def test_no_way_to_say_what_is_shown_joins_a_held_out_pair():
    """Every caption of thousands of wishes, heard by the world's own ears: what it means is what is shown, which is never held out."""
    dice, mix, pairs = Dice(3), data.Mix(pairs=0.5, plain=0.3, patterned=0.3, moving=0.1, core=0.7), Counter()
    for _ in range(1500):
        wish = data.random_wish(dice, mix)
        for text in captions(wish, "side"):
            heard = parse(text)
            assert (heard.things, heard.relation, heard.motion, heard.view) == (wish.things, wish.relation, wish.motion, "side"), text
        pairs.update((thing.name, thing.colour) for thing in wish.things)
    assert not set(pairs) & data.HELD_OUT and any(colour is None for _, colour in pairs)


# --- measures ---------------------------------------------------------------------------------------------------------------------------


class Mute(Prior):
    """Stands for a prior; what it draws is put in its place."""

    spec = Spec(32, 3)
    text = alpha_sigma = eps = student = None


def test_held_out_pairs_are_judged_apart_and_all_objects_are(monkeypatch):
    """True renders stand for samples, but what is held out is drawn as noise. A ball has no front: its name counts."""
    asked = []

    def drawn(prior, prompts, **more):
        asked.extend(parse(text) for text in prompts)
        cases = [(wish.things[0].name, wish.things[0].colour, wish.view) for wish in asked]
        held = torch.tensor([case[:2] in data.HELD_OUT for case in cases])
        return torch.where(held[:, None, None, None], torch.rand(len(cases), 3, 32, 32), measure.truth(cases, 32, 7000))

    monkeypatch.setattr(measure, "draw", drawn)
    told = measure.evaluate(Mute(), ("car", "ball"), ("red", "purple"))
    assert told["samples"] == len(asked) == (3 + measure.OFTEN) * 4 and told["objects"] == ["ball", "car"]
    assert told["seen"]["object"] > 80 and told["held_out"]["object"] < 30 and told["seen"]["view"] > 70
    ball = measure.judged(torch.rand(4, 3, 32, 32), measure.cases(("ball",), ("red",)), measure.judge.load())
    assert set(ball.shares(torch.ones(4) > 0)) == {"object", "colour"}


def test_true_renders_are_of_the_test_stream(monkeypatch):
    streams = []
    monkeypatch.setattr(measure, "instance_seed", lambda split, i: streams.append((split, i)) or world.instance_seed(split, i))
    measure.truth(measure.cases(("car",), ("red",)), 16, first=40)
    measure.true_doubles(measure.doubles(2), 16)
    assert streams == [("test", i) for i in (40, 41, 42, 43, 0, 1)]


def test_samples_are_of_25_steps_at_guidance_4(monkeypatch):
    calls = []

    class Told(Mute):
        table = torch.zeros(1)

        def text(self, prompts):
            return Embedding(torch.tensor([[[float(len(text))]] for text in prompts]))

    def sampled(prior, text, cameras, **more):
        calls.append((text, more))
        return torch.zeros(len(cameras), 8, 8, 3)

    monkeypatch.setattr(measure, "sample", sampled)
    measure.draw(Told(), ["a red car"] * 65)
    assert [(more["scale"], more["steps"]) for _, more in calls] == [(4.0, 25)] * 2 and calls[0][1]["seed"] != calls[1][1]["seed"]
    assert (calls[0][0]["empty"].tokens == 0).all() and (calls[0][0]["text"].tokens == len("a red car")).all()


def test_kid_has_no_bias_from_few_pictures():
    """The mean over many small sets of one law is nothing."""
    rng = torch.Generator().manual_seed(0)
    found = torch.tensor([measure.kid(*torch.randn(3, 24, 6, generator=rng)) for _ in range(400)])
    assert found.mean().abs() < 4 * found.std() / math.sqrt(400) < 0.1
    cases = 2 * torch.randn(24, 6, generator=rng)  # every set shows the same cases once, as samples and true renders do
    found = torch.tensor([measure.kid(*(cases + 0.3 * torch.randn(3, 24, 6, generator=rng))) for _ in range(200)])
    assert found.mean().abs() < 4 * found.std() / math.sqrt(200) < 0.05


def test_two_objects_are_named_right_in_true_renders_and_wrong_in_each_others_colours():
    wishes, by = measure.doubles(48), measure.judge.load()
    assert wishes == measure.doubles(48) and not {(t.name, t.colour) for w in wishes for t in w.things} & data.HELD_OUT
    pictures = measure.true_doubles(wishes, 64)
    right = measure.both(pictures, wishes, by)
    swapped = [dataclasses.replace(w, things=(Thing(w.things[0].name, w.things[1].colour), Thing(w.things[1].name, w.things[0].colour)))
               for w in wishes]  # fmt: skip
    assert right["objects"] > 65 and right["colours"] > 80 and right["next to"] > 75
    assert measure.both(pictures, swapped, by)["colours"] < 30 and measure.both(pictures.roll(2, 0), wishes, by)["both"] < 10


def test_four_views_that_the_judge_calls_one_thing_agree(monkeypatch):
    """With true renders in place of samples; one of eight groups has a view of something else. Green robots are held out."""
    asked = [(name, colour) for name in ("car", "robot") for colour in ("red", "blue", "green", "yellow")]

    class Views(Mute):
        spec = Spec(64, 3)

        def text(self, prompts):
            return Embedding(torch.zeros(len(prompts), 1, 1))

    def drawn(prior, told, cameras, **more):
        soups = [world.build(Wish((Thing(*pair),)), world.instance_seed("test", i)) for i, pair in enumerate(asked)]
        soups[0] = world.build(Wish((Thing("car", "red"),)), world.instance_seed("test", 99))
        subject = torch.arange(8).repeat_interleave(4)
        subject[5] = 7
        seen = render(soups, dataclasses.replace(cameras, subject=subject), buffers=("rgb",))
        return seen.rgb + 0.5 * (1 - seen.alpha)

    monkeypatch.setattr(check, "sample", drawn)
    told = check.together(Views(), ("car", "robot"), ("red", "blue", "green", "yellow"))
    seen, held = told["seen"], told["held_out"]
    assert (seen["groups"], held["groups"]) == (7, 1) and 70 <= seen["agree"] <= 86 and seen["object"] > 90 and seen["view"] > 70
    assert held == {"groups": 1, "agree": 100.0, "object": 100.0, "colour": 100.0, "view": pytest.approx(100, abs=26)}


def test_what_is_told_of_another_is_another():
    rows = {"x": torch.arange(3), "said": ["a", "b", "c"], "mask": torch.arange(3)}
    told = check.another(rows, ("said", "mask"))
    assert told["said"] == ["b", "c", "a"] and told["mask"].tolist() == [1, 2, 0] and told["x"].tolist() == [0, 1, 2]


def test_the_streams_of_instances_never_meet():
    seeds = {split: {world.instance_seed(split, i) for i in (*range(500), (1 << data.SEEDS) - 1)} for split in world.SPLITS}
    assert not seeds["prior"] & seeds["judge"] and not seeds["prior"] & seeds["test"] and not seeds["judge"] & seeds["test"]
    assert len(OBJECTS) == 32 and captions(Wish())[0] == ""
