"""Splat files read by other code than the framework's: by hand after the formats' texts, and by splat-transform where that is installed."""

import io
import json
import os
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from dream3d.renderers._backends.project import matrix
from dream3d.renderers.gaussians import Gaussians
from PIL import Image
from scipy.spatial import cKDTree

from dream3d.cameras import ring
from dream3d.export.formats import Ask, named
from dream3d.export.splat import C0, read_ply
from dream3d.foreign import load
from dream3d.types import Points

SHORT = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
PARTS = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}


def ball(count: int = 300, degree: int = 3, *, seed: int = 0) -> Points:
    """A coloured shell whose colours depend on the view, as trained scenes are: harmonics below one, colours a little beyond [0, 1]."""
    g = torch.Generator().manual_seed(seed)
    d = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=-1)
    position = 0.5 * d * (1 + 0.1 * (5 * d).sum(-1, keepdim=True).sin())
    colour = 0.5 + 0.52 * torch.sin(4 * position)
    more = 0.1 * torch.randn(count, (degree + 1) ** 2 - 1, 3, generator=g)
    scale = 0.6 / count**0.5 * (1.5 * torch.rand(count, 3, generator=g)).exp()
    rotation = torch.nn.functional.normalize(torch.randn(count, 4, generator=g), dim=-1)
    opacity = 0.05 + 0.94 * torch.rand(count, generator=g)
    return Points(position, colour.clamp(0, 1), scale, rotation, opacity, torch.cat([((colour - 0.5) / C0)[:, None], more], 1))


def read(name: str, path: Path) -> Points:
    """In the axes of the file."""
    if name == "ply":
        return read_ply(path)
    return {"sog": sog, "khr-glb": khr, "compressed-ply": compressed}.get(name, lambda path: load.load(path, fit=False, up="z")[0])(path)


