"""Strange files of artists: what comes out is what went in, and what cannot be kept is said."""

import copy
import dataclasses
import io

import numpy as np
import pytest
import torch
from dream3d.guidance.photo import Photo
from dream3d.renderers.mesh import TriangleMesh
from foreign_files import document, glb, pixels, png
from PIL import Image
from test_load_fuzz import picture

from dream3d.errors import Mistake
from dream3d.export.asset import export
from dream3d.export.views import sphere
from dream3d.foreign.files import digest
from dream3d.foreign.load import given, load
from dream3d.options import Export, Init
from dream3d.pictures import read_picture
from dream3d.priors.mixture import Mixture

SMALL = Export(frames=1, size=16)


def saved(path, data: bytes | str):
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# --- what comes out -------------------------------------------------------------------------------------------------------------


def scene(mesh, texture: int) -> TriangleMesh:
    made = TriangleMesh(torch.Generator().manual_seed(0), appearance="texture", train="texture", texture=texture, smooth=False)
    made.init_from(mesh)
    return made


def test_an_open_mesh_with_a_texture_comes_out_with_its_triangles_and_uv(tmp_path):
    """Also one that a surface reconstruction would close; texels that were not optimised are the ones it had."""
    made, blob = document(texture=png(8, 8))
    made["accessors"][1]["count"] = 9  # a side less
    mesh, said = load(saved(tmp_path / "a.glb", glb(made, blob)), fit=False)
    assert any("not closed" in line for line in said)
    out = export(scene(mesh, 8), tmp_path / "export", SMALL, extras={})
    back, _ = load(out["mesh"], fit=False)
    away, order = torch.cdist(mesh.vertices, back.vertices).min(1)
    assert len(back.vertices) == 4 and float(away.max()) < 1e-6
    assert torch.equal(back.faces, order[mesh.faces]) and torch.equal(back.uv, mesh.uv)
    seen = (back.texture - mesh.texture).abs().amax(-1) == 0
    assert float(seen.float().mean()) > 0.3  # others lie under no face, and repeat their neighbours
    assert torch.equal((mesh.texture * 255).round().byte(), torch.from_numpy(pixels(8, 8)))


def test_a_texture_that_does_not_stay_is_told(tmp_path):
    path = saved(tmp_path / "a.glb", glb(*document(texture=png(8, 8))))
    told = {word: " ".join(given(Init(str(path)), settings)[1]) for word, settings in {
        "small": {"type": "mesh", "appearance": "texture", "texture": 4}, "kept": {"type": "mesh", "appearance": "texture", "texture": 8},
        "vertex": {"type": "mesh", "appearance": "vertex", "texture": 8}, "splats": {"type": "gaussians"}}.items()}  # fmt: skip
    assert "8 texels a side is drawn in 4; renderer.texture=8 keeps it" in told["small"]
    assert "its texture" not in told["kept"]
    assert "becomes the colours of mesh" in told["vertex"] and "becomes the colours of gaussians" in told["splats"]


# --- what goes in ---------------------------------------------------------------------------------------------------------------

BOX = np.array([[x, y, z] for x in (0, 1) for y in (0, 0.6) for z in (0, 0.4)])
SIDES = [(1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4)]
UV = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"


def obj(shift=(0, 0, 0), *, colour: str = "", corner: str = "%d", head: str = "", start: int = 0) -> str:
    lines = [f"v {x!r} {y!r} {z!r} {colour}" for x, y, z in (BOX + shift).tolist()]
    faces = ["f " + " ".join(corner.replace("%u", str(k + 1)) % v for k, v in enumerate(side)) for side in SIDES[start:]]
    return "\n".join([head, *lines, UV, *faces]) + "\n"


def test_a_mark_of_utf_8_is_no_part_of_a_name(tmp_path):
    """As editors on Windows write it, before a comment, a vertex, a material."""
    mark = b"\xef\xbb\xbf"
    saved(tmp_path / "m.mtl", mark + b"newmtl red\r\nKd 1 0 0\r\n")
    mesh, said = load(saved(tmp_path / "a.obj", mark + obj(head="mtllib m.mtl\nusemtl red").encode()), fit=False)
    assert said == [] and len(mesh.faces) == 12 and mesh.rgb.unique(dim=0).tolist() == [[1, 0, 0]]
    bare = saved(tmp_path / "b.obj", mark + obj().strip().encode())
    assert len(load(bare, fit=False)[0].vertices) == 8 and len(digest(bare)) == 64


