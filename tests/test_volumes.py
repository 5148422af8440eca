"""Ray marching: quadrature against closed forms, empty space, chunks, latents, environments, and handing over."""

import math

import pytest
import torch
from dream3d.renderers import _fields, _handing, _march
from dream3d.renderers.hashgrid import HashGrid
from dream3d.renderers.nerf import NeRF
from dream3d.renderers.triplane import TriPlane
from dream3d.renderers.voxels import Voxels

from dream3d import background
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.export.views import sphere
from dream3d.optim import Adam
from dream3d.penalties import eikonal, fog, variation
from dream3d.schedule import Ramp
from dream3d.toybox.language import parse
from dream3d.toybox.mesh import truth
from dream3d.toybox.world import build, instance_seed
from dream3d.types import Field, Mesh, Points, Step

KINDS = {"nerf": NeRF, "hashgrid": HashGrid, "voxels": Voxels, "triplane": TriPlane}
RADIUS = 0.5


def rng():
    return torch.Generator().manual_seed(0)


def ball(**more) -> Voxels:
    """An opaque ball in red: distances on a fine grid."""
    scene = Voxels(rng(), geometry="volsdf", resolution=33, samples=128, edge=Ramp(0.004), blob_radius=RADIUS, **more)
    with torch.no_grad():
        scene.geometry_grid.zero_()
        scene.colour_grid.copy_(torch.tensor([6.0, -6.0, -6.0]).view(1, 3, 1, 1, 1).expand_as(scene.colour_grid))
    return scene


def hits(cameras):
    """Analytic depth and normals of the ball, and which rays hit it well."""
    origin, way = cameras.rays()
    a, b = way.square().sum(-1), (origin * way).sum(-1)
    gap = b.square() - a * (origin.square().sum(-1) - RADIUS**2)
    t = (-b - gap.clamp(min=0).sqrt()) / a
    return t, (origin + t[..., None] * way) / RADIUS, gap > 0.1 * a


@pytest.mark.parametrize("geometry", ["volsdf", "neus"])
@pytest.mark.parametrize("sampling", ["stratified", "occupancy", "proposal"])
def test_depth_and_normals_of_a_ball(geometry, sampling):
    scene, cameras = ball(sampling=sampling), ring(2, size=24)
    scene.geometry = geometry
    if sampling != "stratified":
        scene.refine(scene.render(cameras), Adam(), Step.make(0, 10, 0))
    render = scene.render(cameras)
    depth, normal, well = hits(cameras)
    found = (render.depth / render.alpha.clamp(min=1e-6))[..., 0]
    assert well.float().mean() > 0.05 and (render.alpha[..., 0][well] > 0.99).all()
    assert ((found - depth).abs() / depth)[well].max() < 0.01
    shown = torch.nn.functional.normalize(render.normal, dim=-1)
    assert (shown * normal).sum(-1)[well].min() > 0.99
    assert torch.allclose(render.normal.norm(dim=-1), torch.where(render.alpha > 0.5, render.alpha, 0)[..., 0], atol=1e-4)
    assert torch.allclose(render.rgb[well].mean(0), torch.tensor([6.0, -6, -6]).sigmoid(), atol=0.01)


def test_a_constant_fog_takes_what_beer_and_lambert_say():
    scene, cameras = Voxels(rng(), blob="none", samples=16, sampling="stratified", resolution=4), ring(1, size=8)
    sigma = math.log(1 + math.e**0.7)
    scene.geometry_grid.data.fill_(0.7)
    origin, way = (v.view(-1, 3) for v in cameras.rays())
    near, far = _march.cross(origin, way, scene.bound)
    wanted = 1 - torch.exp(-sigma * (far - near)[:, 0] * way.norm(dim=-1))
    assert torch.allclose(scene.render(cameras).alpha.flatten(), wanted, atol=1e-5)


def test_sections_follow_what_takes_light():
    share = torch.zeros(1, 10)
    share[0, 3] = 1.0
    edges = _march.sections(torch.tensor([[1.0]]), torch.tensor([[3.0]]), 40, share)
    inside = ((edges >= 1 + 2 * 0.3 - 1e-4) & (edges <= 1 + 2 * 0.4 + 1e-4)).float().mean()
    assert inside > 0.85 and (edges.diff() >= 0).all() and edges[0, 0] == 1 and edges[0, -1] == pytest.approx(3)


