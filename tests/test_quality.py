"""The quality bench: plans before it works, goes on where it was stopped, counts what failed, writes a page that needs no network."""

import json
import signal

import pytest

from dream3d import cli
from dream3d.bench import controls, quality, score, summary
from dream3d.bench.truth import Truth
from dream3d.errors import Mistake
from dream3d.run import Interrupted

FAST = ["steps=1", "renderer.count=40", "prior.size=16", "prior.renders=8", "prior.others=16", "prior.instances=1",
        "keep.preview=0", "export.frames=2", "export.size=32"]  # fmt: skip


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """The command in an empty folder, with a short scale; returns (exit code, what was generated)."""
    monkeypatch.chdir(tmp_path)
    fitted, made, generate = controls.fitted, [], quality.generate
    monkeypatch.setattr(controls, "fitted", lambda look: fitted(look, steps=3))
    monkeypatch.setattr(score, "Truth", lambda prompt, instances=4, split="test": Truth(prompt, instances, split))

    def noted(job):
        made.append(job.name)
        generate(job)

    monkeypatch.setattr(quality, "generate", noted)

    def run(*words, prompts="  a red ball \n# a comment\n\na red ball\n"):
        (tmp_path / "prompts.txt").write_text(prompts, encoding="utf-8")
        made.clear()
        code = cli.main(["bench", "quality", "--prompts", "prompts.txt", "--no-export", "--out", "q", *words, *FAST])
        return code, list(made)

    return run


def test_it_scores_every_prompt_and_seed_once(bench, tmp_path, capsys):
    code, made = bench("--seeds", "2")
    assert code == 0 and made == ["a-red-ball-s0", "a-red-ball-s1"]
    found = json.loads((tmp_path / "q" / "quality.json").read_text())
    assert found["runs"][0]["prompt"] == "a red ball" and found["shares"]["recognised"]["of"] == 2
    assert set(found["diversities"]) == {"a red ball"} and found["diversity"] > 0
    page = (tmp_path / "q" / "quality.html").read_text()
    assert page.count("<section>") == 2 and page.count("data:image/jpeg") == 2 and "http" not in page
    printed = capsys.readouterr().out
    assert "[2/2] a red ball, seed 1: recognised" in printed and "95 % interval" in printed

    before = (tmp_path / "q" / "scores" / "a-red-ball-s0.json").read_bytes()
    assert bench("--seeds", "2") == (0, [])
    (tmp_path / "q" / "scores" / "a-red-ball-s0.json").unlink()
    assert bench("--seeds", "2") == (0, ["a-red-ball-s0"])
    assert (tmp_path / "q" / "scores" / "a-red-ball-s0.json").read_bytes() == before


def test_failed_runs_are_counted_and_interrupted_ones_go_on(bench, tmp_path, monkeypatch, capsys):
    working = quality.generate

    def fail(job):
        if job.seed == 1:
            raise Mistake("the run diverged", code=5)
        working(job)

    monkeypatch.setattr(quality, "generate", fail)
    code, _ = bench("--seeds", "2", prompts="a red ball")
    found = json.loads((tmp_path / "q" / "quality.json").read_text())
    assert code == 6 and found["failed"] == 1 and found["shares"]["shape"]["of"] == 2
    assert "failed, the run diverged" in capsys.readouterr().out
    assert "the run diverged" in (tmp_path / "q" / "quality.html").read_text()

    def stop(job):
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(quality, "generate", stop)
    assert bench("--seeds", "2", prompts="a red ball")[0] == 143
    monkeypatch.setattr(quality, "generate", working)
    assert bench("--seeds", "2", prompts="a red ball")[0] == 0


@pytest.mark.parametrize(
    "words, prompts, expected",
    [
        (["--seeds", "0"], "a red ball", "no seeds"),
        (["seed=3"], "a red ball", "set by the bench"),
        (["out=x"], "a red ball", "set by the bench"),
        ([], "a red ball\na red zebra", "prompts.txt:2"),
        (["prior.unknown=ignore"], "a red zebra", "prompts.txt:1"),
        ([], "# nothing\n\n", "no prompt"),
        (["guidance.scael=3"], "a red ball", "scale"),
        (["--config", "sds-gausian"], "a red ball", "sds-gaussian"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(bench, tmp_path, capsys, words, prompts, expected):
    assert bench(*words, prompts=prompts) == (2, []) and not (tmp_path / "q").exists()
    told = capsys.readouterr().err
    assert expected in told and len(told.splitlines()) <= 5


def test_missing_prompts_are_a_mistake(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "quality", "--prompts", "none.txt"]) == 2 and "none.txt" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_long_prompts_keep_apart():
    names = {quality.folder_name(f"a {'very ' * 20}red ball {n}") for n in range(3)}
    assert len(names) == 3 and max(map(len, names)) < 64


def test_wilson_intervals():
    """36 of 40: centre (p + z^2/2n) / (1 + z^2/n), half width z sqrt(p q / n + z^2/4n^2) / (1 + z^2/n), z = 1.96."""
    found = summary.share([True] * 36 + [False] * 4)
    assert (found["count"], found["of"]) == (36, 40)
    z, n, p = 1.959964, 40, 0.9
    centre, half = (p + z * z / 2 / n) / (1 + z * z / n), z * (p * (1 - p) / n + z * z / 4 / n / n) ** 0.5 / (1 + z * z / n)
    assert (found["low"], found["high"]) == pytest.approx((centre - half, centre + half), abs=1e-4)
    assert summary.share([]) is None


def test_a_page_escapes_what_it_shows(tmp_path):
    from dream3d.bench.quality_page import page

    record = {"name": "x", "prompt": "<script>alert(1)</script>", "seed": 0, "state": "failed", "reason": "<b>"}
    text = page({"config": "<i>", **summary.summarise([record], {})}, [record], {"x": tmp_path})
    assert "<script>" not in text and "<b>" not in text and "<i>" not in text
