"""glTF 2.0 (Khronos, 2021), as .glb or .gltf with everything in the one file: its parts by number. Every offset, length and index is
checked before it is used; nothing outside of the file is opened."""

import base64
import binascii
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dream3d.foreign.files import LIMITS, broken, whole
from dream3d.foreign.pieces import Budget, within

COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
READ = {"KHR_texture_transform", "KHR_mesh_quantization", "EXT_texture_webp", "KHR_materials_unlit", "KHR_texture_basisu"}


class Document:
    """One file: JSON, whose values may be of any type, and bytes."""

    def __init__(self, path: Path, said: list[str]):
        self.path, self.said, self.budget = path, said, Budget(path)
        self.document, self.blob = _opened(path)
        self.buffers: dict[int, memoryview] = {}
        self.arrays: dict[int, ndarray] = {}
        self.images: dict[int, memoryview] = {}
        needed = [str(name) for name in self.entries(self.document, "extensionsRequired")]
        if unknown := [name for name in needed if name not in READ and not name.startswith("KHR_materials_")]:
            fix = "export it without compression" if "compression" in unknown[0] else "export it as plain glTF 2.0"
            raise broken(path, f"it needs {unknown[0][:60]}, which is not read", fix=fix)

    def wrong(self, what: str) -> Exception:
        return broken(self.path, f"{what} is not as glTF has it")

    def entries(self, holder: dict, key: str) -> list:
        found = holder.get(key, [])
        if not isinstance(found, list):
            raise self.wrong(key)
        return found

    def section(self, holder: dict, key: str) -> dict:
        found = holder.get(key, {})
        if not isinstance(found, dict):
            raise self.wrong(key)
        return found

    def named(self, kind: str, index: Any) -> dict:
        """One of the document's nodes, meshes, ..."""
        known = self.entries(self.document, kind)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(known) or not isinstance(known[index], dict):
            raise self.wrong(f"{kind}[{str(index)[:20]}]")
        return known[index]

    def whole(self, holder: dict, key: str, default: int = 0, most: int = 1 << 40) -> int:
        found = holder.get(key, default)
        if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= most:
            raise self.wrong(key)
        return found

    def numbers(self, holder: dict, key: str, default: list[int]) -> Float[ndarray, " n"]:
        found = holder.get(key, default)
        right = isinstance(found, list) and len(found) == len(default) and all(type(v) in (int, float) for v in found)
        if not right or not all(abs(v) < 1e30 for v in found):  # also false for what is no number
            raise self.wrong(key)
        return np.array(found, np.float64)

    # --- bytes ----------------------------------------------------------------------------------------------------------------

    def buffer(self, index: int) -> memoryview:
        if index not in self.buffers:
            entry = self.named("buffers", index)
            uri, length = entry.get("uri"), self.whole(entry, "byteLength")
            if uri is None and index == 0 and self.blob is not None:
                data = self.blob
            else:
                data = memoryview(self.embedded(uri))
            if length > len(data):
                raise broken(self.path, f"buffer {index} promises {length} bytes, {len(data)} are there")
            self.buffers[index] = data[:length]
        return self.buffers[index]

    def embedded(self, uri: Any) -> bytes:
        head, comma, text = uri.partition(",") if isinstance(uri, str) else ("", "", "")
        if not comma or not head.startswith("data:") or not head.endswith(";base64"):
            raise broken(self.path, "its data lie in other files", fix="export it as .glb, or as .gltf with everything embedded")
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise self.wrong("a data URI") from None

    def view(self, index: Any) -> tuple[memoryview, int]:
        """The bytes of a buffer view, and its stride."""
        entry = self.named("bufferViews", index)
        data, start, length = self.buffer(self.whole(entry, "buffer")), self.whole(entry, "byteOffset"), self.whole(entry, "byteLength")
        if start + length > len(data):
            raise broken(self.path, f"bufferViews[{index}] reaches beyond its buffer")
        if "EXT_meshopt_compression" in self.section(entry, "extensions"):
            raise broken(self.path, "it is compressed", fix="export it without compression")
        return data[start : start + length], self.whole(entry, "byteStride", most=252)

    def array(self, index: Any, width: int | tuple[int, ...]) -> ndarray:
        """An accessor's numbers, normalised where it says so; (n, width), or (n,) for a width of 1. Not to be changed."""
        entry = self.named("accessors", index)
        kind, wide = COMPONENTS.get(self.whole(entry, "componentType")), WIDTHS.get(str(entry.get("type")))
        if kind is None or wide not in (width if isinstance(width, tuple) else (width,)):
            raise self.wrong(f"accessors[{index}]")
        if index not in self.arrays:
            count = self.whole(entry, "count")
            if "bufferView" in entry:
                self._check(entry, index, count, np.dtype(kind).itemsize * wide)
            self.budget.take("entries" if "bufferView" in entry else "zeros", count)
            found = self._strided(entry, count, wide, np.dtype(kind))
            if "sparse" in entry:
                found = self._sparse(found, self.section(entry, "sparse"), wide, np.dtype(kind))
            if entry.get("normalized") is True and found.dtype.kind in "iu":
                found = np.maximum(found.astype(np.float32) / np.iinfo(found.dtype).max, -1)
            self.arrays[index] = found[:, 0] if wide == 1 else found
        return self.arrays[index]

    def _check(self, entry: dict, index: int, count: int, size: int) -> None:
        data, stride = self.view(entry["bufferView"])
        start = self.whole(entry, "byteOffset")
        if count and start + (stride or size) * (count - 1) + size > len(data) or stride and stride < size:
            raise broken(self.path, f"accessors[{index}] promises {count} entries, which are not there")

    def _strided(self, entry: dict, count: int, wide: int, kind: np.dtype) -> ndarray:
        if "bufferView" not in entry or not count:
            return np.zeros((count, wide), kind)
        data, stride = self.view(entry["bufferView"])
        strides = stride or kind.itemsize * wide, kind.itemsize
        return np.ndarray((count, wide), kind, data, self.whole(entry, "byteOffset"), strides)

    def _sparse(self, found: ndarray, sparse: dict, wide: int, kind: np.dtype) -> ndarray:
        """An array with some rows replaced."""
        count = self.whole(sparse, "count")
        index, values = self.section(sparse, "indices"), self.section(sparse, "values")
        numbers = COMPONENTS.get(self.whole(index, "componentType"))
        if numbers not in ("<u1", "<u2", "<u4") or "bufferView" not in index or "bufferView" not in values:
            raise self.wrong("sparse")
        for part, size in ((index, np.dtype(numbers).itemsize), (values, kind.itemsize * wide)):
            self._check(part, 0, count, size)
        rows = within(self._strided(index, count, 1, np.dtype(numbers))[:, 0], len(found), self.path)
        found = found.copy()
        found[rows] = self._strided(values, count, wide, kind)
        return found

    def image(self, index: Any) -> memoryview:
        """An encoded picture."""
        entry = self.named("images", index)
        if index not in self.images:
            within = "bufferView" in entry
            self.images[index] = self.view(entry["bufferView"])[0] if within else memoryview(self.embedded(entry.get("uri")))
        return self.images[index]


