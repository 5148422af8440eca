"""What small and careless writers write: polygons that are not convex, fractions as whole numbers, numbers that are none."""

import numpy as np
import pytest
import torch
from foreign_files import document, glb, pixels, png
from test_export_files import gaussians
from test_init_edges import MAPPED, obj, saved

from dream3d.errors import Mistake
from dream3d.export.splat import write_ply
from dream3d.foreign.atlas import LARGEST, _side
from dream3d.foreign.load import load

# --- polygons -------------------------------------------------------------------------------------------------------------------

ARROW = [(0, 0), (1, 0.2), (2, 0), (1, 2)]  # not convex at its second corner
CROWN = [(0, 0), (3, 0), (3, 3), (1.5, 0.4), (0, 3)]
COMB = [(0, 0), (5, 0), (5, 3), (4, 0.1), (3, 3), (2, 0.1), (1, 3)]  # no corner sees all others


def area(mesh) -> tuple[float, float]:
    """Of all faces, and of what they cover if none overlap."""
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    normal = torch.linalg.cross(b - a, c - a) / 2
    return float(normal.norm(dim=1).sum()), float(normal.sum(0).norm())


@pytest.mark.parametrize("polygon", [ARROW, CROWN])
@pytest.mark.parametrize("kind", ["obj", "ply"])
def test_polygons_that_are_not_convex(tmp_path, polygon, kind):
    for start in range(len(polygon)):
        corners = polygon[start:] + polygon[:start]
        if kind == "obj":
            text = "".join(f"v {x} {y} 0\n" for x, y in corners) + "f " + " ".join(str(k + 1) for k in range(len(corners)))
        else:
            head = f"ply\nformat ascii 1.0\nelement vertex {len(corners)}\nproperty float x\nproperty float y\nproperty float z\n"
            head += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
            text = head + "".join(f"{x} {y} 0\n" for x, y in corners) + " ".join(map(str, [len(corners), *range(len(corners))]))
        mesh, said = load(saved(tmp_path / f"a.{kind}", text), fit=False)
        whole, covered = area(mesh)
        assert whole == pytest.approx(covered) and len(mesh.faces) == len(polygon) - 2 and "convex" not in str(said)


def test_a_polygon_that_no_fan_covers_is_said(tmp_path):
    text = "".join(f"v {x} {y} 0\n" for x, y in COMB) + "f 1 2 3 4 5 6 7\nv 9 0 0\nv 9 9 0\nv 0 9 0\nf 1 8 9 10\n"
    mesh, said = load(saved(tmp_path / "a.obj", text), fit=False)
    assert "1 polygons are not convex: their triangles overlap" in said and mesh.faces[:2].tolist() == [[0, 1, 2], [0, 2, 3]]


# --- what small writers write ---------------------------------------------------------------------------------------------------


def test_uv_as_whole_numbers_that_stand_for_fractions(tmp_path):
    """KHR_mesh_quantization, as gltf-transform writes it; without `normalized` they are what they are."""
    made, blob = document(texture=png(8, 8))
    made["accessors"].append({"bufferView": 4, "componentType": 5123, "normalized": True, "count": 4, "type": "VEC2"})
    made["bufferViews"].append({"buffer": 0, "byteOffset": len(blob), "byteLength": 16})
    blob += np.array([[0, 0], [65535, 0], [0, 65535], [13107, 52428]], "<u2").tobytes()
    made["buffers"] = [{"byteLength": len(blob)}]
    made["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"] = 3
    mesh, _ = load(saved(tmp_path / "a.glb", glb(made, blob)), fit=False)
    torch.testing.assert_close(mesh.uv[1], torch.tensor([[0, 1], [1, 1], [0.2, 0.2]]))


