"""Ray marching at its limits: nothing left to look at, odd settings, distances between samples, fields of other extents."""

import dataclasses
import math

import pytest
import torch
from dream3d.renderers import _fields, _handing, _march
from dream3d.renderers.hashgrid import HashGrid
from dream3d.renderers.nerf import NeRF
from dream3d.renderers.triplane import TriPlane
from dream3d.renderers.voxels import Voxels

from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.optim import Adam
from dream3d.penalties import eikonal
from dream3d.schedule import Ramp
from dream3d.types import Field, Mesh, Step

KINDS = {"nerf": NeRF, "hashgrid": HashGrid, "voxels": Voxels, "triplane": TriPlane}
RADIUS = 0.5


def rng():
    return torch.Generator().manual_seed(0)


def ball(**more) -> Voxels:
    """An opaque grey ball."""
    return Voxels(rng(), resolution=9, **{"geometry": "volsdf", "samples": 64, "edge": Ramp(0.004), "blob_radius": RADIUS, **more})


def looked_again(scene, cameras):
    scene.refine(scene.render(cameras), Adam(), Step.make(0, 10, 0))
    return scene.render(cameras)


def moved(kind: str, steps: int = 2, **settings):
    """The last render of some steps, after which everything is handed over."""
    scene, optimizer = KINDS[kind](rng(), **{"samples": 8, "occupancy": 4, "grid": 4, **settings}), Adam()
    for index in range(steps):
        now = Step.make(index, 8, 0)
        render = scene.render(ring(1, size=6), now)
        sum((buffer - 0.3).square().sum() for buffer in render.buffers().values()).backward()
        assert optimizer.step(scene.groups(now))
        scene.refine(render, optimizer, now)
    return render, scene.handover()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("features", [1, 2, 3, 4, 5])
def test_any_number_of_channels(kind, features):
    render, field = moved(kind, features=features, decode_from=0.0)
    assert render.features.shape[-1] == field.features.shape[-1] == features and render.rgb.shape[-1] == field.rgb.shape[-1] == 3


@pytest.mark.parametrize("settings", [{"samples": 1}, {"occupancy": 1}, {"occupancy": 1, "sampling": "proposal"}, {"chunk": 1}, {"grid": 2},
                                      {"geometry": "neus", "samples": 1}, {"blob": "scene", "geometry": "neus"}], ids=str)  # fmt: skip
def test_settings_at_their_limits(settings):
    render, field = moved("voxels", resolution=4, **settings)
    assert all(buffer.isfinite().all() for buffer in render.buffers().values()) and field.rgb.isfinite().all()


