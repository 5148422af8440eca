"""Meshes, points and Gaussians of users: what other writers write and we export is read as it is."""

import dataclasses
import os

import numpy as np
import pytest
import torch
import trimesh
from foreign_files import FACES, MTL, OBJ, TETRA, ascii_ply, at, ball, document, glb, gltf, pixels, ply, png, saved
from PIL import Image
from test_export_files import gaussians

from dream3d.errors import Mistake
from dream3d.export.glb import write_glb
from dream3d.export.splat import read_ply, write_ply
from dream3d.export.texture import unwrap
from dream3d.foreign.files import digest
from dream3d.foreign.load import load
from dream3d.types import Mesh


def world(vertices: np.ndarray) -> np.ndarray:
    return np.stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1]], -1)


def corners(mesh: Mesh) -> torch.Tensor:
    return mesh.vertices[mesh.faces]


# --- there and back ---------------------------------------------------------------------------------------------------------------


def test_our_textured_mesh_comes_back(tmp_path):
    texture = torch.from_numpy(pixels(48, 32)).float() / 255
    mesh = dataclasses.replace(unwrap(ball(), 64), texture=texture)
    write_glb(mesh, tmp_path / "a.glb", {})
    back, said = load(tmp_path / "a.glb")
    assert said == [] and torch.equal(corners(back), corners(mesh)) and torch.equal(back.texture, texture)
    assert len(back.vertices) == len(mesh.vertices)  # those that charts had doubled are one again
    torch.testing.assert_close(back.uv, mesh.uv, rtol=0, atol=6e-8)  # 1 - v, twice, in single precision
    write_glb(back, tmp_path / "b.glb", {})
    again, _ = load(tmp_path / "b.glb")
    assert torch.equal(again.uv, back.uv) and torch.equal(again.vertices, back.vertices) and torch.equal(again.faces, back.faces)


def test_our_coloured_mesh_comes_back(tmp_path):
    mesh = ball()
    mesh = dataclasses.replace(mesh, rgb=torch.rand(len(mesh.vertices), 3, generator=torch.Generator().manual_seed(0)))
    write_glb(mesh, tmp_path / "a.glb", {})
    back, said = load(tmp_path / "a.glb")
    assert said == [] and torch.equal(back.vertices, mesh.vertices) and torch.equal(back.faces, mesh.faces)
    torch.testing.assert_close(back.rgb, mesh.rgb, rtol=0, atol=1e-6)
    assert back.texture is None and back.uv is None


@pytest.mark.parametrize("coefficients", [1, 4, 16])
def test_our_gaussians_come_back(tmp_path, coefficients):
    write_ply(gaussians(40, coefficients), tmp_path / "a.ply")
    back, said = load(tmp_path / "a.ply", fit=False)
    known = read_ply(tmp_path / "a.ply")
    assert all(torch.equal(getattr(back, name), getattr(known, name)) for name in ("position", "scale", "rotation", "opacity", "sh", "rgb"))


def test_gaussians_of_a_file_with_y_up_turn_with_it(tmp_path):
    from dream3d.renderers._backends.project import matrix

    write_ply(gaussians(40, 4), tmp_path / "a.ply")
    kept, _ = load(tmp_path / "a.ply", fit=False)
    turned, said = load(tmp_path / "a.ply", fit=False, up="y")
    about_x = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    torch.testing.assert_close(turned.position, kept.position @ about_x.T)
    torch.testing.assert_close(matrix(turned.rotation), about_x @ matrix(kept.rotation), atol=1e-6, rtol=1e-5)
    assert turned.sh.shape == kept.sh.shape and torch.equal(turned.sh[:, 0], kept.sh[:, 0]) and not said


