"""The command line: dispatch, help, usage errors, list, describe, --dry-run, config, completion; without torch, nothing left behind."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from dream3d import build, catalogue, check, cli, config, estimate, kinds, schema, sketch
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
    "export nope": "no config.yaml", "list guidence": "guidance", "list guidance extra": "nothing is known about extra",
    "describe": "name", "describe sdss": "sds", "describe guidance/sdss": "sds", 
    "describe guidance": "list guidance", "describe optimizer": "list optim", "config shw": "show", "config diff a": "B",
    "config show nope": "there is no configuration", "completion bsh": "bash", "bench mainjob": "main-job",
    "bench main-job --rns 3": "--runs", "bench main-job --runs x": "invalid int value", "help lst": "list", "cite nope": "list",
    "--config sds-gaussian list": "the command 'list' comes first", "--config sds-gaussian steps": "there is no command",
    "--config sds-gaussian --dry-run guidance.scael=3": "scale", "prompt=x": "--config", "doctor --jsn": "--json",
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
    lines = ["list", "list models", "list renderers", "describe gaussians", "cite sds-gaussian", "config schema", "completion bash",
             "config diff sds-gaussian sds-plane", "complete -- 'dream3d list '", "--config sds-gaussian --dry-run",
             *(f"{name} --help" for name in TORCHLESS)]  # fmt: skip
    code = f"""import sys, shlex
from dream3d import cli
for line in {lines!r}:
    assert cli.main(shlex.split(line)) == 0, line
    heavy = sorted(set(sys.modules) & {{"torch", "numpy", "numba", "scipy", "rich"}})
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
    assert out.startswith("small  judge: It judges\n") and "Priors that need no weights: exact, mixture." in out
    (assets / "small" / "card.json").write_text("{")
    code, _, err = call("list models")
    assert code == 2 and "card.json" in err


