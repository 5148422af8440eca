"""Meshes, points and Gaussians of users: what other writers write and we export is read as it is, and what is odd is said."""

import dataclasses
import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from foreign_files import FACES, MTL, OBJ, TETRA, ascii_ply, document, glb, gltf, pixels, ply, png
from PIL import Image
from test_export_files import gaussians

from dream3d.errors import Mistake
from dream3d.export.glb import write_glb
from dream3d.export.splat import read_ply, write_ply
from dream3d.export.texture import unwrap
from dream3d.foreign.files import digest
from dream3d.foreign.load import load
from dream3d.foreign.mend import mended
from dream3d.types import Mesh


def ball(subdivisions: int = 2) -> Mesh:
    made = trimesh.creation.icosphere(subdivisions, radius=0.6)
    return Mesh(torch.from_numpy(made.vertices.copy()).float(), torch.from_numpy(made.faces.copy()).long())


def saved(path, data: bytes):
    path.write_bytes(data)
    return path


def at(mesh: Mesh, weights=(1 / 3, 1 / 3, 1 / 3)) -> torch.Tensor:
    """The texture's colour at a place of each face."""
    uv = (mesh.uv * torch.tensor(weights)[:, None]).sum(1) * 2 - 1
    grid = torch.stack([uv[:, 0], -uv[:, 1]], -1)[None, None]
    return F.grid_sample(mesh.texture.movedim(-1, 0)[None], grid, align_corners=False, mode="nearest")[0, :, 0].T


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
    assert turned.sh.shape[1] == 1 and any("depend on the view" in line for line in said)


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
    assert said == []
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


# --- textures ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (257, 5)])
def test_textures_of_odd_sizes(tmp_path, size):
    mesh, said = load(saved(tmp_path / "a.glb", glb(*document(texture=png(*size)))), fit=False)
    np.testing.assert_array_equal((mesh.texture * 255).round().numpy(), pixels(*size))
    assert mesh.orm is None and mesh.bump is None and said == []


def test_a_texture_that_is_too_large_is_made_smaller_or_refused(tmp_path):
    mesh, said = load(saved(tmp_path / "a.glb", glb(*document(texture=png(5000, 10)))), fit=False)
    assert mesh.texture.shape[1] == 4096 and any("made smaller" in line for line in said)
    with pytest.raises(Mistake, match="at most 8192"):
        load(saved(tmp_path / "b.glb", glb(*document(texture=png(9000, 1)))))


