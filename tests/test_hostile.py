"""Hostile input through the doors that users have: names that lead out of a folder, files that promise more than they hold, texts that want
to be code. Each is refused or harmless, quickly, nothing outside the folder is opened, nothing is written there. Damaged files by the
hundred are in test_load_fuzz.py, damaged runs in test_report_damaged.py, wrong command lines in test_fuzz.py."""

import gzip
import io
import json
import math
import re
import struct
import sys
import time
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml
from foreign_files import FACES, MTL, OBJ, TETRA, document, gltf, ply
from pages import EVIL, Page, check
from PIL import Image

from dream3d import config
from dream3d.batch.page import write_gallery
from dream3d.batch.tables import table
from dream3d.commands import parser
from dream3d.errors import Mistake
from dream3d.export.formats import Ask, named
from dream3d.export.report import write_report
from dream3d.export.viewer import write_viewer
from dream3d.folder import Folder, slug
from dream3d.foreign.files import digest
from dream3d.foreign.load import load
from dream3d.rig import find
from dream3d.types import Mesh
from dream3d.ui import shown
from dream3d.ui.jobs import Job

SECONDS = 0.05  # of the processor, for one case
SECRET = (1, 254, 3)  # a colour that only a file outside has
opened: list[tuple[str, bool]] | None = None  # what is opened while a case runs, and whether to write


def _heard(event: str, arguments: tuple) -> None:
    if event == "open" and opened is not None and isinstance(arguments[0], str | bytes):
        mode, flags = arguments[1] or "", arguments[2] or 0
        opened.append((os_path(arguments[0]), any(c in mode for c in "wax+") or bool(flags & 0o103)))


def os_path(path: str | bytes) -> str:
    return path.decode(errors="replace") if isinstance(path, bytes) else path


sys.addaudithook(_heard)  # for the life of the process; it does nothing between cases


@pytest.fixture
def own(tmp_path):
    """The folder of a case; beside it lies what must not be read."""
    Image.new("RGB", (4, 4), SECRET).save(tmp_path / "secret.png")
    (tmp_path / "secret.mtl").write_text("newmtl wall\nKd 0.00392 0.99608 0.01176\n")
    (tmp_path / "secret.bin").write_bytes(document()[1])
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path)
    for kind in ("png", "mtl", "bin"):
        (folder / f"link.{kind}").symlink_to(tmp_path / f"secret.{kind}")
    return folder


def quickly(own: Path, act):
    """What `act` returns, or the Mistake it raised. It opens nothing beside `own`, writes only there, and takes no time; what is late is
    asked once more, since a first call may import or compile."""
    global opened
    before = sorted(p.name for p in own.parent.iterdir())
    for _ in range(3):
        opened, start = [], time.process_time()
        try:
            result = act()
        except Mistake as mistake:
            result = mistake
            assert mistake.code == 2 and len(mistake.lines) <= 5 and all(line.isprintable() for line in mistake.lines)
        finally:
            spent, seen, opened = time.process_time() - start, opened, None
        if spent < SECONDS:
            break
    assert spent < SECONDS, spent
    base = str(own.parent) + "/"
    outside = [path for path, writes in seen
               if path.startswith(base) and not path.startswith(str(own)) or writes and not path.startswith(base)]  # fmt: skip
    assert not [path for path in outside if path != "/dev/null"], outside
    assert sorted(p.name for p in own.parent.iterdir()) == before
    return result


def harmless(result) -> None:
    """A Mistake; or data without the secret's colour."""
    if isinstance(result, Mistake):
        return
    found = result[0]
    if found.texture is not None:
        assert not torch.isclose(found.texture, torch.tensor(SECRET) / 255, atol=0.01).all(-1).any()
    if found.rgb is not None:
        assert not torch.isclose(found.rgb, torch.tensor(SECRET) / 255, atol=0.01).all(-1).any()


# --- names in files -----------------------------------------------------------------------------------------------------------------

NAMES = ["../secret.KIND", "sub/../../secret.KIND", "./../secret.KIND", "..%2fsecret.KIND", "%2e%2e/secret.KIND", "%2e%2e%2fsecret.KIND",
         "..\\secret.KIND", "BASE/secret.KIND", "file://BASE/secret.KIND", "file:../secret.KIND", "C:\\secret.KIND", "C:../secret.KIND",
         "\\\\host\\share\\secret.KIND", "http://host/../secret.KIND", "link.KIND", "linked/secret.KIND", "linked/own/../secret.KIND",
         "../" * 40 + "BASE/secret.KIND", "secret.KIND\0.png", "CON", "NUL.KIND", "COM1", "aux.", ".", "..", "", " ", "~/secret.KIND",
         "$HOME/secret.KIND", "|cat secret.KIND", "x" * 5000, "\u202egnp.terces"]  # fmt: skip


