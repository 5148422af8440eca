"""OBJ, STL, 3MF and mesh PLY, read back by other programs: places, sides, colours, units; whole files, same bytes."""

import dataclasses
import io
import re
import warnings
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from solid_scenes import HIGH, LOW, SIDES, box

from dream3d.errors import Mistake
from dream3d.export.formats import Ask, formats, named
from dream3d.export.solid import line, painted, thin
from dream3d.export.texels import vertex_normals
from dream3d.foreign.load import load
from dream3d.types import Mesh

FACTS = {"prompt": 'a <b>"red" car</b>\nv 1 2 3 \\', "seed": 3, "models": ["a & b"], "version": "0", "lighting": "baked"}
OURS = ("obj", "stl", "3mf", "ply")
EXTENT = (HIGH - LOW).numpy()


def write(name: str, mesh: Mesh, folder, **ask):
    path = folder / named(name).files["mesh"]
    named(name).write(mesh, path, Ask(FACTS, **ask))
    return path


def sides(read: trimesh.Trimesh, up: str = "z") -> dict[str, np.ndarray]:
    """The colour in the middle of each side, by what other code reads."""
    colours, found = read.visual.to_color().vertex_colors[:, :3] / 255, {}
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]] if up == "y" else np.eye(3))
    directions = {"front": (0, -1, 0), "right": (1, 0, 0), "back": (0, 1, 0), "left": (-1, 0, 0), "top": (0, 0, 1), "bottom": (0, 0, -1)}
    for name, direction in directions.items():
        face = (read.face_normals @ turn.T @ np.array(direction)).argmax()
        found[name] = colours[read.faces[face]].mean(0)
    return found


def mesh_of(path) -> trimesh.Trimesh:
    """An STL by trimesh; of a 3MF, for which trimesh wants lxml, what its XML says."""
    if path.suffix == ".stl":
        return trimesh.load(path, force="mesh")
    root = ElementTree.fromstring(zipfile.ZipFile(path).read("3D/3dmodel.model"))
    space = "{http://schemas.microsoft.com/3dmanufacturing/core/2015/02}"
    vertices = np.array([[float(v.get(axis)) for axis in "xyz"] for v in root.iter(f"{space}vertex")])
    faces = [[int(t.get(key)) for key in ("v1", "v2", "v3")] for t in root.iter(f"{space}triangle")]
    (item,) = root.iter(f"{space}item")
    move = np.array(item.get("transform").split(), float).reshape(4, 3)
    return trimesh.Trimesh(vertices @ move[:3] + move[3], faces, process=False)


@pytest.mark.parametrize("up", ["y", "z", None])
def test_an_obj_has_its_places_and_its_texture_in_other_programs(tmp_path, up):
    read = trimesh.load(write("obj", box(), tmp_path, up=up), force="mesh", process=False)
    extent = EXTENT if up == "z" else EXTENT[[0, 2, 1]]
    np.testing.assert_allclose(np.ptp(read.vertices, axis=0), extent, atol=1e-6)
    read.merge_vertices(merge_tex=True, merge_norm=True)
    assert read.is_watertight and read.volume == pytest.approx(float(EXTENT.prod()), rel=1e-5)


@pytest.mark.parametrize("textured", [True, False])
def test_normals_of_an_obj_belong_to_their_corners(tmp_path, textured):
    rows = [row.split() for row in write("obj", box(textured=textured), tmp_path, up="z").read_text().splitlines()]
    normals = np.array([row[1:] for row in rows if row[0] == "vn"], float)
    corners = np.array([[part.split("/") for part in row[1:]] for row in rows if row[0] == "f"])
    chosen = normals[corners[..., 2].astype(int) - 1]
    np.testing.assert_allclose(chosen, vertex_normals(box()).numpy()[corners[..., 0].astype(int) - 1], atol=1e-6)


def test_every_side_of_an_obj_has_its_colour(tmp_path):
    read = trimesh.load(write("obj", box(), tmp_path), force="mesh", process=False)
    for name, colour in sides(read, "y").items():
        np.testing.assert_allclose(colour, SIDES[name], atol=0.01)


def test_a_material_goes_into_the_mtl_with_its_pictures(tmp_path):
    write("obj", box(lit=True), tmp_path)
    lines = (tmp_path / "mesh.mtl").read_text().splitlines()
    maps = dict(row.split() for row in lines if row.startswith(("map_", "norm")))
    assert set(maps) == {"map_Kd", "map_Pr", "map_Pm", "norm"} and "illum 2" in lines
    value = {key: np.asarray(Image.open(tmp_path / name)) for key, name in maps.items()}
    assert (value["map_Pr"] == round(0.6 * 255)).all() and (value["map_Pm"] == round(0.2 * 255)).all()
    assert value["norm"][0, 0].tolist() == [128, 128, 255] and "illum 0" not in lines
    write("obj", box(), tmp_path)
    assert "illum 0" in (tmp_path / "mesh.mtl").read_text()


