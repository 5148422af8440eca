"""Every splat format, read by others: what it keeps within its steps, what renders lose, and what hostile files come to."""

import dataclasses
import gzip
import json
import struct
import zipfile

import numpy as np
import pytest
import torch
from gltf_validator import SPLATS, valid
from splat_readers import accessors, ball, covariance, decibels, look, matched, read, transform, within, written

from dream3d.errors import Mistake
from dream3d.export.axes import inward
from dream3d.export.formats import named
from dream3d.export.formats._palette import codes, palette
from dream3d.export.splat import C0, settled, write_ply
from dream3d.types import Points

NAMES = ("ply", "splat", "spz", "sog", "khr-glb", "compressed-ply")
EXACT = ("ply", "khr-glb")


def check(name: str, known: Points, found: Points) -> None:
    """Every attribute within half a step of its format, and what float32 adds."""
    found = matched(known, found)
    colour = (0.5 + C0 * known.sh[:, 0]).clamp(0, 1)
    if name in EXACT:
        within(found.position, known.position, 0)
        within(found.sh, known.sh, 0)
        within(found.opacity, known.opacity, 2e-7)
        torch.testing.assert_close(found.scale, known.scale, atol=0, rtol=1e-6)
        torch.testing.assert_close(covariance(found), covariance(known), atol=1e-8, rtol=1e-5)
    else:
        within(found.opacity, known.opacity, 0.5 / 255 + 1e-6)
        spread = (covariance(found) - covariance(known)).norm(dim=(1, 2)) / covariance(known).norm(dim=(1, 2))
        assert spread.max() < {"splat": 0.06, "spz": 0.09, "sog": 0.06, "compressed-ply": 0.02}[name]
    if name == "splat":
        within(found.position, known.position, 0)
        torch.testing.assert_close(found.scale, known.scale, atol=0, rtol=1e-6)
        within((0.5 + C0 * found.sh[:, 0]), colour, 0.5 / 255 + 1e-6)
    if name == "compressed-ply":
        within(found.position, known.position, 0.5 * 1.2 / 1023)
        within(found.scale.log(), known.scale.log(), 0.5 * 1.5 / 1023)
        within(found.sh[:, 0] * C0, known.sh[:, 0] * C0, 0.5 * 1.04 / 255 + 1e-6)
        within(found.sh[:, 1:], known.sh[:, 1:], 0.5 * 8 / 256 + 1e-6)
    if name == "spz":
        within(found.position, known.position, 0.5 / 2**16 + 1e-7)
        within(found.scale.log(), known.scale.log(), 0.5 / 16 + 1e-5)
        within(found.sh[:, 0], known.sh[:, 0], 0.5 / 255 / 0.15 + 1e-5)
        within(found.sh[:, 1:], known.sh[:, 1:], 0.5 / 128 + 1e-6)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_attributes_are_kept_within_the_steps_of_the_format(tmp_path, name, degree):
    points = ball(degree=degree)
    known = settled(points, named(name).up)
    check(name, known, read(name, written(name, points, tmp_path)))


@pytest.mark.parametrize("name", NAMES)
def test_renders_are_kept(tmp_path, name):
    points = ball(800, degree=0 if name == "splat" else 3)
    found = inward(read(name, written(name, points, tmp_path)), named(name).up)
    assert decibels(look(found), look(points)) > (100 if name in EXACT else 50)


def test_small_files_for_the_web_are_smaller_and_still_alike(tmp_path):
    points = ball(800)
    large = written("spz", points, tmp_path).stat().st_size
    small = written("spz", points, tmp_path, web=True)
    assert small.stat().st_size < 0.8 * large
    assert decibels(look(inward(read("spz", small), "y")), look(points)) > 40


@pytest.mark.parametrize("up", ["y", "z"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "splat"])
def test_up_turns_colours_with_everything_else(tmp_path, name, up):
    points = ball(200)
    found = read(name, written(name, points, tmp_path, up=up))
    assert decibels(look(inward(found, up)), look(points)) > 45


