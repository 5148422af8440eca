"""The prior that ships, trained on the toybox: it opens by its name, within its limits, and makes what it is asked for."""

import json

import pytest
import torch

from dream3d import build, catalogue
from dream3d.bench import judge
from dream3d.toybox.training import data, goals, measure

FOLDER = build.place("assets") / "toybox-32"


@pytest.fixture(scope="module")
def prior():
    return build.make("priors", {"type": "toybox"})


def test_it_is_the_default_of_its_kind_and_small(prior):
    assert catalogue.weights("toybox") == "toybox-32" and prior.spec.size == 32 and prior.spec.space == "pixel"
    sizes = [path.stat().st_size for folder in FOLDER.parent.glob("toybox*") for path in folder.rglob("*.safetensors")]
    assert len(sizes) >= 2 and max(sizes) <= 16e6 and sum(sizes) <= 24e6  # of all trained priors that ship


def test_it_hears_no_motion_of_which_it_was_told_nothing(prior):
    one, other = prior.text(["a red car driving, side view"]), prior.text(["a red car, side view"])
    assert torch.equal(one.tokens, other.tokens) and torch.equal(one.mask, other.mask)


def test_its_card_says_how_it_was_made_and_what_it_reaches():
    card = json.loads((FOLDER / "card.json").read_text(encoding="utf-8"))
    assert {"data", "steps", "hardware", "metrics", "licence", "command", "held_out"} <= set(card)
    assert goals.reached("toybox-32", card["metrics"]) and card["goals"] == goals.goals("toybox-32", card["metrics"])
    assert card["base"]["pictures"] > 0 and "--base" in card["command"]


def test_the_judge_names_what_it_makes(prior):
    """Sixteen cases with a seed of their own. Chance of fewer than 10 right at the card's 90 % each: 1e-4; a network that makes one object
    of one colour has 2."""
    colours = data.CORE_COLOURS + data.CORE_COLOURS[3:] + data.CORE_COLOURS[:3]
    asked = [(name, colour, "side") for name, colour in zip(2 * data.CORE_OBJECTS, colours, strict=True)]
    made = measure.judged(measure.draw(prior, [measure.prompt(case) for case in asked], seed=7), asked, judge.load())
    assert made.object.sum() >= 10 and made.colour.sum() >= 10 and torch.isfinite(made.features).all()
