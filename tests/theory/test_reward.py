"""Rewards: the judge's score against what it says, its gradient against differences, what climbing it does, and a scorer plugged in."""

import dataclasses

import pytest
import torch
from dream3d.guidance._scorers import ToyJudge, ascent
from dream3d.guidance.reward import Reward

from dream3d import build
from dream3d.bench import judge
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.options import Words
from dream3d.priors.mixture import Mixture
from dream3d.prompt import Prompt
from dream3d.schedule import Ramp
from dream3d.term import Term
from dream3d.toybox import world
from dream3d.toybox.language import COLOURS, OBJECTS, PATTERNS, Thing, Wish
from dream3d.toybox.render import render as toy
from dream3d.types import Condition, Render, Step

DOUBLE = torch.float64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def close(a, b, atol=1e-9):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.fixture(scope="module")
def scorer():
    return ToyJudge()


@pytest.fixture(scope="module")
def car():
    """A true red car from three sides over grey, B 3 64 64."""
    drawn = toy([world.build(Wish((Thing("car", "red"),)), world.instance_seed("test", 1))], ring(3, start=30.0, size=64))
    return (drawn.rgb + 0.5 * (1 - drawn.alpha)).movedim(-1, 1)


def test_the_score_is_the_judges_log_probability(scorer, car):
    """Of the object, its colour and its pattern, from what `look` says; of two objects the sum; by the first words of every view."""
    said = judge.load().look(car)
    o, c, p = OBJECTS.index("car"), list(COLOURS).index("red"), 1 + PATTERNS.index("striped")
    duck = OBJECTS.index("duck")
    sums = {"a car": said.present[:, o].log(), "a red car": (said.present[:, o] * said.colour[:, o, c]).log(),
            "a striped red car, side view": (said.present[:, o] * said.colour[:, o, c] * said.pattern[:, o, p]).log(),
            "a red car next to a duck": (said.present[:, o] * said.colour[:, o, c] * said.present[:, duck]).log()}  # fmt: skip
    for text, expected in sums.items():
        close(scorer(car, (text,) * 3), expected, 1e-3)
    mixed = scorer(car, ("a car", "a red car", "a blue duck"))
    close(mixed[:2], torch.stack([sums["a car"][0], sums["a red car"][1]]), 1e-3)
    assert mixed[2] < mixed[1] - 3
    with pytest.raises(Mistake, match="knows no object"):
        scorer(car, ("something nice",) * 3)


def test_the_gradient_is_that_of_minus_the_score(kit, scorer, car):
    """Per view and never divided; against central differences along random directions, in double precision."""
    guidance = Reward(Mixture(), noise=Ramp(0.0))
    guidance.score.judge.double()
    x = car.to(DOUBLE)
    view = kit.view_of(Mixture(), x)
    view = dataclasses.replace(view, text=Condition(view.text.rows, words={"bare": ("a blue car",) * 3}))
    g = guidance.gradient(view, kit.step())
    for seed in range(3):
        d = draw(*x.shape, seed=seed)
        ahead, behind = (guidance.score(x + h * d, ("a blue car",) * 3) for h in (1e-5, -1e-5))
        torch.testing.assert_close((g * d).flatten(1).sum(1), (behind - ahead) / 2e-5, rtol=1e-3, atol=1e-4)
    assert not any(p.requires_grad or p.grad is not None for p in guidance.score.judge.parameters())
    one = guidance.gradient(view.at(torch.tensor([1])), kit.step())
    close(one, g[1:2])


def test_climbing_paints_the_colour_that_is_asked_for(kit, car):
    """Sixty steps on the picture alone: the judge is sure of a blue car that it had not seen, and red has become bluer where the car is."""
    guidance, x = Reward(Mixture(), noise=Ramp(0.02)), car[:1].clone()
    start = guidance.score(x, ("a blue car",)).item()
    for i in range(60):
        view = kit.view_of(Mixture(), x)
        view = dataclasses.replace(view, text=Condition(view.text.rows, words={"bare": ("a blue car",)}))
        g = guidance.gradient(view, kit.step(i, 60))
        x = (x - 0.02 * g / g.abs().mean().clamp(min=1e-8)).clamp(0, 1)
    assert start < -3 and guidance.score(x, ("a blue car",)).item() > -0.5
    assert (x - car[:1])[:, 2].mean() > (x - car[:1])[:, 0].mean()


def test_words_reach_the_scorer_as_the_prompt_says_them(toy_prior):
    """From the prompt to the score: bare words, or those with the view; chunks and roles bring their own."""
    heard, prior = [], toy_prior()
    for row in ("bare", "text"):
        guidance = Reward(prior, row=row)
        guidance.score = lambda image, words: heard.append(words) or image.flatten(1).sum(1)
        cameras = dataclasses.replace(ring(4, size=16), subject=torch.tensor([0, 1, 0, 1]))
        term = Term(guidance, Prompt(prior, ["a mug", "a duck"], "", Words()), chunk=2)
        leaves = Render(*(torch.rand(4, 16, 16, c) for c in (3, 1, 1))).cut()
        term.pull(leaves, cameras, Step.make(0, 10, 0))
        close(leaves.rgb.grad, -torch.ones(4, 16, 16, 3))
    assert heard == [("a mug", "a duck")] * 2 + [("a mug, front view", "a duck, side view"), ("a mug, back view", "a duck, side view")]


def test_a_scorer_of_your_own(tmp_path, monkeypatch, kit):
    """The hook: a plug-in of a few lines around `ascent`."""
    (tmp_path / "redness.py").write_text('''"""How red it is."""
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from dream3d.guidance._scorers import ascent
from dream3d.interfaces import Guidance


@dataclass(eq=False)
class Redness(Guidance):
    space: ClassVar[str] = "pixel"
    _: KW_ONLY
    share: float = 1.0

    def gradient(self, view, now):
        return -ascent(lambda image, words: self.share * image[:, 0].sum((1, 2)), view.x, view.text.words.get("bare", ()))
''')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(build, "plugins", {})
    build.add_plugin("redness")
    made = build.make("guidance", {"type": "redness", "share": 2.0}, Mixture())
    g = made.gradient(kit.view_of(Mixture(), draw(2, 3, 8, 8)), kit.step())
    assert (g[:, 0] == -2).all() and (g[:, 1:] == 0).all()
    assert (ascent(lambda image, words: image.sum((1, 2, 3)), draw(1, 3, 4, 4), ()) == 1).all()
