"""Configurations: prompts arrive verbatim, mistakes teach, everything is checked without torch."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import yaml

from dream3d import build, cli, config, vocabulary
from dream3d.errors import Mistake
from dream3d.folder import slug
from dream3d.schedule import Ramp, Times
from dream3d.typed import typed

PROMPTS = [
    "a fox: cub", "1984", "no", "#1 hamster", "[red] fox", "'single' \"double\" quotes", "a 🦊 fox", "word " * 400,
    "${x}", "null", "a=b", "- a\n- b", "{a: b}", "!!python/object:os.system", "1e3", "~", "%", "backslash\\", "x" * 2000,
]  # fmt: skip


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_arrive_unchanged_from_everywhere(prompt, tmp_path):
    assert config.load("sds-gaussian", [f"prompt={prompt}"]).values["prompt"] == prompt
    written = tmp_path / "resolved.yaml"
    written.write_text(config.load("sds-gaussian", [f"prompt={prompt}", f"negative={prompt}"]).text(), encoding="utf-8")
    again = config.load(str(written))
    assert again.values["prompt"] == prompt and again.values["negative"] == prompt
    assert slug(prompt).isascii() and 0 < len(slug(prompt)) <= 48 and "/" not in slug(prompt)


@pytest.mark.parametrize(
    "line, prompt", [("1984", "1984"), ("no", "no"), ("1e3", "1e3"), ("'#1 hamster'", "#1 hamster")]
)
def test_prompts_in_yaml_are_never_values(line, prompt, tmp_path):
    (tmp_path / "c.yaml").write_text(f"prompt: {line}\nstages:\n- prompt: {line}\n- {{}}\n", encoding="utf-8")
    found = config.load(str(tmp_path / "c.yaml"))
    assert found.values["prompt"] == prompt and found.stages[0]["prompt"] == prompt


def test_the_resolved_configuration_reruns_itself(tmp_path):
    overrides = [
        "guidance.scale={start: 10, end: 5, shape: cosine}",
        "guidance.t=[0.1, 0.9]",
        "seed=4",
        "clip={rgb: 0.1}",
        "penalties.scale=0.5",
    ]
    first = config.load("sds-gaussian", overrides)
    (tmp_path / "config.yaml").write_text(first.text(), encoding="utf-8")
    again = config.load(str(tmp_path / "config.yaml"))
    assert again.values == first.values and again.hash == first.hash
    assert first.hash != config.load("sds-gaussian").hash


def mistake(overrides, name="sds-gaussian"):
    with pytest.raises(Mistake) as caught:
        config.load(name, overrides)
    assert caught.value.code == 2 and len(str(caught.value).splitlines()) <= 5
    return str(caught.value)


def test_a_mistake_names_file_and_line(tmp_path):
    (tmp_path / "c.yaml").write_text("prompt: a red car\nguidance:\n  type: sds\n  scael: 3\n", encoding="utf-8")
    assert "c.yaml:4" in mistake([], str(tmp_path / "c.yaml"))
    assert "command line" in mistake(["guidance.scael=3"])


def test_a_section_without_a_type_is_of_the_default_type(tmp_path):
    (tmp_path / "base.yaml").write_text("prompt: a red car\nrenderer: {count: 7}\n", encoding="utf-8")
    (tmp_path / "top.yaml").write_text("extends: base.yaml\nrenderer: {type: gaussians}\n", encoding="utf-8")
    assert config.load(str(tmp_path / "top.yaml")).values["renderer"]["count"] == 7


def test_extends_one_level(tmp_path):
    (tmp_path / "base.yaml").write_text("steps: 10\nguidance: {type: sds, scale: 3}\n", encoding="utf-8")
    (tmp_path / "top.yaml").write_text("extends: base.yaml\nprompt: x\nguidance: {scale: 4}\n", encoding="utf-8")
    found = config.load(str(tmp_path / "top.yaml"), ["prompt=a red car"])
    assert found.values["steps"] == 10 and found.values["guidance"]["scale"] == 4
    assert found.where("steps").endswith("base.yaml:1") and found.where("prompt").startswith("command line")
    (tmp_path / "third.yaml").write_text("extends: top.yaml\n", encoding="utf-8")
    assert "one level" in mistake([], str(tmp_path / "third.yaml"))


def test_another_type_starts_from_its_own_defaults(tmp_path):
    base = "prompt: a red car\nprior: {type: mixture, size: 16}\nrenderer: {type: gaussians, count: 7}\n"
    (tmp_path / "base.yaml").write_text(base, encoding="utf-8")
    text = "extends: base.yaml\nprior: {type: exact}\nrenderer: {type: gaussians}\nstages: [{renderer: {type: plane}}, {}]\n"
    (tmp_path / "top.yaml").write_text(text, encoding="utf-8")
    found = config.load(str(tmp_path / "top.yaml"))
    assert found.values["prior"] == config.load("sds-gaussian", ["prior=exact"]).values["prior"]
    assert found.values["renderer"]["count"] == 7 and "count" not in found.stages[0]["renderer"]
    assert found.stages[1]["renderer"]["count"] == 7


def test_stages_share_the_steps_and_inherit(tmp_path):
    text = "prompt: a red car\nsteps: 100\nstages:\n- {share: 1, guidance: {scale: 3}}\n- {share: 2, cameras: {batch: 2}}\n"
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    first, second = config.load(str(tmp_path / "c.yaml"), ["steps=50"]).stages
    assert (first["steps"], second["steps"]) == (17, 33)
    assert first["guidance"]["scale"] == 3 and second["guidance"]["scale"] != 3 and second["cameras"]["batch"] == 2


def test_lists_of_terms_and_their_overrides():
    terms = "guidance=[{type: sds, weight: 0.5}, {type: sds, sees: normal}]"
    found = config.load("sds-gaussian", [terms, "guidance.1.scale=3"]).values["guidance"]
    assert [t["scale"] for t in found] == [7.5, 3.0] and [t["sees"] for t in found] == ["rgb", "normal"]
    assert "0 to 1" in mistake([terms, "guidance.2.scale=3"])


def test_out_and_keep_do_not_change_what_a_run_is():
    base = config.load("sds-gaussian").hash
    assert config.load("sds-gaussian", ["out=x", "keep.preview=3", "keep.checkpoints=9"]).hash == base
    changes = ["seed=3", "export.faces=9", "device=cpu", "negative=a boat", "prompt=a boat", "name=other", "steps=3"]
    assert len({config.load("sds-gaussian", [change]).hash for change in changes} - {base}) == len(changes)


UNKNOWN = {
    "prompt": "prompt: a zebra",
    "one of several prompts": "prompt: [a red car, a zebra]",
    "negative": "negative: a zebra",
    "term": "guidance: {prompt: a zebra}",
    "second term": "guidance: [{type: sds}, {type: sds, prompt: a zebra}]",
    "stage": "stages: [{}, {prompt: a zebra}]",
    "stage's negative": "stages: [{}, {negative: a zebra}]",
    "stage's term": "stages: [{}, {guidance: {prompt: a zebra}}]",
}


@pytest.mark.parametrize("place", UNKNOWN)
def test_an_unknown_word_stops_before_any_work(place, tmp_path, capsys):
    start = "" if "prompt" in place else "prompt: a red car\n"
    (tmp_path / "c.yaml").write_text(f"{start}{UNKNOWN[place]}\nsteps: 2\n", encoding="utf-8")
    assert cli.main(["--config", str(tmp_path / "c.yaml"), "--quiet", f"out={tmp_path / 'run'}"]) == 2
    assert "zebra" in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", sorted(p.stem for p in build.place("configs").glob("*.yaml")))
def test_every_recipe_is_whole(recipe):
    found = config.load(recipe, ["prompt=a red car"])
    vocabulary.check_vocabulary(found)
    assert all(stage["steps"] >= 1 for stage in found.stages)


@pytest.mark.parametrize("catalogue", [*build.FOLDERS, *build.MODULES])
def test_signatures_read_from_source_are_the_real_ones(catalogue):
    for name in build.available(catalogue):
        found = build.signature(catalogue, name)
        cls, real = build.load(found), {}
        for part in [cls, *cls.__mro__[1:]]:  # what a class leaves to `**rest` are its base's
            known = inspect.signature(part.__init__).parameters.values()
            real = {p.name: p.default for p in known if p.kind is p.KEYWORD_ONLY} | real
            if not any(p.kind is p.VAR_KEYWORD for p in known):
                break
        assert set(real) == set(found.parameters)
        for key, default in real.items():
            assert found.parameters[key][1] == (build.MISSING if default is inspect.Parameter.empty else default)


def test_a_guidance_has_no_setting_that_belongs_to_its_term():
    for name in build.available("guidance"):
        assert not set(build.signature("guidance", name).parameters) & set(build.term_parameters())


def test_catalogues_import_only_the_core_and_their_siblings():
    root = Path(config.__file__).parent.parent
    for catalogue in ("guidance", "renderers", "systems"):
        others = {f"dream3d.{c}" for c in ("guidance", "renderers", "systems") if c != catalogue}
        for file in build.place(catalogue).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            assert not any(other + "." in text or f"{other} import" in text for other in others), file.relative_to(root)


def test_checking_needs_no_torch():
    words = ["--config", "sds-gaussian", "--dry-run", "prompt=a red car"]
    code = f"import sys; from dream3d import cli; cli.main({words}); print('torch' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(config.__file__).parent.parent,
    )
    assert out.stdout.splitlines()[-1] == "False"
    assert yaml.safe_load("\n".join(out.stdout.splitlines()[:-1]))["prompt"] == "a red car"


def test_ramps():
    assert Ramp.parse(3)(0.5) == 3 and Ramp.parse("1e-2")(0.0) == 0.01
    assert Ramp.parse({"start": 1, "end": 3})(0.5) == 2
    assert Ramp.parse({"start": 1, "end": 3, "begin": 0.5})(0.5) == 1
    between = Ramp.parse({"start": 0, "end": 1, "begin": 0.2, "until": 0.6})
    assert [between(p) for p in (0.1, 0.3, 0.5, 0.6, 0.9)] == pytest.approx([0, 0.25, 0.75, 1, 1])
    assert Ramp.parse({"start": 1, "end": 100, "shape": "exp"})(0.5) == pytest.approx(10)
    assert Ramp.parse({"start": 1, "end": 0, "shape": "sqrt"})(0.25) == 0.5
    assert Ramp.parse({"start": 1, "end": 0, "shape": "constant"})(0.99) == 1
    assert Times.parse([0.1, {"start": 0.9, "end": 0.5}]).window(1.0) == (0.1, 0.5)


def test_what_can_be_clipped_is_what_has_a_gradient():
    from dream3d.types import BUFFERS

    assert tuple(config.CLIPPED) == BUFFERS


def test_a_view_word_in_the_prompt_of_a_scene_is_refused():
    with pytest.raises(Mistake, match="back view"):
        vocabulary.check_vocabulary(config.load("sds-gaussian", ["prompt=a green penguin, back view"]))
    vocabulary.check_vocabulary(config.load("sds-gaussian", ["prompt=a green penguin, back view", "text.views=false"]))


def test_types_that_are_equal_but_for_their_order_are_read_each_in_its_own():
    assert [typed("1", kind, "x") for kind in (float | int, int | float)] == [1.0, 1]
    assert [type(typed("1", kind, "x")) for kind in (float | int, int | float)] == [float, int]
    assert typed(2, Annotated[float, {"unit": "m"}], "x") == 2.0  # a dict has no hash
