"""The mesh representation: drawing, state, what it learns, handing over and export, and fits to known shapes."""

import dataclasses
import json
import math
import struct

import pytest
import torch
from dream3d.renderers.mesh import TriangleMesh, ball

from dream3d.cameras import Orbit, look_at, ring
from dream3d.errors import Mistake
from dream3d.export.asset import export
from dream3d.export.decimate import closed
from dream3d.foreign.load import load
from dream3d.foreign.start import place
from dream3d.optim import Adam
from dream3d.options import Export
from dream3d.schedule import Ramp
from dream3d.toybox.language import parse
from dream3d.toybox.mesh import truth as solid
from dream3d.toybox.world import build
from dream3d.types import Field, Mesh, Points, Step


def scene(**settings) -> TriangleMesh:
    return TriangleMesh(torch.Generator().manual_seed(0), **settings)


def volume(vertices, faces) -> float:
    a, b, c = (torch.as_tensor(vertices).double()[torch.as_tensor(faces)[:, k]] for k in range(3))
    return float((torch.linalg.cross(a, b) * c).sum()) / 6


# --- drawing --------------------------------------------------------------------------------------------------------


def test_a_ball_looks_like_one():
    """Radius 0.5 seen from 3 m: depth of the nearest point, area of the disc, normals outward and unit."""
    made, cameras = scene(faces=5120), ring(3, size=64)
    with torch.no_grad():
        render = made.render(cameras)
    focal = cameras.intrinsics[0, 0, 0].item()
    disc = math.pi * (focal * math.tan(math.asin(0.5 / 3))) ** 2
    assert render.alpha.sum((1, 2, 3)) == pytest.approx([disc] * 3, rel=0.01)
    assert render.depth[0, 32, 32, 0].item() == pytest.approx(2.5, abs=5e-3)
    origin, way = cameras.rays()
    inside = render.alpha[..., 0] == 1
    place = (origin + way * render.depth)[inside]
    torch.testing.assert_close(render.normal[inside], place / place.norm(dim=-1, keepdim=True), atol=0.03, rtol=0)
    assert (render.normal[inside].norm(dim=-1) - 1).abs().max() < 1e-3
    assert set(render.extras) == {"vertices", "faces"}


def test_labels_are_drawn_and_handed_on():
    mesh = ball(320, (0.5, 0.5, 0.5))
    made = scene(remesh_every=0.1)
    label = (mesh.vertices[mesh.faces].mean(1)[:, 2] > 0).long()
    made.init_from(dataclasses.replace(mesh, label=label))
    render = made.render(look_at(torch.zeros(1), torch.zeros(1), size=48))
    assert render.labels.shape[-1] == 3 and (render.labels.sum(-1) - 1).abs().max() < 1e-5
    assert render.labels[0, 16, 24, 1] == 1 and render.labels[0, 32, 24, 0] == 1 and render.labels[0, 0, 0, 2] == 1
    assert torch.equal(made.handover().label, label)


WAYS = (
    {"appearance": "texture", "texture": 32},
    {"appearance": "field"},
    {"features": 4},
    {"shading": "pbr", "appearance": "texture", "texture": 32},
    {"shading": {"lambert": 0.5, "textureless": 0.5}},
)


@pytest.mark.parametrize("settings", WAYS)
def test_every_way_to_look_is_drawn_learnt_and_resumed_bit_for_bit(settings):
    one, two = ((scene(faces=80, remesh_every=0.2, remesh_from=0.0, edge=Ramp(0.3), **settings), Adam()) for _ in range(2))
    cameras, states = ring(2, size=24), []
    for index in range(6):
        for made, optimizer in (one, two):
            now = Step.make(index, 10, 0)
            render = made.render(cameras, now)
            buffer = render.rgb if render.features is None else render.features
            (buffer - 0.3).square().sum().backward()
            assert optimizer.step(made.groups(now))
            made.refine(render, optimizer, now)
        if index == 2:  # two goes on as another scene and another optimiser
            state, moments = {k: v.clone() for k, v in two[0].state().items()}, two[1].state()
            two = scene(faces=80, remesh_every=0.2, remesh_from=0.0, edge=Ramp(0.3), **settings), Adam()
            two[0].restore(state)
            two[1].restore(moments)
    states = [made.state() for made, _ in (one, two)]
    assert states[0].keys() == states[1].keys() and all(torch.equal(states[0][k], states[1][k]) for k in states[0])


