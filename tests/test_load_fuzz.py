"""Hostile and damaged files by the hundred, from a seed: each gives a mesh or points that are sound, or a Mistake; none takes long, none
takes memory that its size does not warrant."""

import copy
import functools
import io
import json
import random
import resource
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from foreign_files import MTL, OBJ, ascii_ply, document, glb, gltf, ply, png
from PIL import Image
from test_export_files import gaussians

from dream3d.errors import Mistake
from dream3d.export.splat import write_ply
from dream3d.foreign.files import digest
from dream3d.foreign.load import load
from dream3d.types import Mesh

MEMORY, SECONDS = 24 << 20, 2.0  # bytes, of one small file; both measured far below
HOSTILE = [-1, 0, 1, 2, 3, 7, 255, 65535, 2**31 - 1, 2**31, 2**32, 2**63, 10**12, 10**30, 0.5, -0.5, 1e300, float("nan"), float("inf"),
           None, True, "", "x", "../../etc/passwd", "file:///etc/passwd", "http://x/y", "data:,", "data:;base64,AA",
           [], {}, [0], [[[]]], {"a": 0}]  # fmt: skip
WORDS = [b"nan", b"inf", b"-1", b"0", b"1e999", b"999999999999", b"99999999999999999999", b"1/0/0", b"//", b"v", b"f", b"vt", b"usemtl x",
         b"mtllib ../../../etc/passwd", b"mtllib /etc/passwd", b"\\", b"#", b"\0", b"\xff", b"", b"element vertex 1000000000000",
         b"property list uchar int a", b"property list float int a", b"list", b"ply", b"end_header", b"\n",
         b"1", b"3 0 0 0", b"1e-320"]  # fmt: skip


class Fuzzer:
    """Files from one seed: names and bytes of a folder, the first of which is read."""

    def __init__(self, seed: str, splats: bytes):
        self.rng, self.splats = random.Random(seed), splats

    def case(self) -> dict[str, bytes]:
        kinds = [self.bytes_of_glb, self.values_of_gltf, self.values_of_gltf, self.values_of_gltf, self.words_of_obj, self.words_of_ply,
                 self.bytes_of_ply, self.bytes_of_ply, self.jumbled]  # fmt: skip
        return self.rng.choice(kinds)()

    def values_of_gltf(self) -> dict[str, bytes]:
        """JSON in which some values are others, gone, or twice there."""
        made, blob = document(texture=png(4, 3) if self.rng.random() < 0.5 else None)
        for _ in range(self.rng.choice([1, 1, 2, 5])):
            holder, key = self.rng.choice([*self._places(made)])
            match self.rng.randrange(5):
                case 0 if isinstance(holder, dict):
                    del holder[key]
                case 1:
                    holder[key] = copy.deepcopy(self.rng.choice([v for h, k in self._places(made) if (v := h[k]) is not holder]))
                case 2 if isinstance(holder[key], int):
                    holder[key] += self.rng.choice([-1, 1, 4, 100, 10**9])
                case 3 if isinstance(holder[key], list):
                    holder[key] = holder[key] * self.rng.choice([0, 2, 1000])
                case _:
                    holder[key] = self.rng.choice(HOSTILE)
        return {"a.glb": glb(made, blob)} if self.rng.random() < 0.5 else {"a.gltf": gltf(made, blob)}

    def _places(self, tree):
        for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
            yield tree, key
            if isinstance(value, dict | list):
                yield from self._places(value)

    def bytes_of_glb(self) -> dict[str, bytes]:
        return {"a.glb": self.damaged(glb(*document(texture=png(4, 3))))}

    def bytes_of_ply(self) -> dict[str, bytes]:
        data = self.rng.choice([ply("<"), ply(">", quads=True), self.splats, ascii_ply(), ply(colours=False)])
        return {"a.ply": self.damaged(data)}

    def words_of_ply(self) -> dict[str, bytes]:
        """A header, or an ASCII body, with other words."""
        head, mark, body = self.rng.choice([ply("<"), ply("<", quads=True), ascii_ply(), self.splats]).partition(b"end_header\n")
        if self.rng.random() < 0.7:
            return {"a.ply": self.reworded(head) + mark + body}
        return {"a.ply": head + mark + self.reworded(body)}

    def words_of_obj(self) -> dict[str, bytes]:
        files = {"a.obj": OBJ.encode(), "house.mtl": MTL.encode(), "wood.png": png(5, 4)}
        name = self.rng.choice(["a.obj", "a.obj", "a.obj", "house.mtl", "wood.png"])
        return {**files, name: self.damaged(files[name]) if name == "wood.png" else self.reworded(files[name])}

    def jumbled(self) -> dict[str, bytes]:
        """One kind under the name of another, and noise."""
        data = self.rng.choice([ply(), glb(*document()), OBJ.encode(), png(3, 3), b"", self.rng.randbytes(300), b"{" * 100_000, b"[]",
                                b"{}", b"ply\n" + self.rng.randbytes(200), b"glTF" + self.rng.randbytes(40), b"v 0 0 0\n" * 9])  # fmt: skip
        return {"a." + self.rng.choice(["glb", "gltf", "obj", "ply", "OBJ", "txt"]): data}

    def reworded(self, text: bytes) -> bytes:
        words = text.replace(b"\n", b" \n ").split(b" ")
        for _ in range(self.rng.choice([1, 1, 2, 4])):
            at = self.rng.randrange(len(words))
            word = self.rng.choice([*WORDS, self.rng.choice(words)])
            words[at : at + self.rng.choice([0, 1, 1, 3])] = [word] * self.rng.choice([1, 1, 1, 20])
        return b" ".join(words)

    def damaged(self, data: bytes) -> bytes:
        data = bytearray(data)
        for _ in range(self.rng.choice([1, 1, 2, 10])):
            at = self.rng.randrange(len(data) + 1)
            match self.rng.randrange(6):
                case 0:
                    del data[at : at + self.rng.choice([1, 4, 100])]
                case 1:
                    data[at:at] = self.rng.randbytes(self.rng.choice([1, 4, 16]))
                case 2:
                    data[at : at + 4] = struct.pack("<I", self.rng.choice([0, 1, 2**31, 2**32 - 1, 0x7FC00000, 0x7F800000]))
                case 3:
                    del data[at:]
                case _:
                    data[at : at + 1] = bytes([self.rng.randrange(256)])
        return bytes(data)


