"""Scenes of several objects over time: what moves among them does so where it stands, and the others stay."""

import dataclasses

import pytest
import torch
from composed_scenes import BALL, FEW, LEFT, RIGHT, scene
from dream3d.renderers.composed import Composed

from dream3d.cameras import ring
from dream3d.clips import MeshClip, SplatClip
from dream3d.types import Points

TIMES = torch.linspace(0, 1, 4)
MOVING = {"type": "dynamic_gaussians", "count": 30, "opacity": 0.6, "whole": "rigid"}
ROLLING = {"type": "dynamic_mesh", "faces": 320, "whole": "rigid"}


def made(*renderers: dict) -> Composed:
    boxes = ({"box": LEFT}, {"box": RIGHT, "rotation": [20.0, -30.0, 70.0]})
    found = scene(*({**box, "renderer": renderer} for box, renderer in zip(boxes, renderers, strict=True)))
    for part in found.parts:
        if hasattr(part, "whole"):
            part.whole.shift.data += 0.2 * torch.randn(part.whole.shift.shape, generator=torch.Generator().manual_seed(1))
            part.whole.turn.data += 0.5
    return found


def test_gaussians_move_beside_what_stands_still():
    found = made(MOVING, FEW)
    clip = found.clip(TIMES)
    assert isinstance(clip, SplatClip) and [len(frame.position) for frame in clip.frames] == [70] * 4
    for name in ("position", "scale", "rotation", "opacity", "sh"):
        torch.testing.assert_close(getattr(clip.frames[0], name), getattr(found.handover(), name), atol=1e-6, rtol=1e-5)
        assert torch.equal(getattr(clip.frames[3], name)[30:], getattr(clip.frames[0], name)[30:])
    part, place = found.parts[0], found.places()[0]
    truth = place.out(part.moved(TIMES[3])["still.position"])
    torch.testing.assert_close(clip.frames[3].position[:30], truth, atol=1e-6, rtol=1e-5)
    assert (clip.frames[3].position[:30] - clip.frames[0].position[:30]).norm(dim=1).min() > 0.01


def test_a_moment_of_the_clip_looks_as_the_scene_does_then():
    """Drawn as still Gaussians, which are composited in one order of depth: the scene's layers stand apart."""
    from dream3d.renderers.gaussians import Gaussians

    found = made(MOVING, FEW)
    frame = found.clip(TIMES).frames[2]
    alone = Gaussians(torch.Generator(), count=1)
    alone.init_from(dataclasses.replace(frame, label=None))
    seen = ring(2, size=32)
    truth = found.render(dataclasses.replace(seen, time=TIMES[2].expand(2)))
    assert (alone.render(seen).alpha - truth.alpha).abs().max() < 0.02


def test_meshes_move_together():
    found = made(ROLLING, BALL)
    clip = found.clip(TIMES)
    handed = found.handover()
    assert isinstance(clip, MeshClip) and torch.equal(clip.mesh.faces, handed.faces)
    torch.testing.assert_close(clip.places[0], handed.vertices, atol=1e-6, rtol=0)
    part, place, count = found.parts[0], found.places()[0], len(found.parts[0].rest())
    torch.testing.assert_close(clip.places[3][:count], place.out(part.moved(part.rest(), TIMES[3])[0]), atol=1e-6, rtol=0)
    assert torch.equal(clip.places[3][count:], clip.places[0][count:])


@pytest.mark.parametrize("renderers", [(FEW, FEW), (BALL, BALL), (ROLLING, FEW)])
def test_what_stands_still_and_a_mesh_that_moves_among_gaussians_have_no_clip(renderers):
    found = made(*renderers)
    assert found.clip(TIMES) is None and isinstance(found.handover(), Points) is (FEW in renderers)