@pytest.mark.parametrize("name", ["obj", "ply"])
def test_our_own_reader_finds_the_same_mesh(tmp_path, name):
    mesh = box()
    again, _ = load(write(name, mesh, tmp_path), fit=False)
    assert torch.equal(again.faces, mesh.faces)
    torch.testing.assert_close(again.vertices, mesh.vertices, atol=1e-7, rtol=0)
    torch.testing.assert_close(again.uv, mesh.uv, atol=1e-7, rtol=0)
    torch.testing.assert_close(again.texture, mesh.texture, atol=0.5 / 255, rtol=0)


@pytest.mark.parametrize("name", ["obj", "ply"])
def test_colours_of_vertices_are_read_by_other_programs(tmp_path, name):
    mesh = box(textured=False)
    read = trimesh.load(write(name, mesh, tmp_path, up="z"), force="mesh", process=False)
    order = np.lexsort(np.round(read.vertices, 4).T), np.lexsort(np.round(mesh.vertices.numpy(), 4).T)
    np.testing.assert_allclose(read.visual.vertex_colors[order[0], :3] / 255, mesh.rgb.numpy()[order[1]], atol=0.003)


def test_a_ply_is_closed_and_shows_its_texture(tmp_path):
    path = write("ply", box(), tmp_path)
    read = trimesh.load(path, process=False)
    for name, colour in sides(read).items():
        np.testing.assert_allclose(colour, SIDES[name], atol=0.01)
    read.merge_vertices(merge_tex=True)
    assert read.is_watertight and b"comment TextureFile mesh_colour.png" in path.read_bytes()
    raw = trimesh.load(path, process=False).metadata["_ply_raw"]
    assert raw["vertex"]["length"] == 8, "vertices of a closed mesh stay welded"
    assert {"red", "green", "blue", "nx"} <= set(raw["vertex"]["data"].dtype.names)


def test_vertices_have_the_mean_of_what_the_texture_shows_at_their_corners():
    mesh, colours = box(), torch.tensor(list(SIDES.values()))
    for vertex, colour in enumerate(painted(mesh)):
        sides = (mesh.faces == vertex).any(1).nonzero()[:, 0] // 2
        np.testing.assert_allclose(colour, colours[sides].mean(0).numpy(), atol=1e-6)


def test_a_ply_turns_where_it_is_asked_to(tmp_path):
    read = trimesh.load(write("ply", box(), tmp_path, up="y"), process=False)
    np.testing.assert_allclose(read.bounds, [[-0.3, -0.1, -0.2], [0.3, 0.5, 0.2]], atol=1e-6)


@pytest.mark.parametrize("name", ["stl", "3mf"])
@pytest.mark.parametrize(("asked", "longest"), [(None, 600.0), (80.0, 80.0)])
def test_printers_get_millimetres_and_a_closed_mesh(tmp_path, name, asked, longest):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = write(name, box(), tmp_path, millimetres=asked)
    read = mesh_of(path)
    assert read.is_watertight and read.is_winding_consistent
    np.testing.assert_allclose(np.ptp(read.vertices, axis=0), EXTENT / 0.6 * longest, rtol=1e-5)
    assert read.volume == pytest.approx(float((EXTENT / 0.6 * longest).prod()), rel=1e-4)
    if name == "3mf":
        np.testing.assert_allclose(read.bounds[0], 0, atol=1e-3)
        assert b'unit="millimeter"' in zipfile.ZipFile(path).read("3D/3dmodel.model")


@pytest.mark.parametrize("name", ["stl", "3mf"])
def test_an_open_mesh_is_written_and_said(tmp_path, name):
    mesh = dataclasses.replace(box(), faces=box().faces[:-1], uv=box().uv[:-1])
    with pytest.warns(UserWarning, match="not closed"):
        path = write(name, mesh, tmp_path)
    assert len(mesh_of(path).faces) == 11