@pytest.mark.parametrize("kind", ["obj", "ply", "glb", "points"])
def test_what_lies_far_away_keeps_its_shape(tmp_path, kind):
    """Scans in the coordinates of a country: float32 has steps of half a metre there."""
    shift = np.array([455000.0, 5550000.0, 120.0])
    near, _ = load(saved(tmp_path / "near.obj", obj()), fit=True)
    if kind == "obj":
        path = saved(tmp_path / "a.obj", obj(shift))
    elif kind == "glb":
        made, blob = document()
        made["nodes"] = [{"mesh": 0, "translation": shift.tolist()}]
        path = saved(tmp_path / "a.glb", glb(made, blob))
        near, _ = load(saved(tmp_path / "near.glb", glb(*document())), fit=True)
    else:
        rows = "".join(f"{x!r} {y!r} {z!r}\n" for x, y, z in (BOX + shift).tolist())
        sides = "".join("4 {} {} {} {}\n".format(*(v - 1 for v in side)) for side in SIDES) * (kind == "ply")
        head = "ply\nformat ascii 1.0\nelement vertex 8\nproperty double x\nproperty double y\nproperty double z\n"
        head += f"element face {6 * (kind == 'ply')}\nproperty list uchar int vertex_indices\nend_header\n"
        path = saved(tmp_path / "a.ply", head + rows + sides)
    found, said = load(path, fit=True, up="y")
    assert said[0] == "moved to the origin: it lay 5.56862e+06 away"
    place = found.vertices if kind != "points" else found.position
    torch.testing.assert_close(place, near.vertices, atol=1e-6, rtol=0)
    assert kind == "points" or torch.equal(found.faces, near.faces)
    kept, said = load(path, fit=False, up="y")
    assert float((kept.vertices if kind != "points" else kept.position).abs().max()) > 5e6 and "moved" not in str(said)


def test_one_point_comes_to_the_middle_where_it_was_out_of_sight(tmp_path):
    assert load(saved(tmp_path / "a.obj", "v 3 0 0"))[0].position.tolist() == [[0, 0, 0]]
    assert load(saved(tmp_path / "b.obj", "v 0.25 0 0"))[0].position.tolist() == [[0.25, 0, 0]]


def test_colours_that_go_to_255(tmp_path):
    mesh, said = load(saved(tmp_path / "a.obj", obj(colour="255 51 0")), fit=False)
    torch.testing.assert_close(mesh.rgb, torch.tensor([[1, 0.2, 0]]).expand(8, 3))
    assert said == ["colours of vertices go to 255: divided by that"]
    assert load(saved(tmp_path / "b.obj", obj(colour="1.2 0 0")), fit=False)[1] == []  # brighter than white


MAPPED, BARE = "%d/%u", "%d"


@pytest.mark.parametrize("text, mtl, words", [
    (obj(head="mtllib m.mtl\nusemtl a", corner=BARE), "newmtl a\nmap_Kd t.png", "a texture without uv is left out"),
    (obj(head="mtllib m.mtl\nusemtl a", corner=MAPPED) + "f 1 2 4\n", "newmtl a\nmap_Kd t.png", "1 faces with a texture have no uv"),
    (obj(head="mtllib m.mtl\nusemtl a", corner=MAPPED, colour="1 0 0"), "newmtl a\nmap_Kd t.png", "colours of vertices beside a texture"),
    (obj(head="mtllib m.mtl\nusemtl a"), "newmtl a\nKd 1 0 0\nd 0.5", "transparency"),
    (obj(head="mtllib m.mtl\nusemtl a"), "newmtl a\nTr 1", "transparency"),
    (obj(head="mtllib m.mtl\nusemtl a"), "newmtl a\nd 1.0\nTr 0", ""),
    (obj(head="mtllib m.mtl\nusemtl a", corner=MAPPED) + "usemtl b\nf 1/1 2/2 4/3\n", "newmtl a\nmap_Kd t.png\nnewmtl b\nKd 1 0 0",
     "2 materials share one texture"),
    (obj(head="mtllib m.mtl\nusemtl a", corner=MAPPED).replace("vt 1 0", "vt 2 0"), "newmtl a\nmap_Kd t.png", "it is laid 2 x 1 times"),
])  # fmt: skip
def test_what_an_obj_loses_is_said(tmp_path, text, mtl, words):
    saved(tmp_path / "m.mtl", mtl)
    saved(tmp_path / "t.png", png(4, 4))
    said = load(saved(tmp_path / "a.obj", text), fit=False)[1]
    assert [line for line in said if words in line] if words else not any("transparency" in line for line in said), said


