"""Wavefront OBJ with its MTL: polygons, vertex colours, materials with a colour or a texture. Lines in a file become numbers one at a
time, and nothing grows faster than the file."""

import math
from array import array
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dream3d.foreign.files import MAPS, beside, broken, libraries, lines, mapped, text
from dream3d.foreign.pieces import Budget, Material, Piece, cut, within


class _Obj:
    """Everything a file says, as flat arrays."""

    def __init__(self, path: Path, said: list[str]):
        self.path, self.said, self.budget = path, said, Budget(path)
        self.vertices, self.colours, self.uvs = array("d"), array("f"), array("f")
        self.corners, self.places, self.lengths = array("q"), array("q"), array("q")  # of polygons; places are of uvs, -1: none
        self.owner = array("q")  # the material of a polygon
        self.names: dict[str, int] = {"": 0}
        self.current = 0
        self.libraries: list[list[bytes]] = []
        self.left: dict[str, int] = {}

    def line(self, words: list[bytes]) -> None:
        match words[0]:
            case b"v":
                self.budget.take("vertices", 1)
                numbers = self._numbers(words[1:], 3, 8)
                self.vertices.extend(numbers[:3])
                if len(numbers) >= 6:
                    self.colours.extend(numbers[-3:])
            case b"vt":
                self.uvs.extend((self._numbers(words[1:], 1, 3) + [0.0])[:2])
            case b"f":
                self._face(words[1:])
            case b"usemtl":
                name = text(words[1:])
                self.budget.take("pieces", name not in self.names)
                self.current = self.names.setdefault(name, len(self.names))
            case b"mtllib":
                self.budget.take("pieces", len(words))
                self.libraries.append(words[1:])
            case b"l" | b"p" | b"curv" | b"surf":
                self.left["lines, points and curves"] = self.left.get("lines, points and curves", 0) + 1
            case b"vn" | b"vp" | b"o" | b"g" | b"s":
                pass  # normals are those of the faces
            case word if not word.isascii() or not word.replace(b"_", b"").isalpha():
                raise broken(self.path, f"a line begins with {word[:40]!r}", fix="is it an OBJ file?")

    def _numbers(self, words: list[bytes], least: int, most: int) -> list[float]:
        try:
            numbers = [float(word) for word in words[:most]]
        except ValueError:
            raise broken(self.path, f"{b' '.join(words)[:60].decode('utf-8', 'replace')!r} are not numbers") from None
        if len(numbers) < least:
            raise broken(self.path, f"a line has fewer than {least} numbers")
        return numbers

    def _face(self, words: list[bytes]) -> None:
        if len(words) < 3:
            self.left["faces of fewer than three corners"] = self.left.get("faces of fewer than three corners", 0) + 1
            return
        self.budget.take("faces", len(words) - 2)
        count, mapped_to = len(self.vertices) // 3, len(self.uvs) // 2
        for word in words:
            parts = word.split(b"/")
            self.corners.append(self._index(parts[0], count, word))
            self.places.append(self._index(parts[1], mapped_to, word) if len(parts) > 1 and parts[1] else -1)
        self.lengths.append(len(words))
        self.owner.append(self.current)

    def _index(self, part: bytes, count: int, word: bytes) -> int:
        """From 1 on, or from -1 backwards, what was said so far; as from 0 on. Later vertices may be named too."""
        try:
            number = int(part) if len(part) < 12 else 0
        except ValueError:
            number = 0
        found = number - 1 if number > 0 else count + number
        if number == 0 or found < 0:
            raise broken(self.path, f"{word[:40].decode('utf-8', 'replace')!r} is no corner of a face")
        return found


def read_obj(path: Path, said: list[str]) -> tuple[list[Piece], dict[str, ndarray]]:
    """One piece per material; and vertices (x y z, red green blue) as columns. Axes stay those of the file."""
    found = _Obj(path, said)
    for words in lines(path):
        found.line(words)
    said += [f"{count} {what} left out" for what, count in found.left.items()]
    vertices = np.frombuffer(found.vertices).reshape(-1, 3)
    rgb = np.frombuffer(found.colours, np.float32).reshape(-1, 3)
    if len(rgb) and len(rgb) != len(vertices):
        said.append(f"{len(rgb)} of {len(vertices)} vertices have a colour: none is used")
    sound = bool(np.isfinite(rgb).all())
    said += ["colours of vertices are not all finite: none is used"] * (not sound)
    rgb = _unit(rgb, said) if len(rgb) == len(vertices) and sound else None
    columns = dict(zip(("x", "y", "z"), vertices.T, strict=True))
    columns |= {} if rgb is None else dict(zip(("red", "green", "blue"), rgb.T, strict=True))
    if not len(found.lengths):
        return [], columns
    materials = _materials(found)
    return [*_pieces(found, vertices, rgb, materials)], columns


