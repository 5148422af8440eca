"""A mesh as one binary glTF 2.0 file (Khronos, 2021), written by hand: JSON, then one buffer.

Axes turn from the house's z-up to glTF's y-up, (x, y, z) -> (x, z, -y): an object's front faces +Z; units are metres.
Colours without a material are baked with their light, and unlit (KHR_materials_unlit; others see a rough non-metal). A mesh with `orm` has
glTF's metallic-roughness material, with occlusion in the red of its picture where anything is hidden, and a normal map, with the tangents
that it is told in, where there are bumps.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, UInt32
from numpy import ndarray
from torch import Tensor

import dream3d
from dream3d.export.tangents import split
from dream3d.export.video import png
from dream3d.files import write_bytes
from dream3d.types import Mesh

COMPONENT = {"<f4": 5126, "<u4": 5125, "<u2": 5123, "|u1": 5121}  # componentType
KIND = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}  # type; matrices column by column
VERTICES, INDICES = 34962, 34963  # bufferView.target
LINEAR, MIPMAPS, CLAMP = 9729, 9987, 33071  # sampler: magFilter, minFilter, wrap


def write_glb(mesh: Mesh, path: Path, extras: dict) -> None:
    """`extras` (JSON values: prompt, seed, recipe, ...) go into the asset and, where Blender shows them, into the node.
    Nothing else goes in: the same mesh and extras give the same bytes. Raises ValueError or TypeError where they are no
    JSON."""
    document, buffer, _ = built(mesh, extras)
    write_bytes(Path(path), container(document, buffer))


def built(mesh: Mesh, extras: dict) -> tuple[dict[str, Any], bytearray, Int64[ndarray, " W"]]:
    """The document and the buffer, to which animations may add, and of every vertex in the file the one of the mesh."""
    buffer, document = bytearray(), _document(mesh, extras)
    attributes, indices, origin = _geometry(mesh)
    primitive = {"attributes": {}, "material": 0, "mode": 4}
    for name, array in attributes.items():
        primitive["attributes"][name] = accessor(document, buffer, array, VERTICES, bounds=name == "POSITION")
    primitive["indices"] = accessor(document, buffer, indices, INDICES)
    document["meshes"] = [{"name": "mesh", "primitives": [primitive]}]
    if mesh.texture is not None:
        _texture(document, buffer, mesh)
    return document, buffer, origin


def _document(mesh: Mesh, extras: dict) -> dict[str, Any]:
    baked = {"name": "baked", "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1}}
    unlit = {"extensionsUsed": ["KHR_materials_unlit"]} if mesh.orm is None else {}
    material = baked | {"extensions": {"KHR_materials_unlit": {}}} if unlit else {"name": "surface", "pbrMetallicRoughness": {}}
    return unlit | {
        "asset": {"version": "2.0", "generator": f"dream3d {dream3d.__version__}", "extras": extras},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "object", "extras": extras}],
        "materials": [material],
        "accessors": [],
        "bufferViews": [],
    }


def _geometry(mesh: Mesh) -> tuple[dict[str, Float[ndarray, "W _"]], UInt32[ndarray, " I"], Int64[ndarray, " W"]]:
    """Vertex attributes, indices, and which vertex each is: doubled where charts meet, and with a normal map where it is mirrored."""
    at = split(mesh, tangents=mesh.orm is not None and mesh.bump is not None)
    attributes = {"POSITION": y_up(mesh.vertices.numpy()[at.origin]), "NORMAL": y_up(at.normal)}
    if at.tangent is not None:
        attributes["TANGENT"] = np.concatenate([y_up(at.tangent[:, :3]), at.tangent[:, 3:]], 1)
    if at.uv is not None:
        attributes["TEXCOORD_0"] = np.array([0, 1]) + np.array([1, -1]) * at.uv
    elif mesh.rgb is not None:
        attributes["COLOR_0"] = _linear(mesh.rgb.numpy())
    indices = at.faces.reshape(-1).astype("<u4")
    return {name: np.ascontiguousarray(array, "<f4") for name, array in attributes.items()}, indices, at.origin


def y_up(vectors: Float[ndarray, "V 3"]) -> Float[ndarray, "V 3"]:
    return np.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], -1)


def _linear(display: Float[ndarray, "V 3"]) -> Float[ndarray, "V 3"]:
    """glTF's vertex colours are linear, ours display sRGB (IEC 61966-2-1)."""
    display = display.clip(0, 1)
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)


def accessor(document: dict, buffer: bytearray, array: ndarray, target: int | None = None, *, bounds: bool = False) -> int:
    """The number of a new one that holds the array: of floats, or whole numbers without a sign, with bounds where glTF asks for them.
    `target` says what of a mesh it is."""
    entry = {"bufferView": view(document, buffer, array.tobytes(), **({} if target is None else {"target": target}))}
    entry |= {"componentType": COMPONENT[array.dtype.str], "count": len(array), "type": KIND[array.shape[1:]]}
    if bounds:
        low, high = (np.atleast_1d(side).tolist() for side in (array.min(0), array.max(0)))
        entry |= {"min": low, "max": high}
    document["accessors"].append(entry)
    return len(document["accessors"]) - 1


def view(document: dict, buffer: bytearray, data: bytes, **more: int) -> int:
    """The number of a new one that holds these bytes."""
    document["bufferViews"].append({"buffer": 0, "byteOffset": len(buffer), "byteLength": len(data), **more})
    buffer.extend(data + bytes(-len(data) % 4))
    return len(document["bufferViews"]) - 1


def _texture(document: dict, buffer: bytearray, mesh: Mesh) -> None:
    document["samplers"] = [{"magFilter": LINEAR, "minFilter": MIPMAPS, "wrapS": CLAMP, "wrapT": CLAMP}]
    document["images"], document["textures"] = [], []
    material = document["materials"][0]
    material["pbrMetallicRoughness"]["baseColorTexture"] = _picture(document, buffer, "colour", mesh.texture)
    if mesh.orm is not None:
        material["pbrMetallicRoughness"]["metallicRoughnessTexture"] = _picture(document, buffer, "material", mesh.orm)
        if bool((mesh.orm[..., 0] < 1).any()):
            material["occlusionTexture"] = dict(material["pbrMetallicRoughness"]["metallicRoughnessTexture"])
    if mesh.orm is not None and mesh.bump is not None:
        material["normalTexture"] = _picture(document, buffer, "normals", mesh.bump / 2 + 0.5)


def _picture(document: dict, buffer: bytearray, name: str, values: Float[Tensor, "h w 3"]) -> dict[str, int]:
    place = view(document, buffer, png(values.clamp(0, 1).mul(255).round().byte().numpy()))
    document["images"].append({"name": name, "mimeType": "image/png", "bufferView": place})
    document["textures"].append({"sampler": 0, "source": len(document["images"]) - 1})
    return {"index": len(document["textures"]) - 1}


def container(document: dict, buffer: bytearray) -> bytes:
    """The file."""
    document["buffers"] = [{"byteLength": len(buffer)}]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(buffer), b"BIN\0") + buffer
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