# --- what others write ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["glb", "obj", "ply", "ascii"])
def test_what_trimesh_writes(tmp_path, kind):
    made = trimesh.creation.box((0.8, 1.0, 1.2))
    path = tmp_path / ("a.ply" if kind == "ascii" else f"a.{kind}")
    made.export(path, **({"encoding": "ascii"} if kind == "ascii" else {}))
    mesh, said = load(path)
    vertices = made.vertices if path.suffix == ".ply" else world(made.vertices)
    np.testing.assert_allclose(corners(mesh).numpy(), vertices[made.faces], atol=1e-7)
    assert said == [] and len(mesh.vertices) == 8 and mesh.rgb is None


def test_a_scene_of_several_objects_as_blender_writes_it(tmp_path):
    """Nested places, a mirror, three materials with textures of odd sizes, one that repeats, a plain colour."""
    scene, rng, parts = trimesh.Scene(), np.random.default_rng(0), []
    for i in range(3):
        image, part = Image.fromarray(pixels(31 + 2 * i, 17 + i, i)), trimesh.creation.icosphere(1)
        uv = rng.random((len(part.vertices), 2)) * 0.4 + (0.2 if i < 2 else -3.5)
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=image, metallicFactor=0.0, roughnessFactor=0.5)
        part.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
        place = trimesh.transformations.compose_matrix(translate=[3 * i, 1, -i], angles=[0.3 * i, 1, 2], scale=[1, 2, -1 if i == 1 else 1])
        scene.add_geometry(part, node_name=f"n{i}", geom_name=f"g{i}", transform=place, parent_node_name="n0" if i else None)
        parts.append((image, uv, part))
    plain = trimesh.creation.box()
    plain.visual = trimesh.visual.TextureVisuals(material=trimesh.visual.material.PBRMaterial(baseColorFactor=[255, 0, 0, 255]))
    scene.add_geometry(plain, geom_name="plain")
    scene.export(tmp_path / "s.glb")
    mesh, said = load(tmp_path / "s.glb", fit=False)
    known = trimesh.load(tmp_path / "s.glb").to_geometry()
    wanted = world(known.vertices)[known.faces].mean(1)
    found = corners(mesh).mean(1).numpy()
    near = np.linalg.norm(wanted[:, None] - found[None], axis=-1)
    assert len(mesh.faces) == len(known.faces) and near.min(1).max() < 1e-5 and near.min(0).max() < 1e-5
    volume = (corners(mesh)[:, 0] * torch.linalg.cross(corners(mesh)[:, 1], corners(mesh)[:, 2])).sum() / 6
    assert float(volume) == pytest.approx(sum(abs(g.volume) for g in trimesh.load(tmp_path / "s.glb").dump()), rel=1e-4)
    assert said == ["4 materials share one texture: uv lead to their parts of it"]
    for i, (image, uv, part) in enumerate(parts):
        place = scene.graph.get(f"n{i}")[0]
        middles = world(trimesh.transform_points(part.vertices, place))[part.faces].mean(1)
        nearest = np.linalg.norm(middles[:, None] - found[None], axis=-1).argmin(1)
        np.testing.assert_allclose(at(mesh)[nearest].numpy(), shown(image, uv[part.faces].mean(1)), atol=1e-6)
    nearest = np.linalg.norm(world(plain.vertices)[plain.faces].mean(1)[:, None] - found[None], axis=-1).argmin(1)
    assert at(mesh)[nearest].tolist() == [[1.0, 0.0, 0.0]] * 12


def shown(image: Image.Image, uv: np.ndarray) -> np.ndarray:
    """The texels of a repeated picture."""
    texels, uv = np.asarray(image), uv % 1
    return texels[((1 - uv[:, 1]) * texels.shape[0]).astype(int), (uv[:, 0] * texels.shape[1]).astype(int)] / 255