@pytest.mark.parametrize(("millimetres", "said"), [(60.0, False), (3.0, False), (0.9, True)])
def test_walls_that_are_too_thin_to_print_are_said(tmp_path, millimetres, said):
    """The box is two thirds as deep as it is long: 0.6 mm of 0.9."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write("stl", box(), tmp_path, millimetres=millimetres)
    assert ["thinner than 0.8 mm" in str(one.message) for one in caught] == [True] * said


def test_half_of_a_surface_may_be_thin():
    """A plate of half a millimetre on a block ten times as thick."""
    plate, block = trimesh.creation.box((10, 10, 0.5)), trimesh.creation.box((10, 10, 5))
    block.apply_translation([30, 0, 0])
    whole = trimesh.util.concatenate([plate, block])
    share = thin(np.asarray(whole.vertices), np.asarray(whole.faces))
    assert share == pytest.approx(200 / whole.area, abs=0.01)


def test_trimesh_reads_the_3mf(tmp_path):
    pytest.importorskip("lxml", reason="trimesh reads 3MF with lxml")
    read = trimesh.load(write("3mf", box(), tmp_path, millimetres=80.0), force="mesh")
    assert read.is_watertight and read.volume == pytest.approx(float((EXTENT / 0.6 * 80).prod()), rel=1e-4)


@pytest.mark.parametrize("textured", [True, False])
def test_the_3mf_consortiums_reader_takes_it(tmp_path, textured):
    lib3mf = pytest.importorskip("lib3mf", reason="pip install lib3mf")
    model = lib3mf.get_wrapper().CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(write("3mf", box(textured=textured), tmp_path)))
    assert reader.GetWarningCount() == 0
    objects = model.GetMeshObjects()
    assert objects.MoveNext()
    mesh = objects.GetCurrentMeshObject()
    assert (mesh.GetVertexCount(), mesh.GetTriangleCount(), mesh.IsManifoldAndOriented()) == (8, 12, True)
    assert model.GetUnit() == lib3mf.ModelUnit.MilliMeter
    groups = model.GetTexture2DGroups() if textured else model.GetColorGroups()
    assert groups.Count() == 1 and (not textured or model.GetTexture2Ds().Count() == 1)
    if not textured:
        assert groups.MoveNext()
        group = groups.GetCurrentColorGroup()
        shown = {(c.Red, c.Green, c.Blue, c.Alpha) for c in map(group.GetColor, group.GetAllPropertyIDs())}
        assert shown == {(255, 51, 0, 255), (0, 102, 255, 255)}


def test_every_corner_of_a_3mf_has_its_vertex_colour(tmp_path):
    mesh = box(textured=False)
    text = zipfile.ZipFile(write("3mf", mesh, tmp_path)).read("3D/3dmodel.model").decode()
    colours = re.findall(r'<m:color color="(.*?)"/>', text)
    index = np.array(re.findall(r'p1="(\d+)" p2="(\d+)" p3="(\d+)"', text), int)
    low = mesh.vertices[mesh.faces][..., 2].numpy() < 0
    assert (np.array(colours)[index] == np.where(low, "#FF3300", "#0066FF")).all()


def test_the_texture_of_a_3mf_lies_as_in_the_mesh(tmp_path):
    mesh = box()
    path = write("3mf", mesh, tmp_path)
    archive = zipfile.ZipFile(path)
    text = archive.read("3D/3dmodel.model").decode()
    uv = np.array(re.findall(r'<m:tex2coord u="(.*?)" v="(.*?)"/>', text), float)
    index = np.array(re.findall(r'p1="(\d+)" p2="(\d+)" p3="(\d+)"', text), int)
    np.testing.assert_allclose(uv[index], mesh.uv.numpy(), atol=1e-7)
    picture = np.asarray(Image.open(io.BytesIO(archive.read("3D/Textures/colour.png"))))
    np.testing.assert_array_equal(picture, np.round(255 * mesh.texture.numpy()))


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("textured", [True, False])
def test_the_same_mesh_gives_the_same_bytes_and_nothing_is_left_behind(tmp_path, name, textured):
    for folder in ("a", "b"):
        write(name, box(textured=textured, lit=textured), tmp_path / folder)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()} for folder in ("a", "b"))
    assert one == two and not any(part.startswith(".") for part in one)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("bad", ["nothing", "nan"])
def test_what_is_no_mesh_is_refused_before_anything_is_written(tmp_path, name, bad):
    mesh = dataclasses.replace(box(), faces=box().faces[:0], uv=None, texture=None) if bad == "nothing" else box()
    if bad == "nan":
        mesh.vertices[0, 0] = torch.nan
    with pytest.raises(Mistake, match="no faces" if bad == "nothing" else "not finite"):
        write(name, mesh, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_told_stays_on_one_line():
    told = line({"prompt": "a\nb\x00\u2028\ud800", "long": "x" * 10**6})
    assert told.isascii() and told.isprintable() and len(told) < 20_000
    assert line(FACTS).isprintable()


@pytest.mark.parametrize("name", ["obj", "ply"])
def test_a_prompt_is_no_part_of_the_geometry(tmp_path, name):
    again, _ = load(write(name, box(), tmp_path), fit=False)
    assert len(again.vertices) == 8


def test_formats_may_be_called_what_no_module_can():
    assert formats()["3mf"].module == "three_mf" and "three-mf" not in formats()