def _unit(rgb: Float[ndarray, "V 3"], said: list[str]) -> Float[ndarray, "V 3"]:
    """Colours in [0, 1]; some writers count to 255."""
    if len(rgb) and rgb.max() > 1.5:
        said.append("colours of vertices go to 255: divided by that")
        rgb = rgb / np.float32(255)
    return rgb.clip(0, 1)


def _pieces(found: _Obj, vertices: Float[ndarray, "V 3"], rgb: Float[ndarray, "V 3"] | None, materials: dict[str, Material]):
    lengths, owner = np.frombuffer(found.lengths, np.int64), np.frombuffer(found.owner, np.int64)
    corners = within(np.frombuffer(found.corners, np.int64), len(vertices), found.path)
    places = np.frombuffer(found.places, np.int64)
    uvs = np.frombuffer(found.uvs, np.float32).reshape(-1, 2)
    within(places[places >= 0], len(uvs), found.path, "texture coordinate")
    uvs = np.concatenate([uvs, np.zeros((1, 2), np.float32)])  # -1
    triangles, of = cut(lengths, vertices[corners], found.said), np.repeat(owner, np.maximum(lengths - 2, 0))
    names, order = list(found.names), np.argsort(of, kind="stable")
    for mine in np.split(order, np.flatnonzero(np.diff(of[order])) + 1) if len(order) else []:
        name, mine = names[of[mine[0]]], triangles[mine]
        used, faces = np.unique(corners[mine], return_inverse=True)
        without, material = (places[mine] < 0).any(1), materials.get(name, Material())
        uv = None if without.all() else uvs[places[mine]]
        if material.maps and without.any() and uv is not None:
            found.said.append(f"{int(without.sum())} faces with a texture have no uv: they show its lower left corner")
        yield Piece(vertices[used], faces.reshape(-1, 3), uv, None if rgb is None else rgb[used], material)


def _materials(found: _Obj) -> dict[str, Material]:
    """Those of all libraries that are there."""
    materials: dict[str, Material] = {}
    for words in found.libraries:
        there = [library for name in libraries(words) if (library := beside(found.path, name))]
        if not there:
            found.said.append(f"{text(words)[:60]!r} is not there: no materials from it")
        for library in dict.fromkeys(there):
            materials |= _library(library, found)
    unknown = [name for name in found.names if name and name not in materials]
    if unknown:
        found.said.append(f"{len(unknown)} materials are in no library: {', '.join(unknown)[:60]}")
    return materials


OPAQUE = {"d": 1.0, "tr": 0.0, "map_d": None}


def _number(word: bytes) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _library(path: Path, found: _Obj) -> dict[str, Material]:
    materials: dict[str, dict] = {}
    now: dict = {}
    for words in lines(path):
        key = words[0].lower().decode("ascii", "replace")
        if key == "newmtl":
            found.budget.take("pieces", 1)
            now = materials.setdefault(text(words[1:]), {})
        elif key == "kd" and words[1:2] not in ([b"spectral"], [b"xyz"]):
            now["rgb"] = tuple(float(np.clip(v, 0, 1)) if v == v else 0.0 for v in found._numbers((words[1:] * 3)[:3], 3, 3))
        elif key in OPAQUE and words[1:] and _number(words[-1]) != OPAQUE[key]:
            found.said.append("transparency is left out")
        elif key in MAPS and words[1:]:
            picture = beside(path, mapped(words))
            if picture is None:
                found.said.append(f"{mapped(words)[:60]!r} is not there: no such texture")
            now["colour" if key == "map_kd" else "bump"] = picture
            if b"-clamp" in words and words[words.index(b"-clamp") + 1 : words.index(b"-clamp") + 2] == [b"on"]:
                now["repeat"] = (False, False)
    return {name: Material(**values) for name, values in materials.items()}