@pytest.mark.parametrize("name", NAMES)
def test_the_same_splats_are_the_same_bytes(tmp_path, name):
    (tmp_path / "again").mkdir()
    one, two = (written(name, ball(100), folder).read_bytes() for folder in (tmp_path, tmp_path / "again"))
    assert one == two


@pytest.mark.parametrize("name", NAMES)
def test_the_edges_of_what_gaussians_are(tmp_path, name):
    points = ball(3)
    points = dataclasses.replace(points, opacity=torch.tensor([0.0, 1.0, 0.5]), scale=torch.tensor([[0.0, 1e-9, 0.1]] * 3),
                                 rotation=torch.eye(4)[:3] * torch.tensor([[2.0], [-1.0], [1.0]]))  # fmt: skip
    for some in (points, Points(**{k: v[:1] for k, v in vars(points).items() if v is not None})):
        found = read(name, written(name, some, tmp_path))
        assert len(found.position) == len(some.position) and bool(found.rotation.isfinite().all() and (found.scale >= 0).all())
        within(found.opacity, matched(found, settled(some, named(name).up)).opacity, 0.5 / 255 + 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_gaussian_is_no_splat(tmp_path, name):
    with pytest.raises(Mistake, match="scale, rotation and opacity"):
        written(name, Points(torch.zeros(2, 3), torch.zeros(2, 3)), tmp_path)
    broken = ball(4)
    broken.sh[0, 3, 1] = torch.inf
    with pytest.raises(Mistake, match="not finite"):
        written(name, broken, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["sog", "khr-glb"])
def test_nothing_is_no_file(tmp_path, name):
    with pytest.raises(Mistake, match="no Gaussians to write"):
        written(name, Points(**{k: v[:0] for k, v in vars(ball(1)).items() if v is not None}), tmp_path)


# --- one format at a time ---------------------------------------------------------------------------------------------------------


def test_a_spz_reaches_as_far_as_it_has_to(tmp_path):
    points = dataclasses.replace(ball(5), position=ball(5).position * 4000)  # metres
    within(read("spz", written("spz", points, tmp_path)).position, settled(points, "y").position, 0.5 / 2**10)
    with pytest.raises(Mistake, match="8000 km"):
        written("spz", dataclasses.replace(points, position=points.position * 1e5), tmp_path)


def test_a_spz_says_how_it_was_rendered(tmp_path):
    head = gzip.decompress(written("spz", ball(7, degree=2), tmp_path).read_bytes())[:16]
    assert struct.unpack("<4sIIBBBB", head) == (b"NGSP", 3, 7, 2, 16, 1, 0)


def test_a_glb_holds_what_its_extension_asks_for(tmp_path):
    points = ball(50, degree=1)
    document, held = accessors(written("khr-glb", points, tmp_path))
    (primitive,) = document["meshes"][0]["primitives"]
    assert primitive["mode"] == 0 and document["asset"]["extras"] == document["nodes"][0]["extras"] == {"prompt": "a ball"}
    assert primitive["extensions"]["KHR_gaussian_splatting"]["colorSpace"] == "srgb_rec709_display"
    assert set(document["extensionsUsed"]) == {"KHR_gaussian_splatting", "KHR_materials_unlit"} and "extensionsRequired" not in document
    names = {"SCALE", "ROTATION", "OPACITY", "SH_DEGREE_0_COEF_0", *(f"SH_DEGREE_1_COEF_{n}" for n in range(3))}
    assert set(held) == {"POSITION", "COLOR_0", *(f"KHR_gaussian_splatting:{name}" for name in names)}
    shown = (0.5 + C0 * points.sh[:, 0]).clamp(0, 1).numpy()
    back = np.where(held["COLOR_0"] <= 0.0031308, 12.92 * held["COLOR_0"], 1.055 * held["COLOR_0"] ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(back[:, :3], shown, atol=1e-3)  # COLOR_0 is linear


def test_khronos_validator_knows_all_but_the_extension(tmp_path):
    info = valid(written("khr-glb", ball(50), tmp_path), allowed=SPLATS)
    assert info["totalVertexCount"] == 50 and info["hasTextures"] is False


def test_trimesh_sees_a_point_cloud_in_the_glb(tmp_path):
    import trimesh

    points = ball(50)
    (cloud,) = trimesh.load(written("khr-glb", points, tmp_path)).geometry.values()
    np.testing.assert_allclose(cloud.vertices, settled(points, "y").position.numpy(), atol=1e-7)


def test_a_sog_holds_one_table_for_all_axes_and_what_it_is(tmp_path):
    with zipfile.ZipFile(written("sog", ball(70), tmp_path)) as archive:
        meta = json.loads(archive.read("meta.json"))
        assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry in archive.infolist())
    assert meta["count"] == 70 and meta["asset"]["extras"] == {"prompt": "a ball"} and meta["shN"]["bands"] == 3
    tables = [meta[part]["codebook"] for part in ("scales", "sh0", "shN")]
    assert all(len(table) == 256 and table == sorted(table) for table in tables)


def test_few_numbers_are_kept_in_tables_as_they_are():
    values = np.array([[3.5, -1.0], [0.25, 3.5]])
    index, table = codes(values)
    np.testing.assert_array_equal(np.array(table)[index], values)


@pytest.mark.parametrize("spread", ["even", "normal", "skewed"])
def test_tables_are_nearly_as_good_as_tables_get(spread):
    rng = np.random.default_rng(0)
    values = {"even": rng.uniform(-1, 1, 20_000), "normal": rng.normal(size=20_000), "skewed": rng.exponential(size=20_000)}[spread]
    index, table = codes(values)
    error = np.mean((np.array(table)[index] - values) ** 2)
    density, edges = np.histogram(values, 400, density=True)
    bound = (np.cbrt(density) * np.diff(edges)).sum() ** 3 / 12 / 256**2  # Panter and Dite
    assert error < 1.15 * bound and table == sorted(table)


def test_palettes_are_exact_where_they_are_large_and_bounded_where_they_are_not():
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(40, 6))
    rows = centres[rng.integers(40, size=3000)]
    entries, label = palette(rows, 64)
    np.testing.assert_array_equal(entries[label], rows)
    rows = rows + 0.01 * rng.normal(size=rows.shape)
    entries, label = palette(rows, 256)
    assert len(entries) <= 256 and label.max() < len(entries)
    assert np.mean((entries[label] - rows) ** 2) < 2 * 0.01**2


