"""Several objects in one scene: handed over, taken apart again, started from files and runs."""

import dataclasses

import pytest
import torch
from composed_scenes import BALL, FEW, LEFT, RIGHT, WHOLE, paint, same, scene, splats, two
from dream3d.renderers import _compose_data
from dream3d.renderers._atlas import painted
from dream3d.renderers.mesh import TriangleMesh

from dream3d import build, checkpoint, config
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.types import Field, Mesh, Points

# --- handing over -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [(FEW, FEW), (BALL, BALL), (FEW, {**FEW, "sh_degree": 1})], ids=["splats", "meshes", "degrees"])
def test_what_is_handed_over_is_taken_apart_again(kinds):
    made = scene({"box": LEFT, "renderer": kinds[0]}, {"box": RIGHT, "rotation": 70.0, "renderer": kinds[1]})
    for i, part in enumerate(made.parts):
        paint(part, i)
    handed = made.handover()
    assert handed.label.unique().tolist() == [0, 1] and isinstance(handed, Mesh if kinds[0] is BALL else Points)
    other = scene({"box": RIGHT, "renderer": kinds[0]}, {"box": LEFT, "rotation": -20.0, "renderer": kinds[1]})
    other.init_from(handed)
    same(other.render(ring(3, size=32)), made.render(ring(3, size=32)), atol=2e-3)


def test_kinds_are_handed_over_as_one():
    voxels = {"type": "voxels", "resolution": 12, "samples": 16, "grid": 16}
    surfaces = scene({"box": LEFT, "renderer": BALL}, {"box": RIGHT, "renderer": voxels}).handover()
    assert isinstance(surfaces, Mesh) and surfaces.rgb.shape == surfaces.vertices.shape
    splats = scene({"box": LEFT}, {"box": RIGHT, "renderer": BALL}).handover()
    assert isinstance(splats, Points) and splats.label.bincount().tolist()[0] == 40 and splats.label.bincount()[1] > 1000
    for data, x in ((surfaces, surfaces.vertices), (splats, splats.position)):
        assert x.isfinite().all() and x.abs().max() < 0.8 and data.label.max() == 1


def test_textures_are_handed_over_side_by_side():
    textured = {**BALL, "faces": 80, "appearance": "texture", "texture": 32}
    made = scene({"box": LEFT, "renderer": textured}, {"box": RIGHT, "renderer": {**textured, "texture": 48}})
    for k, part in enumerate(made.parts):
        part.look.colour.data[:] = torch.tensor([0.9, 0.1, 0.2]) if k else torch.tensor([0.1, 0.8, 0.3])
    handed = made.handover()
    assert handed.texture.shape == (80, 48, 3) and handed.uv.min() >= 0 and handed.uv.max() <= 1
    joint = TriangleMesh(torch.Generator(), appearance="texture", texture=80, stiffness=0.0)
    joint.init_from(handed)
    a, b = made.render(ring(4, size=32)), joint.render(ring(4, size=32))
    same(a, b, "alpha", "depth", "labels", atol=1e-4)
    assert (a.rgb - b.rgb).abs().mean() < 0.01


