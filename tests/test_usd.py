"""OpenUSD files: its own validators find nothing, and what pxr reads at a time is what the renderer draws then."""

import dataclasses
import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from dream3d.renderers.dynamic_gaussians import DynamicGaussians
from moving_scenes import FACTS, ball, rolling, textured
from PIL import Image
from skinned_scenes import coloured, scene

from dream3d.clips import SplatClip, lasting, posed
from dream3d.errors import Mistake
from dream3d.export.axes import inward, outward
from dream3d.export.formats import Ask, named
from dream3d.types import Points

pytest.importorskip("pxr", reason='OpenUSD is not there: pip install "dream3d[usd]"')
from pxr import Gf, Sdf, Usd, UsdGeom, UsdShade, UsdSkel, UsdVol  # noqa: E402
from usd_check import findings  # noqa: E402

TIMES = torch.linspace(0, 1, 5)


def wrote(item, folder, form: str = "usd", **ask) -> tuple:
    path = folder / named(form).files["splats" if form == "usd-splat" else "mesh"]
    named(form).write(item, path, Ask(FACTS, **ask))
    return path, Usd.Stage.Open(str(path))


def points(stage, time: float | None = None) -> torch.Tensor:
    code = Usd.TimeCode.Default() if time is None else 24 * time
    return torch.tensor(np.array(UsdGeom.Mesh.Get(stage, "/asset/mesh").GetPointsAttr().Get(code)))


def kinds() -> dict:
    moving, lit = rolling().clip(TIMES), textured(ball(), lit=True)
    return {
        "colours": ball(),
        "plain": dataclasses.replace(ball(), rgb=None),
        "texture": textured(ball()),
        "lit": lit,
        "clip": moving,
        "baked clip": dataclasses.replace(moving, mesh=textured(moving.mesh, lit=True)),
        "body": coloured(scene(motion="walk")).clip(TIMES),
        "standing": scene(pose={"head": (0, 20, 0)}).clip(TIMES),
    }


@pytest.mark.parametrize("form", ["usd", "usdz"])
def test_the_validators_find_nothing(form, tmp_path):
    for name, item in kinds().items():
        for up in ("y", "z"):
            path, stage = wrote(item, tmp_path / name / up, form, up=up)
            assert findings(path) == [], (name, up)
            assert UsdGeom.GetStageUpAxis(stage) == up.upper() and UsdGeom.GetStageMetersPerUnit(stage) == 1
            assert json.loads(stage.GetRootLayer().customLayerData["dream3d"]) == FACTS


def test_the_validators_find_what_is_wrong(tmp_path):
    path, stage = wrote(textured(ball(), lit=True), tmp_path)
    UsdShade.Shader.Get(stage, "/asset/looks/surface/normals").GetInput("scale").Set(Gf.Vec4f(1))
    stage.ClearDefaultPrim()
    stage.Export(str(path))
    found = " ".join(findings(path))
    assert "NormalMap" in found and "DefaultPrim" in found


@pytest.mark.parametrize("form", ["usd", "usdz"])
def test_the_same_item_gives_the_same_bytes(form, tmp_path):
    for name, item in (("lit", textured(ball(), lit=True)), ("body", scene(motion="walk").clip(TIMES))):
        one, other = (wrote(item, tmp_path / folder / name, form)[0] for folder in ("a", "b"))
        assert one.read_bytes() == other.read_bytes()


WRITE = """
import sys
import torch
from pathlib import Path
from dream3d.export.formats import Ask, named
from dream3d.types import Mesh

x = torch.eye(4)
maps = x[:, :3, None].expand(4, 3, 3)
mesh = Mesh(x[:, :3], torch.tensor([[0, 1, 2], [0, 2, 3]]), uv=x[:2, :3, None].expand(2, 3, 2), texture=maps, orm=maps, bump=maps)
named("usdz").write(mesh, Path(path), Ask({"seed": 3}))
"""