def spelt(name: str, kind: str, own: Path) -> str:
    return name.replace("KIND", kind).replace("BASE", str(own.parent))


@pytest.mark.parametrize("name", NAMES)
def test_a_buffer_of_gltf(name, own):
    made, blob = document()
    made["buffers"] = [{"byteLength": len(blob), "uri": spelt(name, "bin", own)}]
    (own / "a.gltf").write_text(json.dumps(made))
    assert isinstance(quickly(own, lambda: load(own / "a.gltf")), Mistake)
    quickly(own, lambda: digest(own / "a.gltf"))


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_of_gltf(name, own):
    made, blob = document(texture=b"\0")
    made["images"] = [{"uri": spelt(name, "png", own)}]
    (own / "a.gltf").write_bytes(gltf(made, blob))
    harmless(quickly(own, lambda: load(own / "a.gltf")))
    quickly(own, lambda: digest(own / "a.gltf"))


@pytest.mark.parametrize("name", NAMES)
def test_a_library_of_materials(name, own):
    (own / "a.obj").write_text(OBJ.replace("house.mtl", spelt(name, "mtl", own)), newline="")
    harmless(quickly(own, lambda: load(own / "a.obj")))
    quickly(own, lambda: digest(own / "a.obj"))


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_of_a_material(name, own):
    (own / "a.obj").write_text(OBJ)
    (own / "house.mtl").write_text(MTL.replace("wood.png", spelt(name, "png", own)), newline="")
    harmless(quickly(own, lambda: load(own / "a.obj")))


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_of_a_ply(name, own):
    head, mark, body = ply("<").partition(b"\n")
    version, more, rest = body.partition(b"\n")
    comment = f"comment TextureFile {spelt(name, 'png', own)}\n".encode()
    (own / "a.ply").write_bytes(head + mark + version + more + comment + rest)
    harmless(quickly(own, lambda: load(own / "a.ply")))


# --- files that unpack, or promise ---------------------------------------------------------------------------------------------------


def spz(count: int, body: bytes = b"", *, version: int = 3, degree: int = 0, bits: int = 12) -> bytes:
    return struct.pack("<4sIIBBBB", b"NGSP", version, count, degree, bits, 0, 0) + body


def zstandard(count: int, table: int, sizes: list[tuple[int, int]]) -> bytes:
    rows = b"".join(struct.pack("<QQ", *size) for size in sizes)
    return spz(count, version=4)[:15] + bytes([len(sizes)]) + struct.pack("<I", table) + bytes(12) + rows


SPLATS = {
    "gzip of zeros": ("a.spz", lambda: gzip.compress(bytes(1 << 24), mtime=0)),
    "gzip of zeros behind a header": ("a.spz", lambda: gzip.compress(spz(10) + bytes(1 << 24), mtime=0)),
    "gzip in gzip": ("a.spz", lambda: gzip.compress(gzip.compress(spz(10) + bytes(1 << 20), mtime=0), mtime=0)),
    "gzip cut off": ("a.spz", lambda: gzip.compress(spz(3) + bytes(60), mtime=0)[:30]),
    "gzip with another checksum": ("a.spz", lambda: gzip.compress(spz(10) + bytes(range(200)), mtime=0)[:-8] + bytes(8)),
    "more Gaussians than there are": ("a.spz", lambda: gzip.compress(spz(11) + bytes(200), mtime=0)),
    "four thousand million Gaussians": ("a.spz", lambda: gzip.compress(spz(2**32 - 1) + bytes(20), mtime=0)),
    "a million in nothing": ("a.spz", lambda: gzip.compress(spz(10**6) + bytes(20_000_000), mtime=0)[:500]),
    "no Gaussian": ("a.spz", lambda: gzip.compress(spz(0), mtime=0)),
    "an unknown degree": ("a.spz", lambda: gzip.compress(spz(10, bytes(2000), degree=200), mtime=0)),
    "bits beyond a number's": ("a.spz", lambda: gzip.compress(spz(10, bytes(200), bits=255), mtime=0)),
    "a version to come": ("a.spz", lambda: gzip.compress(spz(10, bytes(200), version=99), mtime=0)),
    "an empty gzip": ("a.spz", lambda: gzip.compress(b"", mtime=0)),
    "a table behind the end": ("a.spz", lambda: zstandard(10, 2**31, [(90, 90)] * 5)),
    "a table within the header": ("a.spz", lambda: zstandard(10, 0, [(90, 90)] * 5)),
    "streams beyond the end": ("a.spz", lambda: zstandard(10, 32, [(2**63, 90), *[(10, 10)] * 4])),
    "streams that unpack to all memory": ("a.spz", lambda: zstandard(10, 32, [(10, 2**62)] * 5)),
    "a splat of 31 bytes": ("a.splat", lambda: bytes(31)),
    "a splat of nothing": ("a.splat", lambda: b""),
    "a splat of no numbers": ("a.splat", lambda: struct.pack("<6f", *[math.nan] * 6) + bytes(8)),
    "a splat beyond all bounds": ("a.splat", lambda: struct.pack("<6f", *[3e38] * 6) + bytes(8)),
    "a splat of negative size": ("a.splat", lambda: struct.pack("<6f", 0, 0, 0, -1, -1, -1) + bytes(8)),
    "a mesh called splat": ("a.splat", lambda: b"glTF" + bytes(28)),
}


