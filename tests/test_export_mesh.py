"""The surface against a scene whose truth is known; closed whatever happens; the .glb in other readers."""

import dataclasses
import json
import os
import shutil
import struct
import subprocess

import numpy as np
import pytest
import torch
import trimesh
from export_scene import BACK, FRONT, Blocks, distance, draw, volume
from scipy import ndimage

import dream3d
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.export import asset, video
from dream3d.export import decimate as decimate_module
from dream3d.export.decimate import closed, decimate
from dream3d.export.density import LEVEL, surface_of
from dream3d.export.glb import write_glb
from dream3d.export.surface import march, solid, surface
from dream3d.export.texture import bake
from dream3d.options import Export
from dream3d.types import Mesh, Points

QUICK = {"resolution": 64, "views": 32, "size": 128}
VOXEL = 1.6 / 63
EXTRAS = {"prompt": "a red bløck", "seed": 3, "lighting": "baked"}


@pytest.fixture(scope="module")
def rough() -> Mesh:
    return surface(Blocks(), **QUICK)


@pytest.fixture(scope="module")
def baked(rough) -> Mesh:
    return bake(rough, Blocks(), faces=2000, texture=256, views=16, size=128)


@pytest.fixture(scope="module")
def glb(baked, tmp_path_factory):
    path = tmp_path_factory.mktemp("glb") / "mesh.glb"
    write_glb(baked, path, EXTRAS)
    return path


def as_trimesh(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)


def test_the_surface_is_the_truth(rough):
    solid = as_trimesh(rough)
    assert solid.is_watertight and solid.is_winding_consistent and solid.body_count == 1
    assert abs(solid.volume / volume() - 1) < 0.03
    off = distance(solid.vertices)
    assert np.sqrt((off**2).mean()) < 0.15 * VOXEL and np.abs(off).max() < VOXEL


def test_glass_and_specks_do_not_change_it(rough):
    dirty = surface(Blocks(opacity=0.7, specks=True), **QUICK)
    assert as_trimesh(dirty).body_count == 1
    assert abs(as_trimesh(dirty).volume / as_trimesh(rough).volume - 1) < 0.01


def test_what_leaves_the_box_is_cut_and_closed():
    mesh = surface(Blocks(), **QUICK, bound=0.4)
    assert as_trimesh(mesh).is_watertight and mesh.vertices.abs().max() < 0.43


def test_an_empty_scene_says_so():
    with pytest.raises(Mistake, match="nothing in the scene"):
        surface(Blocks(opacity=0.3), **QUICK)


def test_a_diverged_scene_says_so():
    with pytest.raises(Mistake, match="not finite"):
        surface(Blocks(opacity=float("nan")), **QUICK)


def test_gaussians_have_the_surface_where_their_opacity_says():
    turn = torch.tensor([[np.cos(np.pi / 8), 0.0, 0.0, np.sin(np.pi / 8)]]).float()  # 45 degrees about z
    place, scale = torch.tensor([[0.1, 0.0, 0.2]]), torch.tensor([[0.3, 0.1, 0.1]])
    points = Points(place, torch.zeros(1, 3), scale, turn, torch.ones(1))
    solid = as_trimesh(surface_of(points, resolution=64))
    radius = np.sqrt(-2 * np.log(LEVEL))  # in standard deviations
    assert solid.is_watertight and abs(solid.volume / (4 / 3 * np.pi * 0.003 * radius**3) - 1) < 0.04
    np.testing.assert_allclose(solid.center_mass, [0.1, 0, 0.2], atol=1e-3)
    longest = solid.vertices[(solid.vertices @ [1, 1, 0]).argmax()] - [0.1, 0, 0.2]
    np.testing.assert_allclose(longest, [0.3 * radius / np.sqrt(2)] * 2 + [0], atol=VOXEL)


def test_gaussians_too_thin_to_see_or_too_far_away_say_so():
    zero = torch.zeros(1, 3)
    points = Points(zero, zero, torch.full((1, 3), 0.2), torch.eye(4)[:1], torch.full((1,), 0.3))
    with pytest.raises(Mistake, match="too thin"):
        surface_of(points)
    with pytest.raises(Mistake, match="no Gaussian lies within 0.8 m"):
        surface_of(dataclasses.replace(points, position=torch.full((1, 3), 9.0)))


def noise(seed: int) -> Mesh:
    """The worst case of a surface: handles, hollows, specks."""
    rng = np.random.default_rng(seed)
    grid = ndimage.gaussian_filter(rng.normal(size=(24, 24, 24)), rng.choice([0.0, 0.5, 1.0]))
    return march(solid(np.clip(grid / grid.std() + rng.uniform(-0.5, 1), -3, 3)), 0.8)