def _opened(path: Path) -> tuple[dict, memoryview | None]:
    """The JSON, and the binary chunk of a .glb."""
    data = memoryview(whole(path, LIMITS["bytes"]))
    blob = None
    if bytes(data[:4]) == b"glTF":
        data, blob = _chunks(data, path)
    text = bytes(data[: LIMITS["text"] + 1])
    if len(text) > LIMITS["text"] or sum(text.count(mark) for mark in (b",", b"[", b"{")) > LIMITS["json"]:
        raise broken(path, f"its JSON is larger than {LIMITS['text'] >> 20} MiB or {LIMITS['json']:,} values", fix="export it as .glb")
    try:
        document = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise broken(path, "its JSON is not well-formed") from None
    if not isinstance(document, dict) or not isinstance(document.get("asset"), dict):
        raise broken(path, "its JSON is no glTF")
    if not str(document["asset"].get("version", "")).startswith("2."):
        raise broken(path, f"it is glTF {str(document['asset'].get('version'))[:10]}", fix="export it as glTF 2.0")
    return document, blob


def _chunks(data: memoryview, path: Path) -> tuple[memoryview, memoryview | None]:
    if len(data) < 20:
        raise broken(path, "it ends too early")
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2 or length > len(data):
        raise broken(path, f"version {version} with {length} bytes promised, {len(data)} are there")
    chunks, at = [], 12
    while at + 8 <= length and len(chunks) < 16:
        size, kind = struct.unpack_from("<I4s", data, at)
        if size > length - at - 8:
            raise broken(path, f"a part of {size} bytes is promised, {length - at - 8} are there")
        chunks.append((kind, data[at + 8 : at + 8 + size]))
        at += 8 + size + -size % 4
    if not chunks or chunks[0][0] != b"JSON":
        raise broken(path, "it does not begin with JSON")
    return chunks[0][1], next((chunk for kind, chunk in chunks[1:] if kind == b"BIN\0"), None)
