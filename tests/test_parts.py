"""What a part of a stage holds is asked of the module that completes it; pairs of objects that may overlap."""

import ast
from pathlib import Path

import pytest

from dream3d import build, config, layout, parts
from dream3d.errors import Mistake
from dream3d.needs import check_needs

RECIPE = "semantic_sds-composed"
SOFA = [{"name": "cat", "box": {"centre": [0.0, 0.0, 0.05], "size": 0.4}},
        {"name": "sofa", "box": {"centre": [0.0, 0.0, -0.3], "size": 0.6}}]
BALL = {"name": "ball", "box": {"centre": [0.5, 0.0, 0.3], "size": 0.3}}


def test_no_core_module_knows_layouts_by_name():
    """They are asked for by `completes`; composed.py builds what the layout says."""
    core = Path(layout.__file__).parent
    for path in sorted(core.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert path.name == "layout.py" or "layout" not in names and getattr(node, "module", "") != "dream3d.layout", path.name


def test_only_a_scene_that_is_completed_holds_parts():
    """A setting that is called layout makes no scene."""
    scene = config.load(RECIPE).stages[0]["renderer"]
    assert [part["type"] for part in parts.within("renderers", scene)] == ["gaussians", "gaussians"]
    assert parts.within("renderers", {"type": "gaussians", "layout": {"objects": [{}]}}) == []
    assert parts.within("renderers", {"type": "skinned"}) == [] and build.signature("renderers", "skinned").completes


def placed(things: list[dict], overlap, *relations: str):
    settings = {"type": "composed", "object": "gaussians", "layout": {"objects": things, "overlap": overlap, "relations": [*relations]}}
    return layout.complete(settings, "")["layout"]


@pytest.mark.parametrize("overlap", [[["cat", "sofa"]], [["Sofa", "cat"], ["cat", "nobody"]]])
def test_pairs_that_may_overlap_are_told_and_kept(overlap):
    found = placed(SOFA, overlap)
    assert found["overlap"] == [["cat", "sofa"]] and placed(found["objects"], found["overlap"]) == found
    assert placed(SOFA, True)["overlap"] is True and placed([SOFA[0], BALL], False)["overlap"] is False


def test_a_group_has_a_name_and_a_digest_a_file():
    with pytest.raises(Mistake, match="objects.0.group is empty"):
        placed([{**BALL, "group": " "}, SOFA[1]], True)
    with pytest.raises(Mistake, match="sha256 is of no file"):
        placed([{**BALL, "sha256": "0" * 64}, SOFA[1]], True)


def test_what_one_pair_may_another_may_not():
    """Neither where a list says so, nor where a relation brought two together; so in a stage that adds a third."""
    third = {"name": "ball", "box": {"centre": [0.1, 0.0, 0.1], "size": 0.3}}
    with pytest.raises(Mistake, match="the boxes of 'cat' and 'ball' overlap") as caught:
        placed([*SOFA, third], [["cat", "sofa"]])
    assert "overlap: [[cat, ball]]" in caught.value.fix
    related = placed([{"name": "cat", "box": {"size": 0.4}}, SOFA[1]], False, "cat on sofa")
    moved = [{**related["objects"][0], "box": {"centre": [0.0, 0.0, 0.0], "size": 0.4}}, related["objects"][1]]
    with pytest.raises(Mistake, match="the boxes of 'cat' and 'sofa' overlap"):
        placed(moved, related["overlap"])
    with pytest.raises(Mistake, match="renderer.layout.overlap"):
        placed(SOFA, [["cat"]])


PENALTIES = {
    "arap=1": ("needs motion, which renderer 'gaussians' has not", "renderer=dynamic_gaussians"),
    "smoothness=1 renderer=composed": ("needs motion, which renderer 'composed' has not", "renderer=dynamic_gaussians"),
    "fog={start: 0, end: 1}": ("needs weights, which renderer 'gaussians' has not", "renderer=hashgrid; renderer=nerf"),
    "smoothness=1 renderer=dynamic_mesh cameras.frames=2": ("compares 3 moments, but cameras see 2", "cameras.frames=4"),
}


@pytest.mark.parametrize("words", PENALTIES)
def test_what_a_penalty_needs_is_told_before_any_work(words):
    problem, near = PENALTIES[words]
    first, *others = words.split(" ") if "{" not in words else [words]
    with pytest.raises(Mistake, match=problem) as caught:
        check_needs(config.load("sds-gaussian", [f"penalties.{first}", *others]))
    assert near in caught.value.near and caught.value.fix == f"penalties.{first.split('=')[0]}=0" and caught.value.where
    check_needs(config.load("sds-gaussian", [caught.value.fix, *others]))  # which helps
    check_needs(config.load("video_sds-dynamic_mesh"))
    scene = "renderer={type: composed, object: {type: dynamic_gaussians}}"
    check_needs(config.load("sds-gaussian", ["penalties.arap=1", scene, "cameras.frames=3", "prompt=a red ball on a blue cube"]))
