"""Scenes of several objects, and single ones: copies for edits, rounds that show every object, what places and frozen objects learn."""

import copy

import pytest
import torch
from test_composed import BALL, FEW, LEFT, RIGHT, scene, step

from dream3d import build
from dream3d.cameras import ring
from dream3d.types import Step

SKINNED = {"type": "skinned", "count": 300, "lr_pose": 0.01}
VOXELS = {"type": "voxels", "resolution": 12, "samples": 16, "occupancy": 8}
COPIED = {
    "mesh": BALL, "dynamic_mesh": {"type": "dynamic_mesh", "faces": 80}, "dynamic_gaussians": {"type": "dynamic_gaussians", "count": 40},
    "skinned": SKINNED, "skinned gaussians": {**SKINNED, "surface": "gaussians"}, "voxels": VOXELS, "gaussians": FEW,
}  # fmt: skip


def copied(made) -> None:
    """A copy, as edits keep one, shows the same and stays when the other changes."""
    made.render(ring(1, size=16), step()).rgb.sum().backward()
    twin = copy.deepcopy(made).requires_grad_(False)
    before = twin.render(ring(2, size=16)).rgb
    torch.testing.assert_close(before, made.render(ring(2, size=16)).rgb.detach(), atol=1e-5, rtol=0)
    for parameter in made.parameters():
        parameter.data.add_(0.05)
    assert torch.equal(twin.render(ring(2, size=16)).rgb, before) and (made.render(ring(2, size=16)).rgb - before).abs().max() > 0.01


@pytest.mark.parametrize("name", COPIED)
def test_every_scene_can_be_kept_beside_its_edit(name):
    copied(build.make("renderers", COPIED[name], torch.Generator().manual_seed(0)))


def test_a_composed_scene_can_be_kept_beside_its_edit():
    copied(scene({"box": LEFT}, {"box": RIGHT, "renderer": BALL}))


# --- rounds -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize(("objects", "groups"), [(2, 1), (4, 2), (8, 4), (3, 2)])
def test_rounds_show_every_object_equally_often(whole, objects, groups):
    boxes = [{"box": {"centre": [0.0, 0.0, 0.0], "size": 0.5}}] * objects
    made, cameras = scene(*boxes, common={**FEW, "count": 1}, whole=whole), ring(groups, size=8)
    shown = torch.cat([made._shown(cameras, Step.make(i, 64, 0)) for i in range(64)])
    alone = shown[shown >= 0].bincount(minlength=objects)
    assert alone.max() - alone.min() <= 1 and alone.sum() == groups * round(64 * (1 - whole))