def test_odd_parts_of_gltf(tmp_path):
    """Strips, fans, normalised and sparse accessors, strides, nodes by matrix and by parts, everything in one JSON."""
    made, blob = document()
    plain, _ = load(saved(tmp_path / "a.glb", glb(made, blob)), fit=False)
    assert np.array_equal(plain.vertices.numpy(), world(TETRA)) and np.array_equal(plain.faces.numpy(), FACES)
    same, _ = load(saved(tmp_path / "a.gltf", gltf(made, blob)), fit=False)
    assert torch.equal(same.vertices, plain.vertices)
    made["nodes"] = [{"children": [1], "rotation": [0, 0, 2**-0.5, 2**-0.5], "translation": [0, 0, 5]}, {"mesh": 0, "scale": [2, 2, 2]}]
    placed, _ = load(saved(tmp_path / "b.glb", glb(made, blob)), fit=False)
    expected = world(np.stack([-2 * TETRA[:, 1], 2 * TETRA[:, 0], 2 * TETRA[:, 2] + 5], -1))
    np.testing.assert_allclose(placed.vertices.numpy(), expected, atol=1e-6)
    made["nodes"] = [{"mesh": 0, "matrix": [-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}]
    mirrored, said = load(saved(tmp_path / "c.glb", glb(made, blob)), fit=False)
    assert said == [] and float((mirrored.vertices[:, 0]).min()) == -1  # it was turned with the mirror, not found inside out


def test_a_sparse_accessor_and_bytes_that_stand_for_fractions(tmp_path):
    made, blob = document()
    extra = np.array([3], "<u2").tobytes() + bytes(2) + np.array([[0, 0, 9]], "<f4").tobytes()
    made["bufferViews"] += [{"buffer": 0, "byteOffset": len(blob) + start, "byteLength": size} for start, size in ((0, 2), (4, 12))]
    made["accessors"][0]["sparse"] = {"count": 1, "indices": {"bufferView": 2, "componentType": 5123}, "values": {"bufferView": 3}}
    made["accessors"].append({"bufferView": 4, "componentType": 5121, "normalized": True, "count": 4, "type": "VEC4"})
    made["bufferViews"].append({"buffer": 0, "byteOffset": len(blob) + 16, "byteLength": 16, "byteStride": 4})
    made["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"] = 2
    blob += extra + bytes([255, 0, 0, 255] * 4)
    made["buffers"] = [{"byteLength": len(blob)}]
    mesh, _ = load(saved(tmp_path / "a.glb", glb(made, blob)), fit=False)
    assert mesh.vertices[3].tolist() == [0, -9, 0] and mesh.rgb.tolist() == [[1, 0, 0]] * 4


@pytest.mark.parametrize("mode", [5, 6])
def test_strips_and_fans(tmp_path, mode):
    made, blob = document()
    made["meshes"][0]["primitives"][0] |= {"mode": mode}
    made["meshes"][0]["primitives"][0].pop("indices")
    mesh, _ = load(saved(tmp_path / "a.glb", glb(made, blob)), fit=False)
    wanted = [[0, 1, 2], [1, 3, 2]] if mode == 5 else [[1, 2, 0], [2, 3, 0]]
    assert mesh.faces.tolist() == wanted


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("quads", [False, True])
def test_a_ply_by_hand(tmp_path, order, quads):
    mesh, said = load(saved(tmp_path / "a.ply", ply(order, quads=quads)), fit=False)
    assert said == [] and len(mesh.faces) == (6 if quads else 4) and mesh.rgb[:, 2].tolist() == [1.0] * len(mesh.vertices)
    assert mesh.rgb[1, 0] == pytest.approx(0.2) and float(mesh.vertices[:, 2].max()) == 1


def test_an_ascii_ply_and_points(tmp_path):
    mesh, _ = load(saved(tmp_path / "a.ply", ascii_ply()), fit=False)
    assert np.array_equal(mesh.vertices.numpy(), TETRA) and np.array_equal(mesh.faces.numpy(), FACES)
    cloud = trimesh.PointCloud(np.random.default_rng(0).random((50, 3)), colors=np.full((50, 4), 102, np.uint8))
    cloud.export(tmp_path / "c.ply")
    points, _ = load(tmp_path / "c.ply", fit=False)
    np.testing.assert_allclose(points.position.numpy(), cloud.vertices, atol=1e-7)
    assert points.scale is None and torch.equal(points.rgb, torch.full((50, 3), 0.4))


# --- OBJ and the files beside it --------------------------------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path):
    (tmp_path / "house.mtl").write_text(MTL)
    (tmp_path / "wood.png").write_bytes(png(15, 9))
    return saved(tmp_path / "house.obj", OBJ.encode())


def test_an_obj_with_quads_groups_and_negative_indices(house):
    mesh, said = load(house, fit=False)
    assert len(mesh.vertices) == 5 and len(mesh.faces) == 6 and said[0] == "1 lines, points and curves left out"
    floor = (corners(mesh)[..., 2] == 0).all(1)
    assert int(floor.sum()) == 2
    torch.testing.assert_close(at(mesh)[~floor], torch.tensor([[1.0, 0, 0]]).expand(4, 3))
    texels = pixels(15, 9)
    assert at(mesh)[floor][0].mul(255).round().int().tolist() == texels[int((1 - 1 / 3) * 9), int(2 / 3 * 15)].tolist()


@pytest.mark.parametrize("corner", ["9/1", "-9/1", "1/9", "1/-9", "0/1", "1/0", "a/1", "1/a", "1.5/1", "1" * 30])
def test_a_face_of_an_obj_names_what_is_there(house, corner):
    bad = saved(house.with_name("bad.obj"), OBJ.replace("1/1 2/2", f"{corner} 2/2").encode())
    with pytest.raises(Mistake, match="corner of a face|not there"):
        load(bad)


def test_equal_vertices_become_one_and_keep_their_order(tmp_path):
    """As meshes come from writers that give every face vertices of its own; -0 is 0."""
    lines = ["v 0 0 0", "v 1 0 0", "v 0 1 0", "v 1 0 -0", "v -0 0 0", "v 0 0 1", "f 1 2 3", "f 4 5 6"]
    mesh, _ = load(saved(tmp_path / "a.obj", "\n".join(lines).encode()), fit=False)
    assert mesh.faces.tolist() == [[0, 1, 2], [1, 0, 3]]
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 1], [0, -1, 0]]


