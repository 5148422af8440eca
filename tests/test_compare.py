"""Comparisons: planned before anything is made, balanced, resumed; what failed is a cell."""

import json
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from dream3d import checkpoint, cli
from dream3d.bench import compare_run, compare_variance, controls, quality, score
from dream3d.bench.compare_grid import Job, Method, fill, groups, plan
from dream3d.bench.truth import Truth
from dream3d.config import Config
from dream3d.errors import Mistake
from dream3d.run import Interrupted

FAST = ["steps=1", "renderer.count=40", "prior.size=16", "prior.renders=8", "prior.others=16", "prior.instances=1",
        "export.frames=2", "export.size=32", "cameras.batch=1"]  # fmt: skip


# --- what is planned ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """The command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words, prompts="a red ball"):
        (tmp_path / "prompts.txt").write_text(prompts, encoding="utf-8")
        return cli.main(["compare", "--prompts", "prompts.txt", "--out", "c", *words])

    return run


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], "nothing to compare"),
        (["--guidance", "sds,csdd"], "csdd"),
        (["--guidance", "mvsds"], "prior=exact_joint"),
        (["--guidance", "photo"], "'photo'"),
        (["--guidance", "pds"], "--recipes pds-gaussian.yaml"),
        (["--guidance", "grid_sds"], "sees grid"),
        (["--guidance", "reward"], "judge"),
        (["--guidance", "sds", "--seeds", "0"], "no seeds"),
        (["--guidance", "sds", "seed=1"], "set by the grid"),
        (["--guidance", "sds,asd", "guidance.plus=0.2"], "sds: "),
        (["--recipes", "sds-gaussian,sds-gausian"], "sds-gaussian"),
        (["--guidance", "sds", "--steps", "0"], "steps"),
        (["--guidance", "sds", "--prior", "exakt"], "exact"),
        (["--guidance", "sds,csd", "--seeds", "5001"], "10,002 runs"),
    ],
)
def test_what_cannot_be_compared_is_told_before_anything_is_made(compare, tmp_path, capsys, words, expected):
    assert compare(*words) == 2 and not (tmp_path / "c").exists()
    told = capsys.readouterr().err
    assert expected in told and len(told.splitlines()) <= 5


def test_all_problems_are_told_at_once(compare, tmp_path, capsys):
    assert compare("--guidance", "sds,pds,mvsds,reward", prompts="a red ball\na red zebra") == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "error: 4 problems, and nothing was made" and not (tmp_path / "c").exists()
    for start in ("  - pds: ", "  - mvsds: guidance 'mvsds' needs views", "  - reward: ", "  - nothing is known of 'zebra'"):
        assert sum(line.startswith(start) for line in told) == 1 or start.startswith("  - nothing"), told
    assert sum("zebra" in line for line in told) == 1


def test_only_the_formula_differs(tmp_path):
    """Formulas bring the guidance of their recipes; a setting of the command line holds for all."""
    from dream3d.bench.compare import rows
    from dream3d.commands.compare import parser

    (tmp_path / "prompts.txt").write_text("a red ball\na blue cube\n")
    words = ["--prompts", str(tmp_path / "prompts.txt"), "--guidance", "sds,sdi", "--steps", "70", "--seeds", "2", "prior.size=32"]
    found, wrong = rows(parser().parse_intermixed_args(words))
    jobs = plan([row.method for row in found], tmp_path / "prompts.txt", 2, tmp_path, wrong)
    one, other = jobs[0].config.values, jobs[1].config.values
    assert {key for key in one if one[key] != other[key]} == {"guidance", "out"}
    assert one["steps"] == 70 and one["prior"]["size"] == 32 and other["guidance"]["stride"] == 0.25
    assert [row.notes for row in found] == [(), ("prior.renders 400 instead of 800",)]
    order = [(job.seed, job.prompt, job.method) for job in jobs]
    assert order == [(s, p, m) for s in (0, 1) for p in ("a red ball", "a blue cube") for m in ("sds", "sdi")]
    assert [len(group) for group in groups(jobs)] == [2, 2, 2, 2] and len({job.run for job in jobs}) == 8


