"""A clip of a scene, on the mesh that was made of it."""

import dataclasses

import pytest
import torch
from moving_scenes import ball, rolling, turning
from skinned_scenes import scene

from dream3d.clips import onto, posed
from dream3d.export.decimate import decimate


def test_a_clip_goes_onto_a_mesh_with_fewer_triangles():
    mesh, times = ball(), torch.linspace(0, 1, 5)
    clip, small = turning(mesh, times), decimate(mesh, 160)
    moved = onto(clip, small, mesh)
    assert len(small.faces) <= 160 and torch.equal(moved.mesh.faces, small.faces)
    assert (small.vertices[:, None] - mesh.vertices).norm(dim=-1).amin(1).max() > 0.01  # its vertices are others
    torch.testing.assert_close(moved.places, turning(small, times).places, atol=1e-5, rtol=0)
    clip = rolling().clip(times)
    torch.testing.assert_close(onto(clip, mesh, mesh).places, clip.places, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="a mesh of 42"):
        onto(clip, small, ball(80))


def test_a_body_keeps_its_joints_when_it_is_unwrapped():
    """Vertices in another order and some twice, as unwrapping leaves them, of a body that stands bent."""
    made = scene(motion="wave", pose={"left_hip": (-40, 0, 0)})
    skin, shown = made.clip(torch.linspace(0, 1, 3)), made.handover()
    order = torch.randint(0, len(shown.vertices), (4000,), generator=torch.Generator().manual_seed(0))
    baked = dataclasses.replace(shown, vertices=shown.vertices[order], rgb=None, faces=torch.zeros(1, 3, dtype=torch.long))
    moved = onto(skin, baked, shown)
    torch.testing.assert_close(posed(moved).places, posed(skin).places[:, order], atol=1e-5, rtol=0)