def test_what_a_glb_loses_is_said(tmp_path):
    made, blob = document(texture=png(4, 4))
    material = made["materials"][0]
    material["emissiveFactor"], material["normalTexture"] = [1, 0, 0], {"index": 0, "texCoord": 1}
    said = load(saved(tmp_path / "a.glb", glb(made, blob)), fit=False)[1]
    assert said == ["emission is left out", "maps of one material lie differently: all as its first"]
    material["emissiveFactor"], material["normalTexture"] = [0, 0, 0], {"index": 0, "texCoord": 0}
    assert load(saved(tmp_path / "b.glb", glb(made, blob)), fit=False)[1] == []


def test_what_a_ply_loses_is_said(tmp_path):
    head = "ply\nformat ascii 1.0\n%selement vertex 3\nproperty float x\nproperty float y\nproperty float z\n%s"
    face = "element face 1\nproperty list uchar int vertex_indices\n%send_header\n"
    uv, place = "property float s\nproperty float t\n", "0 0 0{0}\n1 0 0{0}\n0 1 0{0}\n3 0 1 2"
    rgb = "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    saved(tmp_path / "t.png", png(4, 4))
    cases = {"colours of faces are left out": head % ("", "") + face % rgb + place.format("") + " 255 0 0\n",
             "a texture without uv is left out": head % ("comment TextureFile t.png\n", "") + face % "" + place.format(""),
             "colours of vertices beside a texture are left out":
                 head % ("comment TextureFile t.png\n", uv + rgb) + face % "" + place.format(" 0.5 0.5 255 0 0"),
             "its other textures are left out": head % ("comment TextureFile t.png\n", uv) + face % "property int texnumber\n" +
                 place.format(" 0.5 0.5") + " 1\n"}  # fmt: skip
    for words, text in cases.items():
        assert words in load(saved(tmp_path / "a.ply", text), fit=False)[1]
    old = head % ("", rgb.replace("uchar ", "uchar diffuse_")) + face % "" + place.format(" 255 0 0")
    assert load(saved(tmp_path / "b.ply", old), fit=False)[0].rgb.tolist() == [[1, 0, 0]] * 3


# --- pictures -------------------------------------------------------------------------------------------------------------------


def test_pictures_beyond_all_size_and_what_is_none(tmp_path):
    saved(tmp_path / "m.mtl", "newmtl a\nmap_Kd t.png")
    path = saved(tmp_path / "a.obj", obj(head="mtllib m.mtl\nusemtl a", corner=MAPPED))
    saved(tmp_path / "t.png", picture(16384, 16384))
    with pytest.raises(Mistake, match="at most 8192") as caught:
        load(path)
    assert caught.value.fix == "scale it down"
    saved(tmp_path / "t.png", '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "b">]><svg>&b;</svg>')
    with pytest.raises(Mistake, match="t.png is no picture of a kind that can be read") as caught:
        load(path)
    assert "PNG" in caught.value.near and " object at " not in str(caught.value)


def test_a_texture_of_many_materials_is_decoded_once(tmp_path, monkeypatch):
    """It does not count each time: an atlas of 2048 pixels a side for hundred materials is no bomb."""
    made, blob = document(texture=png(40, 40))
    made["materials"] = [{**copy.deepcopy(made["materials"][0]), "occlusionTexture": {"index": 0}} for _ in range(100)]
    part = made["meshes"][0]["primitives"][0]
    made["meshes"][0]["primitives"] = [{**part, "material": i} for i in range(100)]
    monkeypatch.setattr("dream3d.foreign.pictures.TOTAL", 2 * 40 * 40)
    load(saved(tmp_path / "a.glb", glb(made, blob)), fit=False)
    monkeypatch.setattr("dream3d.foreign.pictures.TOTAL", 40 * 40 - 1)
    with pytest.raises(Mistake, match="too large together"):
        load(tmp_path / "a.glb")


