"""The bench of edits: true renders pass and what is no edit fails; it plans before it works and goes on where it was stopped."""

import dataclasses
import json

import pytest
import torch

from dream3d import cli
from dream3d.bench import edits, quality
from dream3d.bench.judge import load
from dream3d.bench.rings import of_soup, shoot
from dream3d.errors import Mistake
from dream3d.toybox.language import parse
from dream3d.toybox.world import build, instance_seed

FAST = ["steps=5", "renderer.count=40", "prior.size=16", "prior.renders=8", "prior.others=16", "prior.instances=1",
        "keep.preview=0", "export.frames=2", "export.size=32"]  # fmt: skip


@pytest.fixture(scope="module")
def judge():
    return load()


def true(prompt: str, instance: int = 0):
    return shoot(of_soup(build(parse(prompt), instance_seed("test", instance))))


@pytest.mark.parametrize("before, after", [edits.EDITS[0], edits.EDITS[3], edits.EDITS[-1]])
def test_a_true_edit_passes_and_the_unedited_thing_does_not(before, after, judge):
    """The same instance in its new look: the same silhouette."""
    was, now = true(before), true(after)
    found = edits.scored(now, was, after, before, judge)
    assert found["score"]["iou"] == 1 and found["score"]["was"] >= 0.9 > 0.5 > found["score"]["control"]
    assert found["verdict"] == {"looks": True, "stays": True, "edited": True, "proves": True}
    undone = edits.scored(was, was, after, before, judge)
    assert undone["verdict"] == {"looks": False, "stays": True, "edited": False, "proves": True}


def test_another_shape_in_the_right_colour_is_no_edit(judge):
    """Another instance is recognised, turned by a quarter it is as well; neither kept the silhouette. Nor does another object."""
    was, other = true("a blue car"), true("a red car", 3)
    index = torch.arange(24).roll(6)
    turned = dataclasses.replace(true("a red car"), render=true("a red car").render.at(index))
    for now in (other, turned):
        found = edits.scored(now, was, "a red car", "a blue car", judge)
        assert found["score"]["right"] >= 0.9 and found["score"]["iou"] < 0.85
        assert found["verdict"]["looks"] and not found["verdict"]["edited"]
    assert edits.shown(true("a red ball"), "a red car", judge) == 0


def test_a_control_that_passes_proves_nothing_and_is_no_success(judge):
    red = true("a red car")
    found = edits.scored(red, red, "a red car", "a red car", judge)
    assert found["verdict"] == {"looks": True, "stays": True, "edited": False, "proves": False}


def test_an_edit_of_what_never_was_what_it_should_be_proves_nothing():
    found = edits.verdict({"right": 1.0, "iou": 0.9, "control": 0.0, "was": 0.5})
    assert found == {"looks": True, "stays": True, "edited": False, "proves": False}


def test_iou_of_known_masks():
    one, other = (dataclasses.replace(true("a red ball"), render=_masked(rows)) for rows in (slice(0, 4), slice(2, 6)))
    assert edits.iou(one, other) == pytest.approx(2 / 6, abs=1e-4) and edits.iou(one, one) == 1
    nothing = dataclasses.replace(one, render=_masked(slice(0, 0)))
    assert edits.iou(one, nothing) == edits.iou(nothing, nothing) == 0


def _masked(rows: slice):
    from dream3d.types import Render

    alpha = torch.zeros(24, 8, 8, 1)
    alpha[:, rows] = 1.0
    return Render(torch.zeros(24, 8, 8, 3), alpha, torch.zeros(24, 8, 8, 1))


def test_the_list_is_ten_edits_that_can_be_judged():
    assert len(set(edits.EDITS)) == 10 == len({after for _, after in edits.EDITS})
    for before, after in edits.EDITS:
        edits.alike(before, after)


def test_failed_runs_count_against_a_method():
    score = {"right": 1.0, "control": 0.0, "was": 1.0, "iou": 0.9}
    done = {"method": "dds", "before": "a", "prompt": "b", "state": "done", "score": score, "verdict": edits.verdict(score)}
    failed = {"method": "dds", "before": "a", "prompt": "c", "state": "failed", "reason": "it diverged"}
    found = edits.summary([done, failed, {**done, "method": "sds"}])
    assert found["dds"] == {"of": 2, "failed": 1, "edited": 1, "looks": 1, "stays": 1, "iou": 0.9, "unedited": 0}
    text = edits.table([done, failed], found)
    assert "it diverged" in text and "dds: 1 of 2 edits succeeded" in text


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """The command in an empty folder; returns (exit code, what was generated)."""
    monkeypatch.chdir(tmp_path)
    made, generate = [], quality.generate

    def noted(job):
        made.append(job.name)
        generate(job)

    monkeypatch.setattr(quality, "generate", noted)

    def run(*words, lines="# one\n  a blue ball -> a red ball\n"):
        (tmp_path / "mine.txt").write_text(lines, encoding="utf-8")
        made.clear()
        return cli.main(["bench", "edits", "--edits", "mine.txt", "--out", "e", *words, *FAST]), list(made)

    return run


def test_the_command_makes_scores_and_does_so_once(bench, tmp_path, capsys):
    names = ["dds-a-blue-ball-to-a-red-ball-s0", "sds-a-blue-ball-to-a-red-ball-s0"]
    assert bench() == (0, names)
    found = json.loads((tmp_path / "e" / "edits.json").read_text())
    assert list(found["methods"]) == ["dds", "sds"] and [row["name"] for row in found["edits"]] == names
    dds, sds = (row["score"] for row in found["edits"])
    assert dds["was"] == sds["was"] and dds["control"] == sds["control"]  # both found the same scene
    assert "dds: a blue ball -> a red ball: right" in capsys.readouterr().out
    score = tmp_path / "e" / "scores" / f"{names[0]}.json"
    before = score.read_bytes()
    assert bench() == (0, [])
    score.unlink()
    assert bench()[0] == 0 and score.read_bytes() == before


def test_what_failed_is_told_and_tried_again(bench, tmp_path, monkeypatch, capsys):
    working = quality.generate

    def fail(job):
        raise Mistake("the run diverged", code=5)

    monkeypatch.setattr(quality, "generate", fail)
    assert bench("--method", "dds")[0] == 6 and "failed: the run diverged" in capsys.readouterr().out
    monkeypatch.setattr(quality, "generate", working)
    assert bench("--method", "dds")[0] == 0


@pytest.mark.parametrize(
    "words, lines, expected",
    [
        ([], "a blue ball, a red ball", "mine.txt:1"),
        ([], "a blue ball -> a red ball\na blue ball -> a red cube", "mine.txt:2"),
        ([], "a blue ball -> a ball", "nothing to change"),
        ([], "a blue ball -> a red zebra", "zebra"),
        ([], "a blue zebra -> a red zebra", "zebra"),
        ([], "a blue ball ->", "no edit"),
        ([], "", "no prompt"),
        (["seed=3"], "a blue ball -> a red ball", "set by the bench"),
        (["--method", "ddss"], "a blue ball -> a red ball", "dds"),
        (["stages.1.guidance.scael=3"], "a blue ball -> a red ball", "scale"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(bench, tmp_path, capsys, words, lines, expected):
    assert bench(*words, lines=lines) == (2, []) and not (tmp_path / "e").exists()
    told = capsys.readouterr().err
    assert expected in told and len(told.splitlines()) <= 5