def test_all_maps_of_a_material(tmp_path):
    made, blob = document(texture=png(8, 8))
    made["materials"][0]["normalTexture"] = {"index": 0}
    made["materials"][0]["occlusionTexture"] = {"index": 0}
    made["materials"][0]["pbrMetallicRoughness"] |= {"metallicRoughnessTexture": {"index": 0}, "metallicFactor": 0.5}
    mesh, _ = load(saved(tmp_path / "a.glb", glb(made, blob)), fit=False)
    texels = pixels(8, 8).astype(np.float32)
    np.testing.assert_allclose(mesh.bump.numpy(), texels / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(mesh.orm.numpy(), texels / 255 * [1, 1, 0.5], atol=0.51 / 255)


def test_tiles_of_a_sheet_do_not_bleed_into_each_other(tmp_path):
    """Read between texels at its edges, a repeated texture goes on with its other side, and one that does not with its own."""
    for wrap, expected in ((10497, (np.float32(pixels(8, 8)[:, 0]) + pixels(8, 8)[:, -1]) / 2), (33071, np.float32(pixels(8, 8)[:, 0]))):
        made, blob = document(texture=png(8, 8))
        made["samplers"], made["textures"][0]["sampler"] = [{"wrapS": wrap, "wrapT": wrap}], 0
        made["materials"].append({"pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 1]}})
        part = made["meshes"][0]["primitives"][0]
        made["meshes"][0]["primitives"] = [part, {**part, "material": 1}]
        made["nodes"], made["scenes"] = [{"mesh": 0}, {"mesh": 0, "translation": [5, 0, 0]}], [{"nodes": [0, 1]}]
        mesh, _ = load(saved(tmp_path / "a.glb", glb(made, blob)), fit=False)
        left = float(mesh.uv[..., 0].amin())  # of the texture: u of the tile of one colour is in its middle
        low, high = mesh.uv[:4, :, 1].amin(), mesh.uv[:4, :, 1].amax()
        rows = high - (high - low) * (torch.arange(8) + 0.5) / 8
        grid = torch.stack([torch.full((8,), 2 * left - 1), 1 - 2 * rows], -1)[None, None]
        seen = F.grid_sample(mesh.texture.movedim(-1, 0)[None], grid, align_corners=False)[0, :, 0].T
        np.testing.assert_allclose(255 * seen.numpy(), expected, atol=0.05)


def test_uv_that_repeat_a_texture(tmp_path):
    made, blob = document(texture=png(6, 4))
    made["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["extensions"] = {"KHR_texture_transform": {"scale": [3, 1]}}
    once, _ = load(saved(tmp_path / "a.glb", glb(*document(texture=png(6, 4)))), fit=False)
    mesh, said = load(saved(tmp_path / "b.glb", glb(made, blob)), fit=False)
    assert mesh.texture.shape == (4, 18, 3) and torch.equal(mesh.texture[:, :6], once.texture) and float(mesh.uv.max()) <= 1
    torch.testing.assert_close(mesh.uv, once.uv)  # three times as far, on what is three times as wide
    for line in ("wrapS", "wrapT"):
        made["samplers"] = [{**made.get("samplers", [{}])[0], line: 33071}]
    made["textures"][0]["sampler"] = 0
    mesh, _ = load(saved(tmp_path / "c.glb", glb(made, blob)), fit=False)
    assert mesh.texture.shape == (4, 6, 3) and float(mesh.uv.max()) == 1


# --- what is wrong with meshes ----------------------------------------------------------------------------------------------------


def changed(**values) -> Mesh:
    return dataclasses.replace(ball(), **values)


def test_a_good_mesh_is_left_alone():
    mesh, said = mended(ball())
    assert said == [] and torch.equal(mesh.vertices, ball().vertices) and torch.equal(mesh.faces, ball().faces)


def test_what_cannot_be_mended_is_refused():
    vertices = ball().vertices.clone()
    vertices[3, 1] = torch.nan
    bad = {"not finite": changed(vertices=vertices), "no faces": changed(faces=torch.zeros(0, 3).long()),
           "not there": changed(faces=ball().faces + 1), "area": changed(vertices=torch.zeros_like(vertices)),
           "of 162 vertices": changed(vertices=torch.full_like(vertices, torch.inf))}  # fmt: skip
    for words, mesh in bad.items():
        with pytest.raises(Mistake, match=words) as caught:
            mended(mesh, where="a.glb")
        assert caught.value.code == 2 and caught.value.where == "a.glb"


def test_what_can_be_mended_is_said():
    good = ball()
    uv = torch.rand(len(good.faces), 3, 2, generator=torch.Generator().manual_seed(0))
    turned, said = mended(changed(faces=good.faces.flip(1), uv=uv))
    assert said == ["inside out: turned"] and torch.equal(turned.faces, good.faces) and torch.equal(turned.uv, uv.flip(1))
    more = torch.cat([good.faces, torch.tensor([[5, 5, 7]]), good.faces[:2].flip(1)])
    cleaned, said = mended(changed(faces=more))
    assert [line.split(":")[1] for line in said] == [" left out"] * 2 and torch.equal(cleaned.faces, good.faces)
    spare = torch.cat([torch.tensor([[9.0, 9, 9]]), good.vertices])
    cleaned, said = mended(changed(vertices=spare, faces=good.faces + 1))
    assert said == ["1 of 163 vertices are of no face: left out"] and torch.equal(cleaned.vertices, good.vertices)


def test_what_is_odd_is_said_and_kept():
    good = ball()
    _, said = mended(changed(faces=good.faces[1:]))
    assert said == ["3 edges have one face only: it is not closed"]
    fin = torch.cat([good.faces, torch.tensor([[*good.faces[0, :2].tolist(), len(good.vertices)]])])
    mesh, said = mended(changed(faces=fin, vertices=torch.cat([good.vertices, torch.ones(1, 3)])))
    assert said[-1] == "1 edges have more than two faces: not a manifold" and len(mesh.faces) == len(fin)
    flipped = good.faces.clone()
    flipped[0] = flipped[0].flip(0)
    assert mended(changed(faces=flipped))[1] == ["3 edges lie between faces that look to different sides"]
    for scale, word in ((1e-4, "tiny"), (1e20, "huge"), (1e36, "huge"), (1e-30, "tiny")):
        mesh, said = mended(changed(vertices=good.vertices * scale))
        assert word in said[-1] and len(said) == 1 and len(mesh.faces) == len(good.faces)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e3, 1e30])
def test_fitting(tmp_path, scale):
    mesh = changed(vertices=(ball().vertices * torch.tensor([1.0, 0.5, 0.25]) + 3) * scale)
    write_glb(mesh, tmp_path / "a.glb", {})
    placed, said = load(tmp_path / "a.glb")
    assert "fit" in said[-1] and float(placed.vertices.abs().max()) == pytest.approx(0.7)
    span = placed.vertices.amax(0) - placed.vertices.amin(0)
    torch.testing.assert_close(span / span.max(), torch.tensor([1.0, 0.5, 0.25]), atol=1e-4, rtol=1e-3)
    kept, _ = load(tmp_path / "a.glb", fit=False)
    assert torch.equal(kept.vertices, mesh.vertices)


def test_what_is_placed_already_stays_unless_fit_is_asked_for(tmp_path):
    write_glb(ball(), tmp_path / "a.glb", {})
    assert torch.equal(load(tmp_path / "a.glb")[0].vertices, ball().vertices)
    assert float(load(tmp_path / "a.glb", fit=True)[0].vertices.abs().max()) == pytest.approx(0.7)
    write_ply(gaussians(20), tmp_path / "a.ply")
    kept, fitted = load(tmp_path / "a.ply", fit=False)[0], load(tmp_path / "a.ply", fit=True)[0]
    ratio = 1.4 / float((kept.position.amax(0) - kept.position.amin(0)).max())
    torch.testing.assert_close(fitted.scale, kept.scale * ratio)


def test_what_is_no_such_file(tmp_path):
    saved(tmp_path / "car.glb", b"glTF")
    wrong = {"cat.glb": "there is no file", "": "is no file", "car.fbx": "no kind", "car.ply": "not what its name", "car.obj": "not what"}
    for name, words in wrong.items():
        if name.startswith("car"):
            saved(tmp_path / name, b"\0\1\2")
        with pytest.raises(Mistake, match=words) as caught:
            load(tmp_path / name)
        assert caught.value.near and len(str(caught.value).splitlines()) <= 5
