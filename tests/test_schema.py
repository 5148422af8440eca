"""The JSON Schema of recipes accepts what the program accepts and refuses what is misspelt."""

import json

import jsonschema
import pytest
import yaml

from dream3d import build, catalogue, check, config, kinds, schema


@pytest.fixture(scope="module")
def validator():
    found = schema.recipe()
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


@pytest.mark.parametrize("recipe", catalogue.names("configs"))
def test_recipes_keep_the_schema_as_written_and_complete(recipe, validator):
    validator.validate(yaml.safe_load((build.place("configs") / f"{recipe}.yaml").read_text(encoding="utf-8")))
    validator.validate(yaml.safe_load(config.load(recipe, ["stages=[{}, {share: 2, guidance: {weight: 3}}]"]).text()))


GOOD = ["steps: 3", "prompt: 1984", "prompt: [a duck, a car]", "guidance: sds", "guidance: [sds, {type: sds, sees: {rgb: 1, normal: 2}}]",
        "steps: ${seed}\nseed: 3", "renderer: {type: plane, lr: 1e-2}", "clip: {rgb: 0.1}", "clip: {start: 1, end: 0.1}", "prior:",
        "guidance: {t: [0.1, {start: 0.9, end: 0.5, shape: exp}]}", "extends: sds-gaussian\nrenderer: {count: 3}",
        "prior: none\nguidance: []\npenalties: {opacity: 0.1}"]  # fmt: skip
BAD = ["stpes: 3", "steps: 0", "seed: -1", "guidance: {scael: 3}", "guidance: sdss", "guidance: {type: sdss}", "clip: {rbg: 1}",
       "guidance: {type: sds, w: sdss}", "renderer: {type: plane, count: 3}", "renderer: {type: gaussians, opacity: 2}",
       "penalties: {opacit: 1}", "export: {faces: 3}", "keep: {preveiw: 1}", "stages: [{steps: 3}]", "stages: [{guidance: {scael: 3}}]",
       "guidance: {scale: {start: 1, ned: 3}}", "cameras: {elevation: [1, 2, 3]}", "guidance: [{sees: nrmal}]",
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