def test_another_process_writes_the_same_bytes(tmp_path):
    """Whatever the order in which it hashes its tokens."""
    exec(WRITE, {"path": tmp_path / "here.usdz"})
    command = [sys.executable, "-c", f"import sys; path = sys.argv[1]{WRITE}", str(tmp_path / "there.usdz")]
    subprocess.run(command, check=True, timeout=300, env=os.environ | {"PYTHONHASHSEED": "5"})
    assert (tmp_path / "here.usdz").read_bytes() == (tmp_path / "there.usdz").read_bytes()


# --- meshes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("up", ["y", "z"])
def test_a_mesh_is_where_it_was_with_its_uvs_and_pictures(up, tmp_path):
    mesh = textured(ball(), lit=True)
    path, stage = wrote(mesh, tmp_path, up=up)
    prim = UsdGeom.Mesh.Get(stage, "/asset/mesh")
    turned = outward(mesh, up)
    assert torch.equal(points(stage), turned.vertices)
    assert prim.GetFaceVertexIndicesAttr().Get() == list(mesh.faces.flatten().tolist()) and stage.GetDefaultPrim().GetPath() == "/asset"
    st = UsdGeom.PrimvarsAPI(prim).GetPrimvar("st")
    assert st.GetInterpolation() == "faceVarying" and torch.equal(torch.tensor(np.array(st.Get())), mesh.uv.reshape(-1, 2))
    normals = torch.tensor(np.array(prim.GetNormalsAttr().Get()))
    assert (normals * turned.vertices).sum(1).min() > 0.4  # of a ball, outwards
    low, high = np.array(prim.GetExtentAttr().Get())
    np.testing.assert_allclose([low, high], [turned.vertices.amin(0), turned.vertices.amax(0)], atol=1e-7)
    spaces = {}
    for name, picture in (("colour", mesh.texture), ("material", mesh.orm), ("normals", mesh.bump / 2 + 0.5)):
        shader = UsdShade.Shader.Get(stage, f"/asset/looks/surface/{name}")
        spaces[name] = shader.GetInput("sourceColorSpace").Get()
        file = shader.GetInput("file").Get()
        there = np.asarray(Image.open(file.resolvedPath)) / 255
        np.testing.assert_allclose(there, picture, atol=0.51 / 255)
        assert file.path == f"./textures/{name}.png"
    assert spaces == {"colour": "sRGB", "material": "raw", "normals": "raw"}
    surface = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()[0].ComputeSurfaceSource()[0]
    wanted = {"diffuseColor": ("colour", "rgb"), "occlusion": ("material", "r"), "roughness": ("material", "g"),
              "metallic": ("material", "b"), "normal": ("normals", "rgb")}  # fmt: skip
    for name, (shader, output) in wanted.items():
        source = surface.GetInput(name).GetConnectedSources()[0][0]
        assert (source.source.GetPath().name, source.sourceName) == (shader, output)


def test_colours_of_vertices_are_linear(tmp_path):
    mesh = dataclasses.replace(ball(), rgb=torch.full((162, 3), 0.5))
    _, stage = wrote(mesh, tmp_path)
    colour = np.array(UsdGeom.Mesh.Get(stage, "/asset/mesh").GetDisplayColorAttr().Get())
    np.testing.assert_allclose(colour, 0.21404, atol=1e-5)


def test_a_package_holds_everything_in_place(tmp_path):
    mesh = textured(ball(), lit=True)
    path, stage = wrote(mesh, tmp_path, "usdz")
    data = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        pictures = [f"textures/{name}.png" for name in ("colour", "material", "normals")]
        assert [entry.filename for entry in entries] == ["mesh.usdc", *pictures]
        for entry in entries:
            assert entry.compress_type == zipfile.ZIP_STORED and entry.date_time == (1980, 1, 1, 0, 0, 0)
            begin = entry.header_offset + 30 + len(entry.filename) + int.from_bytes(data[entry.header_offset + 28 :][:2], "little")
            assert begin % 64 == 0 and data[begin : begin + 4] == archive.read(entry)[:4]
    shader = UsdShade.Shader.Get(stage, "/asset/looks/surface/colour")
    assert shader.GetInput("file").Get().resolvedPath.endswith("mesh.usdz[textures/colour.png]")
    assert torch.equal(points(stage), outward(mesh, "y").vertices)