def test_settings_beyond_their_limits():
    with pytest.raises(Mistake, match="grid"):
        Voxels(rng(), resolution=4, grid=1)
    for edge in (Ramp(0.0), Ramp(0.1, 0.0), Ramp(-1.0)):
        with pytest.raises(Mistake, match="edge"):
            Voxels(rng(), resolution=4, geometry="volsdf", edge=edge)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_look_at(kind):
    """No sample left, or no ray that meets the cube: an empty picture, and gradients of nothing."""
    scene, cameras = KINDS[kind](rng(), samples=8, occupancy=4), ring(1, size=4)
    away = dataclasses.replace(cameras, to_world=cameras.to_world @ torch.diag(torch.tensor([1.0, -1, -1, 1])))
    render = scene.render(away, Step.make(0, 8, 0))
    (render.rgb.sum() + render.depth.sum() + render.normal.sum()).backward()
    assert not any(buffer.any() for buffer in render.buffers().values())
    assert not any(p.grad.any() for p in scene.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_thin_fog_everywhere_is_seen_after_a_second_look(kind):
    scene, cameras = KINDS[kind](rng(), samples=128, blob="none", occupancy=8), ring(1, size=6)
    before = scene.render(cameras).alpha
    assert before.max() > 0.5 and torch.allclose(looked_again(scene, cameras).alpha, before, atol=1e-3)


def test_what_grows_again_is_seen_again():
    scene, cameras = ball(geometry="density", occupancy=8), ring(1, size=8)
    with torch.no_grad():
        scene.geometry_grid.fill_(-50.0)
        scene.geometry_grid[..., :3, :3, :3] = 20.0  # a corner
    low = looked_again(scene, cameras).alpha.sum()
    with torch.no_grad():
        scene.geometry_grid.fill_(0.0)
    assert looked_again(scene, cameras).alpha.sum() > low + 1


def test_a_camera_inside_sees_what_is_around_it():
    scene, cameras = ball(blob="scene", samples=128), ring(2, size=12)
    inside = cameras.to_world.clone()
    inside[:, :3, 3] = torch.tensor([0.1, -0.15, 0.05])
    cameras = dataclasses.replace(cameras, to_world=inside)
    origin, way = cameras.rays()
    a, b, c = way.square().sum(-1), (origin * way).sum(-1), origin.square().sum(-1) - RADIUS**2
    depth = (-b + (b.square() - a * c).sqrt()) / a
    render = scene.render(cameras)
    assert (render.alpha > 0.99).all() and ((render.depth[..., 0] - depth).abs() / depth).max() < 0.05
    assert (render.normal * way).sum(-1).max() < 0


@pytest.mark.parametrize("sampling", ["occupancy", "proposal"])
def test_light_between_two_samples_has_the_colour_of_one_that_is_there(sampling):
    """NeuS: the sample before a surface may lie in space known as empty."""
    scene, cameras = ball(geometry="neus", samples=14, sampling=sampling), ring(2, size=16)
    scene.colour_grid.data.fill_(6.0)
    render = looked_again(scene, cameras)
    assert render.alpha.max() > 0.99 and torch.allclose(render.rgb, render.alpha.expand_as(render.rgb), atol=0.01)


def test_neus_is_where_the_surface_is():
    """Light lost between two samples is lost half-way: no section too near, none too far."""
    cameras = ring(2, size=24)
    origin, way = cameras.rays()
    a, b = way.square().sum(-1), (origin * way).sum(-1)
    gap = b.square() - a * (origin.square().sum(-1) - RADIUS**2)
    well, depth = gap > 0.1 * a, (-b - gap.clamp(min=0).sqrt()) / a
    render = ball(geometry="neus", sampling="stratified").render(cameras)
    error = (render.depth / render.alpha.clamp(min=1e-6))[..., 0] - depth
    assert error[well].mean().abs() < 0.004  # a section is 0.03


def test_two_renders_before_one_walk_back():
    scene, cameras = ball(edge=Ramp(0.05, 0.01)), ring(1, size=4)
    parts = [scene.render(cameras, Step.make(index, 8, 0)).rgb.sum() for index in (0, 7)]
    sum(parts).backward()
    assert scene.geometry_grid.grad.abs().sum() > 0 and scene.state()["width"] == pytest.approx(0.01)


def test_only_distances_have_a_length_to_keep():
    cameras = ring(1, size=4)
    scene = Voxels(rng(), resolution=4, samples=8)
    with pytest.raises(Mistake, match="eikonal"):
        eikonal(scene, scene.render(cameras))
    assert eikonal(scene, ball().render(cameras)) >= 0


# --- fields of other extents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.1, 10.0, 300.0])
@pytest.mark.parametrize("blob", ["object", "scene"])
def test_any_blob_is_made_up_for(strength, blob):
    """A slab to the very ends of the cube: far from the middle too."""
    x = _fields.nodes(9, 0.8).view(9, 9, 9, 3)
    scene = Voxels(rng(), resolution=9, blob=blob, blob_strength=strength, grid=9)
    scene.init_from(Field(0.8, density=(x[..., 0].abs() < 0.3).float() * 50))
    handed = scene.handover().density
    assert torch.allclose(handed[4], torch.full((9, 9), 50.0), rtol=0.01) and handed[0].max() < 0.01


def test_a_mesh_as_large_as_the_volume(monkeypatch):
    monkeypatch.setattr(_fields, "FINE", 24)
    corner = torch.tensor([[-1.0, -1, -1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 1.2
    mesh = Mesh(corner, torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))
    scene = Voxels(rng(), resolution=17, geometry="volsdf", bound=1.5, grid=17)
    scene.init_from(mesh)
    inside = scene.handover().distance < 0
    assert inside[2, 2, 2:9].all() and not inside[-1].any() and not inside[0].any()


@pytest.mark.parametrize("geometry", ["density", "volsdf"])
def test_beyond_a_smaller_field_there_is_nothing(geometry):
    scene = Voxels(rng(), resolution=17, geometry=geometry, blob="none", grid=17)
    scene.init_from(Field(0.4, density=torch.full((9, 9, 9), 50.0)))
    handed = scene.handover()
    solid = handed.density > 1 if geometry == "density" else handed.distance < 0
    assert solid[6:11, 6:11, 6:11].all() and not solid[0].any() and not solid[:, :, -2:].any()


def test_a_field_need_not_be_cubic():
    scene = Voxels(rng(), resolution=9, grid=9)
    density = torch.zeros(17, 5, 9)
    density[8:] = 50.0
    scene.init_from(Field(0.8, density=density, rgb=torch.rand(17, 5, 9, 3, generator=rng())))
    handed = scene.handover().density
    assert handed[5:].min() > 40 and handed[:3].max() < 0.1
    density = torch.zeros(17, 5, 9)
    density[2, 4, 4] = 50.0
    crowd = _handing._places(density, 0.8, 0.8, Step.make(0, 1, 0))[_handing.BATCH // 2 :]
    assert torch.allclose(crowd.median(0).values, torch.tensor([-0.6, 0.8, 0.0]), atol=0.02)
    distance = _fields.distance(Field(0.8, density=density))
    assert distance[2, 3, 4] == pytest.approx(0.35) and distance[2, 4, 5] == pytest.approx(0.15)


def test_distances_of_a_density_are_found_once(monkeypatch):
    found = []
    distance = _fields.distance
    monkeypatch.setattr(_fields, "distance", lambda field: found.append(field.distance is None) or distance(field))
    monkeypatch.setattr(_handing, "STEPS", 3)
    TriPlane(rng(), geometry="volsdf", resolution=4).init_from(Field(0.8, density=50 * torch.ones(5, 5, 5)))
    assert found.count(True) == 1


# --- arithmetic of rays ---------------------------------------------------------------------------------------------


def test_where_rays_cross_the_cube():
    """From outside, past it, along a face, from within, and away from it; in steps of the way, not in metres."""
    origin = torch.tensor([[-3.0, 0, 0], [-3, 2, 0], [-3, 0.99, 0], [0.5, 0, 0], [3, 0, 0], [0, 0, -3]])
    way = torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 2]])
    near, far = (t[:, 0] for t in _march.cross(origin, way, 1.0))
    assert near.isfinite().all() and far.isfinite().all() and (far >= near).all()
    assert near[[0, 2, 3, 5]].tolist() == pytest.approx([2, 2, 0.05, 1]) and far[[0, 2, 3, 5]].tolist() == pytest.approx([4, 4, 0.5, 2])
    assert torch.equal(near[[1, 4]], far[[1, 4]])


def test_cells_are_where_the_lattice_says():
    middles = _march.lattice(5, 0.8, "cpu")
    assert torch.equal(_march.cell(middles, 0.8, 5), torch.arange(125))
    assert _march.cell(torch.tensor([[9.0, -9.0, 9.0]]), 0.8, 5).tolist() == [4 * 25 + 4]


def test_a_coarse_grid_takes_what_the_fine_one_takes():
    """A long way is a long section; a distance's density is that of its edge."""
    taken = _march.opacity(torch.tensor([[2.0]]), torch.tensor([[0.5]]), torch.tensor([[0.0, 3, 4]]))
    assert taken.item() == pytest.approx(1 - math.exp(-5))
    for geometry in ("volsdf", "neus"):
        assert ball(geometry=geometry).dense(torch.zeros(1)).item() == pytest.approx(0.5 / 0.004)


def test_what_was_there_is_forgotten_slowly_or_at_once():
    scene, cameras = ball(geometry="density", occupancy=4), ring(1, size=4)
    looked_again(scene, cameras)
    known = scene.density.clone()
    scene.geometry_grid.data.fill_(-50.0)
    looked_again(scene, cameras)
    assert torch.allclose(scene.density, 0.9 * known)
    scene.init_from(Field(0.8, density=torch.ones(4, 4, 4)))
    assert scene.density.isinf().all()


def test_where_there_is_nothing_latents_are_black():
    scene = ball(geometry="density", features=4)
    render = scene.render(ring(1, size=12))
    nothing = render.alpha[..., 0] < 1e-3
    assert nothing.any() and render.rgb[nothing].max() < 0.01


def test_a_line_is_across_its_plane():
    """The product of a plane and its line depends on all three axes, each product on its own."""
    scene = TriPlane(rng(), kind="vm", resolution=2, width=1)
    scene.net = torch.nn.Identity()
    scene.parted = lambda out: (out[:, 0], out)
    with torch.no_grad():
        scene.planes.copy_(torch.tensor([[2.0, 4], [6, 8]]).expand(3, 1, 2, 2))  # 5 + x + 2 y at its ends
        scene.lines.copy_(torch.tensor([[1.0], [3]]).expand(3, 1, 2, 1))  # 2 + z
    _, out = scene.at(torch.tensor([[1.0, 0.5, -0.5]]), None)
    assert torch.allclose(out, torch.tensor([[7 * 1.5, 5 * 2.5, 4.5 * 3]]))
