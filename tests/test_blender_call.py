"""What is asked of Blender, without one: little of our environment, paths as data; and what becomes of answers that are wrong, late or
endless; names, catalogues, command lines."""

import importlib.util
import json
import re
import stat
import struct
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
from solid_scenes import box

from dream3d import cli
from dream3d.blender import assets, call, find, library, told
from dream3d.errors import Mistake
from dream3d.export.formats import Ask, named


def played(folder, monkeypatch, body: str) -> None:
    """A program that is taken for a Python with bpy: it is told the paths of request and answer."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport json, os, subprocess, sys, time\nrequest, answer = sys.argv[-2:]\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv(find.VARIABLE, str(path))


@pytest.fixture
def file(tmp_path):
    (tmp_path / "a b;$(x).stl").write_bytes(b"x")
    return tmp_path / "a b;$(x).stl"


def test_it_is_asked_in_json_with_little_of_our_environment(tmp_path, monkeypatch, file):
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    played(tmp_path, monkeypatch, "told = json.load(open(request))\n"
           "answers = [{'told': told, 'environment': dict(os.environ), 'words': sys.argv[1:], 'here': os.getcwd()}]\n"
           "json.dump({'answers': answers}, open(answer, 'w'))")  # fmt: skip
    (answer,) = call.ask([{"do": "check", "file": file, "moments": 3}])
    assert answer["told"] == {"tasks": [{"do": "check", "file": str(file), "moments": 3}]}
    assert "WANDB_API_KEY" not in answer["environment"] and answer["environment"]["BLENDER_USER_RESOURCES"].startswith(answer["here"])
    assert str(file) not in " ".join(answer["words"]), "paths are data, not words of a command"
    assert not Path(answer["here"]).exists(), "nothing is left behind"


WRONG = {
    "nothing": ("pass", "without an answer"),
    "code": ("print('libX.so is missing'); sys.exit(7)", r"exit code 7.*libX\.so is missing"),
    "no json": ("open(answer, 'w').write('{')", "without an answer"),
    "a list": ("open(answer, 'w').write('[]')", "without an answer"),
    "deep": ("open(answer, 'w').write('[' * 100000)", "without an answer"),
    "huge": ("open(answer, 'w').write('\"' + 'x' * 5_000_000 + '\"')", "without an answer"),
    "too few": ("open(answer, 'w').write('{\"answers\": []}')", "something else"),
    "error": ("open(answer, 'w').write('{\"error\": \"E: no\\\\nfile\"}')", "could not do it: E: no"),
    "endless words": ("print('x' * 10_000_000)", "without an answer"),
}


@pytest.mark.parametrize("name", WRONG)
def test_answers_that_are_none_are_mistakes(tmp_path, monkeypatch, file, name):
    body, match = WRONG[name]
    played(tmp_path, monkeypatch, body)
    with pytest.raises(Mistake, match=match) as caught:
        call.ask([{"do": "check", "file": file}])
    assert caught.value.code == 3 and all(len(line) < 220 for line in caught.value.lines)


def test_what_takes_too_long_is_ended_with_what_it_started(tmp_path, monkeypatch, file):
    pid = tmp_path / "pid"
    played(tmp_path, monkeypatch, f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
           f"open({str(pid)!r}, 'w').write(str(child.pid)); time.sleep(60)")  # fmt: skip
    start = time.monotonic()
    with pytest.raises(Mistake, match="longer than 3 s"):
        call.ask([{"do": "check", "file": file}], seconds=3.0)
    assert time.monotonic() - start < 20
    state = Path(f"/proc/{pid.read_text()}/stat")
    time.sleep(0.2)
    assert not state.exists() or state.read_text().split()[2] in "ZX", "the child is ended too"


def test_a_file_that_is_not_there_is_found_out_before_blender_is_started(tmp_path, monkeypatch):
    monkeypatch.setenv(find.VARIABLE, "/nowhere/python")
    with pytest.raises(Mistake, match="there is no file 'a.glb'"):
        call.ask([{"do": "check", "file": tmp_path / "a.glb"}])


@pytest.mark.parametrize("name", ["fbx", "abc", "blend"])
def test_without_blender_formats_say_how_to_get_it(tmp_path, monkeypatch, name):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(find.VARIABLE, raising=False)
    monkeypatch.setattr(find.importlib.util, "find_spec", lambda name: None)
    for attempt in (named(name).check, lambda: named(name).write(box(), tmp_path / "a", Ask())):
        with pytest.raises(Mistake, match="there is no Blender") as caught:
            attempt()
        assert "dream3d[blender]" in caught.value.fix and list(tmp_path.iterdir()) == []


def test_it_is_looked_for_in_an_order(tmp_path, monkeypatch):
    for name in ("blender", "python9"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(find.VARIABLE, raising=False)
    monkeypatch.setattr(find.importlib.util, "find_spec", lambda name: None)
    started = find.command()
    assert started[0] == str(tmp_path / "blender") and {"--factory-startup", "--disable-autoexec", "--background"} <= set(started)
    assert started[-1] == "--python"
    monkeypatch.setenv(find.VARIABLE, str(tmp_path / "python9"))
    assert find.command()[0] == str(tmp_path / "python9")
    monkeypatch.setenv(find.VARIABLE, str(tmp_path / "none"))
    with pytest.raises(Mistake, match="names no program"):
        find.command()


def test_nothing_of_ours_imports_bpy():
    root = Path(call.__file__).parent.parent
    files = [path for path in root.rglob("*.py") if re.search(r"^\s*(import|from) bpy", path.read_text(), re.MULTILINE)]
    assert files == []
    scripts = sorted((root.parent / "assets" / "blender").rglob("*.py"))
    assert scripts and all("SPDX-License-Identifier: GPL-3.0-or-later" in path.read_text() for path in scripts)
    assert not [path for path in scripts if re.search(r"^\s*(import|from) dream3d", path.read_text(), re.MULTILINE)]


def test_catalogues_are_added_to_and_never_lost(tmp_path):
    target = assets.enter(tmp_path, ["Generated", "Generated/a"])
    own = target.read_text() + "01234567-89ab-cdef-0123-456789abcdef:Mine/Chairs:Chairs"
    target.write_text(own)
    assets.enter(tmp_path, ["Generated/a", "Generated/b"])
    assert target.read_text().startswith(own + "\n") and target.read_text().count("Generated/a:") == 1
    assert re.search(r"^VERSION 1$", target.read_text(), re.MULTILINE)
    again = assets.enter(tmp_path, ["Generated/b"]).read_text()
    assert again == target.read_text() and len(set(re.findall(r"^[0-9a-f-]{36}", again, re.MULTILINE))) == 4
    target.write_text("VERSION 2\n")
    with pytest.raises(Mistake, match="version 1"):
        assets.enter(tmp_path, ["x"])
    assert target.read_text() == "VERSION 2\n"


def test_names_tags_and_licences_hold_no_surprises():
    facts = {"prompt": ["CON\x00../..", "x" * 900], "seed": "3; rm", "models": ["no dict", {"name": 3}], "recipe": {"a": 1}}
    assert re.fullmatch(r"[a-z0-9-]{1,48}_[0-9a-f]{8}", assets.name(facts, b""))
    assert all(tag.isprintable() and len(tag) <= 60 for tag in assets.tags(facts))
    assert all(text.isprintable() and len(text) <= 500 for text in assets.about(facts).values())


HOSTILE = {"empty": b"", "cut": b"glTF\2\0\0\0", "long": b"glTF" + (2).to_bytes(4, "little") * 2 + b"\xff\xff\xff\x7fJSON{}",
           "no object": b"glTF" + (2).to_bytes(4, "little") * 2 + (2).to_bytes(4, "little") + b"JSON[]"}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_glb_comes_into_no_library(tmp_path, monkeypatch, name):
    monkeypatch.setenv(find.VARIABLE, "/nowhere/python")
    (tmp_path / "a.glb").write_bytes(HOSTILE[name])
    with pytest.raises(Mistake, match="no glTF file"):
        list(library.collect(tmp_path / "assets", [tmp_path / "a.glb"]))
    with pytest.raises(Mistake, match="there is no GLB"):
        list(library.collect(tmp_path / "assets", [tmp_path]))
    assert not (tmp_path / "assets").exists()


def glb(document: dict) -> bytes:
    text = json.dumps(document).encode()
    return b"glTF" + struct.pack("<III", 2, 20 + len(text), len(text)) + b"JSON" + text


NAMES = {"up": "../secret.png", "address": "https://example.org/a.png", "escaped": "%2e%2e/secret.png", "number": 3,
         "absolute": "/etc/secret.png", "drive": "C:\\secret.png"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["images", "buffers"])
@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_files_that_lead_elsewhere_are_not_shown_to_blender(tmp_path, monkeypatch, name, kind, suffix):
    monkeypatch.setenv(find.VARIABLE, "/nowhere/python")
    document = {"asset": {"version": "2.0"}, kind: [{"uri": NAMES[name]}]}
    path = tmp_path / f"a{suffix}"
    path.write_bytes(glb(document) if suffix == ".glb" else json.dumps(document).encode())
    with pytest.raises(Mistake, match="outside its folder|no file beside"):
        call.ask([{"do": "check", "file": path}])
    fine = document | {kind: [{"uri": "data:,"}, {"uri": "a b.png"}, {}]}
    path.write_bytes(glb(fine) if suffix == ".glb" else json.dumps(fine).encode())
    with pytest.raises(Mistake, match="names no program"):
        call.ask([{"do": "check", "file": path}])


@pytest.mark.parametrize("seconds", ["0", "-5", "nan", "inf"])
def test_it_is_given_some_seconds(file, seconds, capsys):
    assert cli.main(["blender", "check", str(file), f"--seconds={seconds}"]) == 2 and "--seconds 300" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["mtllib ../b.mtl", "mtllib /etc/b.mtl", "map_Kd ../a.png", "map_Bump -bm 1 /etc/a.png", "norm C:/a.png"])
def test_so_are_materials_of_an_obj(tmp_path, monkeypatch, line):
    monkeypatch.setenv(find.VARIABLE, "/nowhere/python")
    (tmp_path / "a.obj").write_text("v 0 0 0\n" + (line if line.startswith("mtllib") else "mtllib a.mtl"))
    (tmp_path / "a.mtl").write_text(f"newmtl a\n{line}\n")
    with pytest.raises(Mistake, match="outside its folder|no file beside"):
        call.ask([{"do": "check", "file": tmp_path / "a.obj"}])
    if not line.startswith("mtllib"):  # Blender opens the .mtl of the same name, named or not
        (tmp_path / "a.obj").write_text("v 0 0 0\n")
        with pytest.raises(Mistake, match="outside its folder|no file beside"):
            call.ask([{"do": "check", "file": tmp_path / "a.obj"}])
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nv 0 0 0\n")
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd a b.png\n")
    with pytest.raises(Mistake, match="names no program"):
        call.ask([{"do": "check", "file": tmp_path / "a.obj"}])


LINES = {"blender quads a.glb": "what is missing: --faces", "blender library a": "what is missing: RUN", "blender chek a": "check",
         "blender check": "what is missing: FILE\n", "blender library": "what is missing: FILE\n",
         "blender check a.glb --faces 3": "check does not take --faces", "blender quads a.glb --faces 3": "quads are 8 to 1,000,000",
         "blender quads a.glb --faces 30 --out a.stl": "quads are written as .obj",
         "blender check a.glb --thumbnail a.jpg": "a thumbnail is a .png", "blender extension a.rar": "an extension is a .zip"}  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_command_lines_are_checked_first(tmp_path, monkeypatch, capsys, line):
    monkeypatch.chdir(tmp_path)
    assert cli.main(line.split()) == 2 and LINES[line] in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_complaints_are_about_what_is_wrong():
    thing = {"name": "a", "kind": "MESH", "turn": [1, 0, 0, 0], "scale": [1, 1, 1], "uvs": ["UVMap"]}
    image = {"name": "normals", "space": "Non-Color", "size": [4, 4], "to": ["Normal"]}
    good = {"objects": [thing], "materials": [{"name": "m", "images": [image]}]}
    assert told.complaints(good) == []
    bad = {"turned": {"turn": [0.7, 0.7, 0, 0]}, "scaled": {"scale": [1, 1, 100]}, "no uv": {"uvs": []}}
    for word, change in bad.items():
        (said,) = told.complaints(good | {"objects": [thing | change]})
        assert word in said
    for word, change in {"sRGB": {"space": "sRGB"}, "missing": {"size": [0, 0]}}.items():
        (said,) = told.complaints(good | {"materials": [{"name": "m", "images": [image | change]}]})
        assert word in said


def test_the_extension_is_one_file_with_its_licence(tmp_path):
    library.extension(tmp_path / "a.zip")
    library.extension(tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert sorted(archive.namelist()) == ["COPYING", "__init__.py", "blender_manifest.toml", "runs.py"]
        manifest = tomllib.loads(archive.read("blender_manifest.toml").decode())
    assert manifest["license"] == ["SPDX:GPL-3.0-or-later"] and manifest["schema_version"] == "1.0.0"
    assert re.fullmatch(r"\w+", manifest["id"]) and manifest["tagline"][-1] != "." and len(manifest["tagline"]) <= 64


DONE, RUNNING = '{"state": "done"}', '{"state": "running"}'
STATES = {"a/done": DONE, "a/running": RUNNING, "a/broken": "{", "a/list": "[]", "a/deep": "[" * 100000, "deep/er/done": DONE}


def test_the_extension_finds_finished_runs_only(tmp_path):
    place = call.build.place("assets") / "blender" / "extension" / "runs.py"
    spec = importlib.util.spec_from_file_location("runs", place)
    runs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runs)
    for name, text in STATES.items():
        (tmp_path / name / "export").mkdir(parents=True)
        (tmp_path / name / "export" / "mesh.glb").write_bytes(b"")
        (tmp_path / name / "status.json").write_text(text)
    assert runs.finished(str(tmp_path)) == [tmp_path / "a" / "done"]
    assert runs.finished(str(tmp_path / "a" / "done")) == [tmp_path / "a" / "done"]
    assert runs.finished("") == runs.finished(str(tmp_path / "none")) == []
