"""Files are whole or absent; splats round-trip; hostile files are refused; videos and pictures open elsewhere."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
import torch
import trimesh
from export_scene import BACK, FRONT, Blocks
from PIL import Image

from dream3d import files
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.export import video
from dream3d.export.splat import C0, read_ply, write_ply
from dream3d.types import Points


def gaussians(count: int = 7, coefficients: int = 4) -> Points:
    make = torch.Generator().manual_seed(0)
    sh = torch.randn(count, coefficients, 3, generator=make)
    return Points(
        position=torch.randn(count, 3, generator=make),
        rgb=(0.5 + C0 * sh[:, 0]).clamp(0, 1),
        scale=torch.rand(count, 3, generator=make) * 0.1 + 1e-3,
        rotation=torch.nn.functional.normalize(torch.randn(count, 4, generator=make), dim=-1),
        opacity=torch.rand(count, generator=make) * 0.98 + 0.01,
        sh=sh,
    )


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "new folder" / "a.txt"
    files.write_text(path, "one\n")
    files.write_text(path, "zwei ö\n")
    assert path.read_bytes() == "zwei ö\n".encode() and os.listdir(path.parent) == ["a.txt"]


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path):
    files.write_bytes(tmp_path / "a.bin", b"old")
    with pytest.raises(RuntimeError), files.replacing(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert (tmp_path / "a.bin").read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]


def test_a_full_disk_is_a_mistake_and_keeps_earlier_files(tmp_path, monkeypatch):
    files.write_bytes(tmp_path / "a.bin", b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Mistake, match="no space left to write a.bin"):
        files.write_bytes(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]


def test_a_disk_that_fills_up_under_ffmpeg_is_the_same_mistake(tmp_path):
    with pytest.raises(Mistake, match="no space left to write a.mp4"), files.replacing(tmp_path / "a.mp4"):
        video._complain("av_interleaved_write_frame(): No space left on device")


def test_a_folder_that_is_a_file_is_a_mistake(tmp_path):
    files.write_bytes(tmp_path / "a", b"")
    with pytest.raises(Mistake, match="cannot write b"):
        files.write_bytes(tmp_path / "a" / "b", b"")


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("coefficients", [1, 4, 9, 16])
def test_splats_survive_the_round_trip(tmp_path, coefficients):
    points = gaussians(coefficients=coefficients)
    write_ply(points, tmp_path / "a.ply")
    again = read_ply(tmp_path / "a.ply")
    for name in ("position", "rgb", "scale", "rotation", "opacity", "sh"):
        torch.testing.assert_close(getattr(again, name), getattr(points, name), atol=1e-5, rtol=1e-5)


def test_rotations_are_written_with_length_one(tmp_path):
    points = gaussians()
    write_ply(dataclasses.replace(points, rotation=2 * points.rotation), tmp_path / "a.ply")
    row = trimesh.load(tmp_path / "a.ply").metadata["_ply_raw"]["vertex"]["data"]
    written = np.concatenate([row[f"rot_{i}"].reshape(-1, 1) for i in range(4)], 1)
    np.testing.assert_allclose(written, points.rotation.numpy(), atol=1e-6)


def test_the_layout_is_the_one_of_3dgs(tmp_path):
    points = gaussians()
    write_ply(points, tmp_path / "a.ply")
    row = trimesh.load(tmp_path / "a.ply").metadata["_ply_raw"]["vertex"]["data"]
    numbered = [f"{name}_{i}" for name, n in (("f_dc", 3), ("f_rest", 9)) for i in range(n)]
    order = ["x", "y", "z", "nx", "ny", "nz", *numbered, "opacity", "scale_0", "scale_1", "scale_2"]
    assert list(row.dtype.names) == [*order, "rot_0", "rot_1", "rot_2", "rot_3"]
    expected = {"z": points.position[:, 2], "f_dc_1": points.sh[:, 0, 1], "f_rest_1": points.sh[:, 2, 0]}
    expected |= {"f_rest_3": points.sh[:, 1, 1], "scale_2": points.scale[:, 2].log(), "rot_0": points.rotation[:, 0]}
    for name, value in (expected | {"opacity": points.opacity.logit()}).items():
        np.testing.assert_allclose(row[name].ravel(), value.numpy(), atol=1e-5)


def test_opaque_and_flat_gaussians_stay_finite(tmp_path):
    points = gaussians()
    points.opacity[:2], points.scale[:, 0] = torch.tensor([0.0, 1.0]), 0.0
    write_ply(points, tmp_path / "a.ply")
    assert read_ply(tmp_path / "a.ply").opacity[1] > 0.999


def test_what_is_no_gaussian_is_no_splat_file(tmp_path):
    with pytest.raises(Mistake, match="scale, rotation and opacity"):
        write_ply(Points(torch.zeros(2, 3), torch.zeros(2, 3)), tmp_path / "a.ply")
    with pytest.raises(Mistake, match="5 coefficients"):
        write_ply(gaussians(coefficients=5), tmp_path / "a.ply")
    broken = gaussians()
    broken.position[0, 0] = torch.nan
    with pytest.raises(Mistake, match="not finite"):
        write_ply(broken, tmp_path / "a.ply")
    assert os.listdir(tmp_path) == []


def ply(*properties: str, count: int | str = 1, body: bytes = b"", form: str = "binary_little_endian 1.0") -> bytes:
    lines = ["ply", f"format {form}", f"element vertex {count}", *(f"property {p}" for p in properties), "end_header\n"]
    return "\n".join(lines).encode() + body


XYZ = ("float x", "float y", "float z")
HOSTILE = {
    "empty": b"",
    "no ply": b"solid stl\nend_header\n",
    "no end": b"ply\n" + b"comment x\n" * 20_000,
    "text": ply(*XYZ, form="ascii 1.0"),
    "big endian": ply(*XYZ, form="binary_big_endian 1.0"),
    "a terabyte": ply(*XYZ, count=10**11, body=bytes(12)),
    "huge digits": ply(*XYZ, count="9" * 5000),
    "negative": ply(*XYZ, count=-1),
    "cut": ply(*XYZ, count=2, body=bytes(23)),
    "too long": ply(*XYZ, count=1, body=bytes(13)),
    "list": ply(*XYZ, "list uchar int vertex_indices", body=bytes(12)),
    "double": ply("double x", "double y", "double z", body=bytes(24)),
    "twice": ply(*XYZ, "float x", body=bytes(16)),
    "second element": ply(*XYZ, body=bytes(12)).replace(b"end_header", b"element face 0\nend_header"),
    "no colour": ply(*XYZ, body=bytes(12)),
    "no x": ply("float y", body=bytes(4)),
    "nan": ply(*XYZ, "float red", "float green", "float blue", body=np.full(6, np.nan, "<f4").tobytes()),
    "odd degree": ply(*XYZ, "float f_dc_0", "float f_dc_1", "float f_dc_2", "float f_rest_0", body=bytes(28)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path, name):
    (tmp_path / "a.ply").write_bytes(HOSTILE[name])
    with pytest.raises(Mistake, match="cannot read a.ply"):
        read_ply(tmp_path / "a.ply")


def test_plain_coloured_points_are_read(tmp_path):
    body = np.array([(1, 2, 3, 255, 0, 51)], np.dtype("<f4, <f4, <f4, u1, u1, u1")).tobytes()
    (tmp_path / "a.ply").write_bytes(ply(*XYZ, "uchar red", "uchar green", "uchar blue", body=body))
    points = read_ply(tmp_path / "a.ply")
    assert points.position.tolist() == [[1, 2, 3]] and points.opacity is None
    torch.testing.assert_close(points.rgb, torch.tensor([[1, 0, 0.2]]))


def test_a_turntable_plays_anywhere(tmp_path):
    path = tmp_path / "turn.mp4"
    video.turntable(Blocks(), path, frames=12, size=64)
    stream = imageio_ffmpeg.read_frames(str(path))
    about = next(stream)
    pictures = [np.frombuffer(frame, np.uint8).reshape(64, 64, 3) for frame in stream]
    assert (about["codec"], about["size"], about["fps"], len(pictures)) == ("h264", (64, 64), 30.0, 12)
    assert about["pix_fmt"].startswith("yuv420p")
    truth = video.frames(Blocks(), ring(12, size=64))
    assert np.abs(np.stack(pictures).astype(float) - truth).mean() < 4
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")  # faststart
    video.turntable(Blocks(), tmp_path / "again.mp4", frames=12, size=64)
    assert (tmp_path / "again.mp4").read_bytes() == data


def test_ffprobe_reads_the_turntable(tmp_path):
    if not shutil.which("ffprobe"):
        pytest.skip("there is no ffprobe: install ffmpeg")
    video.turntable(Blocks(), tmp_path / "turn.mp4", frames=6, size=32)
    ask = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(tmp_path / "turn.mp4")]
    (stream,) = json.loads(subprocess.run(ask, capture_output=True, check=True).stdout)["streams"]
    seen = {key: stream[key] for key in ("codec_name", "width", "height", "pix_fmt", "nb_read_frames")}
    assert seen == {"codec_name": "h264", "width": 32, "height": 32, "pix_fmt": "yuv420p", "nb_read_frames": "6"}


def test_an_odd_turntable_is_refused(tmp_path):
    with pytest.raises(Mistake, match="even"):
        video.turntable(Blocks(), tmp_path / "a.mp4", size=65)


def test_pictures_open_and_carry_nothing_else(tmp_path):
    video.thumbnail(Blocks(), tmp_path / "thumb.png", 64)
    video.contact_sheet(Blocks(), tmp_path / "sheet.png", 4, 32)
    thumb, sheet = Image.open(tmp_path / "thumb.png"), Image.open(tmp_path / "sheet.png")
    assert (thumb.size, sheet.size, thumb.info, sheet.info) == ((64, 64), (96, 64), {}, {})
    views = np.asarray(sheet).reshape(2, 32, 3, 32, 3).swapaxes(1, 2).reshape(6, 32, 32, 3)
    np.testing.assert_array_equal(views[:4], video.frames(Blocks(), ring(4, size=32)))
    np.testing.assert_array_equal(views[4:], 255)
    centre = torch.from_numpy(views[[0, 2], 16, 16]) / 255
    torch.testing.assert_close(centre, torch.stack([FRONT, BACK]), atol=0.01, rtol=0)


def test_backgrounds_show_through_glass():
    glass = video.frames(Blocks(opacity=0.5), ring(1, size=32), background=(0.0, 1.0, 0.0))[0] / 255
    np.testing.assert_allclose(glass[0, 0], [0, 1, 0])
    np.testing.assert_allclose(glass[16, 16], 0.5 * FRONT.numpy() + [0, 0.5, 0], atol=0.01)