def test_empty_space_is_not_evaluated():
    scene, cameras, seen = ball(), ring(1, size=16), []
    at = scene.at
    scene.at = lambda x, now: seen.append(len(x)) or at(x, now)
    scene.normals = "none"
    full = scene.render(cameras)
    scene.refine(full, Adam(), Step.make(0, 10, 0))
    seen.clear()
    sparse = scene.render(cameras)
    assert seen[0] < 0.25 * 16 * 16 * 128 and torch.allclose(sparse.rgb, full.rgb, atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_chunks_change_nothing(name):
    def gradients(chunk: int):
        scene = KINDS[name](rng(), samples=16, chunk=chunk)
        render = scene.render(ring(2, size=10), Step.make(0, 10, 0))
        (render.rgb.sum() + render.depth.sum()).backward()
        return render, [p.grad for p in scene.parameters() if p.grad is not None]

    (one, whole), (other, parts) = gradients(1 << 20), gradients(500)
    assert all(torch.allclose(a, one.buffers()[k], atol=1e-6) for k, a in other.buffers().items())
    assert len(whole) == len(parts) and all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(whole, parts, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_values_agree_with_differences(name):
    """The derivative along a random direction of all parameters, in double precision."""
    scene, cameras = KINDS[name](rng(), samples=8, normals="none").double(), ring(1, size=6)
    cameras = type(cameras)(**{k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in vars(cameras).items()})
    if name == "hashgrid":
        scene.table.data.normal_(generator=rng())  # its small start lies on kinks of the perceptron
    pull = torch.rand(1, 6, 6, 3, generator=rng(), dtype=torch.double)
    (scene.render(cameras).rgb * pull).sum().backward()
    parts = [p for p in scene.parameters() if p.grad is not None]
    ways = [torch.randn(p.shape, generator=rng(), dtype=torch.double) for p in parts]
    slope = sum((p.grad * w).sum() for p, w in zip(parts, ways, strict=True))

    @torch.no_grad()
    def moved(h: float):
        for p, w in zip(parts, ways, strict=True):
            p += h * w
        value = (scene.render(cameras).rgb * pull).sum()
        for p, w in zip(parts, ways, strict=True):
            p -= h * w
        return value

    assert slope == pytest.approx(float((moved(1e-6) - moved(-1e-6)) / 2e-6), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", KINDS)
def test_a_step_can_be_repeated_and_continued(name):
    def after(steps: int, start=None, first: int = 0):
        scene, optimizer = KINDS[name](rng(), samples=12, occupancy=8), Adam()
        if start:
            scene.restore(start[0])
            optimizer.restore(start[1])
        for i in range(first, steps):
            now = Step.make(i, 8, 0)
            render = scene.render(ring(2, size=8), now)
            (render.rgb - 0.3).square().sum().backward()
            optimizer.step(scene.groups(now))
            scene.refine(render, optimizer, now)
        return {k: v.clone() for k, v in scene.state().items()}, optimizer.state()

    whole, half = after(6), after(3)
    again = after(6, half, 3)
    assert all(torch.equal(whole[0][k], again[0][k]) for k in whole[0])


def test_latents_are_features_and_a_picture():
    scene, cameras = Voxels(rng(), features=4, samples=16, resolution=8, decode_from=0.5), ring(1, size=8)
    render = scene.render(cameras, Step.make(0, 10, 0))
    assert render.features.shape == (1, 8, 8, 4) and render.rgb.shape == (1, 8, 8, 3)
    assert "decoder" not in {g.name for g in scene.groups(Step.make(0, 10, 0))}
    render.rgb.sum().backward()
    assert scene.decoder.grad is None  # before its time it is a fixed map
    assert "decoder" in {g.name for g in scene.groups(Step.make(9, 10, 0))}
    scene.render(cameras, Step.make(9, 10, 0)).rgb.sum().backward()
    assert scene.decoder.grad.abs().sum() > 0
    handed = scene.handover()
    assert handed.features.shape == (*handed.density.shape, 4) and handed.rgb.shape == (*handed.density.shape, 3)


def test_what_is_behind_is_painted_by_the_scene():
    scene, cameras, now = Voxels(rng(), environment=True, samples=8, resolution=4), ring(2, size=8), Step.make(0, 10, 0)
    behind = background.Environment(plain=0.0)
    shown = behind(scene.render(cameras, now), cameras, now)
    shown.rgb.sum().backward()
    assert all(p.grad is not None for p in scene.environment.parameters())
    assert shown.extras["background"].shape == (2, 3)
    plain = background.Environment(plain=1.0)(scene.render(cameras, now), cameras, now)
    assert (plain.rgb[0, 0, 0] - plain.extras["background"][0]).abs().max() < 0.05
    with pytest.raises(Mistake, match="paints nothing"):
        behind(Voxels(rng(), samples=8, resolution=4).render(cameras, now), cameras, now)


def test_penalties_of_volumes():
    scene, cameras = ball(), ring(1, size=12)
    render = scene.render(cameras)
    assert eikonal(scene, render) / (render.extras["gradient"].shape[0]) < 1e-3  # a true distance
    surface, haze = render, Voxels(rng(), blob="none", samples=32, resolution=4).render(cameras)
    assert fog(scene, surface) < 0.7 * fog(scene, haze)
    flat = Voxels(rng(), samples=8, resolution=5)
    flat.geometry_grid.data.zero_()
    flat.colour_grid.data.zero_()
    least = variation(flat, flat.render(cameras))
    flat.geometry_grid.data[0, 0, 2, 2, 2] = 3.0
    assert (variation(flat, flat.render(cameras)) - least).item() == pytest.approx(3 * 3 + 27**0.5 - 4 * 0.01, abs=0.01) and least < 3


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("geometry", ["density", "volsdf"])
def test_a_field_is_taken_over(name, geometry, monkeypatch):
    """An analytic ball, half red, half blue: as opaque, as large and as coloured after as before."""
    monkeypatch.setattr(_handing, "STEPS", 250)
    monkeypatch.setattr(_handing, "BATCH", 1 << 13)
    x = _fields.nodes(48, 0.8).view(48, 48, 48, 3)
    blue = (x[..., 0] > 0).float()
    given = Field(0.8, distance=x.norm(dim=-1) - RADIUS, rgb=torch.stack([1 - blue, 0 * blue, blue], -1))
    scene = KINDS[name](rng(), geometry=geometry, samples=64, edge=Ramp(0.004), **({"resolution": 48} if name == "voxels" else {}))
    scene.init_from(given)
    cameras = sphere(4, radius=0.9, size=48)
    render = scene.render(cameras)
    _, normal, well = hits(cameras)
    mask = render.alpha[..., 0] > 0.5
    origin, way = cameras.rays()
    true = ((origin * way).sum(-1).square() - way.square().sum(-1) * (origin.square().sum(-1) - RADIUS**2)) > 0
    assert ((mask & true).sum() / (mask | true).sum()) > 0.8  # a real fit has more steps, and reaches 0.9
    side = well & (normal[..., 0].abs() > 0.3)
    assert ((render.rgb[..., 2] > render.rgb[..., 0]) == (normal[..., 0] > 0))[side].float().mean() > 0.97


def test_meshes_and_gaussians_become_volumes(monkeypatch):
    mesh = truth(build(parse("a red car"), instance_seed("test", 0)), fine=3)
    field = _fields.as_field(mesh, resolution=24)
    assert field.distance.min() < -0.05 and (field.rgb[field.distance.abs() < 0.03].mean(0)[0] > 0.3)
    monkeypatch.setattr(_fields, "FINE", 24)
    scene = Voxels(rng(), resolution=24)
    scene.init_from(mesh)
    assert 0.05 < scene.render(ring(2, size=24)).alpha.mean() < 0.6
    still, red = torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([[1.0, 0, 0]])
    one = Points(torch.zeros(1, 3), red, torch.full((1, 3), 0.2), still, torch.tensor([0.7]))
    fog = _fields.as_field(one, resolution=41)
    taken = 1 - math.exp(-float(fog.density[20, 20].sum()) * 1.6 / 40)
    assert taken == pytest.approx(0.7, abs=0.01) and fog.rgb[20, 20, 20, 0] == pytest.approx(1, abs=1e-4)


def test_what_cannot_become_a_volume():
    with pytest.raises(Mistake, match="density or distance"):
        Voxels(rng(), resolution=4).init_from(Field(0.8))
    with pytest.raises(Mistake, match="no extent"):
        Voxels(rng(), resolution=4).init_from(Points(torch.zeros(3, 3), torch.zeros(3, 3)))
    with pytest.raises(Mistake, match="faces"):
        Voxels(rng(), resolution=4).init_from(Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.long)))
    with pytest.raises(Mistake, match="too thin"):
        Voxels(rng(), resolution=4, geometry="volsdf").init_from(Field(0.8, density=torch.zeros(8, 8, 8)))
    with pytest.raises(Mistake, match="do not say what"):
        Voxels(rng(), resolution=4, features=7).init_from(Field(0.8, density=torch.ones(8, 8, 8)))
