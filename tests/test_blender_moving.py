"""What moves, in a real Blender: shape keys and bones play, and the box around them is ours at every moment, within 1 % of the size."""

import math

import numpy as np
import pytest
import torch
from solid_scenes import box

from dream3d.blender import call, find
from dream3d.clips import MeshClip, Skin, posed
from dream3d.errors import Mistake
from dream3d.export.formats import Ask, named

TIMES = torch.linspace(0, 1, 5)
FORMATS = ("glb", "fbx", "abc", "blend", "usdz")


def swelling() -> MeshClip:
    """The box goes to the right and grows to twice its height, ever faster, so that no frame lies between others."""
    mesh, t = box(lit=True), TIMES[:, None] ** 2
    places = torch.stack([mesh.vertices[:, 0] + 0.4 * t, mesh.vertices[:, 1].expand(len(t), -1), mesh.vertices[:, 2] * (1 + t)], -1)
    return MeshClip(mesh, places, TIMES)


def bending() -> Skin:
    """Two joints; the upper one turns what is above it by a quarter about y, while all of it rises."""
    mesh = box()
    high = (mesh.vertices[:, 2] > 0.2).float()
    angle = math.pi / 2 * TIMES
    turns = torch.zeros(5, 2, 4)
    turns[:, 0, 0], turns[:, 1, 0], turns[:, 1, 2] = 1, (angle / 2).cos(), (angle / 2).sin()
    shift = torch.stack([torch.zeros(5), torch.zeros(5), 0.2 * TIMES], -1)
    return Skin(mesh, ("root", "upper"), torch.tensor([-1, 0]), torch.tensor([[0.0, 0.0, -0.1], [0.0, 0.0, 0.2]]),
                torch.stack([1 - high, high], -1), turns, shift, TIMES)  # fmt: skip


CLIPS = {"shapes": swelling(), "bones": bending()}


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> dict[tuple[str, str], dict]:
    """What Blender says of every format of both clips."""
    try:
        find.command()
    except Mistake as mistake:
        pytest.skip(str(mistake.lines[0]))
    folder, paths = tmp_path_factory.mktemp("moving"), {}
    for kind, clip in CLIPS.items():
        for name in FORMATS:
            try:
                named(name).check()
            except Mistake:
                continue
            paths[kind, name] = folder / kind / f"a.{name}"
            named(name).write(clip, paths[kind, name], Ask({"prompt": "a box"}))
    answers = call.ask([{"do": "check", "file": path, "moments": 5} for path in paths.values()])
    return dict(zip(paths, answers, strict=True))


@pytest.mark.parametrize("kind", CLIPS)
@pytest.mark.parametrize("name", FORMATS)
def test_it_plays_as_it_moves(imported, kind, name):
    if (kind, name) not in imported:
        pytest.skip(f"{name} cannot be written here")
    answer, clip = imported[kind, name], CLIPS[kind]
    places = (posed(clip) if isinstance(clip, Skin) else clip).places.numpy()
    assert [moment["seconds"] for moment in answer["moments"]] == pytest.approx(TIMES.tolist(), abs=0.01)
    for moment, truth in zip(answer["moments"], places, strict=True):
        np.testing.assert_allclose(moment["box"], [truth.min(0), truth.max(0)], atol=0.006)
    assert answer["moved"] == pytest.approx(np.linalg.norm(places - places[0], axis=-1).max(), abs=0.006)


def test_shapes_and_bones_have_their_names(imported):
    (thing,) = [thing for thing in imported["shapes", "glb"]["objects"] if thing["kind"] == "MESH"]
    assert thing["shapes"] == ["Basis", *(f"frame_{k:04d}" for k in range(1, 5))]
    bones = [thing["bones"] for thing in imported["bones", "glb"]["objects"] if thing["kind"] == "ARMATURE"]
    assert bones == [["root", "upper"]]
    assert any(thing.get("groups") == 2 for thing in imported["bones", "glb"]["objects"])


def test_the_clips_are_what_they_are_taken_for():
    places = posed(CLIPS["bones"]).places
    top = places[-1][box().vertices[:, 2] > 0.2]
    np.testing.assert_allclose(top[:, 0], 0.3, atol=1e-6)  # the lid stands upright on the right
    np.testing.assert_allclose(swelling().places[-1][:, 2].max(), 1.0, atol=1e-6)