@pytest.mark.parametrize("case", SPLATS)
def test_packed_splats(case, own):
    name, made = SPLATS[case]
    (own / name).write_bytes(made())
    result = quickly(own, lambda: load(own / name))
    if not isinstance(result, Mistake):
        tensors = [value for value in vars(result[0]).values() if value is not None]
        assert len(result[0].position) <= 11 and all(bool(t.isfinite().all()) for t in tensors)


def npy(shape: str, kind: str = "<f8", data: bytes = b"") -> bytes:
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def zipped(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def overstated() -> bytes:
    """A member that the list of the archive says is of 100 GB."""
    data = bytearray(zipped(**{"v_template.npy": npy("(1, 3)", data=bytes(24))}))
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 2**32 - 2)
    return bytes(data)


BODIES = {
    "a bomb": lambda: zipped(**{"v_template.npy": npy("(500000, 3)", data=bytes(12_000_000))}),
    "a size that is not so": overstated,
    "a shape of all memory": lambda: zipped(**{"v_template.npy": npy("(1099511627776, 3)", data=bytes(24))}),
    "a shape that wraps": lambda: zipped(**{"v_template.npy": npy("(4294967296, 4294967296, 3)", data=bytes(24))}),
    "a negative shape": lambda: zipped(**{"v_template.npy": npy("(-1, 3)", data=bytes(24))}),
    "a shape of words": lambda: zipped(**{"v_template.npy": npy("('a', 3)", data=bytes(24))}),
    "a shape that is a program": lambda: zipped(**{"v_template.npy": npy("__import__('os').system('x')", data=bytes(24))}),
    "objects": lambda: zipped(**{"v_template.npy": npy("(1,)", "|O", b"cos\nsystem\n(S'x'\ntR.")}),
    "names that lead out": lambda: zipped(**{"../v_template.npy": npy("(1, 3)", data=bytes(24)), "/etc/f.npy": b""}),
    "a header without end": lambda: zipped(**{"v_template.npy": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{" * 4000}),
    "deep brackets": lambda: zipped(**{"v_template.npy": npy("(" * 3000)}),
    "an archive cut off": lambda: zipped(**{"v_template.npy": npy("(1, 3)", data=bytes(24))})[:-30],
    "no archive": lambda: b"PK\x03\x04" + bytes(100),
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("case", BODIES)
def test_body_models(case, own):
    (own / "body.npz").write_bytes(BODIES[case]())
    assert isinstance(quickly(own, lambda: find.read(own / "body.npz").rig()), Mistake)


LAYOUTS = {
    "deep": '{"objects": ' + "[" * 100_000, "not a number": '{"objects": [{"prompt": "a", "size": NaN}]}',
    "a huge number": '{"objects": [{"size": 1e999}]}',
    "a very long number": '{"objects": [{"size": ' + "9" * 5000 + "}]}", "twice": '{"objects": [], "objects": []}', "no mapping": "[[]]",
    "many": '{"objects": [' + ",".join(['{"prompt": "a red ball"}'] * 1000) + "]}", "NUL": "\0" * 100, "not UTF-8": "\udcff",
    "markup": json.dumps({"objects": [{"prompt": EVIL}]}),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYOUTS)
def test_layouts(case, own):
    (own / "a.json").write_bytes(LAYOUTS[case].encode("utf-8", "surrogateescape"))
    words = ["prompt=a red ball | a blue cube", f"renderer.layout={own / 'a.json'}"]
    assert isinstance(quickly(own, lambda: config.load("semantic_sds-composed", words)), Mistake)


# --- texts that want to be code, or a path ------------------------------------------------------------------------------------------

PROMPTS = {
    "markup": EVIL, "an element": "<svg/onload=alert(1)>", "an entity": "&lt;script&gt;alert(1)&lt;/script&gt;",
    "a template": "{{data}}${x}<%= 1 %>",
    "end of comment": "--> ]]> */ </style></script>", "an attribute": "\" onmouseover=alert(1) x='",
    "a link": "javascript:alert(1)",
    "a formula": "=cmd|' /C calc'!A0", "plus": "+1+1", "minus": "-2+3", "at": "@SUM(A1)", "tab": "\t=1+1", "carriage": "\r=1+1",
    "lines": "a car\nv 9 9 9\nf 1 1 1\nmtllib /etc/passwd", "separators": "a\u2028b\u2029c\x85d",
    "control": "a\x07\x08\x1b[31mred\x1b[0m\x7f",
    "right to left": "a \u202egpj.exe\u202c \u2066x\u2069 \u200f", "very long": "a red car " * 5000,
    "one long word": "\u00e9" * 50_000,
    "CON": "CON", "NUL": "NUL.txt", "COM1": "com1", "dots": "..", "up": "../../../etc/passwd", "a drive": "C:\\Windows\\x",
    "trailing": "car. . .",
    "hidden": ".ssh", "yaml": "a: [b, *c, &d", "formatting": "%s%n {0} {x!r}", "emoji": "\U0001f697\ufe0f\u200d",
    "combining": "e" + "\u0301" * 500,
}  # fmt: skip
RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{i}" for name in ("com", "lpt") for i in range(10))}


@pytest.mark.parametrize("name", PROMPTS)
def test_folders_are_named_safely(name, own, monkeypatch):
    monkeypatch.chdir(own)
    for text in (PROMPTS[name], [PROMPTS[name]] * 3):
        made = quickly(own, lambda text=text: slug(text))
        assert re.fullmatch(r"[a-z0-9](-?[a-z0-9]){0,47}-?", made) and made.rstrip("-") and made not in RESERVED
    values = {"out": None, "name": PROMPTS[name], "prompt": PROMPTS[name]}
    place = quickly(own, lambda: Folder.place(config.Config(values)))
    assert len(place.parts) == 3 and place.parts[0] == "runs" and not RESERVED & set(place.parts) and max(map(len, place.parts)) < 80


@pytest.mark.parametrize("name", PROMPTS)
def test_configurations_hold_prompts_as_they_are(name, own):
    prompt = PROMPTS[name]
    text = quickly(own, lambda: config.load("sds-gaussian", settings={"prompt": prompt}).text())
    if isinstance(text, Mistake):
        assert not prompt.strip() or len(prompt) > 10_000
        return
    assert yaml.safe_load(text)["prompt"] == prompt
    (own / "config.yaml").write_text(text, encoding="utf-8")
    assert len(text) > (1 << 20) or parser.stored(own).values["prompt"] == prompt


def tame(prompt: str) -> str:
    """As HTML can hold it."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "\ufffd", prompt)


def scripts(page: str) -> int:
    return len(re.findall(r"<script\b", page))


@pytest.mark.parametrize("name", PROMPTS)
def test_pages_show_prompts_as_text(name, own):
    prompt = PROMPTS[name]
    made = quickly(own, lambda: write_viewer(own / "viewer.html", splats=None, mesh=None, title=prompt)).read_text(encoding="utf-8")
    plain = write_viewer(own / "plain.html", splats=None, mesh=None, title="a red car").read_text(encoding="utf-8")
    assert scripts(made) == scripts(plain) and len(re.findall("<[a-z]", made)) == len(re.findall("<[a-z]", plain))
    record = {"name": prompt, "prompt": prompt, "category": prompt, "tags": [prompt], "files": {"viewer": prompt, "thumbnail": prompt}}
    page = quickly(own, lambda: write_gallery(own, [record], prompt)).read_text(encoding="utf-8")
    Page(page)
    assert scripts(page) == scripts(write_gallery(own, [], "").read_text(encoding="utf-8"))
    job = Job(1, prompt, [], own)
    job.said.append(prompt)
    for html in (quickly(own, lambda: shown.progress(job)), quickly(own, lambda: shown.queue([job]))):
        assert not re.search(r"<(?!/?(div|h3|p|pre|table|tr|td|th)\b)", html) and not re.search(r"<\w+ [^>]*on\w+=", html)


@pytest.mark.parametrize("name", [name for name in PROMPTS if "long" not in name])
def test_reports_show_prompts_as_text(name, own):
    values = {"prompt": PROMPTS[name], "negative": PROMPTS[name], "name": PROMPTS[name]}
    (own / "config.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    (own / "status.json").write_text(json.dumps({"state": "failed", "reason": PROMPTS[name], "step": 3}))
    page = check(quickly(own, lambda: write_report(own)))
    assert page.text["h1"][0].split() == tame(PROMPTS[name]).split()


@pytest.mark.parametrize("name", PROMPTS)
def test_tables_hold_no_formulas(name, own):
    import csv

    text = quickly(own, lambda: table([{"prompt": PROMPTS[name], "name": f" {PROMPTS[name]}"}], ("prompt", "name")))
    (_, cells) = csv.reader(io.StringIO(text, newline=""))
    assert cells[0].removeprefix("'") == PROMPTS[name] and not cells[0].startswith(("=", "+", "-", "@", "\t", "\r"))


SOLID = Mesh(torch.from_numpy(TETRA.copy()), torch.from_numpy(FACES.astype(np.int64)), rgb=torch.full((4, 3), 0.5))


def parts(path: Path) -> list:
    """What a file is made of besides its facts."""
    if path.suffix == ".glb":
        data = path.read_bytes()
        found = json.loads(data[20 : 20 + struct.unpack("<I", data[12:16])[0]])
        return [sorted(found), len(found["meshes"]), len(found["nodes"])]
    if path.suffix == ".3mf":
        with zipfile.ZipFile(path) as archive:
            return [(name, [e.tag for e in ElementTree.fromstring(archive.read(name)).iter()]) for name in archive.namelist()
                    if name.endswith((".model", ".rels", ".xml"))]  # fmt: skip
    return [line for line in path.read_text(encoding="utf-8").split("\n") if not line.startswith("#")]


@pytest.mark.parametrize("kind", ["glb", "obj", "3mf"])
@pytest.mark.parametrize("name", PROMPTS)
def test_files_hold_prompts_as_facts_alone(name, kind, own):
    made, plain = own / f"a.{kind}", own / f"b.{kind}"
    quickly(own, lambda: named(kind).write(SOLID, made, Ask(facts={"prompt": PROMPTS[name], "seed": 1})))
    named(kind).write(SOLID, plain, Ask(facts={"prompt": "a red car", "seed": 1}))
    found, wanted = parts(made), parts(plain)
    assert found == (wanted if kind != "obj" else [line.replace(plain.stem, made.stem) if "mtllib" in line else line for line in wanted])


@pytest.mark.parametrize("out", ["..", ".", "../own", "sub/..", "../x/../own", ""])
def test_a_folder_with_other_things_is_no_run_folder(out, own, monkeypatch):
    monkeypatch.chdir(own)
    found = config.load("sds-gaussian", ["prompt=a red car", f"out={out}"])
    if out:
        assert isinstance(quickly(own, lambda: Folder(Folder.place(found), found)), Mistake)
    assert not (own / "config.yaml").exists() and not (own.parent / "config.yaml").exists() and not (own / ".lock").exists()


@pytest.mark.parametrize("name", ["..", ".", "", "/", "\0", "x" * 5000, "../own", "nul", "~root", "runs/../..", "-rf", "a\nb"])
def test_what_is_no_run_is_told(name, own, monkeypatch):
    monkeypatch.chdir(own)
    assert isinstance(quickly(own, lambda: parser.stored(Path(name))), Mistake)


def test_how_many():
    """At least a hundred, as they are counted here."""
    assert 5 * len(NAMES) + len(SPLATS) + len(BODIES) + len(LAYOUTS) + 7 * len(PROMPTS) > 100 and np.isfinite(SECONDS)