# --- optimising -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train, moved, painted", [("all", True, True), ("geometry", True, False), ("texture", False, True)])
def test_only_what_is_trained_changes(train, moved, painted):
    made, optimizer, now = scene(faces=320, train=train), Adam(), Step.make(0, 10, 0)
    before = made.vertices().detach().clone(), made.look.colour.detach().clone()
    (made.render(ring(2, size=24), now).rgb * torch.rand(2, 24, 24, 3)).sum().backward()
    assert optimizer.step(made.groups(now))
    assert torch.equal(before[0], made.vertices()) != moved and torch.equal(before[1], made.look.colour) != painted


def test_moments_go_along_with_vertices_when_triangles_change():
    made, optimizer = scene(remesh_every=0.1, edge=Ramp(0.05)), Adam()
    for index in range(2):
        now = Step.make(index, 10, 0)
        render = made.render(ring(2, size=32), now)
        render.rgb.sum().backward()
        optimizer.step(made.groups(now))
    place, moment = made.vertices().detach(), optimizer.moments["vertices"][0].clone()
    made.refine(render, optimizer, Step.make(1, 10, 0))
    new = made.vertices().detach()
    assert len(new) > 2 * len(place) and len(made.u) == len(optimizer.moments["vertices"][0]) == len(optimizer.moments["colour"][0])
    near = torch.cdist(new, place).argmin(1)
    after = optimizer.moments["vertices"][0]
    same = (after == moment[near]).all(1).float().mean()
    assert same > 0.4 and all(k.eq(2).all() for _, _, k in optimizer.moments.values())


def test_a_textured_mesh_keeps_its_triangles():
    made = scene(appearance="texture", texture=32, remesh_every=0.1)
    faces, now = made.faces.clone(), Step.make(5, 10, 0)
    made.refine(made.render(ring(1, size=8), now), Adam(), now)
    assert torch.equal(made.faces, faces) and "as they are" in made.about and "remeshed" in scene().about


def test_a_ball_becomes_a_cube_through_its_outline():
    """Masks and normals of a cube with edges of 0.8 m from all around, the geometry alone: vertices within 1.5 cm on average."""
    cube = _cube(0.4)
    truth = scene(smooth=False)
    truth.init_from(cube)
    made = scene(train="geometry", stiffness=2.0, remesh_every=0.05, edge=Ramp(0.12, 0.06), radii=(0.6, 0.6, 0.6),
                 lr_vertices=Ramp(2e-2, 2e-3))  # fmt: skip
    optimizer, orbit, steps = Adam(), Orbit(64, batch=4), 60
    for index in range(steps):
        now = Step.make(index, steps, 0)
        cameras = orbit(now)
        with torch.no_grad():
            wanted = truth.render(cameras)
        render = made.render(cameras, now)
        ((render.alpha - wanted.alpha).square().sum() + 0.3 * (render.normal - wanted.normal).square().sum()).backward()
        assert optimizer.step(made.groups(now))
        made.refine(render, optimizer, now)
    handed = made.handover()
    off = (handed.vertices.abs().amax(1) - 0.4).abs()
    assert closed(handed.faces) and off.mean() < 0.015
    assert volume(handed.vertices, handed.faces) == pytest.approx(0.512, rel=0.07)


def _cube(half: float) -> Mesh:
    from trimesh.creation import box

    made = box(extents=(2 * half,) * 3)
    return Mesh(torch.tensor(made.vertices).float(), torch.tensor(made.faces).long())