# --- over time ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["usd", "usdz"])
def test_a_mesh_that_moves_is_at_every_time_where_it_is_drawn(form, tmp_path):
    made = rolling()
    path, stage = wrote(lasting(made.clip(TIMES), 2.0), tmp_path, form, up="z")
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode(), stage.GetTimeCodesPerSecond()) == (0, 48, 24)
    rest = made.rest()
    for time in TIMES.tolist():
        truth = made.moved(rest, torch.tensor(time))[0]
        assert (points(stage, 2 * time) - truth).abs().max() < 1e-6
    between = (made.moved(rest, TIMES[1])[0] + made.moved(rest, TIMES[2])[0]) / 2
    assert (points(stage, 0.75) - between).abs().max() < 1e-6
    assert (points(stage, 2.0) - rest).abs().max() > 0.05 and torch.equal(points(stage), rest.detach())
    prim = UsdGeom.Mesh.Get(stage, "/asset/mesh")
    low, _ = np.array(prim.GetExtentAttr().Get(48))
    np.testing.assert_allclose(low, points(stage, 2.0).amin(0), atol=1e-7)
    assert prim.GetNormalsAttr().GetNumTimeSamples() == 5 and prim.GetFaceVertexIndicesAttr().GetNumTimeSamples() == 0


MOVES = {"rotations": {"left_elbow": [[0, 0, 0], [-90, 0, 0], [-20, 40, 0]], "hips": [[0, 0, 0], [0, 0, 170], [0, 0, 300]]},
         "shift": [[0, 0, 0], [0, -0.1, 0.2], [0.3, 0, 0]]}  # fmt: skip


def test_a_body_on_its_skeleton_is_where_it_is_drawn(tmp_path):
    """Skinned by UsdSkel itself."""
    (tmp_path / "moves.json").write_text(json.dumps(MOVES))
    made = coloured(scene(motion=str(tmp_path / "moves.json"), pose={"head": (0, 20, 10)}, shape={"height": 0.5}))
    _, stage = wrote(made.clip(torch.tensor([0, 0.5, 1])), tmp_path, "usdz")
    cache, root = UsdSkel.Cache(), UsdSkel.Root.Get(stage, "/asset")
    cache.Populate(root, Usd.PrimDefaultPredicate)
    query = cache.GetSkinningQuery(stage.GetPrimAtPath("/asset/mesh"))
    skeleton = cache.GetSkelQuery(UsdSkel.Skeleton.Get(stage, "/asset/skeleton"))
    for time in (0.0, 0.2, 0.5, 0.8, 1.0):
        transforms = skeleton.ComputeSkinningTransforms(24 * time)
        found = UsdGeom.Mesh.Get(stage, "/asset/mesh").GetPointsAttr().Get()
        assert query.ComputeSkinnedPoints(transforms, found, 24 * time)
        truth = made.body.bent(made.body.rest(), *made.body.playing(made.motion, time))
        assert np.abs(np.array(found) - outward(truth_of(truth), "y").position.numpy()).max() < 2e-5, time
    assert list(skeleton.GetJointOrder())[:2] == ["hips", "hips/spine"]


def truth_of(position) -> Points:
    return Points(position.detach(), position.detach())


def test_a_body_with_corrections_moves_vertex_by_vertex(tmp_path):
    skin = coloured(scene(motion="walk")).clip(TIMES)
    bends = 0.01 * torch.randn(5, *skin.mesh.vertices.shape, generator=torch.Generator().manual_seed(0))
    skin = dataclasses.replace(skin, bends=bends)
    path, stage = wrote(skin, tmp_path, up="z")
    for k, time in enumerate(TIMES.tolist()):
        assert (points(stage, time) - posed(skin).places[k]).abs().max() < 1e-6
    assert not stage.GetPrimAtPath("/asset/skeleton") and findings(path) == []