@pytest.mark.parametrize("far", [(0.0, 1.0), (-1.25, 1.25), (3.5, 6.0)])
def test_textures_that_repeat_are_written_out(far, monkeypatch):
    """A square with a gradient on it, as often as its uvs say, beside one whose texture does not repeat; and one too large to write out."""
    low, high = far
    corner = torch.tensor([[low, low], [high, low], [high, high], [low, high]])
    flat = torch.tensor([[-0.4, 0.0, -0.4], [0.4, 0.0, -0.4], [0.4, 0.0, 0.4], [-0.4, 0.0, 0.4]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    image = torch.stack(torch.meshgrid(torch.linspace(0.1, 0.9, 16), torch.linspace(0.1, 0.9, 24), indexing="ij"), -1)
    tiled = Mesh(flat, faces, uv=corner[faces], texture=torch.nn.functional.pad(image, (0, 1), value=0.5))
    plain = dataclasses.replace(tiled, uv=torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])[faces])
    joint = _compose_data._mesh([tiled, dataclasses.replace(plain, vertices=flat + torch.tensor([0.0, 0.3, 0]))])
    assert joint.uv.min() >= 0 and joint.uv.max() <= 1
    weights = torch.rand(400, 3, generator=torch.Generator().manual_seed(0))
    weights, face = weights / weights.sum(1, keepdim=True), torch.arange(400) % 2
    for mesh, begin in ((tiled, 0), (plain, 2)):
        gap = (painted(joint, face + begin, weights) - painted(mesh, face, weights)).abs().amax(1)
        assert gap.median() < 1e-4 and (gap > 0.05).float().mean() < 0.15  # not where one picture ends and the next begins
    monkeypatch.setattr(_compose_data, "LARGEST", 20)
    assert max(_compose_data._untiled(tiled).texture.shape[:2]) <= 24 and _compose_data._untiled(tiled).texture.isfinite().all()
    monkeypatch.setattr(_compose_data, "LARGEST", 1)
    if high - low > 1:
        with pytest.raises(Mistake, match="a texture that repeats"):
            _compose_data._untiled(tiled)


@pytest.mark.parametrize(("change", "problem"), [
    (lambda p: dataclasses.replace(p, label=None), "2 objects cannot start from gaussians without labels"),
    (lambda p: dataclasses.replace(p, label=p.label + 1), "has 3 objects, the layout 2"),
    (lambda p: dataclasses.replace(p, label=0 * p.label), "nothing of what was handed over belongs to 'thing 1'"),
    (lambda p: Field(0.8, density=torch.ones(4, 4, 4)), "a field does not say"),
])  # fmt: skip
def test_what_cannot_be_told_apart_is_refused(change, problem):
    with pytest.raises(Mistake, match=problem):
        two().init_from(change(two().handover()))


# --- files ------------------------------------------------------------------------------------------------------------------------


def test_objects_start_from_files_once_and_a_checkpoint_needs_them_no_more(tmp_path):
    path = splats(tmp_path / "car.ply", 5)
    settings = {"box": LEFT, "file": str(path), "frozen": True}, {"box": RIGHT}
    made = scene(*settings)
    stored = made.things[0]["sha256"]
    state = made.state()  # what a stage saves before its first step has what the file holds
    assert len(made.parts[0]) == 30 and len(stored) == 64 and not any(p.requires_grad for p in made.parts[0].parameters())
    kept = dict(settings[0], sha256=stored)
    path.unlink()
    again = scene(kept, settings[1])
    again.restore(state)
    same(again.render(ring(2, size=16)), made.render(ring(2, size=16)))
    with pytest.raises(Mistake, match="thing 0: .* is neither a run nor a file"):
        scene(kept, settings[1]).render(ring(2, size=16))
    splats(path, 6)
    with pytest.raises(Mistake, match="is not the file that this run began with"):
        scene(kept, settings[1]).render(ring(2, size=16))


def test_a_frozen_object_stays_what_its_file_says_when_a_stage_hands_over(tmp_path):
    path = splats(tmp_path / "car.ply", 5)
    made, handed = scene({"box": LEFT, "file": str(path), "frozen": True}, {"box": RIGHT, "file": str(path)}), two().handover()
    made.init_from(handed)
    assert [len(part) for part in made.parts] == [30, 40]


def test_objects_start_from_runs(tmp_path):
    found = config.load("sds-gaussian", ["renderer.count=25", f"out={tmp_path / 'run'}"])
    other = build.make("renderers", found.stages[0]["renderer"], torch.Generator().manual_seed(9))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(found.text(), encoding="utf-8")
    with pytest.raises(Mistake, match="this run has no checkpoint yet"):
        scene({"box": WHOLE, "file": str(tmp_path / "run")})
    about = {"stage": 0, "index": 3, "attempt": 0}
    checkpoint.save(tmp_path / "run" / "checkpoints", 3, {"scene": other.state(), "optimizer": {}, "terms": {}}, about)
    made = scene({"box": WHOLE, "file": str(tmp_path / "run")})
    same(made.render(ring(2, size=16)), other.render(ring(2, size=16)), "rgb", "alpha", "depth")