def test_recipes_are_taken_whole(tmp_path):
    from dream3d.bench.compare import rows
    from dream3d.commands.compare import parser

    (tmp_path / "prompts.txt").write_text("a red ball")
    methods = [Method("sds-plane", "sds-plane"), Method("sds-gaussian", "sds-gaussian", ("steps=9",))]
    jobs = plan(methods, tmp_path / "prompts.txt", 1, tmp_path)
    given = parser().parse_intermixed_args(["--prompts", "x", "--recipes", "sds-gaussian,sds-plane,mvsds-gaussian"])
    gaussian, plane, views = (row.unlike for row in rows(given)[0])
    assert gaussian == () and "renderer.type 'plane' where the first method has 'gaussians'" in plane
    assert any(note.startswith("prior.type 'exact_joint' where") for note in views)
    assert [job.config.values["renderer"]["type"] for job in jobs] == ["plane", "gaussians"] and jobs[1].config.values["steps"] == 9


# --- what is run --------------------------------------------------------------------------------------------------------------------


def test_a_grid_is_made_once_resumed_and_shows_what_failed(compare, tmp_path, monkeypatch, capsys):
    fitted, made = controls.fitted, []
    monkeypatch.setattr(controls, "fitted", lambda look: fitted(look, steps=2))
    monkeypatch.setattr(score, "Truth", lambda prompt, instances=2, split="test": Truth(prompt, instances, split))
    monkeypatch.setattr(compare_variance, "DRAWS", 2)
    trouble: dict[str, Exception] = {"vsd-a-red-ball-s1": Mistake("<b>the run diverged</b>", code=6)}

    def here(job, plugins):
        if job.name in trouble:
            raise trouble[job.name]
        made.append(job.name)
        quality.generate(job)

    def noted(job):
        learned.append(found := asked(job))
        return found

    asked, learned = compare_variance._learned, []
    monkeypatch.setattr(compare_variance, "_learned", noted)
    monkeypatch.setattr(compare_run, "alone", here)
    assert compare("--guidance", "sds,vsd", "--seeds", "2", *FAST) == 6
    assert made == ["sds-a-red-ball-s0", "vsd-a-red-ball-s0", "sds-a-red-ball-s1"]
    assert "vsd: a red ball, seed 1: failed, <b>the run" in capsys.readouterr().out
    found = json.loads((tmp_path / "c" / "compare.json").read_text())
    sds, vsd = found["methods"]
    assert (sds["done"], sds["failed"], vsd["done"], vsd["failed"]) == (2, 0, 1, 1)
    assert sds["measures"]["diversity"]["mean"] > 0 and vsd["measures"]["diversity"] is None
    assert sds["measures"]["evaluations"]["mean"] == 2 and vsd["measures"]["evaluations"]["mean"] == 3
    assert 0 <= sds["measures"]["variance.0.5"]["mean"] <= 2 and vsd["guidance"]["type"] == "vsd"
    assert len(list((tmp_path / "c" / "turntables").iterdir())) == 3
    _, state = checkpoint.newest(tmp_path / "c" / "runs" / "vsd-a-red-ball-s0" / "checkpoints")
    trained, fresh = state["terms"]["0"]["phi"]["parameters"], dict(learned[1].terms[0].guidance.phi.student.named_parameters())
    assert all(torch.equal(fresh[name], value) for name, value in trained.items()) and trained
    page = (tmp_path / "c" / "compare.html").read_text()
    assert "the run diverged" in page and "<b>the" not in page and not re.search("https?:", page)
    assert "runs/sds-a-red-ball-s1/export/report.html" in page

    trouble["vsd-a-red-ball-s1"] = Interrupted(signal.SIGTERM)
    made.clear()
    assert compare("--guidance", "sds,vsd", "--seeds", "2", *FAST) == 143 and made == []
    trouble.clear()
    (tmp_path / "c" / "turntables" / "sds-a-red-ball-s0.jpg").unlink()
    spoiled = tmp_path / "c" / "scores" / "sds-a-red-ball-s1.json"
    spoiled.write_text(spoiled.read_text().replace('"iou":', '"iou": NaN, "IoU":', 1))
    assert compare("--guidance", "sds,vsd", "--seeds", "2", *FAST) == 0 and made == ["sds-a-red-ball-s1", "vsd-a-red-ball-s1"]
    assert len(list((tmp_path / "c" / "turntables").iterdir())) == 4 and "NaN" not in spoiled.read_text()
    assert "2/2" in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert compare("--guidance", "sds", *FAST, "steps=2") == 2 and "another --out" in capsys.readouterr().err