@pytest.mark.slow
def test_a_known_car_is_fitted_to_27_db():
    """From 24 pictures of the toybox's red car, in 400 steps of four views; 8 views in between are held out (29.0 dB). Takes a minute."""
    truth = scene(smooth=False)
    truth.init_from(solid(build(parse("a red car"), 0)))
    azimuth = torch.arange(24) * (2 * math.pi / 24)
    elevation = torch.deg2rad(torch.tensor([0.0, 25.0, 50.0])).repeat(8)
    seen = look_at(azimuth, elevation, size=96)
    held = look_at(azimuth[:8] * 3 + 0.2, torch.deg2rad(torch.tensor([12.0, 38.0])).repeat(4), size=96)
    with torch.no_grad():
        wanted, unseen = truth.render(seen), truth.render(held)
    made, optimizer, steps = scene(stiffness=3.0, edge=Ramp(0.08, 0.02)), Adam(), 400
    for index in range(steps):
        now = Step.make(index, steps, 0)
        rows = torch.randperm(24, generator=now.rng)[:4]
        render = made.render(seen.at(rows), now)
        error = (render.rgb - wanted.rgb[rows]).square().sum() + (render.alpha - wanted.alpha[rows]).square().sum()
        error.backward()
        optimizer.step(made.groups(now))
        made.refine(render, optimizer, now)
    with torch.no_grad():
        psnr = -10 * (made.render(held).rgb - unseen.rgb).square().mean().log10().item()
    assert psnr > 27


# --- handing over ---------------------------------------------------------------------------------------------------


def test_meshes_are_taken_as_they_are():
    mesh = ball(320, (0.6, 0.4, 0.3))
    mesh = dataclasses.replace(mesh, rgb=mesh.vertices + 0.5)
    made = scene()
    made.init_from(mesh)
    handed = made.handover()
    assert torch.equal(handed.faces, mesh.faces)
    torch.testing.assert_close(handed.vertices, mesh.vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(handed.rgb, mesh.rgb.clamp(0, 1))


def test_a_mesh_without_uvs_is_taken_with_fewer_faces_where_asked():
    big = ball(5120, (0.4, 0.4, 0.4))
    centre = big.vertices[big.faces].mean(1)
    sided = torch.where(big.vertices[:, :1] > 0, torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9]))
    big = dataclasses.replace(big, rgb=sided, label=(centre[:, 2] > 0).long())
    made = TriangleMesh(torch.Generator().manual_seed(0), decimate=400, settle=0)
    made.init_from(big)
    got = made.handover()
    middle = got.vertices[got.faces].mean(1)
    assert 300 <= len(got.faces) <= 400 and closed(got.faces)
    assert ((middle[:, 2] > 0).long() == got.label)[middle[:, 2].abs() > 0.1].all()
    side = got.vertices[:, 0].abs() > 0.05
    assert torch.equal(got.rgb[side][:, 0] > 0.5, got.vertices[side][:, 0] > 0)
    textured = dataclasses.replace(big, uv=torch.rand(len(big.faces), 3, 2), texture=torch.rand(4, 4, 3))
    made.init_from(textured)
    assert len(made.handover().faces) == len(big.faces)  # its uvs are its own


def test_volumes_and_gaussians_become_their_surface():
    """A ball of 0.5 m as distances, as fog and as Gaussians: its volume, its colour, about the wanted faces, closed."""
    axis = torch.linspace(-0.8, 0.8, 48)
    x = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    distance, rgb = x.norm(dim=-1) - 0.5, (x + 0.8) / 1.6
    points = x[distance < 0]
    ones = torch.ones_like(points)
    dots = Points(points, torch.tensor([0.8, 0.1, 0.2]) * ones, 0.02 * ones, torch.cat([ones[:, :1], 0 * ones], 1), 0.9 * ones[:, 0])
    for data in (Field(0.8, distance=distance, rgb=rgb), Field(0.8, density=100 * (distance < 0).float(), rgb=rgb), dots):
        made = scene(max_faces=2000, settle=0)
        made.init_from(data)
        handed = made.handover()
        assert closed(handed.faces) and 700 < len(handed.faces) <= 1000
        assert volume(handed.vertices, handed.faces) == pytest.approx(4 / 3 * math.pi * 0.125, rel=0.12)
        wanted = torch.tensor([0.8, 0.1, 0.2]) if data is dots else (handed.vertices + 0.8) / 1.6
        assert (handed.rgb - wanted).abs().mean() < 0.05