# --- splat-transform ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [0, 3])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "khr-glb"])
def test_splat_transform_reads_it(tmp_path, name, degree):
    points = ball(400, degree=degree)
    transform(written(name, points, tmp_path), tmp_path / "back.ply")
    found, up = read("ply", tmp_path / "back.ply"), {"spz": "-y"}.get(name, named(name).up)  # it turns a .spz: y down, as in others
    check(name, settled(points, up), found)
    if name != "splat" or degree == 0:
        assert decibels(look(inward(found, up)), look(points)) > (100 if name in EXACT else 50)


def test_splat_transform_writes_the_same_glb(tmp_path):
    points = ball(100)
    write_ply(points, tmp_path / "a.ply", up="-y")
    transform(tmp_path / "a.ply", "-r", "0,180,0", tmp_path / "a.glb")  # it turns a .ply by half a turn about z, we about x
    _, held = accessors(written("khr-glb", points, tmp_path))
    _, theirs = accessors(tmp_path / "a.glb")
    assert set(held) == set(theirs)
    turns = "KHR_gaussian_splatting:ROTATION"
    np.testing.assert_allclose(np.abs((held[turns] * theirs[turns]).sum(1)), 1, atol=1e-6)
    for name in set(held) - {turns, "COLOR_0"}:  # which it leaves display sRGB
        np.testing.assert_allclose(theirs[name], held[name], atol=2e-6, err_msg=name)


def test_splat_transform_turns_harmonics_as_we_do(tmp_path):
    points = ball(100)
    write_ply(points, tmp_path / "z.ply")
    transform(tmp_path / "z.ply", "-r", "90,0,0", tmp_path / "turned.ply")
    found = read("ply", tmp_path / "turned.ply")
    about_x = [settled(points, up) for up in ("y", "-y")]
    best = min(about_x, key=lambda known: float((known.position - found.position).abs().max()))
    within(found.position, best.position, 1e-6)
    within(found.sh, best.sh, 1e-5)
