"""Layouts: read, completed and placed without torch; what is wrong with one is said, with where and what is near."""

import dataclasses
import json
import math
import subprocess
import sys
import time

import numpy as np
import pytest

from dream3d import catalogue, config, estimate, layout, parts, places
from dream3d.errors import Mistake
from dream3d.needs import check_needs
from dream3d.places import Box, Relation, arrange, overlap
from dream3d.toybox.language import parse
from dream3d.toybox.world import build, corners, instance_seed
from dream3d.vocabulary import check_vocabulary

RECIPE = "semantic_sds-composed"


def objects(*overrides: str) -> list[dict]:
    return config.load(RECIPE, overrides).values["renderer"]["layout"]["objects"]


def named(**things) -> dict:
    """A layout of objects with these boxes: name=(centre, size)."""
    return {"objects": [{"name": name, "box": {"centre": list(centre), "size": size}} for name, (centre, size) in things.items()]}


def placed(found: dict) -> list[dict]:
    return layout.complete({"layout": found, "object": "gaussians"}, "")["layout"]["objects"]


# --- places -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompt", ["a red ball on a blue cube", "a yellow duck next to a green tree", "a white cat on a red sofa", "a red car"]
)
def test_a_prompt_puts_its_objects_where_unseen_worlds_have_them(prompt):
    wish, found = parse(prompt), objects(f"prompt={prompt}")
    assert [thing["prompt"] for thing in found] == [f"a {thing}" for thing in wish.things]
    for k, thing in enumerate(found):
        low, high = (np.array(thing["box"]["centre"]) + s * np.array(thing["box"]["size"]) / 2 for s in (-1, 1))
        shares = []
        for i in range(8):
            soup = build(wish, instance_seed("test", i))
            mine = {name: getattr(soup, name)[soup.thing == k] for name in places.ROWS}
            points = corners(dataclasses.replace(soup, **mine))
            both = np.clip(np.minimum(points.max(0), high) - np.maximum(points.min(0), low), 0, None).prod()
            shares.append(both / (np.ptp(points, axis=0).prod() + (high - low).prod() - both))
        assert np.mean(shares) > 0.7, (thing["name"], shares)


def test_the_first_stands_on_the_second_or_at_its_left():
    ball, cube = objects()
    assert ball["name"] == "ball" and ball["box"]["centre"][2] - ball["box"]["size"][2] / 2 > cube["box"]["centre"][2]
    duck, tree = objects("prompt=a yellow duck next to a green tree")
    assert duck["box"]["centre"][0] < 0 < tree["box"]["centre"][0]
    feet = [thing["box"]["centre"][2] - thing["box"]["size"][2] / 2 for thing in (duck, tree)]
    assert abs(feet[0] - feet[1]) < 0.02


def test_two_of_a_kind_have_names_of_their_own():
    assert [thing["name"] for thing in objects("prompt=a red ball next to a blue ball")] == ["ball 1", "ball 2"]


def test_prompts_beyond_the_toybox_are_taken_apart_at_their_relation():
    words = layout.complete({"layout": "prompt", "object": "gaussians"}, "a dragon to the left of an old castle gate")
    dragon, gate = words["layout"]["objects"]
    assert (dragon["prompt"], gate["prompt"], gate["name"]) == ("a dragon", "an old castle gate", "gate")
    assert dragon["box"]["centre"][0] < gate["box"]["centre"][0]


@pytest.mark.parametrize(("how", "axis", "sign"), [("on", 2, 1), ("under", 2, -1), ("left of", 0, -1), ("right of", 0, 1),
                                                   ("in front of", 1, -1), ("behind", 1, 1), ("next to", 0, -1)])  # fmt: skip
def test_relations_place_objects_beside_what_is_there(how, axis, sign):
    known = Box("b", "b", (0.1, 0.0, -0.1), (0.4, 0.3, 0.5))
    a, b = arrange([Box("a", "a", size=(0.2, 0.2, 0.2)), known], [Relation("a", how, "b")])
    assert b == known and sign * (a.centre[axis] - b.centre[axis]) > 0
    assert -0.08 < overlap(a, b) < places.TOUCH
    if axis != 2:
        assert math.isclose(a.centre[2] - 0.1, b.centre[2] - 0.25)


def test_chains_of_relations_fill_the_world_and_stay_in_it():
    names = ["a", "b", "c"]
    found = arrange([Box(n, "x") for n in names], [Relation("a", "on", "b"), Relation("b", "behind", "c")])
    ends = np.array([corner for box in found for corner in places.corners(box)])
    assert 0.6 < np.abs(ends).max() <= places.WORLD and np.linalg.norm(ends, axis=1).max() <= places.RADIUS
    np.testing.assert_allclose(ends.max(0) + ends.min(0), 0, atol=1e-9)