def test_an_obj_without_what_it_names_says_so(house):
    (house.parent / "wood.png").unlink()
    mesh, said = load(house)
    assert any("wood.png" in line for line in said) and mesh.texture is None and mesh.rgb is not None
    (house.parent / "house.mtl").unlink()
    mesh, said = load(house)
    assert any("house.mtl" in line for line in said) and mesh.rgb is None


def test_nothing_outside_of_the_folder_is_opened(house):
    inner = house.parent / "inner"
    inner.mkdir()
    moved = saved(inner / "a.obj", OBJ.replace("mtllib house.mtl", "mtllib ../house.mtl").encode())
    for read in (load, digest):
        with pytest.raises(Mistake, match="outside"):
            read(moved)
    linked = saved(inner / "b.obj", OBJ.encode())
    os.symlink(house.parent / "house.mtl", inner / "house.mtl")
    with pytest.raises(Mistake, match="outside"):
        load(linked)
    absolute = saved(house.parent / "c.obj", OBJ.replace("house.mtl", r"C:\models\house.mtl").encode())
    assert load(absolute)[0].texture is not None  # names of the computer that wrote it mean what lies beside
    made, blob = document()
    made["buffers"][0]["uri"] = "house.bin"
    with pytest.raises(Mistake, match="other files"):
        load(saved(inner / "d.glb", glb(made, b"")))


def test_a_digest_is_of_everything_that_is_read(house):
    first = digest(house)
    assert first == digest(house) and len(first) == 64
    (house.parent / "unrelated.png").write_bytes(png(3, 3))
    assert digest(house) == first
    (house.parent / "wood.png").write_bytes(png(15, 9, seed=1))
    second = digest(house)
    (house.parent / "house.mtl").write_text(MTL + "\n")
    assert len({first, second, digest(house)}) == 3
