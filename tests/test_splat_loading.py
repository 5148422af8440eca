"""Splats of others, as they are read: where they stand, what is left out, and what hostile files come to."""

import gzip
import io
import json
import struct
import zipfile

import numpy as np
import pytest
import torch
from splat_readers import ball, covariance, decibels, look, matched, transform, within, written

from dream3d.errors import Mistake
from dream3d.export.axes import turned
from dream3d.export.formats.sog import webp
from dream3d.export.splat import settled, write_ply
from dream3d.foreign.khr import together
from dream3d.foreign.load import load
from dream3d.foreign.splats import columns


@pytest.mark.parametrize("name", ["ply", "splat", "spz", "sog", "khr-glb"])
def test_our_splats_are_loaded_upright(tmp_path, name):
    points = ball(60)
    found, said = load(written(name, points, tmp_path), fit=False)
    found = matched(points, found)
    within(found.position, points.position, 5e-5)
    assert not said and (name == "splat" or float((found.sh - points.sh).abs().max()) < 0.02)
    off = (covariance(found) - covariance(points)).norm(dim=(1, 2)) / covariance(points).norm(dim=(1, 2))
    assert off.max() < 0.09


def placed(path, **node):
    """The file with another node."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    document = json.loads(data[20 : 20 + length])
    document["nodes"] = [{"mesh": 0, **node}]
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    path.write_bytes(struct.pack("<4sII I4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON") + text + rest)


def test_nodes_place_gaussians_with_their_harmonics(tmp_path):
    points, half = ball(60), 0.5**0.5
    path = written("khr-glb", points, tmp_path)
    placed(path, rotation=[half, 0, 0, half], scale=[0.5] * 3, translation=[0.1, 0, 0])
    found, _ = load(path, fit=False, up="z")
    known = settled(points, "y")
    known = turned(known, torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]))
    within(found.position, 0.5 * known.position + torch.tensor([0.1, 0, 0]), 1e-6)
    within(found.sh, known.sh, 1e-5)
    torch.testing.assert_close(covariance(found), covariance(known) / 4, atol=1e-8, rtol=1e-4)
    placed(path, scale=[1, 1, -1])
    with pytest.raises(Mistake, match="stretches or mirrors"):
        load(path)


def test_gaussians_of_several_degrees_come_together():
    parts = [columns(p.position.numpy(), p.sh[:, 0].numpy(), p.opacity.numpy(), p.scale.numpy(), p.rotation.numpy(), p.sh[:, 1:].numpy())
             for p in (ball(3, 1), ball(2, 3))]  # fmt: skip
    found = together(parts)
    assert len(found) == 14 + 45 and all(len(column) == 5 for column in found.values())
    np.testing.assert_array_equal(found["f_rest_16"][:3], ball(3, 1).sh[:, 2, 1])  # the second harmonic of green
    np.testing.assert_array_equal(found["f_rest_16"][3:], ball(2, 3).sh[:, 2, 1])
    assert not found["f_rest_3"][:3].any()


@pytest.mark.parametrize("version", ["3", "4"])
def test_what_niantics_library_writes_is_read(tmp_path, version):
    """splat-transform has that library inside; it rounds harmonics to 5 and 4 bits."""
    if version == "4":
        pytest.importorskip("zstandard")
    points = ball(300)
    write_ply(points, tmp_path / "a.ply", up="-y")
    transform(tmp_path / "a.ply", "--spz-version", version, tmp_path / "a.spz")
    found, said = load(tmp_path / "a.spz", fit=False)
    assert not said
    within(found.position, points.position, 0.5 / 2**12 + 1e-6)
    within(found.scale.log(), points.scale.log(), 0.5 / 16 + 1e-5)
    within(found.opacity, points.opacity, 0.5 / 255 + 1e-5)
    assert decibels(look(found), look(points)) > 38


def test_a_sog_of_splat_transform_is_read(tmp_path):
    points = ball(1100)
    write_ply(points, tmp_path / "a.ply", up="-y")
    transform(tmp_path / "a.ply", tmp_path / "a.sog")
    found, said = load(tmp_path / "a.sog", fit=False)
    assert not said and decibels(look(found), look(points)) > 35  # its palette is small


def bundle(**change) -> bytes:
    """A .sog of two Gaussians, with other parts."""
    texels = np.full((1, 2, 4), 252, np.uint8)
    pictures = {name: change.get(name, webp(texels)) for name in ("means_l", "means_u", "quats", "scales", "sh0")}
    meta = {"version": 2, "count": 2, "means": {"mins": [0, 0, 0], "maxs": [1, 1, 1], "files": ["means_l.webp", "means_u.webp"]},
            "scales": {"codebook": [-3.0] * 256, "files": ["scales.webp"]}, "quats": {"files": ["quats.webp"]},
            "sh0": {"codebook": [0.5] * 256, "files": ["sh0.webp"]}} | change.get("meta", {})  # fmt: skip
    files = {"meta.json": change.get("text", json.dumps(meta).encode())} | {f"{name}.webp": data for name, data in pictures.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (files | change.get("files", {})).items():
            archive.writestr(name, data)
    return out.getvalue()


def test_the_bundle_that_is_broken_below_is_sound(tmp_path):
    (tmp_path / "a.sog").write_bytes(bundle())
    points, _ = load(tmp_path / "a.sog", fit=False)
    assert len(points.position) == 2 and float(points.opacity[0]) == pytest.approx(252 / 255)


BROKEN = {
    "no zip": b"PK\3\4" + bytes(100),
    "no meta": bundle(text=b""),
    "no json": bundle(text=b"{"),
    "deep": bundle(text=b"[" * 100_000),
    "a list": bundle(text=b"[]"),
    "version 1": bundle(meta={"version": 1}),
    "negative": bundle(meta={"count": -1}),
    "true": bundle(meta={"count": True}),
    "millions": bundle(meta={"count": 9_000_000}),
    "too many": bundle(meta={"count": 10**12}),
    "one more": bundle(meta={"count": 3}),
    "no table": bundle(meta={"scales": {"files": ["scales.webp"]}}),
    "short table": bundle(meta={"sh0": {"codebook": [0.5], "files": ["sh0.webp"]}}),
    "words": bundle(meta={"scales": {"codebook": ["a"] * 256, "files": ["scales.webp"]}}),
    "nan": bundle(text=json.dumps({"version": 2, "count": 2, "means": {"mins": [float("nan")] * 3}}).encode()),
    "far": bundle(meta={"means": {"mins": [0, 0, 0], "maxs": [1e300] * 3, "files": ["means_l.webp", "means_u.webp"]}}),
    "out of it": bundle(meta={"quats": {"files": ["../../../etc/passwd"]}}),
    "no picture": bundle(sh0=b"RIFFxxxxWEBP"),
    "a large picture": bundle(quats=webp(np.zeros((4000, 4000, 3), np.uint8))),
    "a bomb": bundle(files={"more": bytes(10_000_000)}),
    "bands": bundle(meta={"shN": {"bands": 7, "count": 1, "codebook": [0.0], "files": ["sh0.webp", "sh0.webp"]}}),
    "a palette": bundle(meta={"shN": {"bands": 1, "count": 1, "codebook": [0.0], "files": ["sh0.webp", "sh0.webp"]}}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_hostile_bundles_are_refused(tmp_path, name):
    (tmp_path / "a.sog").write_bytes(BROKEN[name])
    with pytest.raises(Mistake):
        load(tmp_path / "a.sog")


def packed(version: int = 3, count: int = 1, degree: int = 0, bits: int = 12, body: bytes | None = None, magic: bytes = b"NGSP") -> bytes:
    rest = (0, 3, 8, 15, 24)[min(degree, 4)]
    body = bytes(range(20 - (version == 2) + 3 * rest)) * count if body is None else body
    return gzip.compress(struct.pack("<4sIIBBBB", magic, version, count, degree, bits, 0, 0) + body, mtime=0)


def test_version_2_and_degree_4_are_read(tmp_path):
    (tmp_path / "a.spz").write_bytes(packed(2, body=bytes([0, 16, 0] * 3 + [255, 0, 128, 255, 160, 160, 160, 128, 128, 255])))
    points, _ = load(tmp_path / "a.spz", fit=False, up="z")
    torch.testing.assert_close(points.position, torch.ones(1, 3))
    torch.testing.assert_close(points.scale, torch.ones(1, 3))
    torch.testing.assert_close(points.rotation, torch.tensor([[0.0, 0, 0, 1]]), atol=1e-2, rtol=0)
    (tmp_path / "a.spz").write_bytes(packed(3, degree=4))
    points, said = load(tmp_path / "a.spz", fit=False)
    assert points.sh.shape == (1, 16, 3) and said[0] == "harmonics of degree 4 are left out"


def version_4(compress, **change) -> bytes:
    sizes = [9, 1, 3, 3, 4]
    streams = [compress(bytes([7] * size)) for size in sizes]
    table = b"".join(struct.pack("<QQ", len(s), change.get("size", size)) for s, size in zip(streams, sizes, strict=True))
    head = struct.pack("<4sIIBBBBI", b"NGSP", 4, change.get("count", 1), 0, 12, 0, change.get("streams", 5), change.get("at", 32))
    return head + bytes(12) + table + b"".join(streams)[: change.get("cut", 1000)]


def test_version_4_is_read_where_zstandard_is_there(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    compress = zstandard.ZstdCompressor().compress
    (tmp_path / "a.spz").write_bytes(version_4(compress))
    points, _ = load(tmp_path / "a.spz", fit=False, up="z")
    torch.testing.assert_close(points.position, torch.full((1, 3), 0x070707 / 4096))
    for change in ({"size": 10**9}, {"streams": 6}, {"at": 10**9}, {"cut": 20}, {"count": 10**6}):
        (tmp_path / "a.spz").write_bytes(version_4(compress, **change))
        with pytest.raises(Mistake, match="cannot read a.spz"):
            load(tmp_path / "a.spz")
    (tmp_path / "a.spz").write_bytes(version_4(lambda data: b"not zstandard"))
    with pytest.raises(Mistake, match="cannot read a.spz"):
        load(tmp_path / "a.spz")


def test_version_4_without_zstandard_says_what_to_install(tmp_path, monkeypatch):
    from dream3d.foreign import splats

    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(splats.importlib, "import_module", missing)
    (tmp_path / "a.spz").write_bytes(version_4(lambda data: data))
    with pytest.raises(Mistake, match="version 4") as caught:
        load(tmp_path / "a.spz")
    assert caught.value.fix == "pip install zstandard"


HOSTILE = {
    "empty.spz": b"",
    "a name.spz": b"solid",
    "no gzip.spz": b"\x1f\x8b" + b"junk" * 20,
    "cut.spz": packed()[:-12],
    "within its header.spz": gzip.compress(b"NGSP\3\0"),
    "another.spz": packed(magic=b"PSGN"),
    "version 1.spz": packed(1),
    "version 5.spz": packed(5),
    "degree.spz": packed(degree=9),
    "bits.spz": packed(bits=200),
    "too few.spz": packed(count=2, body=bytes(20)),
    "four thousand millions.spz": packed(count=2**32 - 1, body=b""),
    "a bomb.spz": packed(count=9_000_000, body=bytes(9_000_000)),
    "nothing.spz": packed(count=0),
    "a wrong sum.spz": packed()[:-8] + bytes(8),
    "empty.splat": b"",
    "cut.splat": bytes(33),
    "a ply.splat": b"ply\n" + bytes(28),
    "a loud nan.splat": np.full(8, 0x7FA00000, "<u4").tobytes(),
    "nan.splat": np.full(8, np.nan, "<f4").tobytes(),
    "far.splat": np.array([np.inf] * 8, "<f4").tobytes(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_splats_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(HOSTILE[name])
    with pytest.raises(Mistake):
        load(tmp_path / name)


def test_bytes_changed_by_chance_never_do_more_than_a_mistake(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("splat", "spz", "sog", "khr-glb"):
        good = written(name, ball(20, degree=1), tmp_path).read_bytes()
        for _ in range(60):
            bad = bytearray(good)
            for at in rng.integers(len(bad), size=3):
                bad[at] = rng.integers(256)
            path = (tmp_path / f"b.{name}").with_suffix(".glb" if name == "khr-glb" else f".{name}")
            path.write_bytes(bytes(bad if rng.random() < 0.7 else bad[: rng.integers(1, len(bad) + 1)]))
            try:
                load(path)
            except Mistake:
                pass