def test_colours_of_one_piece_beside_the_texture_of_another(tmp_path):
    saved(tmp_path / "m.mtl", "newmtl a\nmap_Kd t.png")
    saved(tmp_path / "t.png", png(4, 4))
    text = obj(head="mtllib m.mtl\nusemtl a", corner=MAPPED, colour="1 0 0") + "usemtl b\nf 1 2 4\n"
    assert "colours of vertices beside a texture are left out" in load(saved(tmp_path / "a.obj", text), fit=False)[1]


def test_a_texture_with_a_colour_in_front_of_it(tmp_path):
    """Factors are linear, textures display sRGB (IEC 61966-2-1)."""
    made, blob = document(texture=png(8, 8))
    made["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] = [0.5, 1, 0, 1]
    mesh, _ = load(saved(tmp_path / "a.glb", glb(made, blob)), fit=False)
    display = pixels(8, 8) / 255
    linear = np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4) * [0.5, 1, 0]
    wanted = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(mesh.texture.numpy(), wanted, atol=0.51 / 255)


def test_colours_that_are_no_numbers(tmp_path):
    mesh, said = load(saved(tmp_path / "a.obj", obj(colour="1 0 0").replace("1 0 0\n", "1 0 nan\n", 1)), fit=False)
    assert mesh.rgb is None and said == ["colours of vertices are not all finite: none is used"]


def test_one_of_two_textures_without_uv(tmp_path):
    saved(tmp_path / "m.mtl", "newmtl a\nmap_Kd t.png\nnewmtl b\nmap_Kd t.png")
    saved(tmp_path / "t.png", png(4, 4))
    text = obj(head="mtllib m.mtl\nusemtl a", corner=MAPPED) + "usemtl b\nf 1 2 4\n"
    assert "a texture without uv is left out" in load(saved(tmp_path / "a.obj", text), fit=False)[1]


def test_an_accessor_whose_last_entry_is_half_there(tmp_path):
    made, blob = document()
    for offset, count, refused in ((0, 4, False), (4, 4, True), (12, 3, False), (16, 3, True)):
        made["accessors"][0] |= {"byteOffset": offset, "count": count}
        made["accessors"][1]["count"] = 3
        path = saved(tmp_path / "a.glb", glb(made, blob))
        if refused:
            with pytest.raises(Mistake, match="which are not there"):
                load(path)
        elif count == 4:
            assert len(load(path)[0].faces) == 1


@pytest.mark.parametrize("index", ["1.5", "nan", "-1", "3"])
def test_a_corner_that_is_no_whole_number(tmp_path, index):
    head = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\nelement face 1\n"
    text = head + f"property list uchar float vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 {index} 2\n"
    with pytest.raises(Mistake, match="a vertex that is not there"):
        load(saved(tmp_path / "a.ply", text))


def test_gaussians_with_y_up_are_turned_whole(tmp_path):
    write_ply(gaussians(20), tmp_path / "a.ply")
    was, now = load(tmp_path / "a.ply", fit=False)[0], load(tmp_path / "a.ply", fit=False, up="y")[0]
    torch.testing.assert_close(now.rotation.norm(dim=-1), torch.ones(20))
    torch.testing.assert_close(now.position, torch.stack([was.position[:, 0], -was.position[:, 2], was.position[:, 1]], -1))


def test_many_textures_are_small_before_they_are_together():
    """However many there are, together they take at most four times what fits."""
    assert _side(1) == _side(2) == LARGEST and _side(16) == LARGEST // 2
    assert all(count * _side(count) ** 2 <= 4 * LARGEST**2 for count in (2, 3, 4, 9, 100, 300, 10_000))


def test_uv_of_one_number(tmp_path):
    saved(tmp_path / "m.mtl", "newmtl a\nmap_Kd t.png")
    saved(tmp_path / "t.png", png(4, 4))
    text = obj(head="mtllib m.mtl\nusemtl a", corner=MAPPED).replace("vt 1 0", "vt 1")
    assert load(saved(tmp_path / "a.obj", text), fit=False)[0].uv[0, 1].tolist() == [1, 0]
