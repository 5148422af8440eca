"""A mesh as one binary glTF 2.0 file (Khronos, 2021), written by hand: JSON, then one buffer.

Axes turn from the house's z-up to glTF's y-up, (x, y, z) -> (x, z, -y): an object's front faces +Z; units are metres.
Colours without a material are baked with their light, and unlit (KHR_materials_unlit; others see a rough non-metal). A mesh with `orm` has
glTF's metallic-roughness material, with a normal map where there are bumps.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt32
from numpy import ndarray
from torch import Tensor

import dream3d
from dream3d.export.texture import vertex_normals
from dream3d.export.video import png
from dream3d.files import write_bytes
from dream3d.types import Mesh

FLOAT, UINT = 5126, 5125  # componentType
VERTICES, INDICES = 34962, 34963  # bufferView.target
LINEAR, MIPMAPS, CLAMP = 9729, 9987, 33071  # sampler: magFilter, minFilter, wrap


def write_glb(mesh: Mesh, path: Path, extras: dict) -> None:
    """`extras` (JSON values: prompt, seed, recipe, ...) go into the asset and, where Blender shows them, into the node.
    Nothing else goes in: the same mesh and extras give the same bytes. Raises ValueError or TypeError where they are no
    JSON."""
    buffer, document = bytearray(), _document(mesh, extras)
    attributes, indices = _geometry(mesh)
    primitive = {"attributes": {}, "material": 0, "mode": 4}
    for name, array in attributes.items():
        primitive["attributes"][name] = _accessor(document, buffer, array, VERTICES, bounds=name == "POSITION")
    primitive["indices"] = _accessor(document, buffer, indices, INDICES)
    document["meshes"] = [{"name": "mesh", "primitives": [primitive]}]
    if mesh.texture is not None:
        _texture(document, buffer, mesh)
    document["buffers"] = [{"byteLength": len(buffer)}]
    write_bytes(Path(path), _container(document, buffer))


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


def _geometry(mesh: Mesh) -> tuple[dict[str, Float[ndarray, "V _"]], UInt32[ndarray, " I"]]:
    """Vertex attributes and indices; vertices are doubled where charts meet."""
    corners, normal = mesh.faces.flatten().numpy(), vertex_normals(mesh).numpy()
    if mesh.uv is None:
        origin, index = np.arange(len(mesh.vertices)), corners
    else:
        keys = np.concatenate([corners[:, None].astype(np.float64), mesh.uv.reshape(-1, 2).numpy()], 1)
        _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        origin = corners[first]
    attributes = {"POSITION": _y_up(mesh.vertices.numpy()[origin]), "NORMAL": _y_up(normal[origin])}
    if mesh.uv is not None:
        attributes["TEXCOORD_0"] = np.array([0, 1]) + np.array([1, -1]) * mesh.uv.reshape(-1, 2).numpy()[first]
    elif mesh.rgb is not None:
        attributes["COLOR_0"] = _linear(mesh.rgb.numpy())
    return {name: array.astype("<f4") for name, array in attributes.items()}, index.reshape(-1).astype("<u4")


def _y_up(vectors: Float[ndarray, "V 3"]) -> Float[ndarray, "V 3"]:
    return np.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], -1)


def _linear(display: Float[ndarray, "V 3"]) -> Float[ndarray, "V 3"]:
    """glTF's vertex colours are linear, ours display sRGB (IEC 61966-2-1)."""
    display = display.clip(0, 1)
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)


def _accessor(document: dict, buffer: bytearray, array: ndarray, target: int, *, bounds: bool = False) -> int:
    view = _view(document, buffer, array.tobytes(), target=target)
    kind = {1: "SCALAR", 2: "VEC2", 3: "VEC3"}[1 if array.ndim == 1 else array.shape[1]]
    component = UINT if array.dtype == "<u4" else FLOAT
    entry = {"bufferView": view, "componentType": component, "count": len(array), "type": kind}
    if bounds:
        entry |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
    document["accessors"].append(entry)
    return len(document["accessors"]) - 1


def _view(document: dict, buffer: bytearray, data: bytes, **more: int) -> int:
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
    if mesh.orm is not None and mesh.bump is not None:
        material["normalTexture"] = _picture(document, buffer, "normals", mesh.bump / 2 + 0.5)


def _picture(document: dict, buffer: bytearray, name: str, values: Float[Tensor, "h w 3"]) -> dict[str, int]:
    view = _view(document, buffer, png(values.clamp(0, 1).mul(255).round().byte().numpy()))
    document["images"].append({"name": name, "mimeType": "image/png", "bufferView": view})
    document["textures"].append({"sampler": 0, "source": len(document["images"]) - 1})
    return {"index": len(document["textures"]) - 1}


def _container(document: dict, buffer: bytearray) -> bytes:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(buffer), b"BIN\0") + buffer
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
