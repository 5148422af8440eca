"""A binary glTF made smaller for the web: pictures as WebP (EXT_texture_webp), short indices, normals, tangents and uvs as whole numbers
(KHR_mesh_quantization). Positions, joints and what moves stay as they are. Browsers and Blender from 4.0 on read both extensions; others
refuse the file, since it says that it needs them."""

import io
import json
import struct
from collections import Counter
from typing import Any

import numpy as np
from numpy import ndarray
from PIL import Image

from dream3d.export.glb import container

QUALITY = 90  # of WebP; normal maps lose nothing
FLOAT, UINT, USHORT, BYTE = 5126, 5125, 5123, 5120  # componentType
WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
PICTURES, WHOLE = "EXT_texture_webp", "KHR_mesh_quantization"


def small(data: bytes) -> bytes:
    """The same asset; the same bytes every time. `data` is one of our own files: JSON, then one buffer."""
    length = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20 : 20 + length])
    buffer = data[28 + length :]
    views = [buffer[v["byteOffset"] : v["byteOffset"] + v["byteLength"]] for v in document["bufferViews"]]
    extensions = set()
    _indices(document, views)
    if _quantised(document, views):
        extensions.add(WHOLE)
    if _pictures(document, views):
        extensions.add(PICTURES)
    for key in ("extensionsUsed", "extensionsRequired"):
        if names := sorted({*document.get(key, []), *extensions}):
            document[key] = names
    joined = bytearray()
    for view, part in zip(document["bufferViews"], views, strict=True):
        view |= {"byteOffset": len(joined), "byteLength": len(part)}
        joined += part + bytes(-len(part) % 4)
    return container(document, joined)


def _indices(document: dict[str, Any], views: list[bytes]) -> None:
    """Two bytes each where that is enough; 65535 would restart a strip."""
    for number in {p["indices"] for mesh in document["meshes"] for p in mesh["primitives"] if "indices" in p}:
        accessor = document["accessors"][number]
        index = _array(document, views, accessor) if accessor["componentType"] == UINT else None
        if index is not None and int(index.max(initial=0)) < 65535:
            views[accessor["bufferView"]] = index.astype("<u2").tobytes()
            accessor["componentType"] = USHORT


def _quantised(document: dict[str, Any], views: list[bytes]) -> bool:
    """Normals and tangents in bytes, uvs within the texture in two; whether there were any. Rows begin at multiples of four bytes."""
    named = {(name, number) for mesh in document["meshes"] for p in mesh["primitives"] for name, number in p["attributes"].items()}
    used = Counter(accessor["bufferView"] for accessor in document["accessors"] if "bufferView" in accessor)
    done = False
    for name, number in sorted(named):
        accessor = document["accessors"][number]
        if accessor["componentType"] != FLOAT or "sparse" in accessor or used[accessor["bufferView"]] > 1:
            continue
        values, view = _array(document, views, accessor), document["bufferViews"][accessor["bufferView"]]
        if name in ("NORMAL", "TANGENT"):
            rows = np.zeros((len(values), 4), "<i1")
            rows[:, : values.shape[1]] = np.round(127 * values)
            accessor |= {"componentType": BYTE, "normalized": True}
        elif name.startswith("TEXCOORD_") and values.min(initial=0) >= 0 and values.max(initial=0) <= 1:
            rows = np.round(65535 * values).astype("<u2")
            accessor |= {"componentType": USHORT, "normalized": True}
        else:
            continue
        views[accessor["bufferView"]], done = rows.tobytes(), True
        view["byteStride"] = 4
    return done


def _pictures(document: dict[str, Any], views: list[bytes]) -> bool:
    """WebP instead of PNG; whether there were any."""
    exact = {document["textures"][m["normalTexture"]["index"]]["source"] for m in document.get("materials", []) if "normalTexture" in m}
    for number, image in enumerate(document.get("images", [])):
        out = io.BytesIO()
        with Image.open(io.BytesIO(views[image["bufferView"]])) as picture:
            picture.save(out, "WEBP", lossless=number in exact, quality=100 if number in exact else QUALITY, method=4)
        views[image["bufferView"]] = out.getvalue()
        image["mimeType"] = "image/webp"
    for texture in document.get("textures", []):
        texture["extensions"] = {PICTURES: {"source": texture.pop("source")}}
    return bool(document.get("images"))


def _array(document: dict[str, Any], views: list[bytes], accessor: dict[str, Any]) -> ndarray:
    kind = {FLOAT: "<f4", UINT: "<u4", USHORT: "<u2"}[accessor["componentType"]]
    rows = np.frombuffer(views[accessor["bufferView"]], kind, accessor["count"] * WIDTH[accessor["type"]])
    return rows if accessor["type"] == "SCALAR" else rows.reshape(accessor["count"], -1)