def sog(path: Path) -> Points:
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    meta = json.loads(files["meta.json"])
    told = [part["files"] for part in meta.values() if isinstance(part, dict) and "files" in part]
    assert meta["version"] == 2 and set(files) == {"meta.json", *sum(told, [])}
    count, texels = meta["count"], {}
    for name in files:
        if name.endswith(".webp"):
            texels[name[:-5]] = np.asarray(Image.open(io.BytesIO(files[name])).convert("RGBA")).astype(int)
    rows = {name: picture.reshape(-1, 4)[:count] for name, picture in texels.items() if name != "shN_centroids"}
    low, high = np.array(meta["means"]["mins"]), np.array(meta["means"]["maxs"])
    bent = low + (high - low) * (rows["means_l"][:, :3] + 256 * rows["means_u"][:, :3]) / 65535
    position, quaternion = np.sign(bent) * np.expm1(np.abs(bent)), np.zeros((count, 4))
    which = rows["quats"][:, 3] - 252
    np.put_along_axis(quaternion, SHORT[which], (rows["quats"][:, :3] / 255 * 2 - 1) / 2**0.5, 1)
    np.put_along_axis(quaternion, which[:, None], np.sqrt((1 - (quaternion**2).sum(1)).clip(0))[:, None], 1)
    sh = np.array(meta["sh0"]["codebook"])[rows["sh0"][:, :3]][:, None]
    if "shN" in meta:
        many = (meta["shN"]["bands"] + 1) ** 2 - 1
        label = rows["shN_labels"][:, 0] + 256 * rows["shN_labels"][:, 1]
        assert label.max() < meta["shN"]["count"] and texels["shN_centroids"].shape[1] == 64 * many
        column = (label % 64 * many)[:, None] + np.arange(many)
        sh = np.concatenate([sh, np.array(meta["shN"]["codebook"])[texels["shN_centroids"][(label // 64)[:, None], column, :3]]], 1)
    scale = np.exp(np.array(meta["scales"]["codebook"])[rows["scales"][:, :3]])
    return made(position, scale, quaternion, rows["sh0"][:, 3] / 255, sh)


def compressed(path: Path) -> Points:
    head, _, body = path.read_bytes().partition(b"end_header\n")
    names = {"float": "<f4", "uint": "<u4", "uchar": "u1"}
    parts, held, at = head.decode().split("element ")[1:], {}, 0
    for name, count, *lines in ((words[0], int(words[1]), *words[2:]) for words in map(str.split, parts)):
        dtype = np.dtype([(lines[i + 2], names[lines[i + 1]]) for i in range(0, len(lines), 3)])
        held[name], at = np.frombuffer(body, dtype, count, at), at + count * dtype.itemsize
    assert at == len(body)
    rows, ends = held["vertex"], held["chunk"][np.arange(len(held["vertex"])) // 256]

    def share(name: str, *bits: int) -> list[np.ndarray]:
        shifts = [sum(bits[i + 1 :]) for i in range(len(bits))]
        return [(rows[f"packed_{name}"] >> s & 2**b - 1) / (2**b - 1) for s, b in zip(shifts, bits, strict=True)]

    def between(name: str, prefix: str, axes: str, *bits: int) -> np.ndarray:
        low, high = ([ends[f"{end}_{prefix}{axis}"].astype(float) for axis in axes] for end in ("min", "max"))
        return np.stack([a + (b - a) * t for a, b, t in zip(low, high, share(name, *bits), strict=False)], 1)

    which, short = rows["packed_rotation"] >> 30, (np.stack(share("rotation", 10, 10, 10), 1) - 0.5) * 2**0.5
    quaternion = np.zeros((len(rows), 4))
    np.put_along_axis(quaternion, SHORT[which], short, 1)
    np.put_along_axis(quaternion, which[:, None].astype(int), np.sqrt((1 - (short**2).sum(1)).clip(0))[:, None], 1)
    sh = ((between("color", "", "rgb", 8, 8, 8, 8) - 0.5) / C0)[:, None]
    if "sh" in held:
        more = np.stack([held["sh"][name] for name in held["sh"].dtype.names], 1).reshape(len(rows), 3, -1).swapaxes(1, 2)
        sh = np.concatenate([sh, ((more + 0.5) / 256 - 0.5) * 8], 1)
    scale = np.exp(between("scale", "scale_", "xyz", 11, 10, 11))
    return made(between("position", "", "xyz", 11, 10, 11), scale, quaternion, share("color", 8, 8, 8, 8)[3], sh)


def accessors(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """The document, and what its only primitive holds."""
    data = path.read_bytes()
    magic, version, total, length, kind = struct.unpack_from("<4sII I4s", data)
    assert (magic, version, total, kind) == (b"glTF", 2, len(data), b"JSON")
    document, start = json.loads(data[20 : 20 + length]), 28 + length
    (primitive,) = document["meshes"][0]["primitives"]
    held = {}
    for name, number in primitive["attributes"].items():
        entry = document["accessors"][number]
        view = document["bufferViews"][entry["bufferView"]]
        dtype = {5126: "<f4", 5123: "<u2", 5121: "u1"}[entry["componentType"]]
        values = np.frombuffer(data[start:], dtype, view["byteLength"] // np.dtype(dtype).itemsize, view["byteOffset"])
        values = values.reshape(entry["count"], -1) / (np.iinfo(dtype).max if entry.get("normalized") else 1)
        assert entry["type"] == PARTS[values.shape[1]]
        held[name] = values
    return document, held


def khr(path: Path) -> Points:
    _, held = accessors(path)
    take = {name.partition(":")[2]: values for name, values in held.items() if ":" in name}
    names = [f"SH_DEGREE_{d}_COEF_{n}" for d in range(4) for n in range(2 * d + 1) if f"SH_DEGREE_{d}_COEF_{n}" in take]
    sh = np.stack([take[name] for name in names], 1)
    return made(held["POSITION"], take["SCALE"], np.roll(take["ROTATION"], 1, 1), take["OPACITY"][:, 0], sh)


def made(position, scale, rotation, opacity, sh) -> Points:
    position, scale, rotation, opacity, sh = (torch.tensor(v, dtype=torch.float32) for v in (position, scale, rotation, opacity, sh))
    return Points(position, (0.5 + C0 * sh[:, 0]).clamp(0, 1), scale, torch.nn.functional.normalize(rotation, dim=-1), opacity, sh)


def transform(*words: str | Path) -> None:
    """splat-transform 2.7.1 of PlayCanvas (npm), found by DREAM3D_SPLAT_TRANSFORM (its cli.mjs, or a folder with node_modules)."""
    place = os.environ.get("DREAM3D_SPLAT_TRANSFORM")
    if not place or not shutil.which("node"):
        pytest.skip("DREAM3D_SPLAT_TRANSFORM does not say where splat-transform is, or there is no node")
    place = Path(place)
    place = place / "node_modules/@playcanvas/splat-transform/bin/cli.mjs" if place.is_dir() else place
    done = subprocess.run(["node", str(place), "-q", "-w", "-g", "cpu", *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def matched(known: Points, found: Points) -> Points:
    """In the order of the first: every Gaussian's nearest."""
    far, which = cKDTree(found.position.numpy()).query(known.position.numpy())
    assert len(known.position) == len(found.position) == len(set(which.tolist())) and far.max() < 1e-3
    return Points(**{name: None if value is None else value[which] for name, value in vars(found).items()})


def covariance(points: Points) -> torch.Tensor:
    spread = matrix(points.rotation) * points.scale[:, None]
    return spread @ spread.mT


def look(points: Points, size: int = 64) -> torch.Tensor:
    scene = Gaussians(torch.Generator().manual_seed(0), count=10, sh_degree=int(points.sh.shape[1] ** 0.5) - 1)
    scene.init_from(points)
    with torch.no_grad():
        render = scene.render(ring(3, size=size))
    return render.rgb + 1 - render.alpha


def decibels(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(-10 * (one - other).square().mean().clamp(min=1e-20).log10())


def written(name: str, points: Points, folder, **ask):
    path = folder / named(name).files["splats"]
    named(name).write(points, path, Ask(facts={"prompt": "a ball"}, **ask))
    return path


def within(found: torch.Tensor, known: torch.Tensor, steps: float) -> None:
    torch.testing.assert_close(found, known, atol=steps, rtol=0)
