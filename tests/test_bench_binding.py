"""The bench of two objects and their colours: what it plans, and that it tells what is right from what has changed places."""

import json
from pathlib import Path

import pytest

from dream3d.bench import binding
from dream3d.bench.binding import PROMPTS, parser, planned, scored, str_of, summary, swapped, table
from dream3d.errors import Mistake
from dream3d.toybox.language import parse


def plan(tmp_path: Path, *words: str):
    return planned(parser().parse_intermixed_args(["--out", str(tmp_path), *words]))


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(binding, "PROMPTS", PROMPTS[:2])


def test_twenty_prompts_of_two_objects_under_two_methods(tmp_path):
    assert len(set(PROMPTS)) == 20 and all(swapped(text) for text in PROMPTS)
    jobs = plan(tmp_path, "steps=10")
    assert len(jobs) == 4 and len({job.run for job in jobs}) == 4
    relations = [parse(text).relation for text in PROMPTS]
    assert 5 < relations.count("on") < 15 and all(len(set(map(str, parse(text).things))) == 2 for text in PROMPTS)
    composed, sds = jobs[:2]
    assert composed.prompt == sds.prompt and (composed.method, sds.method) == ("composed", "sds")
    a, b = composed.config.values, sds.config.values
    assert a["prior"] == b["prior"] and a["cameras"] == b["cameras"] and a["steps"] == b["steps"] == 10
    assert [thing["prompt"] for thing in a["renderer"]["layout"]["objects"]] == ["a red ball", "a blue cube"]
    assert b["guidance"]["type"] == "sds" and b["renderer"]["type"] == "gaussians" and b["renderer"]["halves"] is None and not b["stages"]


@pytest.mark.parametrize(("words", "problem"), [
    (["stages=[]"], "'stages' is set by the bench"), (["seed=3"], "'seed' is set by the bench"), (["--method", "vsd"], "vsd"),
    (["guidance.skale=3"], "unknown key"),
])  # fmt: skip
def test_what_cannot_be_planned_is_said(tmp_path, words, problem):
    with pytest.raises(Mistake, match=problem):
        plan(tmp_path, *words)


@pytest.mark.parametrize("prompt", ["a red car", "a red ball on a red cube", "a ball on a blue cube"])
def test_prompts_are_of_two_objects_in_two_colours(tmp_path, prompt):
    (tmp_path / "mine.txt").write_text(prompt + "\n")
    with pytest.raises(Mistake, match="two objects in two colours"):
        plan(tmp_path, "--method", "sds", "--prompts", str(tmp_path / "mine.txt"))


def test_true_scenes_are_bound_and_those_with_swapped_colours_are_not():
    from dream3d.bench import judge
    from dream3d.bench.rings import of_soup, shoot
    from dream3d.bench.truth import Truth

    looks = judge.load()
    prompt = PROMPTS[6]
    truth, other = Truth(prompt, 3), str_of(swapped(prompt))
    right, wrong = (shoot(of_soup(Truth(text, 1, "judge").soups[0])) for text in (prompt, other))
    good, bad = scored(right, truth, looks, right), scored(wrong, truth, looks)
    assert good["verdict"] == {"bound": True, "plainly": True, "tells": True} and good["score"]["true"] == good["score"]["right"] >= 0.9
    assert not bad["verdict"]["bound"] and bad["score"]["right"] < 0.3 and bad["score"]["swapped"] >= 0.9


@pytest.mark.parametrize(("right", "other", "true", "expected"), [
    (1.0, 1.0, 1.0, (False, False, False)), (0.5, 0.0, 0.5, (True, False, True)), (0.4, 0.0, 0.5, (False, False, True)),
    (0.4, 0.0, 0.4, (False, False, True)), (0.5, 0.5, 0.5, (False, False, False)), (0.95, 0.0, 1.0, (True, True, True)),
])  # fmt: skip
def test_a_scene_is_measured_by_a_true_one(right, other, true, expected):
    assert tuple(binding.verdict({"right": right, "swapped": other, "true": true}).values()) == expected


def test_the_table_counts_what_is_bound_and_what_failed(tmp_path, capsys):
    score = {"right": 1.0, "objects": 1.0, "colours": 1.0, "swapped": 0.0, "true": 1.0, "iou": 0.8}
    done = {"method": "composed", "prompt": "a", "state": "done", "score": score, "verdict": binding.verdict(score)}
    poor = {**done, "score": {**score, "right": 0.5}, "verdict": {"bound": False, "plainly": False, "tells": True}}
    failed = {"method": "sds", "prompt": "b", "state": "failed", "reason": "it diverged"}
    found = summary([done, poor, failed])
    assert found["composed"] | {"of": 2, "bound": 1, "right": 0.75} == found["composed"] and found["sds"]["right"] is None
    text = table([done, poor, failed], found)
    assert "0 pass with swapped colours; 2 true scenes pass; 0 failed" in text
    assert "composed: 1 of 2 prompts bound (wanted 80%), 1 plainly" in text and "sds: 0 of 1" in text and "failed: it diverged" in text
    assert binding.report(tmp_path, [done, poor, failed]) == 6
    assert json.loads((tmp_path / "binding.json").read_text())["methods"] == found and "composed" in capsys.readouterr().out