def test_names_of_joints_are_made_such_as_paths_may_have(tmp_path):
    skin = scene(motion="walk").clip(TIMES)
    skin = dataclasses.replace(skin, names=("a b", "a-b", "../x", "\u00fc", "\ud800\x00", "", "7", *skin.names[7:]))
    path, stage = wrote(skin, tmp_path)
    joints = UsdSkel.Skeleton.Get(stage, "/asset/skeleton").GetJointsAttr().Get()
    assert len(set(joints)) == len(joints) and all(Sdf.Path(joint).isEmpty is False for joint in joints) and findings(path) == []
    assert list(UsdSkel.Skeleton.Get(stage, "/asset/skeleton").GetJointNamesAttr().Get())[:3] == ["a b", "a-b", "../x"]


# --- Gaussians ------------------------------------------------------------------------------------------------------


def gaussians_of(stage, time: float | None, up: str) -> Points:
    prim = UsdVol.ParticleField3DGaussianSplat.Get(stage, "/asset/splats")
    code = Usd.TimeCode.Default() if time is None else 24 * time
    read = {name: torch.tensor(np.array(getattr(prim, f"Get{name}Attr")().Get(code))) for name in ("Positions", "Scales", "Opacities")}
    turns = torch.tensor([[q.real, *q.imaginary] for q in prim.GetOrientationsAttr().Get(code)])
    degree = prim.GetRadianceSphericalHarmonicsDegreeAttr().Get()
    sh = torch.tensor(np.array(prim.GetRadianceSphericalHarmonicsCoefficientsAttr().Get(code))).view(-1, (degree + 1) ** 2, 3)
    return inward(Points(read["Positions"], sh[:, 0], read["Scales"], turns, read["Opacities"], sh), up)


def alike(found: Points, truth: Points) -> None:
    for name in ("position", "scale", "opacity", "sh"):
        torch.testing.assert_close(getattr(found, name), getattr(truth, name), atol=2e-6, rtol=1e-5)
    assert ((found.rotation * truth.rotation).sum(1).abs() > 1 - 1e-6).all()


@pytest.mark.parametrize("degree", [0, 1, 3])
@pytest.mark.parametrize("up", ["y", "z"])
def test_gaussians_come_back(degree, up, tmp_path):
    truth = rolling(DynamicGaussians, sh_degree=degree).handover()
    path, stage = wrote(truth, tmp_path, "usd-splat", up=up)
    assert findings(path) == [] and UsdGeom.GetStageUpAxis(stage) == up.upper()
    alike(gaussians_of(stage, None, up), truth)
    low, high = np.array(UsdGeom.Boundable(stage.GetPrimAtPath("/asset/splats")).GetExtentAttr().Get())
    position = outward(truth, up).position.numpy()
    assert (low < position.min(0)).all() and (high > position.max(0)).all()


def test_gaussians_over_time_come_back_and_what_stays_is_there_once(tmp_path):
    made = rolling(DynamicGaussians, sh_degree=1)
    clip = lasting(made.clip(TIMES), 2.0)
    path, stage = wrote(clip, tmp_path, "usd-splat")
    assert findings(path) == [] and stage.GetEndTimeCode() == 48
    for frame, time in zip(clip.frames, clip.times.tolist(), strict=True):
        alike(gaussians_of(stage, time, "y"), frame)
    prim = UsdVol.ParticleField3DGaussianSplat.Get(stage, "/asset/splats")
    assert prim.GetPositionsAttr().GetNumTimeSamples() == 5 and prim.GetOpacitiesAttr().GetNumTimeSamples() == 0
    assert (clip.frames[4].position - clip.frames[0].position).abs().max() > 0.05


def test_no_gaussians_are_refused(tmp_path):
    empty = Points(*(torch.zeros(0, n) for n in (3, 3, 3, 4)), torch.zeros(0), torch.zeros(0, 1, 3))
    for item in (empty, SplatClip((empty, empty), torch.tensor([0.0, 1.0]))):
        with pytest.raises(Mistake, match="no Gaussians"):
            wrote(item, tmp_path, "usd-splat")
    assert not [*tmp_path.iterdir()]
