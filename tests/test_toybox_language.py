"""What prompts mean, and what they must not do."""

import itertools
import subprocess
import sys
import time

import pytest

from dream3d.errors import Mistake
from dream3d.toybox.language import COLOURS, OBJECTS, PATTERNS, VIEW_WORDS, Thing, Wish, captions, parse

MEANINGS = {
    "a red car": Wish((Thing("car", "red"),)),
    "striped red ball": Wish((Thing("ball", "red", "striped"),)),
    "RED Striped balls!": Wish((Thing("ball", "red", "striped"),)),
    "a photo of an automobile, side view": Wish((Thing("car"),), view="side"),
    "a duck, rear view": Wish((Thing("duck"),), view="back"),
    "a 3D model of a house from above": Wish((Thing("house"),), view="overhead"),
    "a red ball on top of a polka dot blue cube": Wish((Thing("ball", "red"), Thing("cube", "blue", "dotted")), "on"),
    "a green cone next to a yellow mug, back view": Wish(
        (Thing("cone", "green"), Thing("mug", "yellow")), "next to", "back"
    ),
    "a cat and a bus": Wish((Thing("cat"), Thing("bus")), "next to"),
    "": Wish(),
    ", front view": Wish(view="front"),
    "a photo of": Wish(),
}


@pytest.mark.parametrize("prompt", MEANINGS)
def test_meaning(prompt):
    assert parse(prompt) == MEANINGS[prompt]


def test_captions_mean_what_they_were_made_from():
    for name, colour, pattern, view in itertools.product(
        OBJECTS, (None, "orange"), (None, *PATTERNS), (None, *VIEW_WORDS)
    ):
        wish = Wish((Thing(name, colour, pattern),), None, view)
        assert all(parse(caption) == wish for caption in captions(wish, view))
    for a, b, relation in itertools.product(OBJECTS, OBJECTS, ("on", "next to")):
        wish = Wish((Thing(a, "red", "striped"), Thing(b, "white")), relation)
        assert all(parse(caption) == wish for caption in captions(wish, None)[::5])
    assert captions(parse("red car"), "side")[0] == "a red car, side view"
    assert [parse(caption) for caption in captions(Wish(), "back")] == [Wish(view="back")]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a crimson car", ["'crimson'", "red"]),
        ("a red caar", ["'caar'", "car"]),
        ("a zebra on a spaceship made of glass", ["'zebra'", "'glass'", "unknown=ignore", "prior.type"]),
        ("a red", ["no object"]),
        ("a red blue ball", ["one colour"]),
        ("a striped dotted ball", ["one pattern"]),
        ("a car boat", ["one object"]),
        ("a ball on a cube on a table", ["two with a relation"]),
        ("a ball on", ["two with a relation"]),
        ("кот", ["'кот'"]),
    ],
)
def test_errors_teach(prompt, words):
    with pytest.raises(Mistake) as mistake:
        parse(prompt)
    assert all(word in str(mistake.value) for word in [*words, "fix"]), str(mistake.value)
    parse(prompt, unknown="ignore")


def test_ignoring_keeps_what_is_known():
    assert parse("a gleaming crimson zebra riding a blue car", unknown="ignore") == Wish((Thing("car", "blue"),))
    assert parse("ugly, blurry, low quality", unknown="ignore") == Wish()


@pytest.mark.parametrize("prompt", ["a red ball 🎈", "red\x00\x1bball\n", "  red   BALL  ", "red ball" + " a" * 1000])
def test_noise_is_harmless(prompt):
    assert parse(prompt) == Wish((Thing("ball", "red"),))


@pytest.mark.parametrize(
    "prompt", ["x" * 2000, "zq " * 700, "on " * 700, "from the " * 250, "a-" * 1000, "🎈" * 2000, "red " * 500]
)
def test_time_is_bounded(prompt):
    start = time.process_time()
    for unknown in ("stop", "ignore"):
        try:
            parse(prompt, unknown=unknown)
        except Mistake as mistake:
            assert len(str(mistake)) < 1000
    assert time.process_time() - start < 2


def test_words_are_read_before_torch():
    code = "import sys, dream3d.toybox.language; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_enough_words():
    assert len(OBJECTS) >= 24 and len(COLOURS) == 10 and len(PATTERNS) == 3
