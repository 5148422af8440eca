"""What an export can be made of is told of a configuration, before its run, as its scene would say at the end."""

import pytest
from export_runs import SMALL, call
from test_export_kinds import TINY

from dream3d import assemble, build, config
from dream3d.errors import Mistake
from dream3d.export.fits import asked, check_run, known
from dream3d.export.stock import Stock
from dream3d.options import Export

BOX = {"one": {"centre": [-0.3, 0, 0], "size": 0.5}, "two": {"centre": [0.3, 0, 0], "size": 0.5}}
LAYOUT = {"objects": [{"name": name, "prompt": "a cube", "box": box} for name, box in BOX.items()]}
MORE = {
    "a body of Gaussians": {"type": "skinned", "surface": "gaussians", "count": 50},
    "one that moves": {"type": "skinned", "surface": "gaussians", "count": 50, "motion": "wave"},
    "a body that stands": {"type": "skinned"},
    "meshes": {"type": "composed", "object": {"type": "mesh", "faces": 80}, "layout": LAYOUT},
    "bodies": {"type": "composed", "object": {"type": "skinned", "motion": "wave"}, "layout": LAYOUT},
    "a mesh that moves among Gaussians": {"type": "composed", "object": {"type": "gaussians", "count": 50}, "layout": {"objects": [
        LAYOUT["objects"][0], LAYOUT["objects"][1] | {"renderer": {"type": "dynamic_mesh", "faces": 80, "settle": 0}}]}},
    "Gaussians that move among meshes": {"type": "composed", "object": {"type": "mesh", "faces": 80}, "layout": {"objects": [
        LAYOUT["objects"][0], LAYOUT["objects"][1] | {"renderer": {"type": "dynamic_gaussians", "count": 50}}]}},
}  # fmt: skip
SCENES = {name: {"type": name, **settings} for name, (settings, _) in TINY.items()} | MORE


def loaded(renderer: dict | str, **export):
    more = {"device": "cpu", "export": {**SMALL["export"], **export}}
    return config.load("sds-gaussian", settings={"prompt": "a red car", "renderer": renderer, **more})


@pytest.mark.parametrize("name", SCENES)
def test_a_configuration_knows_what_its_scene_will_be(name):
    found = loaded(SCENES[name])
    scene = assemble.scene(found.stages[0], 0, 0)
    assert known(found.stages[0]["renderer"]) == Stock(scene, Export(**found.values["export"])).kinds


def test_every_renderer_says_what_it_gives():
    assert all(build.signature("renderers", name).gives is not None for name in build.available("renderers"))


WRONG = [
    ("mesh", {"formats": ["spz"]}, "spz holds Gaussians", "renderer 'mesh' has no Gaussians", "glb, obj"),
    ("gaussians", {"formats": ["glb", "sequence"]}, "sequence holds", "renderer 'gaussians' stands still", "splat, spz"),
    ("dynamic_gaussians", {"formats": []}, "no format is asked for", "export.formats", "glb"),
    ("gaussians", {"formats": ["ply"], "lods": 2}, "levels of detail are glb files", "export.formats=[ply,glb]"),
    ("gaussians", {"mesh": False, "lods": 2}, "levels of detail are glb files", "export.formats=[ply,glb]"),
    ("gaussians", {"metres": 1e12}, "export.metres=1e+12", "files hold 1e-06 to 1e+09", "export.metres=1"),
]


@pytest.mark.parametrize("renderer, export, said", [(renderer, export, said) for renderer, export, *said in WRONG])
def test_what_could_not_be_exported_is_told_before_the_run(renderer, export, said):
    with pytest.raises(Mistake) as caught:
        check_run(loaded(renderer, **export))
    text = str(caught.value)
    assert all(words in text for words in said) and caught.value.code == 2 and "--" not in text, text


def test_what_can_be_exported_is_not_held_up(monkeypatch):
    for renderer, *names in [("mesh", "glb", "obj", "stl"), ("gaussians", "glb", "spz"), ("dynamic_gaussians", "sequence", "ply"),
                             ("dynamic_mesh", "sequence", "glb"), ("skinned", "glb")]:  # fmt: skip
        check_run(loaded(renderer, formats=names, lods=int("glb" in names)))
    assert [form.name for form in asked(Export(), known({"type": "dynamic_gaussians"}))] == ["ply", "glb", "sequence"]
    monkeypatch.setattr("dream3d.export.fits.known", lambda renderer: None)
    check_run(loaded("mesh", formats=["spz"]))  # a class of others that does not say is asked at the end


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_command_ends_at_once_and_leaves_nothing(more, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--config", "sds-gaussian", "prompt=a red car", "renderer=mesh", "export.formats=[glb,spz]", *more]
    code, told, said = call(words, capsys)
    assert code == 2 and not told and "spz holds Gaussians" in said and "export.formats" in said, said
    assert not list(tmp_path.iterdir())
