"""The image as parameters: an identity map, clamped only in a way that lets go again."""

import dataclasses

import pytest
import torch
from dream3d.renderers._backends.unit import unit
from dream3d.renderers.plane import Plane

from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.optim import Adam
from dream3d.types import Step

NOW = Step.make(0, 10, 0)


def plane(**settings) -> Plane:
    return Plane(torch.Generator().manual_seed(0), size=16, **settings)


def test_renderer_is_the_identity_map():
    scene, pull = plane(), torch.randn(2, 16, 16, 3, generator=torch.Generator().manual_seed(1))
    render = scene.render(ring(2, size=16), NOW)
    render.backward({"rgb": pull})
    assert torch.equal(render.rgb[0], scene.pixels[0]) and torch.equal(render.rgb[1], scene.pixels[0])
    torch.testing.assert_close(scene.pixels.grad[0], pull.mean(0))


def test_every_subject_has_its_own_image():
    scene = plane(particles=3)
    cameras = dataclasses.replace(ring(2, size=16), subject=torch.tensor([2, 0]))
    render = scene.render(cameras, NOW)
    assert torch.equal(render.rgb[0], scene.pixels[2])
    render.rgb[0].sum().backward()
    assert scene.pixels.grad[2].eq(1).all() and scene.pixels.grad[:2].eq(0).all()
    with pytest.raises(Mistake, match="3 images"):
        scene.render(dataclasses.replace(cameras, subject=torch.tensor([0, 3])), NOW)


def test_unit_shows_the_clamp_and_leads_back_inside():
    x = torch.tensor([-0.5, -0.5, 0.3, 1.5, 1.5], requires_grad=True)
    pull = torch.tensor([1.0, -1.0, 7.0, 1.0, -1.0])
    shown = unit(x)
    shown.backward(pull)
    assert shown.tolist() == [0, 0, pytest.approx(0.3), 1, 1]
    assert x.grad.tolist() == [0, -1, 7, 1, 0]


def test_saturated_image_comes_back():
    scene, adam = plane(), Adam()
    scene.pixels.data.fill_(1.4)
    for _ in range(300):
        image = scene.render(ring(1, size=16), NOW).rgb
        image.backward(image.detach() - 0.25)
        adam.step(scene.groups(NOW))
    torch.testing.assert_close(scene.pixels, torch.full_like(scene.pixels, 0.25), atol=0.02, rtol=0)


def test_other_resolution_is_a_resize_and_handover_is_a_textured_square():
    scene = plane()
    assert scene.render(ring(1, size=8), NOW).rgb.shape == (1, 8, 8, 3)
    mesh = scene.handover()
    assert mesh.texture.shape == (16, 16, 3) and mesh.uv.shape == (2, 3, 2)
    normal = torch.linalg.cross(*(mesh.vertices[mesh.faces[0, i]] - mesh.vertices[mesh.faces[0, 0]] for i in (1, 2)))
    assert normal[1] < 0  # faces the front camera