def test_a_surface_to_start_from_must_be_there():
    for data, words in ((Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long)), "no faces"),
                        (Mesh(torch.full((3, 3), math.nan), torch.tensor([[0, 1, 2]])), "not finite"),
                        (Field(0.8, distance=torch.ones(8, 8, 8)), "surface")):  # fmt: skip
        with pytest.raises(Mistake, match=words):
            scene().init_from(data)


def test_materials_travel_from_mesh_to_mesh():
    one = scene(faces=80, shading="pbr", appearance="texture", texture=32)
    one.look.colour.data[:, 3:5] = torch.tensor([0.25, 0.75])
    two = scene(faces=80, shading="pbr", appearance="texture", texture=32)
    two.init_from(one.handover())
    a, b = one.handover(), two.handover()
    for name in ("uv", "texture"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    torch.testing.assert_close(b.orm, a.orm)
    torch.testing.assert_close(b.bump, a.bump, atol=1e-3, rtol=0)
    assert a.orm[0, 0].tolist() == [1.0, 0.25, 0.75]


def test_a_material_is_exported_as_it_is(tmp_path):
    """Through the whole export and back through our reader: uvs bit for bit, pictures to their 256 steps, bumps that say the same."""
    made = scene(faces=80, shading="pbr", appearance="texture", texture=32)
    made.look.colour.data.copy_(torch.rand(made.look.colour.shape, generator=torch.Generator().manual_seed(0)))
    files = export(made, tmp_path, Export(frames=2, size=32, occlusion=False), extras={})
    data = files["mesh"].read_bytes()
    document = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])
    assert "extensionsUsed" not in document and document["asset"]["extras"]["lighting"] == "material"
    handed, (read, _) = made.handover(), load(files["mesh"], fit=False)
    torch.testing.assert_close(read.vertices[read.faces], handed.vertices[handed.faces], atol=1e-6, rtol=0)
    torch.testing.assert_close(read.uv, handed.uv, atol=1e-6, rtol=0)
    for name, step in (("texture", 1 / 255), ("orm", 1 / 255), ("bump", 2 / 255)):
        assert (getattr(read, name) - getattr(handed, name)).abs().max() < 0.51 * step + 0.01 * (name == "bump"), name


def test_the_bundled_mesh_is_a_closed_car():
    data, said = load(place("car.ply"))
    assert closed(data.faces) and data.rgb is None and said == []
    assert data.vertices.abs().amax() < 0.75 and data.vertices[:, 1].max() > 1.5 * data.vertices[:, 0].max()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_learns_and_remeshes_the_same():
    """Pictures within float32 of the CPU's; the same number of rows after triangles changed; what is handed over lies on the CPU."""
    for settings in ({}, {"appearance": "texture", "texture": 32, "shading": "pbr"}, {"appearance": "field"}, {"features": 4}):
        one = scene(faces=320, remesh_every=0.1, **settings)
        two = scene(faces=320, remesh_every=0.1, **settings).to("cuda")
        cameras, now = ring(2, size=32), [Step.make(5, 10, 0) for _ in range(2)]
        renders = [one.render(cameras, now[0]), two.render(cameras.to("cuda"), now[1])]
        assert (renders[0].rgb - renders[1].rgb.cpu()).abs().mean() < 1e-4
        for made, render, moment in zip((one, two), renders, now, strict=True):
            render.rgb.square().sum().backward()
            optimizer = Adam()
            assert optimizer.step(made.groups(moment))
            made.refine(render, optimizer, moment)
        assert abs(len(one.u) - len(two.u)) <= 0.02 * len(one.u) and two.u.is_cuda
        handed = two.handover()
        assert not any(v.is_cuda for v in vars(handed).values() if v is not None)
        two.init_from(handed)
        assert two.render(cameras.to("cuda")).rgb.isfinite().all()
