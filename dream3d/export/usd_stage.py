"""Meshes and Gaussians as OpenUSD stages (pxr, the extra `usd`): metres, one default prim, materials of UsdPreviewSurface, time samples.

A stage is made in memory and written as one binary crate. The prim /asset holds everything; the layer's customLayerData says under
"dream3d" what the facts are, as JSON. Time codes are 1/24 s.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from pxr import Gf, Kind, Sdf, Tf, Usd, UsdGeom, UsdShade, UsdSkel, Vt

import dream3d
from dream3d.clips import MeshClip, Skin, sound
from dream3d.errors import one_line
from dream3d.export.gltf_moving import NAME, strongest
from dream3d.export.texture import vertex_normals
from dream3d.export.video import png
from dream3d.files import replacing
from dream3d.types import Mesh

RATE = 24  # time codes a second
ROOT = "/asset"
ALIGNED = 64  # bytes: where files in a .usdz begin at multiples of it they can be read in place
PADDING = 0x1986  # the id of the extra field that moves them there


class Stage:
    """What will be one file. `files`: the pictures beside it, by the name that the stage knows them by."""

    def __init__(self, up: str, facts: dict[str, Any], root: type = UsdGeom.Xform, *, times: Float[ndarray, " T"] | None = None):
        self.stage, self.files = Usd.Stage.CreateInMemory(), {}
        UsdGeom.SetStageUpAxis(self.stage, {"y": UsdGeom.Tokens.y, "z": UsdGeom.Tokens.z}[up])
        UsdGeom.SetStageMetersPerUnit(self.stage, 1.0)
        self.root = root.Define(self.stage, ROOT)
        self.stage.SetDefaultPrim(self.root.GetPrim())
        Usd.ModelAPI(self.root.GetPrim()).SetKind(Kind.Tokens.component)
        layer = self.stage.GetRootLayer()
        layer.documentation = f"dream3d {dream3d.__version__}"
        layer.customLayerData = {"dream3d": json.dumps(facts, sort_keys=True, allow_nan=False)}
        self.codes = [] if times is None or len(times) < 2 else [round(RATE * time, 6) for time in times.tolist()]
        if self.codes:
            self.stage.SetStartTimeCode(self.codes[0])
            self.stage.SetEndTimeCode(self.codes[-1])
            self.stage.SetTimeCodesPerSecond(RATE)
            self.stage.SetFramesPerSecond(RATE)

    def write(self, path: Path) -> None:
        """The crate alone."""
        with replacing(path) as temporary:
            if not self.stage.GetRootLayer().Export(str(temporary)):
                raise OSError(f"{path.name} could not be written")

    def sampled(self, attribute: Usd.Attribute, values: list) -> None:
        """The first value where no time is asked, and all of them over time where they differ."""
        attribute.Set(values[0])
        if self.codes and any(value != values[0] for value in values[1:]):
            for code, value in zip(self.codes, values, strict=True):
                attribute.Set(value, code)

    # --- meshes -----------------------------------------------------------------------------------------------------

    def mesh(self, mesh: Mesh, places: list[Float[ndarray, "V 3"]]) -> UsdGeom.Mesh:
        """With its material; `places`: of the vertices at every time."""
        prim = UsdGeom.Mesh.Define(self.stage, f"{ROOT}/mesh")
        prim.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
        prim.CreateFaceVertexCountsAttr(Vt.IntArray([3] * len(mesh.faces)))
        prim.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.flatten().int().numpy()))
        self.sampled(prim.CreatePointsAttr(), [vectors(place) for place in places])
        self.sampled(prim.CreateExtentAttr(), [extent(place) for place in places])
        normals = [vertex_normals(Mesh(mesh.vertices.new_tensor(place), mesh.faces)) for place in places]
        self.sampled(prim.CreateNormalsAttr(), [vectors(normal.numpy()) for normal in normals])
        prim.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
        self._dress(prim, mesh)
        return prim

    def _dress(self, prim: UsdGeom.Mesh, mesh: Mesh) -> None:
        primvars = UsdGeom.PrimvarsAPI(prim)
        if mesh.uv is not None:
            kind = Sdf.ValueTypeNames.TexCoord2fArray
            uv = np.ascontiguousarray(mesh.uv.reshape(-1, 2).numpy(), np.float32)
            primvars.CreatePrimvar("st", kind, UsdGeom.Tokens.faceVarying).Set(Vt.Vec2fArray.FromNumpy(uv))
        elif mesh.rgb is not None:
            prim.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(vectors(linear(mesh.rgb.numpy())))
        surface = self._material(mesh)
        UsdShade.MaterialBindingAPI.Apply(prim.GetPrim()).Bind(surface)

    def _material(self, mesh: Mesh) -> UsdShade.Material:
        UsdGeom.Scope.Define(self.stage, f"{ROOT}/looks")
        material = UsdShade.Material.Define(self.stage, f"{ROOT}/looks/surface")
        shader = self._shader("preview", "UsdPreviewSurface")
        material.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
        types = Sdf.ValueTypeNames
        if mesh.uv is not None and mesh.texture is not None:
            self._maps(shader, mesh)
        elif mesh.uv is None and mesh.rgb is not None:
            reader = self._shader("colour", "UsdPrimvarReader_float3", varname=(types.String, "displayColor"))
            reader.CreateOutput("result", types.Vector3f)
            shader.CreateInput("diffuseColor", types.Color3f).ConnectToSource(reader.ConnectableAPI(), "result")
        if not shader.GetInput("roughness"):
            shader.CreateInput("roughness", types.Float).Set(1.0)
            shader.CreateInput("metallic", types.Float).Set(0.0)
        return material

    def _maps(self, shader: UsdShade.Shader, mesh: Mesh) -> None:
        types = Sdf.ValueTypeNames
        colour = self._texture("colour", mesh.texture, "sRGB")
        colour.CreateOutput("rgb", types.Float3)
        shader.CreateInput("diffuseColor", types.Color3f).ConnectToSource(colour.ConnectableAPI(), "rgb")
        if mesh.orm is None:
            return
        orm = self._texture("material", mesh.orm, "raw")
        for channel, name in zip("rgb", ("occlusion", "roughness", "metallic"), strict=True):
            orm.CreateOutput(channel, types.Float)
            shader.CreateInput(name, types.Float).ConnectToSource(orm.ConnectableAPI(), channel)
        if mesh.bump is not None:
            bumps = self._texture("normals", mesh.bump / 2 + 0.5, "raw")
            bumps.CreateInput("scale", types.Float4).Set(Gf.Vec4f(2, 2, 2, 1))
            bumps.CreateInput("bias", types.Float4).Set(Gf.Vec4f(-1, -1, -1, 0))
            bumps.CreateOutput("rgb", types.Float3)
            shader.CreateInput("normal", types.Normal3f).ConnectToSource(bumps.ConnectableAPI(), "rgb")

    def _texture(self, name: str, values, space: str) -> UsdShade.Shader:
        types, file = Sdf.ValueTypeNames, f"textures/{name}.png"
        self.files[file] = png(values.clamp(0, 1).mul(255).round().byte().numpy())
        if not self.stage.GetPrimAtPath(f"{ROOT}/looks/surface/uv"):
            reader = self._shader("uv", "UsdPrimvarReader_float2", varname=(types.String, "st"))
            reader.CreateOutput("result", types.Float2)
        reader = UsdShade.Shader.Get(self.stage, f"{ROOT}/looks/surface/uv")
        clamp = {f"wrap{axis}": (types.Token, "clamp") for axis in "ST"}
        more = {"file": (types.Asset, Sdf.AssetPath(f"./{file}")), "sourceColorSpace": (types.Token, space), **clamp}
        shader = self._shader(name, "UsdUVTexture", **more)
        shader.CreateInput("st", types.Float2).ConnectToSource(reader.ConnectableAPI(), "result")
        return shader

    def _shader(self, name: str, kind: str, **inputs: tuple) -> UsdShade.Shader:
        shader = UsdShade.Shader.Define(self.stage, f"{ROOT}/looks/surface/{name}")
        shader.CreateIdAttr(kind)
        for key, (type_name, value) in inputs.items():
            shader.CreateInput(key, type_name).Set(value)
        return shader

    # --- joints -----------------------------------------------------------------------------------------------------

    def skeleton(self, prim: UsdGeom.Mesh, skin: Skin) -> None:
        """The mesh hangs on its joints, with all weights that are not zero."""
        place, parents = skin.joints.double().numpy(), skin.parents.tolist()
        paths: list[str] = []
        names = [one_line(name, NAME) for name in skin.names]
        for joint, parent in zip(_identifiers(names), parents, strict=True):
            paths.append(joint if parent < 0 else f"{paths[parent]}/{joint}")
        way = [place[j] - (place[k] if k >= 0 else 0) for j, k in enumerate(parents)]
        skeleton = UsdSkel.Skeleton.Define(self.stage, f"{ROOT}/skeleton")
        skeleton.CreateJointsAttr(paths)
        skeleton.CreateJointNamesAttr(names)
        skeleton.CreateBindTransformsAttr(_shifts(place))
        skeleton.CreateRestTransformsAttr(_shifts(way))
        motion = UsdSkel.Animation.Define(self.stage, f"{ROOT}/skeleton/motion")
        motion.CreateJointsAttr(paths)
        roots = np.array([parent < 0 for parent in parents])[:, None]
        self.sampled(motion.CreateTranslationsAttr(), [vectors(np.array(way) + roots * shift) for shift in skin.shift.double().numpy()])
        self.sampled(motion.CreateRotationsAttr(), [quaternions(turns) for turns in skin.turns.double().numpy()])
        motion.CreateScalesAttr(Vt.Vec3hArray([Gf.Vec3h(1)] * len(paths)))
        UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets([motion.GetPath()])
        weights = skin.weights.double().numpy()
        most = int((weights > 0).sum(1).max())
        joints, weights, _ = strongest(weights, most)
        binding = UsdSkel.BindingAPI.Apply(prim.GetPrim())
        binding.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
        binding.CreateGeomBindTransformAttr(Gf.Matrix4d(1))
        binding.CreateJointIndicesPrimvar(False, most).Set(Vt.IntArray.FromNumpy(joints.astype(np.int32).reshape(-1)))
        binding.CreateJointWeightsPrimvar(False, most).Set(Vt.FloatArray.FromNumpy(weights.astype(np.float32).reshape(-1)))


def of(item: Mesh | MeshClip | Skin, up: str, facts: dict[str, Any]) -> Stage:
    """The item, whose axes are those of the file already. Raises Mistake where it is not finite, or has no faces."""
    sound(item)
    if isinstance(item, Mesh):
        stage = Stage(up, facts)
        stage.mesh(item, [item.vertices.numpy()])
    elif isinstance(item, MeshClip):
        stage = Stage(up, facts, times=item.times.double().numpy())
        stage.mesh(item.mesh, [*item.places.numpy()])
    else:
        stage = Stage(up, facts, UsdSkel.Root, times=item.times.double().numpy())
        stage.skeleton(stage.mesh(item.mesh, [item.mesh.vertices.numpy()]), item)
    return stage


def vectors(rows: Float[ndarray, "N 3"]) -> Vt.Vec3fArray:
    return Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(rows, np.float32))


def quaternions(rows: Float[ndarray, "N 4"]) -> Vt.QuatfArray:
    """Unit quaternions wxyz, which pxr keeps as xyzw."""
    rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return Vt.QuatfArray.FromNumpy(np.ascontiguousarray(np.roll(rows, -1, 1), np.float32))


def extent(place: Float[ndarray, "N 3"], around: Float[ndarray, "N 1"] | float = 0.0) -> Vt.Vec3fArray:
    return vectors(np.stack([(place - around).min(0), (place + around).max(0)]))


def linear(display: Float[ndarray, "V 3"]) -> Float[ndarray, "V 3"]:
    """Colours of primvars are linear, ours display sRGB (IEC 61966-2-1)."""
    display = display.clip(0, 1)
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)


def _shifts(places) -> Vt.Matrix4dArray:
    return Vt.Matrix4dArray([Gf.Matrix4d().SetTranslate(Gf.Vec3d(*map(float, place))) for place in places])


def _identifiers(names: list[str]) -> list[str]:
    """Names that paths may have, each once."""
    found: list[str] = []
    for name in map(Tf.MakeValidIdentifier, names):
        while name in found:
            name += "_"
        found.append(name)
    return found


def package(files: dict[str, bytes], path: Path) -> None:
    """A .usdz: a zip without compression, the stage first, every file aligned, without dates."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            begin = archive.fp.tell() + 30 + len(name.encode())
            pad = -begin % ALIGNED
            pad += ALIGNED if pad < 4 else 0
            entry.extra = PADDING.to_bytes(2, "little") + (pad - 4).to_bytes(2, "little") + bytes(pad - 4)
            entry.create_system = 0
            archive.writestr(entry, data)
