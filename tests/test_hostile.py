"""Hostile input through the doors that users have: names that lead out of a folder, files that promise more than they hold, texts that want
to be code. Each is refused or harmless, quickly, nothing outside the folder is opened, nothing is written there. Damaged files by the
hundred are in test_load_fuzz.py, damaged runs in test_report_damaged.py, wrong command lines in test_fuzz.py."""

import gzip
import io
import json
import math
import struct
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from foreign_files import MTL, OBJ, document, gltf, ply
from pages import EVIL
from PIL import Image

from dream3d import config
from dream3d.errors import Mistake
from dream3d.foreign.files import digest
from dream3d.foreign.load import load
from dream3d.rig import find

SECONDS = 0.5  # of the processor, for one case; most take a hundredth, but machines differ and garbage is collected when it likes
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