def outcome(folder, files: dict[str, bytes]) -> str:
    """What became of a file; an assertion where it is neither sound nor refused, slow or greedy."""
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    path = folder / next(iter(files))
    tracemalloc.reset_peak()
    before, start = tracemalloc.get_traced_memory()[0], time.process_time()
    try:
        found, said = load(path, fit=False)
        digest(path)
        sound(found)
        result = "mended" if said else "good"
    except Mistake as mistake:
        assert mistake.code == 2 and len(mistake.lines) <= 5 and mistake.where, mistake
        result = "refused"
    spent, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1] - before
    assert spent < SECONDS and peak < MEMORY, (spent, peak)
    return result


def sound(found) -> None:
    tensors = [value for value in vars(found).values() if value is not None]
    assert all(bool(t.isfinite().all()) for t in tensors)
    if isinstance(found, Mesh):
        assert len(found.faces) and int(found.faces.min()) >= 0 and int(found.faces.max()) < len(found.vertices)
        assert found.uv is None or found.uv.shape[:2] == found.faces.shape and found.texture is not None
    else:
        assert len(found.position) and found.rgb.shape == found.position.shape
    assert found.rgb is None or float(found.rgb.min()) >= 0 and float(found.rgb.max()) <= 1


@pytest.mark.parametrize("count", [600, pytest.param(3000, marks=pytest.mark.slow)])  # slow: five times as many
def test_damaged_files(count, tmp_path):
    write_ply(gaussians(6, 4), tmp_path / "s.ply")
    fuzzer, seen, wrong = Fuzzer(f"files {count}", (tmp_path / "s.ply").read_bytes()), {}, []
    load(tmp_path / "s.ply")  # what is imported on first use
    tracemalloc.start()
    try:
        for number in range(count):
            files = fuzzer.case()
            try:
                result = outcome(tmp_path / f"{number}", files)
                seen[result] = seen.get(result, 0) + 1
            except Exception as error:
                wrong.append((number, next(iter(files)), type(error).__name__, str(error)[:300]))
    finally:
        tracemalloc.stop()
    assert not wrong, (len(wrong), wrong[:5])
    assert all(seen.get(kind, 0) > count / 25 for kind in ("good", "mended", "refused")), seen


# --- bombs ------------------------------------------------------------------------------------------------------------------------


def promised(vertices: str, faces: str = "0") -> bytes:
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {vertices}\nproperty float x\nproperty float y\nproperty float z\n"
    return f"{head}element face {faces}\nproperty list uchar int vertex_indices\nend_header\n".encode() + bytes(120)


