"""Normals of volumes, lamps on them, and what both do to gradients."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from dream3d.renderers.hashgrid import HashGrid
from dream3d.renderers.nerf import NeRF
from dream3d.renderers.triplane import TriPlane
from dream3d.renderers.voxels import Voxels

from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.penalties import eikonal, orientation
from dream3d.schedule import Ramp
from dream3d.types import Render, Step

KINDS = {"nerf": NeRF, "hashgrid": HashGrid, "voxels": Voxels, "triplane": TriPlane}
RADIUS, AMBIENT = 0.5, 0.25


def rng():
    return torch.Generator().manual_seed(0)


def ball(**more) -> Voxels:
    """An opaque ball: distances, or a density that is as steep."""
    settings = {"geometry": "volsdf", "edge": Ramp(0.004), "blob_radius": RADIUS, "samples": 128, "ambient": AMBIENT, **more}
    if settings["geometry"] == "density":
        settings |= {"blob_strength": 200.0}
    scene = Voxels(rng(), resolution=9, **settings)
    scene.colour_grid.data.copy_(torch.tensor([2.0, 0.0, -2.0]).view(1, 3, 1, 1, 1).expand_as(scene.colour_grid))
    return scene


def hits(cameras):
    """Where rays meet the ball, and which do so well."""
    origin, way = cameras.rays()
    a, b = way.square().sum(-1), (origin * way).sum(-1)
    gap = b.square() - a * (origin.square().sum(-1) - RADIUS**2)
    return origin + ((-b - gap.clamp(min=0).sqrt()) / a)[..., None] * way, gap > 0.1 * a


@pytest.mark.parametrize("geometry", ["density", "volsdf", "neus"])
def test_normals_of_all_sections_together_are_those_of_a_ball(geometry):
    scene, cameras = ball(geometry=geometry, normals="samples"), ring(2, size=24)
    render = scene.render(cameras)
    place, well = hits(cameras)
    assert (F.normalize(render.normal, dim=-1) * place / RADIUS).sum(-1)[well].min() > 0.99
    assert torch.allclose(render.normal.norm(dim=-1)[well], render.alpha[..., 0][well], atol=1e-4)
    assert render.normal.norm(dim=-1)[render.alpha[..., 0] < 1e-4].max() < 1e-3
    facing = render.extras["facing"]
    assert facing.shape == render.extras["weights"].shape and facing.abs().max() <= 1 + 1e-5
    assert orientation(scene, render) < 0.01 * render.alpha.sum() / 2
    if geometry != "density":
        assert eikonal(scene, render) / len(render.extras["gradient"]) < 1e-3


def test_a_white_ball_is_as_bright_as_lambert_says():
    scene, cameras = ball(shading="textureless"), ring(2, size=24)
    render = scene.render(cameras)  # the lamp is at the camera
    place, well = hits(cameras)
    towards = F.normalize(cameras.centre[:, None, None] - place, dim=-1)
    wanted = AMBIENT + (1 - AMBIENT) * (towards * place / RADIUS).sum(-1, keepdim=True).clamp(min=0)
    assert (render.rgb - wanted)[well].abs().max() < 0.02 and wanted[well].std() > 0.05


def test_a_lamp_lights_what_is_there_and_a_preview_shows_it_unlit():
    cameras, pictures = ring(2, size=16), {}
    for mode in ("albedo", "lambert", "textureless"):
        pictures[mode] = ball(shading=mode).render(cameras, Step.make(3, 10, 0)).rgb
    albedo = torch.tensor([2.0, 0, -2]).sigmoid()
    assert torch.allclose(pictures["lambert"], albedo * pictures["textureless"], atol=2e-4)
    assert pictures["lambert"].sum() < 0.95 * pictures["albedo"].sum()
    assert torch.equal(ball(shading="lambert").render(cameras).rgb, ball().render(cameras).rgb)


def test_ways_of_shading_come_by_chance():
    scene, cameras = ball(shading={"albedo": 0.5, "textureless": 0.5}, samples=32), ring(1, size=6)
    pictures = [scene.render(cameras, Step.make(i, 20, 0)).rgb for i in range(20)]
    colourful = [(rgb[..., 0] - rgb[..., 2]).max().item() > 0.1 for rgb in pictures]
    assert 4 < sum(colourful) < 16


def test_a_lamp_lights_no_latents():
    with pytest.raises(Mistake, match="latent"):
        Voxels(rng(), resolution=4, features=4, shading={"albedo": 0.5, "lambert": 0.5})
    Voxels(rng(), resolution=4, features=4, shading="albedo")


@pytest.mark.parametrize("shading", ["lambert", "textureless"])
def test_lit_chunks_change_nothing(shading):
    def gradients(chunk: int):
        scene = TriPlane(rng(), samples=16, chunk=chunk, shading=shading, normals="samples")
        render = scene.render(ring(2, size=10), Step.make(0, 10, 0))
        (render.rgb.sum() + render.normal.sum() + orientation(scene, render)).backward()
        return render, [p.grad for p in scene.parameters()]

    (one, whole), (other, parts) = gradients(1 << 20), gradients(500)
    assert all(torch.allclose(a, one.buffers()[k], atol=1e-5) for k, a in other.buffers().items())
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(whole, parts, strict=True))


@pytest.mark.parametrize("geometry", ["density", "volsdf"])
@pytest.mark.parametrize("name", KINDS)
def test_gradients_through_normals_agree_with_differences(name, geometry):
    """Lit colours, normals and their penalty, along a random direction of all parameters, in double precision: what a normal is made of
    has derivatives, too."""
    scene = KINDS[name](rng(), samples=8, shading="textureless", normals="samples", geometry=geometry, edge=Ramp(0.1)).double()
    cameras = ring(1, size=6)
    numbers = {k: v.double() for k, v in vars(cameras).items() if torch.is_tensor(v) and v.is_floating_point()}
    cameras = dataclasses.replace(cameras, **numbers)
    if name == "hashgrid":
        scene.table.data.normal_(generator=rng())  # its small start lies on kinks of the perceptron
    if name == "voxels":
        scene.geometry_grid.data.normal_(generator=rng())
    pull = torch.rand(1, 6, 6, 3, generator=rng(), dtype=torch.double)

    def value():
        render = scene.render(cameras)
        facing = render.extras["facing"].clamp(min=0).square().sum() / 100  # the penalty, but for the light it takes as given
        return (render.rgb * pull).sum() + (render.normal * pull.flip(1)).sum() + facing

    value().backward()
    parts = [p for p in scene.parameters() if p.grad is not None]
    ways = [torch.randn(p.shape, generator=rng(), dtype=torch.double) for p in parts]
    slope = sum((p.grad * w).sum() for p, w in zip(parts, ways, strict=True)).item()

    @torch.no_grad()
    def moved(h: float) -> float:
        for p, w in zip(parts, ways, strict=True):
            p += h * w
        found = value().item()
        for p, w in zip(parts, ways, strict=True):
            p -= h * w
        return found

    assert abs(slope) > 1e-3 and slope == pytest.approx((moved(1e-6) - moved(-1e-6)) / 2e-6, rel=1e-4, abs=1e-7)


def test_light_alone_shapes_a_ball():
    """Pictures of a white ball under lamps that move: a ball of another size learns its size from its shading and mask."""
    true, scene, losses = ball(shading="textureless", samples=48), ball(shading="textureless", samples=48, blob_radius=0.4), []
    optimizer = torch.optim.Adam([scene.geometry_grid], 0.5)
    for index in range(40):
        cameras = ring(2, start=37.0 * index, size=12)
        with torch.no_grad():
            wanted = true.render(cameras, Step.make(index, 40, 0))
        loss = (scene.render(cameras, Step.make(index, 40, 0)).rgb - wanted.rgb).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.1 * sum(losses[:5])


@pytest.mark.parametrize("away", [True, False])
def test_what_turns_its_back_costs_its_light(away):
    """Fog that thins along the rays has normals that go with them; fog that grows has none that do."""
    scene, cameras = Voxels(rng(), resolution=5, blob="none", samples=32, normals="samples"), ring(1, size=8)
    fall = torch.linspace(2, -2, 5) if away else torch.linspace(-2, 2, 5)
    scene.geometry_grid.data.copy_(fall.view(1, 1, 1, 5, 1).expand_as(scene.geometry_grid))  # the camera is on -y
    render = scene.render(cameras)
    _, way = cameras.rays()
    cosine = F.normalize(way, dim=-1)[..., 1:2]
    wanted = (render.alpha * cosine.square()).sum() if away else torch.tensor(0.0)
    assert torch.allclose(orientation(scene, render), wanted, rtol=0.02, atol=1e-4)
    assert not away or wanted > 10


def test_orientation_by_hand_and_its_gradient_leaves_the_light_alone():
    weights = torch.tensor([[0.5, 0.25], [0.25, 0.0]], requires_grad=True)
    facing = torch.tensor([[0.6, -0.8], [1.0, 1.0]], requires_grad=True)
    nothing = torch.zeros(2, 1, 1, 1)
    cost = orientation(ball(), Render(nothing.expand(2, 1, 1, 3), nothing, nothing, extras={"weights": weights, "facing": facing}))
    cost.backward()
    assert cost.item() == pytest.approx((0.5 * 0.36 + 0.25) / 2) and weights.grad is None
    assert torch.allclose(facing.grad, torch.tensor([[0.3, 0.0], [0.25, 0.0]]))


def test_orientation_needs_normals_of_samples():
    with pytest.raises(Mistake, match="facing") as caught:
        scene = ball()
        orientation(scene, scene.render(ring(1, size=4)))
    assert "renderer.normals=samples" in str(caught.value)


@pytest.mark.parametrize("kind", ["voxels", "triplane"])
def test_latents_go_with_the_map_that_shows_them(kind, monkeypatch):
    monkeypatch.setattr("dream3d.renderers._handing.STEPS", 60)
    monkeypatch.setattr("dream3d.renderers._handing.BATCH", 1 << 12)
    source = Voxels(rng(), resolution=9, features=4, grid=17, blob_strength=50.0)
    source.decoder.data.copy_(torch.eye(4, 3).flip(1))  # it has learnt something else
    source.colour_grid.data.copy_(torch.tensor([0.9, -0.4, -0.8, 0.0]).view(1, 4, 1, 1, 1).expand_as(source.colour_grid))
    handed = source.handover()
    assert handed.decoder is not source.decoder and torch.equal(handed.decoder, source.decoder)
    target = KINDS[kind](rng(), features=4, blob_strength=50.0)
    target.init_from(handed)
    cameras = ring(1, size=8)
    before, after = (scene.render(cameras).rgb / scene.render(cameras).alpha.clamp(min=1e-3) for scene in (source, target))
    solid = source.render(cameras).alpha[..., 0] > 0.99
    assert solid.any() and (before - after)[solid].abs().max() < 0.06
    assert (before[solid].mean(0) - torch.tensor([0.1, 0.3, 0.95])).abs().max() < 0.01