@pytest.mark.parametrize("mode, colour, wanted", [("L", 51, (51, 51, 51)), ("LA", (51, 0), (51, 51, 51)), ("1", 1, (255, 255, 255)),
                                                  ("I;16", 51 << 8, (51, 51, 51)), ("P", 0, (0, 0, 0)), ("RGBA", (9, 8, 7, 0), (9, 8, 7)),
                                                  ("CMYK", (0, 255, 255, 0), (255, 0, 0))])  # fmt: skip
@pytest.mark.parametrize("width", [5, 5000])
def test_pictures_of_every_mode(tmp_path, mode, colour, wanted, width):
    data = io.BytesIO()
    Image.new(mode, (width, 10), colour).save(data, format="JPEG" if mode == "CMYK" else "PNG")
    mesh, _ = load(saved(tmp_path / "a.glb", glb(*document(texture=data.getvalue()))), fit=False)
    assert mesh.texture.shape[1] == min(width, 4096)
    assert float((mesh.texture * 255 - torch.tensor(wanted)).abs().max()) < 1.5  # JPEG


# --- where it is ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("appearance", ["vertex", "texture", "field"])
def test_a_mesh_that_no_camera_sees(tmp_path, appearance):
    """As users may want it: the pictures are empty, nothing breaks, and they are told."""
    path = saved(tmp_path / "a.obj", obj((5, 0, 0)))
    mesh, said = load(path, fit=False)
    assert said[-1].startswith("out of sight") and "out of sight" not in str(load(path)[1])
    made = TriangleMesh(torch.Generator().manual_seed(0), appearance=appearance, texture=8)
    made._start(dataclasses.replace(mesh, vertices=mesh.vertices + 1e3))
    drawn = made.render(sphere(1, radius=0.7, size=16))
    drawn.rgb.sum().backward()
    assert float(drawn.alpha.detach().abs().max()) == 0 and bool(drawn.rgb.isfinite().all())


# --- photos ---------------------------------------------------------------------------------------------------------------------


def test_a_photo_is_seen_as_it_is_meant(tmp_path):
    """Turned as its camera says; 16 bits of grey are no white; the colour of what is transparent does not show."""
    turned = Image.new("RGB", (8, 4))
    turned.paste((255, 0, 0), (0, 0, 4, 4))
    exif = turned.getexif()
    exif[0x0112] = 6  # a quarter turn clockwise
    turned.save(tmp_path / "a.jpg", exif=exif, quality=95)
    seen = read_picture(str(tmp_path / "a.jpg"), "")
    assert seen.shape == (1, 4, 8, 4) and float(seen[0, 0, 1].min()) > 0.9 and float(seen[0, 0, 6].max()) < 0.1
    Image.new("I;16", (3, 3), 51 << 8).save(tmp_path / "b.png")
    torch.testing.assert_close(read_picture(str(tmp_path / "b.png"), "")[0, :, 0, 0], torch.tensor([0.2, 0.2, 0.2, 1]))
    Image.new("LA", (3, 3), (255, 0)).save(tmp_path / "c.png")
    assert float(read_picture(str(tmp_path / "c.png"), "").abs().max()) == 0


@pytest.mark.parametrize("size", [(9, 4), (4, 9)])
def test_a_photo_that_is_no_square_is_not_squeezed(tmp_path, size):
    Image.new("RGB", size, (255, 255, 255)).save(tmp_path / "a.png")
    picture = Photo(Mixture(), image=str(tmp_path / "a.png")).picture
    assert picture.shape == (1, 4, 9, 9)
    rows, columns = picture[0, 3].amax(1), picture[0, 3].amax(0)
    assert [float(rows.sum()), float(columns.sum())] == [size[1], size[0]]
    assert [float(side[4]) for side in (rows, columns)] == [1, 1]