def picture(width: int, height: int) -> bytes:
    """A PNG of one colour whose size is promised truly; small as a file."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    deflate = zlib.compressobj(9)
    row = bytes(width // 8 + 2)
    data = b"".join(deflate.compress(row) for _ in range(min(height, 100))) + deflate.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def many(made: dict, kind: str, count: int, entry: dict) -> int:
    made[kind] = [*made[kind], *[entry] * count]
    return len(made[kind]) - 1


@functools.cache
def bombs() -> dict[str, tuple[str, bytes]]:
    """Small files that ask for much."""
    out = {f"vertices {n}": ("a.ply", promised(n)) for n in ("1000000000000", "9999999", "10000001", "999999999999999999", "9" * 30)}
    out["faces"] = "a.ply", promised("10", "5000000000")
    out["rows of nothing"] = "a.ply", b"ply\nformat ascii 1.0\nelement vertex 1000000000\nend_header\n"
    out["a list as long as all"] = "a.ply", promised("10", "1").replace(b"uchar int", b"uint int")[:-3] + b"\xff\xff\xff\x7f"
    out["deep"] = "a.gltf", b'{"asset": ' + b'{"a": ' * 50_000
    out["a large picture"] = "a.glb", glb(*document(texture=picture(60000, 60000)))
    out["a picture cut off"] = "a.glb", glb(*document(texture=picture(8000, 8000)))
    out["a line without end"] = "a.obj", b"v 0 0 0\nf" + b" 1" * 3_000_000
    out["a line continued without end"] = "a.obj", b"v 0 0 0\nf" + b" 1 \\\n" * 1_500_000
    out["lists of nothing"] = "a.gltf", b'{"asset": {"version": "2.0"}, "x": [' + b"[]," * 3_000_000 + b"[]]}"
    zeros, blob = document()
    zeros["accessors"][0] = {"componentType": 5126, "count": 10**11, "type": "VEC3"}
    out["zeros"] = "a.glb", glb(zeros, blob)
    sparse, blob = document()
    sparse["accessors"][0] = {"componentType": 5126, "count": 10**7, "type": "VEC3", "sparse": {
        "count": 1, "indices": {"bufferView": 0, "componentType": 5125}, "values": {"bufferView": 0}}}  # fmt: skip
    out["sparse"] = "a.glb", glb(sparse, blob)
    nodes, blob = document()
    nodes["nodes"] = [{"children": [i + 1, i + 1]} for i in range(60)] + [{"mesh": 0}]
    out["nodes that double"] = "a.glb", glb(nodes, blob)
    ring, blob = document()
    ring["nodes"] = [{"children": [1], "mesh": 0}, {"children": [0]}]
    out["nodes in a ring"] = "a.glb", glb(ring, blob)
    again, blob = document()
    again["meshes"][0]["primitives"] *= 200_000
    out["one mesh many times"] = "a.glb", glb(again, blob)
    steps, blob = document()
    steps["accessors"][1]["count"] = 10**9
    steps["bufferViews"][1]["byteStride"] = 0
    out["indices"] = "a.glb", glb(steps, blob)
    return out


@pytest.mark.parametrize("name", bombs())
def test_bombs(name, tmp_path):
    """Refused, and while being refused no more is taken than ten times the file and 40 MB."""
    file, data = bombs()[name]
    (tmp_path / file).write_bytes(data)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(Mistake) as caught:
        load(tmp_path / file)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert caught.value.code == 2 and len(caught.value.lines) <= 5
    assert time.process_time() - start < 3 and grown < 10 * len(data) + (40 << 20), grown


def test_what_grows_legitimately_stays_within_its_limit(tmp_path):
    """Hundreds of materials on one small mesh: textures share one sheet of bounded size."""
    made, blob = document(texture=png(64, 64))
    made["materials"] *= 300
    primitive = made["meshes"][0]["primitives"][0]
    made["meshes"][0]["primitives"] = [{**primitive, "material": i} for i in range(300)]
    made["materials"] = [json.loads(json.dumps(material)) for material in made["materials"]]
    (tmp_path / "a.glb").write_bytes(glb(made, blob))
    tracemalloc.start()
    mesh, said = load(tmp_path / "a.glb", fit=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(mesh.texture.shape) <= 4096 and len(mesh.faces) == 4 and any("there already" in line for line in said)
    assert peak < 400 << 20


def test_a_picture_of_zeros_that_is_allowed(tmp_path):
    """The largest there may be is made smaller, and nothing larger is ever held."""
    data = io.BytesIO()
    Image.new("RGB", (8192, 512)).save(data, format="PNG")
    (tmp_path / "a.glb").write_bytes(glb(*document(texture=data.getvalue())))
    mesh, said = load(tmp_path / "a.glb", fit=False)
    assert mesh.texture.shape == (256, 4096, 3) and said and torch.equal(mesh.texture, torch.zeros_like(mesh.texture))
    assert np.isfinite(mesh.uv.numpy()).all()
