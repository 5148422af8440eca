"""The measure of motion: right on true objects it has not seen, wrong on still and on slow ones; the bench goes on where it was stopped."""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F

from dream3d.bench import motion, motion_flow
from dream3d.bench.motion_flow import STILL, Motions, flow, track, true
from dream3d.errors import Mistake
from dream3d.toybox.language import MOTIONS, parse

PROMPT = "a red car driving"


# --- optical flow ---------------------------------------------------------------------------------------------------


def picture(found: torch.Tensor | None = None, side: int = 64) -> torch.Tensor:
    """A blob with waves in it, under an affine map about its middle (40, 30): what is at x goes to x + way + matrix (x - middle)."""
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    place = torch.stack([x, y]).flatten(1) - torch.tensor([[40.0], [30.0]])
    if found is not None:
        place = torch.linalg.solve(torch.eye(2) + found[2:].view(2, 2), place - found[:2, None])
    alpha = torch.sigmoid((16 - place.norm(dim=0)) / 2)
    colours = [0.5 + 0.5 * torch.sin(w * place[i] + i) for w, i in ((0.4, 0), (0.3, 1), (0.2, 0))]
    return torch.stack([*(alpha * c + 0.5 * (1 - alpha) for c in colours), alpha]).view(1, 4, side, side)


@pytest.mark.parametrize("known", [(3.0, -2.0, 0, 0, 0, 0), (0, 0, 0.15, 0, 0, 0.15), (1.0, 2.0, 0, -0.2, 0.2, 0), (0, 0, 0, 0.25, 0, 0),
                                   (-6.0, 4.0, 0.05, 0, 0, -0.05)], ids=str)  # fmt: skip
def test_flow_finds_an_affine_map(known):
    """Within a tenth of a pixel and a hundredth of a bend, for ways of many pixels too."""
    found = flow(picture(), picture(torch.tensor(known)))[0]
    assert (found[:2] - torch.tensor(known[:2])).abs().max() < 0.1 and (found[2:] - torch.tensor(known[2:])).abs().max() < 0.01


def test_nothing_moves_where_nothing_is_and_where_nothing_changes():
    blank = torch.zeros(1, 4, 32, 32)
    assert flow(blank, blank).abs().max() < 1e-6
    assert flow(picture(), picture()).abs().max() < 1e-6
    assert flow(F.pad(picture(), (2, 2)), blank.new_zeros(1, 4, 64, 68)).isfinite().all()


# --- against the truth ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known() -> Motions:
    return Motions(PROMPT, samples=2)


@pytest.mark.parametrize("name", MOTIONS)
def test_a_true_object_that_was_not_seen_is_recognised(known, name):
    reading = known.read(track(true(parse(PROMPT), name, "judge", 5)))
    assert reading.nearest == name and set(reading.distance) == {*MOTIONS, STILL}
    if name == "driving":
        assert reading.agreement > 0.95 and 0.8 < reading.amount < 1.2
        assert reading.distance["driving"] < 0.3 * min(v for k, v in reading.distance.items() if k != "driving")
    else:
        assert reading.amount < 0.5 or reading.agreement < 0.9


def test_what_stands_still_or_goes_too_little_is_not(known):
    """Negative controls: a still object; one that goes a third of the way; nothing at all; noise."""
    look, wish = true(parse(PROMPT), "driving", "judge", 5), parse(PROMPT)

    def slow(where):
        return look(dataclasses.replace(where, time=where.time / 3))

    def empty(where):
        return look(where).map(torch.zeros_like)

    def noise(where):
        seen, rng = true(wish, None, "judge", 5)(where), torch.Generator().manual_seed(0)
        return dataclasses.replace(seen, rgb=(seen.rgb + 0.05 * torch.randn(seen.rgb.shape, generator=rng)).clamp(0, 1))

    for control in (true(wish, None, "judge", 5), slow, empty, noise):
        reading = known.read(track(control))
        assert reading.nearest == STILL and not motion.verdict(PROMPT, reading)["recognised"]
    assert 0.25 < known.read(track(slow)).amount < 0.42
    backwards = known.read(-known.tracks["driving"][0])
    assert backwards.agreement < -0.9 and backwards.nearest != "driving"


# --- the bench ------------------------------------------------------------------------------------------------------


def test_every_motion_is_prompted_twice():
    assert sorted(parse(text).motion for text in motion.PROMPTS) == sorted(2 * [*MOTIONS]) and len(set(motion.PROMPTS)) == 10
    assert {parse(text).motion for text in motion.PROMPTS[:5]} == {*MOTIONS}


def test_runs_are_made_once_read_once_and_told(tmp_path, monkeypatch, capsys):
    made, moved = [], {"driving": 1.0, "bouncing": 9.0, "spinning": 8.0, "waving": 7.0, "growing": 6.0, STILL: 5.0}

    def make(job):
        made.append(job.prompt)
        if "bouncing" in job.prompt:
            raise Mistake("it diverged", code=5)

    monkeypatch.setattr("dream3d.bench.quality.generate", make)
    reading = motion_flow.Reading("driving", moved, 0.98, 0.9)
    monkeypatch.setattr(motion, "read", lambda job: {**motion.verdict(job.prompt, reading), "seconds": 60.0})
    words = ["--prompts", "3", "--out", str(tmp_path), "steps=20"]
    assert motion.main(words) == 6  # one has failed
    told = json.loads((tmp_path / "motion.json").read_text())
    assert [run["recognised"] for run in told["runs"]] == [True, False, False] and told["recognised"]["count"] == 1
    text = (tmp_path / "motion.md").read_text()
    assert "| a red car driving | 0 | driving | 0.98 | 0.90 |" in text and "failed: it diverged" in text and "**driving**" in text
    assert made == list(motion.PROMPTS[:3]) and "a blue car spinning (seed 0): seen as driving" in capsys.readouterr().out
    assert motion.main(words) == 6 and made == [*motion.PROMPTS[:3], motion.PROMPTS[1]]  # what failed is tried again, nothing else
    assert motion.main([*words[:-1], "steps=30"]) == 6 and len(made) == 7  # of other settings nothing is known


@pytest.mark.parametrize("words, says", [(["--prompts", "0"], "there are 10 prompts, not 0"), (["--prompts", "11"], "not 11"),
                                         (["--seeds", "0"], "no seeds"), (["seed=3"], "is set by the bench"),
                                         (["--config", "nothing"], "there is no configuration")])  # fmt: skip
def test_what_cannot_be_measured_is_refused_before_anything_is_made(words, says, tmp_path, monkeypatch):
    monkeypatch.setattr("dream3d.bench.quality.generate", lambda job: pytest.fail("something was made"))
    with pytest.raises(Mistake) as told:
        motion.main([*words, "--out", str(tmp_path)])
    assert says in "\n".join(told.value.lines)