@pytest.mark.parametrize("text, first", [
    ("One. Two.", "One"), ("Kerbl et al. 2023 did. It", "Kerbl et al. 2023 did"), ("No end", "No end"),
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
    assert "swirl  arXiv:2101.00001  Swirls\n" in capsys.readouterr().out
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


# --- dry run ------------------------------------------------------------------------------------------------------------------------

HARD = ["a fox: cub", "1984", "null", "- a\n- b", "word " * 100, "a\x0bb\x85c", "#x # y", "'s \"d\"", "\\", "🦊", " lead", "a\n\n# b"]


def test_origins_stand_behind_what_was_set_and_only_there(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: sds-gaussian\nprompt: a duck\nguidance: {scale: 20}\nkeep:\n  preview: 0\n")
    overrides = ["renderer={type: gaussians, count: 50}", "seed=3"]
    told = sketch.annotated(config.load(str(tmp_path / "mine.yaml"), overrides)).splitlines()

    def behind(line):
        return next(text.partition("  # ")[2] for text in told if text.partition("  # ")[0].strip() == line)

    file = tmp_path / "mine.yaml"
    assert behind("prompt: a duck") == f"{file}:2" and behind("scale: 20.0") == f"{file}:3" and behind("preview: 0") == f"{file}:5"
    assert behind("steps: 800") == "sds-gaussian.yaml:12" and behind("batch: 4") == "sds-gaussian.yaml:7"
    assert behind("seed: 3") == "command line" and behind("count: 50") == "command line"
    assert behind("radius: 0.6") == "" and behind("faces: 10000") == "" and behind("device: auto") == ""


def test_what_another_type_replaces_leaves_no_origin(tmp_path):
    (tmp_path / "base.yaml").write_text("prompt: a duck\ncameras:\n  type: orbit\n  batch: 8\n  elevation: [0, 9]\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\ncameras: {type: front}\nstages: [{}, {guidance: {scale: 3}}]\n")
    found = config.load(str(tmp_path / "mine.yaml"))
    assert [sketch.origin(found, f"cameras.{key}") for key in ("batch", "elevation")] == ["", ""]
    assert sketch.origin(found, "cameras.type") == f"{tmp_path / 'mine.yaml'}:2"
    assert sketch.origin(found, "stages.1.guidance.scale") == f"{tmp_path / 'mine.yaml'}:3"
    assert sketch.origin(found, "prompt") == f"{tmp_path / 'base.yaml'}:1"


@pytest.mark.parametrize("prompt", HARD)
def test_what_a_dry_run_prints_reruns(prompt, tmp_path):
    overrides = [f"prompt={prompt}", f"negative={prompt}", "guidance.scale={start: 30, end: 7}", "clip={rgb: 0.1}",
                 "stages=[{}, {share: 2}]"]  # fmt: skip
    found = config.load("sds-gaussian", overrides)
    (tmp_path / "again.yaml").write_text(sketch.dry_run(found), encoding="utf-8")
    again = config.load(str(tmp_path / "again.yaml"))
    assert again.values == found.values and again.hash == found.hash


def test_a_dry_run_checks_the_vocabulary_before_it_prints(call):
    code, out, err = call('--config sds-gaussian --dry-run prompt="a zebra"')
    assert code == 2 and not out and "zebra" in err


def test_every_schedule_has_a_curve():
    found = config.load("sds-gaussian", ["guidance.t=[0.02, {start: 0.98, end: 0.5}]", "penalties.opacity={start: 0, end: 1}",
                                         "clip={rgb: {start: 1, end: 0.1}}", "guidance.clamp=0.5"])  # fmt: skip
    lines = sketch.curves(found.stages[0])
    moving, still = {line.split("  ")[0].strip() for line in lines[:-1]}, lines[-1]
    assert {"guidance.t to", "penalties.opacity", "clip.rgb", "renderer.lr_position"} <= moving
    assert all(f"{name} " in still for name in ("guidance.scale", "guidance.t from", "guidance.weight", "guidance.clamp"))
    assert all(line[-40:].split()[0] != line.split()[-1] for line in lines[:-1])


def test_curves():
    assert sketch.curve(Ramp(0.0, 7.0), 8) == "▁▂▃▄▅▆▇█" and sketch.curve(Ramp(7.0, 0.0), 8) == "█▇▆▅▄▃▂▁"
    assert sketch.curve(Ramp(1.0), 4) == "▁▁▁▁" and sketch.curve(Ramp(0.0, 1.0, until=0.5), 5) == "▁▅███"


def test_memory_grows_with_what_costs_it_and_says_what_it_does_not_know(monkeypatch):
    def total(*overrides):
        found = config.load("sds-gaussian", overrides)
        return estimate.total(found.stages, found.values)

    base, unknown = total()
    assert not unknown and 1.28e9 < base < 1.25 * 1.28e9  # measured; an upper estimate
    for bigger in ("prior.size=128", "prior.renders=3200", "renderer.max_count=90000", "export.texture=2048", "cameras.batch=32"):
        assert total(bigger)[0] > 1.01 * base, bigger
    assert total("prior.size=128", "stages=[{prior: {size: 64}}, {}]")[0] == total("prior.size=128")[0]
    monkeypatch.setattr(estimate, "EXPORT", "nothing * faces")
    assert total() == (pytest.approx(base - 275e6, abs=1e6), ["export"])


@pytest.mark.parametrize("kind", ["renderers", "priors"])
def test_what_is_said_of_memory_can_be_computed(kind):
    told = [name for name in catalogue.names(kind) if build.signature(kind, name).memory is not None]
    assert told
    for name in told:
        section = catalogue.KINDS[kind][1]
        sizes = dict(estimate.parts(config.load("sds-gaussian", [f"{section}={name}"]).stages[0]))
        assert sizes[f"{section} {name}"] > 0


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


@pytest.fixture(scope="module")
def validator():
    found = schema.recipe()
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


@pytest.mark.parametrize("recipe", catalogue.names("configs"))
def test_recipes_keep_the_schema_as_written_and_complete(recipe, validator):
    validator.validate(yaml.safe_load((build.place("configs") / f"{recipe}.yaml").read_text(encoding="utf-8")))
    validator.validate(yaml.safe_load(config.load(recipe, ["stages=[{}, {share: 2, guidance: {scale: 3}}]"]).text()))


GOOD = ["steps: 3", "prompt: 1984", "prompt: [a duck, a car]", "guidance: sds", "guidance: [sds, {type: sds, sees: {rgb: 1, normal: 2}}]",
        "steps: ${seed}\nseed: 3", "renderer: {type: plane, lr: 1e-2}", "clip: {rgb: 0.1}", "clip: {start: 1, end: 0.1}", "prior:",
        "guidance: {t: [0.1, {start: 0.9, end: 0.5, shape: exp}]}", "extends: sds-gaussian\nrenderer: {count: 3}"]  # fmt: skip
BAD = ["stpes: 3", "steps: 0", "seed: -1", "guidance: {scael: 3}", "guidance: sdss", "guidance: {type: sdss}", "clip: {rbg: 1}",
       "guidance: {type: sds, w: sdss}", "renderer: {type: plane, count: 3}", "renderer: {type: gaussians, opacity: 2}",
       "penalties: {opacit: 1}", "export: {faces: 3}", "keep: {preveiw: 1}", "stages: [{steps: 3}]", "stages: [{guidance: {scael: 3}}]",
       "guidance: {scale: {start: 1, ned: 3}}", "cameras: {elevation: [1, 2, 3]}", "guidance: [{sees: nrmal}]", "guidance: []",
       "background: {type: solid, color: [1, 1, 2]}", "export: {size: 17}", "guidance: {scale: {end: 3}}"]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_what_loads_keeps_the_schema(text, validator, tmp_path):
    validator.validate(yaml.safe_load(text))
    (tmp_path / "c.yaml").write_text(text + ("" if text.startswith("prompt") else "\nprompt: a duck"))
    config.load(str(tmp_path / "c.yaml"))


@pytest.mark.parametrize("text", BAD)
def test_what_does_not_load_breaks_the_schema(text, validator, tmp_path):
    assert not validator.is_valid(yaml.safe_load(text))
    (tmp_path / "c.yaml").write_text(f"prompt: a duck\n{text}\n")
    with pytest.raises(config.Mistake):
        config.load(str(tmp_path / "c.yaml"))


def test_every_default_keeps_its_own_schema():
    parts = [(kind, entry) for kind in (*build.FOLDERS, *build.MODULES, "sections") for entry in catalogue.entries(kind)]
    for kind, entry in parts:
        for name, (annotation, default) in entry.parameters.items():
            own = {**kinds.schema(annotation), "$defs": kinds.DEFINITIONS}
            value = json.loads(json.dumps(check.plain(default))) if default is not build.MISSING else None
            assert default is build.MISSING or jsonschema.Draft202012Validator(own).is_valid(value), (kind, entry.name, name)


# --- completion ---------------------------------------------------------------------------------------------------------------------

COMPLETIONS = {
    "dream3d li": ["list"], "dream3d list g": ["guidance"], "python launch.py describe gaus": ["gaussians"],
    "dream3d help bench": ["bench"],
    "dream3d --config sds-g": ["sds-gaussian.yaml"], "dream3d guidance.w=u": ["guidance.w=uniform"],
    "dream3d cite sds-pl": ["sds-plane.yaml"],
    "dream3d --config sds-plane.yaml renderer.p": ["renderer.particles="], "dream3d renderer=plane renderer.noi": ["renderer.noise="],
    "dream3d export.mesh=t": ["export.mesh=true"], "dream3d export some/run fa": ["faces="], "dream3d rendere": ["renderer=", "renderer."],
    "dream3d renderer.type=pl": ["renderer.type=plane"], "dream3d completion z": ["zsh"], "dream3d config d": ["diff"],
    "dream3d --dr": ["--dry-run"], "dream3d 'unfin": [], "dream3d penalties.opa": ["penalties.opacity=", "penalties.opaque="],
    "dream3d bench s": ["splats"], "dream3d --config nope.yaml guidance.w=u": [], "dream3d guidance.sees=d": ["guidance.sees=depth"],
}  # fmt: skip


@pytest.mark.parametrize("line", COMPLETIONS)
def test_completion(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["complete", "--", line]) == 0
    assert capsys.readouterr() == ("".join(f"{word}\n" for word in COMPLETIONS[line]), "")


def test_run_folders_are_completed_newest_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/sds/one", "two"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text("prompt: a duck\n")
    assert set(candidates("dream3d resume ")) == {"runs/sds/one", "two"} and candidates("dream3d export tw") == ["two"]


def test_bash_completes_through_the_script(tmp_path):
    """The one test with a real shell: what follows the last = is what bash replaces; whole words get their space."""
    script = """
    PROGRAM() { "$PYTHON" "$LAUNCH" "$@"; }
    source <(PROGRAM completion bash | sed s/dream3d/PROGRAM/g)
    for COMP_LINE in "PROGRAM li" "PROGRAM --config sds-gaussian guidance.w=" "PROGRAM guidance."; do
      COMP_POINT=${#COMP_LINE} COMP_WORDS=($COMP_LINE)
      _PROGRAM
      printf '<%s>' "${COMPREPLY[@]:0:3}"
    done"""
    environment = {"PYTHON": sys.executable, "LAUNCH": str(ROOT / "launch.py"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.stdout == "<list ><sds ><uniform ><fantasia3d ><guidance.type=><guidance.scale=><guidance.t=>", done.stderr
