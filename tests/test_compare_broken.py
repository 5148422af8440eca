"""Comparisons that meet what they should not: another process, records and plugins that have changed, prompts that are one."""

import importlib
import json

import numpy as np
import pytest
from compare_records import failed, job, record

from dream3d import cli
from dream3d.bench import compare_run
from dream3d.bench.compare_grid import Method, claimed, plan
from dream3d.bench.compare_score import sound
from dream3d.errors import Mistake
from dream3d.folder import Folder


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """The command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words, prompts="a red ball"):
        (tmp_path / "prompts.txt").write_text(prompts, encoding="utf-8")
        return cli.main(["compare", "--prompts", "prompts.txt", "--out", "c", *words])

    return run


def test_prompts_that_would_share_a_folder_are_told(compare, tmp_path, capsys):
    assert compare("--guidance", "sds,csd", prompts="a red ball\na blue cube\nA red ball.\n") == 2
    told = capsys.readouterr().err
    assert "'A red ball.' and 'a red ball' would lie in one folder" in told and "prompts.txt:3" in told and not (tmp_path / "c").exists()


def test_methods_and_prompts_whose_names_run_together_are_told(tmp_path):
    (tmp_path / "prompts.txt").write_text("a red car\nred car\na blue cube\n")
    methods = [Method(name, "sds-gaussian", ()) for name in ("sds", "sds-a")]
    with pytest.raises(Mistake, match="'red car' and 'a red car' would lie in one folder"):
        plan(methods, tmp_path / "prompts.txt", 2, tmp_path)
    assert len(plan(methods[:1], tmp_path / "prompts.txt", 2, tmp_path)) == 6


def test_two_processes_are_kept_out_of_one_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("a red ball")
    with claimed(tmp_path / "c"):
        for words in (["compare", "--guidance", "sds"], ["compare", "--guidance", "sds", "--background"], ["bench", "quality"]):
            assert cli.main([*words, "--prompts", "prompts.txt", "--out", "c"]) == 2
            assert "another process is already at work in this folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "c").iterdir()] == [".lock"]
    (tmp_path / "file").write_text("")
    with pytest.raises(Mistake, match="cannot be written"), claimed(tmp_path / "file"):
        pass


def test_a_plugin_that_has_changed_is_told(tmp_path, monkeypatch):
    """Its finished runs are of other code."""
    from dream3d.commands.compare import plugged

    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_formula.py").write_text("scale = 1\n")
    importlib.invalidate_caches()
    first = plugged(["my_formula"], tmp_path / "c")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "compare.json").write_text(json.dumps({"plugins": first}))
    assert plugged(["my_formula"], tmp_path / "c") == first and plugged([], tmp_path / "c") == {}
    (tmp_path / "my_formula.py").write_text("scale = 2\n")
    with pytest.raises(Mistake, match="'my_formula' has changed since this comparison began"):
        plugged(["my_formula"], tmp_path / "c")


def test_a_run_that_somebody_else_has_is_left_alone(tmp_path, capsys):
    """Its cost.json too; and whoever finds it locked is told to wait, not to change settings."""
    (tmp_path / "prompts.txt").write_text("a red ball")
    (job,) = plan([Method("sds", "sds-gaussian", ("steps=1",))], tmp_path / "prompts.txt", 1, tmp_path)
    folder = Folder(job.run, job.config)
    assert compare_run.child([str(job.run)]) == 2 and "already going on" in capsys.readouterr().err
    assert not (job.run / "cost.json").exists()
    with pytest.raises(Mistake, match="wait"):
        compare_run.alone(job)
    folder.close()


SPOILED = [{"state": "undone"}, {"prompt": "another"}, {"score": "high"}, {"score": {"recognised": 1.0, "iou": None}},
           {"cost": {"memory": float("nan")}}, {"evaluations": [1]}, {"scale": None}, {"seed": 7},
           {"scale": {"floor": {"iou": float("nan")}, "ceiling": {"iou": 0.9}}}]  # fmt: skip


@pytest.mark.parametrize("spoiled", SPOILED)
def test_records_that_are_not_what_this_makes_are_none(spoiled):
    one = job("sds", "a red ball", 0)
    good = record(one, np.random.default_rng(0)) | {"scale": {end: {"iou": 0.5} for end in ("floor", "ceiling")}}
    assert sound(good, one) and sound(failed(one, "no"), one) and not sound(good | spoiled, one)
    assert not sound(failed(one, None), one)