def test_overlap_is_how_far_one_would_have_to_move():
    a = Box("a", "a", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert math.isclose(overlap(a, Box("b", "b", (0.7, 0.1, 0.0), (1.0, 1.0, 1.0))), 0.3)
    turned = Box("b", "b", (1.1, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 45.0))
    assert math.isclose(overlap(a, turned), 0.5 + math.sqrt(0.5) - 1.1)
    edges = Box("c", "c", (0.9, 0.9, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 45.0))  # only a turned axis parts them
    assert overlap(a, edges) < 0
    one, other = (Box("p", "p", (0.0, 0.0, z), (2.0, 0.1, 0.1), turn) for z, turn in ((0.0, (45.0, 0.0, 0.0)), (0.15, (45.0, 0.0, 90.0))))
    assert math.isclose(overlap(one, other), math.sqrt(0.02) - 0.15, abs_tol=1e-9)  # edge to edge: a cross product parts them


# --- completion -------------------------------------------------------------------------------------------------------------------


def test_a_complete_layout_is_completed_to_itself_and_a_run_needs_no_other_file(tmp_path):
    path = tmp_path / "two.json"
    things = [{"name": "ball", "prompt": "a red ball"}, {"name": "cube", "prompt": "a blue cube", "rotation": 30, "group": "pair"}]
    path.write_text(json.dumps({"objects": things, "relations": ["ball on top of cube"]}), encoding="utf-8")
    found = config.load(RECIPE, [f"renderer.layout={path}", f'stages=[{{renderer: {{layout: {path}, whole: 0.5}}}}]'])
    for held in (found.values["renderer"], found.values["stages"][0]["renderer"]):
        assert [thing["rotation"] for thing in held["layout"]["objects"]] == [0.0, 30.0]
    path.unlink()
    kept = tmp_path / "config.yaml"
    kept.write_text(found.text(), encoding="utf-8")
    again = config.load(str(kept))
    assert again.values == found.values and again.hash == found.hash and again.stages == found.stages


def test_a_layout_from_a_prompt_is_refused_beside_another_prompt(tmp_path):
    with pytest.raises(Mistake, match="stages.1: this layout was read from 'a red ball on a blue cube', but the prompt is 'a green apple'"):
        config.load(RECIPE, ["stages=[{}, {prompt: a green apple}]"])
    again = config.load(RECIPE, ["stages=[{}, {prompt: a green apple on a yellow table, renderer: {layout: prompt}}]"]).stages[1]
    assert [thing["prompt"] for thing in again["renderer"]["layout"]["objects"]] == ["a green apple", "a yellow table"]
    kept = tmp_path / "config.yaml"
    kept.write_text(config.load(RECIPE).text(), encoding="utf-8")
    with pytest.raises(Mistake, match="but the prompt is 'a green apple'"):
        config.load(str(kept), ["prompt=a green apple"])
    found = config.load(str(kept), ["prompt=a green apple", "renderer.layout.origin=null"])
    assert len(found.values["renderer"]["layout"]["objects"]) == 2


def test_another_layout_file_is_another_run(tmp_path):
    hashes = set()
    for size in (0.4, 0.5):
        (tmp_path / "one.json").write_text(json.dumps(named(ball=((0, 0, 0), size))), encoding="utf-8")
        hashes.add(config.load(RECIPE, [f"renderer.layout={tmp_path / 'one.json'}"]).hash)
    assert len(hashes) == 2


def test_parts_have_settings_of_their_own():
    things = "{objects: [{name: ball, renderer: {count: 7}}, {name: cube, renderer: {type: mesh}}], relations: [ball on cube]}"
    found = config.load(RECIPE, [f"renderer.layout={things}", "renderer.object.lr_colour=0.5"]).values["renderer"]
    ball, cube = (layout.part(found["object"], thing) for thing in found["layout"]["objects"])
    assert ball["type"] == "gaussians" and ball["count"] == 7 and ball["lr_colour"] == 0.5
    assert cube["type"] == "mesh" and cube["faces"] == 1280 and "count" not in cube


def test_regions_are_the_objects_prompts_where_none_are_told():
    scene = config.load(RECIPE).stages[0]
    assert parts.regions(scene["guidance"], scene["renderer"]) == ["a red ball", "a blue cube"]
    assert parts.regions({**scene["guidance"], "regions": "a | b"}, scene["renderer"]) == ["a", "b"]
    assert parts.regions({**scene["guidance"], "type": "sds"}, scene["renderer"]) == []
    assert parts.regions(scene["guidance"], {"type": "gaussians"}) == []
    with pytest.raises(Mistake, match="1 region prompts, but the layout has 2 objects"):
        check_vocabulary(config.load(RECIPE, ["guidance.regions=a red ball"]))
    with pytest.raises(Mistake, match="dragon") as caught:
        check_vocabulary(config.load(RECIPE, ["renderer.layout={objects: [{name: a, prompt: a dragon}]}"]))
    assert "command line" in caught.value.where


def test_a_scene_takes_the_memory_and_owes_the_papers_of_its_parts():
    things = "{objects: [{name: ball, renderer: {count: 7}}, {name: cube, renderer: {type: mesh}}], relations: [ball on cube]}"
    stage = config.load(RECIPE, [f"renderer.layout={things}"]).stages[0]
    alone = [dict(estimate.parts({**stage, "renderer": part})) for part in layout.parts(stage["renderer"])]
    assert dict(estimate.parts(stage))["renderer composed"] == alone[0]["renderer gaussians"] + alone[1]["renderer mesh"]
    assert {("renderers", name) for name in ("composed", "gaussians", "mesh")} <= set(catalogue.used(stage))


def test_no_torch_is_needed():
    code = (
        "import sys; from dream3d import config, needs, vocabulary\n"
        f"found = config.load({RECIPE!r}); vocabulary.check_vocabulary(found); needs.check_needs(found)\n"
        "assert 'torch' not in sys.modules and len(found.values['renderer']['layout']['objects']) == 2"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_can_learn_nothing_is_refused():
    for more in ([], ["stages=[{prompt: a red car}]"]):
        with pytest.raises(Mistake, match="there is no guidance"):
            config.load("sds-gaussian", ["prior=none", "guidance=[]", *more])
    assert config.load("sds-gaussian", ["prior=none", "guidance=[]", "penalties.opacity=0.1"]).values["guidance"] == []
    moving = "renderer.layout={objects: [{name: ball}, {name: cube, renderer: {type: dynamic_gaussians}}], relations: [ball on cube]}"
    with pytest.raises(Mistake, match="dynamic_gaussians moves, but orbit cameras see one moment"):
        check_needs(config.load(RECIPE, [moving]))


# --- bad input --------------------------------------------------------------------------------------------------------------------

BAD = {
    "{objects: []}": ("no objects", ""),
    "{objects: 3}": ("expected a list", ""),
    "{objekts: []}": ("unknown key 'renderer.layout.objekts'", "objects"),
    "{objects: [ball]}": ("an object is a mapping", ""),
    "{objects: [{prompt: a red ball}]}": ("name is missing", ""),
    "{objects: [{name: '  '}]}": ("1 to 60 letters", ""),
    "{objects: [{name: ball, colour: red}]}": ("unknown key 'renderer.layout.objects.0.colour'", ""),
    "{objects: [{name: ball, box: {center: [0, 0, 0]}}]}": ("objects.0.box.center'", "centre"),
    "{objects: [{name: ball, box: {size: -1}}]}": ("above 0", ""),
    "{objects: [{name: ball, box: {size: 1.0e-5}}]}": ("a side of 1e-05 m is less than 1 cm", ""),
    "{objects: [{name: ball, box: {size: [1, 1, 0.001]}}]}": ("less than 1 cm", ""),
    "{objects: [{name: ball, box: {size: [1, 1]}}]}": ("box.size", ""),
    "{objects: [{name: ball, box: {centre: [.nan, 0, 0], size: 1}}]}": ("finite", ""),
    "{objects: [{name: ball, rotation: 400}]}": ("rotation", ""),
    "{objects: [{name: ball, box: {centre: [0.5, 0, 0], size: 0.7}}]}": ("'ball' reaches 0.85 m along x", ""),
    "{objects: [{name: ball, frozen: true}]}": ("every object is frozen", ""),
    "{objects: [{name: ball}, {name: Ball}], relations: [ball on Ball]}": ("two objects are called 'Ball'", ""),
    "{objects: [{name: ball}, {name: cube}]}": ("nothing says where 'cube' stands", ""),
    "{objects: [{name: ball}, {name: cube}], relations: [ball on cub]}": ("'cub', but there is no such object", "cube"),
    "{objects: [{name: ball}, {name: cube}], relations: [ball hugs cube]}": ("no two objects how they stand", "on, under"),
    "{objects: [{name: ball}, {name: cube}], relations: [ball be\u017fide cube]}": ("no two objects how they stand", "on, under"),
    "{objects: [{name: ball}, {name: cube}], relations: [ball%scube]}" % (" " * 9000): ("9008 letters, more than 500", ""),
    "{objects: [{name: ball, box: {centre: [1.0e+300, 0, 0], size: 1}}]}": ("'ball' reaches 1e+300 m along x", ""),
    "{objects: [{name: ball}, {name: cube}], relations: [ball on ball]}": ("cannot stand on itself", ""),
    "{objects: [{name: a}, {name: b}, {name: c}], relations: [a on b, b behind c, c under a]}": ("circle: a on b, b behind c", ""),
    "{objects: [{name: a}, {name: b}], relations: [a on b, a behind b]}": ("two places: 'a on b' and 'a behind b'", ""),
    "{objects: [{name: a, box: {centre: [0, 0, 0]}}, {name: b}], relations: [a on b, b on a]}": ("two places: its box's centre", ""),
    "{objects: [{name: a, renderer: {type: plane}}]}": ("a picture is no object", "gaussians"),
    "{objects: [{name: a, renderer: {type: composed}}]}": ("do not nest", "gaussians"),
    "{objects: [{name: a, renderer: {type: gausians}}]}": ("no renderer 'gausians'", "gaussians"),
    "{objects: [{name: a, renderer: {cuont: 3}}]}": ("objects.0.renderer.cuont", "count"),
    "{objects: [{name: a, renderer: {halves: left}}]}": ("of a scene of its own", ""),
    "{objects: [{name: a, renderer: {type: hashgrid, environment: true}}]}": ("paints nothing behind", ""),
    "{objects: [{name: a, file: nowhere.glb}]}": ("a: 'nowhere.glb' is neither a run nor a file", ""),
    "3": ("expected text or a section", ""),
    "nowhere.json": ("the layout 'nowhere.json' cannot be read: No such file", ""),
}  # fmt: skip


@pytest.mark.parametrize("given", BAD, ids=lambda text: text[:40])
def test_what_is_wrong_with_a_layout_is_said(given):
    problem, near = BAD[given]
    with pytest.raises(Mistake) as caught:
        config.load(RECIPE, [f"renderer.layout={given}"])
    assert problem in caught.value.problem and near in caught.value.near, str(caught.value)
    assert caught.value.where and len(caught.value.lines) <= 5


def test_boxes_that_touch_are_read_again():
    """Their digits are rounded on the way, which may bring them together by half a tenth of a millimetre a side."""
    for k in range(40):
        size = 0.3 + 0.0000373 * k
        found = placed(named(ball=((-0.2, 0, 0), size), cube=((size - 0.2 - 0.02, 0, 0), size)))
        assert placed({"objects": found}) == found


def test_boxes_may_overlap_only_where_that_is_allowed():
    two = named(ball=((0, 0, 0), 0.8), cube=((0.5, 0, 0), 0.5))
    with pytest.raises(Mistake, match="the boxes of 'ball' and 'cube' overlap by 15 cm"):
        placed(two)
    assert len(placed({**two, "overlap": True})) == 2


def test_ten_thousand_objects_are_refused_before_any_of_them_is_looked_at(monkeypatch):
    monkeypatch.setattr(layout, "_thing", lambda *_: pytest.fail("an object was looked at"))
    with pytest.raises(Mistake, match="10000 objects in a layout") as caught:
        placed({"objects": [{"name": f"a{i}"} for i in range(10_000)]})
    assert "1 to 32" in caught.value.fix


@pytest.mark.parametrize(("text", "problem", "line"), [
    ('{"objects": [\n{"name": "a",}\n]}', "not JSON", ":2"), ("", "not JSON", ":1"), ("[" * 100_000, "nested too deeply", ""),
    ('{"objects": [{"name": "a", "name": "b"}]}', "'name' stands there twice", ""), ('{"objects": [{"name": NaN}]}', "NaN", ""),
    ("[]", "a layout is a mapping", ""), (b'{"objects": "\xff"}', "not UTF-8", ":1"), (b" " * ((1 << 20) + 1), "larger than 1 MiB", ""),
    ('{"objects": [{"name": "a", "promt": "b"}]}', "unknown key", "objects.0.promt"),
])  # fmt: skip
def test_files_are_not_trusted(tmp_path, text, problem, line):
    path = tmp_path / "bad.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Mistake, match=problem) as caught:
        config.load(RECIPE, [f"renderer.layout={path}"])
    assert caught.value.where.startswith(str(path)) and line in caught.value.where


def test_files_with_many_keys_are_read_once(tmp_path):
    path = tmp_path / "many.json"
    path.write_text(json.dumps({f"k{i}": 0 for i in range(60_000)}), encoding="utf-8")
    begun = time.process_time()
    with pytest.raises(Mistake, match="unknown key"):
        config.load(RECIPE, [f"renderer.layout={path}"])
    assert time.process_time() - begun < 5  # every pair of keys: half a minute


def test_a_missing_file_names_its_neighbours(tmp_path, monkeypatch):
    (tmp_path / "two.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Mistake) as caught:
        config.load(RECIPE, ["renderer.layout=tow.json"])
    assert caught.value.near == "two.json"


def test_a_layout_is_read_from_one_prompt_only():
    with pytest.raises(Mistake, match="from one prompt, not from several"):
        config.load(RECIPE, ["prompt=x"], {"prompt": ["a red car", "a duck"]})
