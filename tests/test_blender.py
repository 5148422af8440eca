"""A real Blender (bpy, or blender on the PATH) imports every file and looks at it: places, sides, uvs, colour spaces, metres."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from solid_scenes import HIGH, LOW, SIDES, box

from dream3d import cli
from dream3d.blender import assets, call, find, library, told
from dream3d.errors import Mistake
from dream3d.export.formats import Ask, named

FACTS = {"prompt": "a \u201cred\u201d box\n<b>", "seed": 3, "recipe": "sds-mesh", "models": [{"name": "m", "licence": "MIT"}],
         "lighting": "baked"}  # fmt: skip
BOX = np.stack([LOW.numpy(), HIGH.numpy()])
AXES = dict(zip(("-y", "+x", "+y", "-x", "+z", "-z"), SIDES.values(), strict=True))  # the front looks towards -y


@pytest.fixture
def real():
    try:
        find.command()
    except Mistake as mistake:
        pytest.skip(str(mistake.lines[0]))


def write(name: str, folder, mesh=None, **ask) -> Path:
    path = folder / named(name).files["mesh"]
    named(name).write(box() if mesh is None else mesh, path, Ask(FACTS, **ask))
    return path


FILES = {"glb": {}, "obj": {}, "ply": {}, "stl": {"millimetres": 600.0}, "fbx": {}, "abc": {}, "blend": {}, "usdz": {}}


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> dict[str, dict]:
    """What Blender says of each of our files; it is started three times."""
    try:
        find.command()
    except Mistake as mistake:
        pytest.skip(str(mistake.lines[0]))
    folder, paths = tmp_path_factory.mktemp("files"), {}
    for name, ask in FILES.items():
        try:
            named(name).check()
        except Mistake:
            continue
        paths[name] = write(name, folder, **ask)
    for name in ("glb", "fbx"):
        paths[f"lit {name}"] = folder / f"lit.{name}"
        named(name).write(box(lit=True), paths[f"lit {name}"], Ask(FACTS))
    paths["web glb"] = folder / "web.glb"
    named("glb").write(box(lit=True), paths["web glb"], Ask(FACTS, web=True))
    answers = call.ask([{"do": "check", "file": path} for path in paths.values()])
    return dict(zip(paths, answers, strict=True))


@pytest.mark.parametrize("name", [*FILES, "lit glb", "lit fbx", "web glb"])
def test_it_stands_upright_at_its_size_with_its_front_to_minus_y(imported, name):
    if name not in imported:
        pytest.skip(f"{name} cannot be written here")
    answer = imported[name]
    size = 1000.0 if name == "stl" else 1.0  # Blender takes a millimetre for a metre: STL has no unit
    np.testing.assert_allclose(np.array(answer["box"]) / size, BOX, atol=0.01 * 0.6)
    assert answer["unit"] == 1.0 and answer["moved"] == 0
    for side, colour in answer["sides"].items():
        np.testing.assert_allclose(colour, AXES[side], atol=0.02 if name != "ply" else 0.7)  # a ply's corners mix three sides
    assert len(answer["sides"]) == (0 if name in ("stl", "abc") else 6)


@pytest.mark.parametrize("name", ["glb", "obj", "fbx", "blend", "usdz"])
def test_it_has_uv_and_a_picture_in_the_right_colour_space(imported, name):
    if name not in imported:
        pytest.skip(f"{name} cannot be written here")
    (thing,) = [thing for thing in imported[name]["objects"] if thing["kind"] == "MESH"]
    (image,) = [image for material in imported[name]["materials"] for image in material["images"]]
    assert len(thing["uvs"]) == 1 and thing["faces"] == 12
    assert image["space"] == "sRGB" and image["size"] == [32, 16] and image["to"]
    if name in ("glb", "blend"):
        assert image["packed"] and told.complaints(imported[name]) == [] and "prompt" in thing["facts"]


def test_alembic_has_uv_and_points_up_as_it_is_asked(imported, real, tmp_path):
    (thing,) = imported["abc"]["objects"]
    assert (thing["kind"], thing["faces"], len(thing["uvs"])) == ("MESH", 12, 1) and told.complaints(imported["abc"]) == []
    (answer,) = call.ask([{"do": "check", "file": write("abc", tmp_path, up="z")}])
    x, y, z = BOX.T  # Blender takes every Alembic file for y up: a z up one lies on its back
    np.testing.assert_allclose(answer["box"], np.stack([x, -z[::-1], y], -1), atol=1e-4)


@pytest.mark.parametrize("name", ["lit glb", "lit fbx", "web glb"])
def test_a_material_arrives_whole(imported, name):
    images = {end: image["space"] for material in imported[name]["materials"] for image in material["images"] for end in image["to"]}
    assert images.items() >= {"Base Color": "sRGB", "Roughness": "Non-Color", "Metallic": "Non-Color", "Normal": "Non-Color"}.items()
    assert told.complaints(imported[name]) == []
    assert any("Base Color from colour (sRGB" in text for text in told.lines(imported[name]))


@pytest.mark.parametrize("name", ["obj", "usdz"])
def test_blender_says_where_a_rotation_is_left_to_apply(imported, name):
    if name not in imported:
        pytest.skip(f"{name} cannot be written here")
    assert [text for text in told.complaints(imported[name]) if "is turned" in text] == told.complaints(imported[name]) != []


def test_an_asset_says_what_it_is(imported):
    (asset,) = [thing["asset"] for thing in imported["blend"]["objects"]]
    assert asset["catalog"] == assets.catalogue("Generated") and asset["license"] == "m: MIT"
    assert asset["preview"] == [256, 256], "drawn, since no picture lay beside it"
    assert "red" in asset["tags"] and asset["author"].startswith("dream3d ") and "\n" not in asset["description"]


def test_a_thumbnail_shows_the_front_and_quads_are_quads(real, tmp_path, monkeypatch, capsys):
    """From the right of the front and above: red, green beside it, cyan on top; and the command line, which says so."""
    monkeypatch.chdir(tmp_path)
    write("glb", tmp_path)
    assert cli.main(["blender", "check", "mesh.glb", "--thumbnail", "a.png"]) == 0
    assert "size 0.600 x 0.400 x 0.600 m" in capsys.readouterr().out
    picture = np.asarray(Image.open("a.png").convert("RGBA")).astype(int)
    assert picture.shape == (256, 256, 4) and picture[0, 0, 3] == 0
    solid = picture[picture[..., 3] == 255][:, :3]
    shares = [float((np.abs(solid - 255 * np.array(SIDES[side])).max(1) < 30).mean()) for side in ("front", "right", "top", "back")]
    assert shares[0] > 0.3 and shares[1] > 0.1 and shares[2] > 0.05 and shares[3] == 0
    assert cli.main(["blender", "quads", "mesh.glb", "--faces", "200"]) == 0
    rows = Path("mesh_quads.obj").read_text().splitlines()
    faces = [row.split()[1:] for row in rows if row.startswith("f ")]
    assert {len(face) for face in faces} == {4} and 100 < len(faces) < 400
    read = trimesh.load("mesh_quads.obj", force="mesh")
    np.testing.assert_allclose(np.ptp(read.vertices, axis=0), (BOX[1] - BOX[0])[[0, 2, 1]], rtol=0.1)
    assert read.is_watertight


def test_a_library_is_made_once(real, tmp_path):
    path = write("glb", tmp_path)
    ((made, fresh),) = library.collect(tmp_path / "assets", [path])
    stamp = made.stat().st_mtime_ns
    assert {file.name for file in made.parent.iterdir()} == {made.name, assets.CATALOGUES}, "and nothing else"
    assert fresh and re.fullmatch(r"a-red-box-b_s3_[0-9a-f]{8}\.blend", made.name)
    assert list(library.collect(tmp_path / "assets", [path])) == [(made, False)] and made.stat().st_mtime_ns == stamp
    text = (tmp_path / "assets" / assets.CATALOGUES).read_text()
    assert f"{assets.catalogue('Generated/sds-mesh')}:Generated/sds-mesh:Generated-sds-mesh" in text


def test_the_extension_installs_and_does_what_it_says(real, tmp_path, monkeypatch):
    for number, (name, state) in enumerate({"older": "done", "newest": "done", "unfinished": "running"}.items()):
        folder = tmp_path / "runs" / "sds" / name
        write("glb", folder / "export")
        (folder / "status.json").write_text(json.dumps({"state": state}))
        os.utime(folder / "status.json", (number, number))
    (tmp_path / "library").mkdir()
    library.extension(tmp_path / "a.zip")
    words = [str(tmp_path / part) for part in ("a.zip", "runs", "library", "answer.json")]
    environment = os.environ | {"BLENDER_USER_RESOURCES": str(tmp_path / "user")}
    script = str(Path(__file__).with_name("blender_extension.py"))
    done = subprocess.run([*find.command(), script, "--", *words], env=environment, capture_output=True, text=True, timeout=100)
    assert (tmp_path / "answer.json").is_file(), done.stdout + done.stderr
    told = json.loads((tmp_path / "answer.json").read_text())
    assert told["installed"] == told["latest"] == ["FINISHED"] and told["objects"] == ["newest"]
    assert told["one"] == ["FINISHED"] and "older" in told["then"]
    assert told["added"] == [["FINISHED"]] * 2 and len(told["libraries"]) == 1
    assert "There is no finished run" in told["none"]


@pytest.mark.parametrize("up", ["y", "z"])
def test_fbx_turns_as_it_is_asked(real, tmp_path, up):
    """Blender undoes the file's axes: what is upright in one is upright in the other."""
    (answer,) = call.ask([{"do": "check", "file": write("fbx", tmp_path, up=up)}])
    np.testing.assert_allclose(answer["box"], BOX, atol=1e-3)