@pytest.mark.parametrize("seed", range(6))
def test_surfaces_stay_closed_whatever_they_are(seed):
    mesh = noise(seed)
    assert closed(mesh.faces) and as_trimesh(mesh).is_watertight and as_trimesh(mesh).volume > 0
    for share in (2, 8):
        small = decimate(mesh, len(mesh.faces) // share)
        assert closed(small.faces) and as_trimesh(small).is_watertight
        assert len(small.faces) < 1.3 * len(mesh.faces) / share


def test_decimation_that_cannot_keep_its_promise_says_so(monkeypatch, rough):
    simplify = decimate_module._simplify

    def tear(mesh, faces):
        small = simplify(mesh, faces)
        return small if faces >= 1000 else Mesh(small.vertices, small.faces[1:])

    monkeypatch.setattr(decimate_module, "_simplify", tear)
    with pytest.warns(UserWarning, match="300 would tear the surface open"):
        small = decimate(rough, 300)
    assert closed(small.faces) and 1000 < len(small.faces) < 1300
    with pytest.warns(UserWarning, match=f"kept {len(rough.faces)} faces"):
        monkeypatch.setattr(decimate_module, "_simplify", lambda mesh, faces: Mesh(mesh.vertices, mesh.faces[1:]))
        assert decimate(rough, 300).faces.equal(rough.faces)


def test_open_and_twisted_surfaces_are_not_closed(rough):
    assert closed(rough.faces) and not closed(rough.faces[1:])
    assert not closed(torch.cat([rough.faces[:1].flip(1), rough.faces[1:]]))
    assert not closed(torch.cat([rough.faces, rough.faces]))


def test_every_texel_of_a_face_has_its_colour(baked):
    assert baked.uv.min() >= 0 and baked.uv.max() <= 1 and closed(baked.faces)
    middle, uv = baked.vertices[baked.faces].mean(1), baked.uv.mean(1)
    x, y = (uv * 256).long().clamp(max=255).unbind(-1)
    truth = torch.where(middle[:, 1:2] < 0, FRONT, BACK)
    clear = middle[:, 1].abs() > 0.03  # the two colours meet in y = 0
    wrong = (baked.texture[255 - y, x] - truth).abs().amax(-1)[clear]
    assert wrong.max() < 0.05 and clear.float().mean() > 0.8


def test_the_file_looks_like_the_scene(glb):
    for elevation in (15.0, -40.0):
        cameras = ring(3, elevation=elevation, start=20.0, size=96)
        truth, seen = video.frames(Blocks(), cameras) / 255, draw(glb, cameras)
        overlap = ((truth < 1).any(-1) & (seen < 1).any(-1)).sum() / ((truth < 1).any(-1) | (seen < 1).any(-1)).sum()
        assert overlap > 0.96
        assert -10 * np.log10(((truth - seen) ** 2).mean()) > 24


def test_trimesh_reads_a_closed_textured_mesh(glb, baked):
    (mesh,) = trimesh.load(glb).geometry.values()
    assert mesh.visual.material.baseColorTexture.size == (256, 256)
    assert (mesh.visual.material.metallicFactor, mesh.visual.material.roughnessFactor) == (0, 1)
    np.testing.assert_allclose(mesh.extents, [1.0, 0.85, 0.7], atol=VOXEL)  # metres, y up
    front = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert front.vertices[front.vertex_normals[:, 2].argmax()][2] > 0
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    assert mesh.is_watertight and len(mesh.faces) == len(baked.faces) and mesh.volume > 0


def parts(path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data


def test_the_file_says_what_it_is_and_nothing_else(glb):
    document, data = parts(glb)
    assert document["asset"] == {"version": "2.0", "generator": f"dream3d {dream3d.__version__}", "extras": EXTRAS}
    assert document["nodes"][0]["extras"] == EXTRAS
    assert document["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    assert str(glb.parent).encode() not in data and len(data) == struct.unpack_from("<I", data, 8)[0]


def test_the_front_faces_plus_z(tmp_path):
    corners = torch.tensor([[1.0, -2.0, 3.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    write_glb(Mesh(corners, torch.tensor([[0, 1, 2]])), tmp_path / "a.glb", {})
    (mesh,) = trimesh.load(tmp_path / "a.glb").geometry.values()
    np.testing.assert_array_equal(mesh.vertices[0], [1, 3, 2])


def accessor(path, name: str) -> np.ndarray:
    """The rows of a VEC3 attribute as they lie in the file."""
    document, data = parts(path)
    entry = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"][name]]
    view = document["bufferViews"][entry["bufferView"]]
    start = len(data) - document["buffers"][0]["byteLength"] + view["byteOffset"]
    return np.frombuffer(data, "<f4", 3 * entry["count"], start).reshape(-1, 3)


def test_normals_point_out_of_the_faces_as_they_lie_in_the_file(tmp_path):
    """A ball, in the file's own axes: the mean over a face's corners is its normal, and the ball's own."""
    ball = trimesh.creation.icosphere(subdivisions=3)
    write_glb(
        Mesh(torch.from_numpy(ball.vertices).float(), torch.from_numpy(ball.faces).long()), tmp_path / "a.glb", {}
    )
    normal, place = accessor(tmp_path / "a.glb", "NORMAL"), accessor(tmp_path / "a.glb", "POSITION")
    corners = place[ball.faces]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    face /= np.linalg.norm(face, axis=1, keepdims=True)
    assert ((normal[ball.faces] * face[:, None]).sum(-1) > 0.9).all() and ((normal * place).sum(1) > 0.99).all()
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)


def test_normals_of_the_baked_file_agree_with_its_faces(glb):
    (mesh,) = trimesh.load(glb, process=False).geometry.values()
    normal = accessor(glb, "NORMAL")[mesh.faces]
    facing = (normal * mesh.face_normals[:, None]).sum(-1)
    assert np.median(facing) > 0.9 and (facing > 0).mean() > 0.99


def test_vertex_colours_are_linear(tmp_path):
    grey = torch.tensor([[0.0, 0.5, 1.0]]).repeat(3, 1)
    write_glb(Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), rgb=grey), tmp_path / "a.glb", {})
    np.testing.assert_allclose(accessor(tmp_path / "a.glb", "COLOR_0")[0], [0, 0.21404, 1], atol=1e-4)


def validator() -> dict[str, str]:
    """The environment in which node finds gltf-validator."""
    found = os.environ | {"NODE_PATH": os.environ.get("DREAM3D_GLTF_VALIDATOR", "")}
    ask = ["node", "-e", "require('gltf-validator')"]
    if not shutil.which("node") or subprocess.run(ask, env=found, capture_output=True).returncode:
        pytest.skip("npm install gltf-validator, then set DREAM3D_GLTF_VALIDATOR to that node_modules folder")
    return found


def issues(path) -> dict:
    script = "require('gltf-validator').validateBytes(new Uint8Array(require('fs').readFileSync(process.argv[1])))"
    script += ".then(report => console.log(JSON.stringify(report.issues)))"
    done = subprocess.run(["node", "-e", script, str(path)], env=validator(), capture_output=True, check=True)
    return json.loads(done.stdout)


def test_khronos_finds_nothing(glb, rough, tmp_path):
    write_glb(Mesh(rough.vertices, rough.faces, rgb=torch.rand(len(rough.vertices), 3)), tmp_path / "plain.glb", {})
    for path in (glb, tmp_path / "plain.glb"):
        assert issues(path)["messages"] == []


@pytest.fixture
def quick():
    """The whole export at a size for tests."""
    return {"extras": EXTRAS, "settings": Export(faces=1000, texture=128, frames=4, size=64, resolution=64)}


def test_the_same_scene_gives_the_same_bytes(quick, tmp_path):
    first = asset.export(Blocks(), tmp_path / "one", **quick)
    before = torch.get_num_threads()
    torch.set_num_threads(3 - before)
    try:
        second = asset.export(Blocks(), tmp_path / "two", **quick)
    finally:
        torch.set_num_threads(before)
    assert list(first) == ["thumbnail", "contact", "turntable", "mesh", "health"]
    assert sorted(os.listdir(tmp_path / "one")) == sorted(path.name for path in first.values())
    for kind, path in first.items():
        assert path.read_bytes() == second[kind].read_bytes(), kind


def test_gaussians_come_as_splats_and_finished_files_stay(quick, tmp_path):
    zero, one = torch.zeros(2, 3), torch.ones(2, 3)
    points = Points(zero, zero, one, torch.eye(4)[:2], torch.ones(2).requires_grad_())
    for name in ("thumbnail.png", "contact.png", "turntable.mp4", "mesh.glb"):
        (tmp_path / name).write_bytes(b"mine")
    heard = []
    made = asset.export(Blocks(handed=points), tmp_path, **quick, keep=True, progress=lambda *what: heard.append(what))
    assert [name for name, _ in heard] == ["thumbnail.png", "contact.png", "splats.ply", "turntable.mp4", "mesh.glb"]
    assert [share for _, share in heard] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert made["mesh"].read_bytes() == b"mine" and made["splats"].stat().st_size > 100


def test_a_closed_mesh_is_exported_as_it_is(quick, tmp_path, rough):
    made = asset.export(
        Blocks(handed=rough),
        tmp_path,
        **(quick | {"settings": Export(faces=len(rough.faces), texture=128, frames=4, size=64)}),
    )
    (mesh,) = trimesh.load(made["mesh"]).geometry.values()
    assert len(mesh.faces) == len(rough.faces)


def test_an_empty_scene_still_has_its_pictures(quick, tmp_path):
    with pytest.raises(Mistake, match="nothing in the scene"):
        asset.export(Blocks(opacity=0.0), tmp_path, **quick)
    assert sorted(os.listdir(tmp_path)) == ["contact.png", "thumbnail.png", "turntable.mp4"]