def test_a_run_in_its_own_process_says_what_it_took(tmp_path, monkeypatch):
    (tmp_path / "prompts.txt").write_text("a red ball")
    (job,) = plan([Method("sds", "sds-gaussian", (*FAST, "export.mesh=false"))], tmp_path / "prompts.txt", 1, tmp_path)
    compare_run.alone(job)
    (cost,) = compare_run.costs(job.run)
    assert cost["state"] == "done" and 0 < cost["seconds"] < 300 and 0.1 < cost["memory"] < 8
    assert compare_run.total(job.run) == {"seconds": cost["seconds"], "memory": cost["memory"], "card": None}
    monkeypatch.setattr(subprocess, "Popen", None)
    compare_run.alone(job)


class Ended:
    """A process that ended as it was told to."""

    def __init__(self, job, code: int, *costs: dict):
        self.job, self.code, self.costs = job, code, costs

    def __call__(self, command, **more):
        (self.job.run / "cost.json").write_text(json.dumps(self.costs))
        return self

    def wait(self) -> int:
        return self.code


def test_a_process_that_dies_is_a_failed_run(tmp_path, monkeypatch):
    (tmp_path / "prompts.txt").write_text("a red ball")
    (job,) = plan([Method("sds", "sds-gaussian", tuple(FAST))], tmp_path / "prompts.txt", 1, tmp_path)
    monkeypatch.setattr(subprocess, "Popen", Ended(job, -9, {"state": "unknown", "seconds": None, "memory": None}))
    with pytest.raises(Mistake, match="signal 9") as caught:
        compare_run.alone(job)
    assert caught.value.code == 6
    assert compare_run.total(job.run) == {"seconds": None, "memory": None, "card": None}
    monkeypatch.setattr(subprocess, "Popen", Ended(job, 1, {"state": "failed", "reason": "an old story"}))
    with pytest.raises(Mistake, match="exit code 1"):  # it could write nothing: what was said before is not why
        compare_run.alone(job)
    (job.run / "cost.json").unlink()
    known = [{"state": "interrupted", "seconds": 2.0, "memory": 0.5, "card": 1.0},
             {"state": "failed", "reason": "no", "seconds": 3.0, "memory": 0.4, "card": 2.0}]  # fmt: skip
    monkeypatch.setattr(subprocess, "Popen", Ended(job, 6, *known))
    with pytest.raises(Mistake, match="^no\n"):
        compare_run.alone(job)
    assert compare_run.total(job.run) == {"seconds": 5.0, "memory": 0.5, "card": 2.0}


def test_an_unfinished_grid_is_told_of_after_each_group_that_had_something_to_do(tmp_path):
    jobs = [Job(p, s, Config({}), tmp_path, m) for s in (0, 1) for p in "ab" for m in "xy"]
    known, told, made = jobs[:3], [], []

    def of(job, make):
        if job not in known:
            make()
        if len(made) == 5:
            raise Interrupted(signal.SIGINT)
        return {}

    stopped = fill(jobs, SimpleNamespace(of=of), made.append, str, lambda: told.append(len(made)))
    assert stopped == signal.SIGINT and told == [1, 3] and made == jobs[3:]


@pytest.mark.slow
def test_a_signal_reaches_the_run_and_what_it_saved_goes_on(tmp_path):
    """The command in a process of its own is asked to stop while its run is; the same command then ends well."""
    (tmp_path / "prompts.txt").write_text("a red ball")
    words = ["compare", "--guidance", "sds", "--prompts", "prompts.txt", "--out", "c", *FAST[1:]]
    code = f"import sys; sys.path[:0] = {sys.path!r}; from dream3d.cli import main; sys.exit(main(sys.argv[1:]))"
    status = tmp_path / "c" / "runs" / "sds-a-red-ball-s0" / "metrics.jsonl"
    process = subprocess.Popen([sys.executable, "-c", code, *words, "steps=4000"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if status.is_file() and status.stat().st_size:
            break
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143 and "the same command goes on" in process.stderr.read()
    assert [row["state"] for row in compare_run.costs(status.parent)] == ["interrupted"]