def test_where_it_was_made_stands_in_no_file(real, tmp_path, monkeypatch):
    """FBX names its pictures, a .blend what was drawn and where file browsers begin, which is at home."""
    monkeypatch.setenv("HOME", str(tmp_path / "a-home-of-somebody"))
    (tmp_path / "a-home-of-somebody").mkdir()
    fbx, blend = write("fbx", tmp_path).read_bytes(), write("blend", tmp_path).read_bytes()
    assert b"dream3d-blender" not in fbx and b"made.fbm" in fbx
    abc = write("abc", tmp_path).read_bytes()
    assert b"uv" in abc and not any(text in abc for text in (b"dream3d-blender", b"of-somebody", os.fsencode(tmp_path)))
    if blend[:4] == b"\x28\xb5\x2f\xfd":
        if not shutil.which("zstd"):
            pytest.skip("no zstd to look into a .blend")
        blend = subprocess.run(["zstd", "-dc"], input=blend, stdout=subprocess.PIPE, check=True).stdout
    assert blend.startswith(b"BLENDER") and b"dream3d-blender" not in blend and b"of-somebody" not in blend


def test_what_blender_cannot_read_is_a_mistake(real, tmp_path):
    (tmp_path / "a.fbx").write_bytes(b"Kaydara FBX Binary" + bytes(100))
    with pytest.raises(Mistake, match="Blender could not do it"):
        call.ask([{"do": "check", "file": tmp_path / "a.fbx"}])
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(Mistake, match="no kind of file"):
        call.ask([{"do": "check", "file": tmp_path / "a.txt"}])
