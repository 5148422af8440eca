"""PLY (Turk 1994) in its three encodings: meshes, points, and the Gaussians of 3D Gaussian Splatting. Nothing in a file is trusted:
what its header promises is compared with its length before memory is taken."""

import re
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from dream3d.foreign.files import LIMITS, beside, broken, read, whole
from dream3d.foreign.pieces import BESIDE, NO_UV, Budget, Material, Piece, cut, finite, within

HEADER = 1 << 16
TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
         "float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2",
         "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8"}  # fmt: skip
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "<"}
COLOURS = ("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue")
Lists = tuple[ndarray, ndarray]  # all values one after the other, and how many are of each row


@dataclass(frozen=True)
class Property:
    """One number of a row, or (`count` is the type of its length) a list of them."""

    name: str
    type: str
    count: str | None = None


@dataclass(frozen=True)
class Element:
    name: str
    rows: int
    properties: list[Property]


def read_ply(path: Path, said: list[str]) -> tuple[list[Piece], dict[str, ndarray]]:
    """The mesh's piece, and the columns of the vertices; no piece where there are no faces."""
    elements, order, texture, data = _opened(path)
    if "tristrips" in (element.name for element in elements):
        raise broken(path, "its faces are strips", fix="save it with triangles")
    found: dict[str, dict[str, ndarray | Lists]] = {}
    at = 0
    for element in elements:
        held, at = _element(data, at, element, order, path)
        if element.name in ("vertex", "face"):
            found[element.name] = held
    columns = {name: column for name, column in found.get("vertex", {}).items() if isinstance(column, ndarray)}
    faces = found.get("face", {})
    lists = faces.get("vertex_indices", faces.get("vertex_index"))
    if not isinstance(lists, tuple) or not len(lists[1]):
        return [], columns
    return [_piece(columns, faces, lists, texture, path, said)], columns


# --- the header ----------------------------------------------------------------------------------------------------------------


def _opened(path: Path) -> tuple[list[Element], str, str | None, memoryview]:
    """Elements, byte order, the texture's name, and the bytes behind the header; of an ASCII file its numbers as float64."""
    head = read(path, HEADER)
    end = re.search(rb"\nend_header[ \t]*\r?\n", head)
    if end is None:
        raise broken(path, f"no end_header in its first {HEADER >> 10} KiB")
    lines = head[: end.start()].decode("utf-8", "replace").splitlines()
    texture = next((line.split(maxsplit=2)[2] for line in lines if re.match(r"comment TextureFile \S", line)), None)
    words = [line.split() for line in lines]
    words = [line for line in words if line and line[0] not in ("comment", "obj_info")]
    if len(words) < 2 or words[0] != ["ply"] or words[1][0] != "format" or words[1][1:2] == [] or words[1][1] not in ORDERS:
        raise broken(path, "its header does not begin as that of a PLY does")
    elements = _elements(words[2:], path)
    ascii = words[1][1] == "ascii"
    data = memoryview(whole(path, LIMITS["text" if ascii else "bytes"]))[end.end() :]
    if ascii:
        plain = [Property(p.name, "f8", None if p.count is None else "f8") for e in elements for p in e.properties]
        each = iter(plain)
        elements = [Element(e.name, e.rows, [next(each) for _ in e.properties]) for e in elements]
        data = memoryview(_numbers(bytes(data), path)).cast("B")
    return elements, ORDERS[words[1][1]], texture, data


def _elements(lines: list[list[str]], path: Path) -> list[Element]:
    elements: list[Element] = []
    for words in lines:
        match words:
            case ["element", name, rows] if re.fullmatch(r"\d{1,18}", rows):
                elements.append(Element(name, int(rows), []))
            case ["property", "list", count, kind, name] if elements and {count, kind} <= set(TYPES) and TYPES[count][0] != "f":
                elements[-1].properties.append(Property(name, TYPES[kind], TYPES[count]))
            case ["property", kind, name] if elements and kind in TYPES:
                elements[-1].properties.append(Property(name, TYPES[kind]))
            case _:
                raise broken(path, f"its header says {' '.join(words)[:60]!r}")
    for element in elements:
        names = [p.name for p in element.properties]
        if len(set(names)) != len(names) or [e.name for e in elements].count(element.name) > 1:
            raise broken(path, f"something of {element.name[:60]!r} is there twice")
        if not names:
            raise broken(path, f"rows of {element.name[:60]!r} hold nothing")
        Budget(path).take("faces" if element.name == "face" else "vertices", element.rows)
    return elements


def _numbers(data: bytes, path: Path) -> Float[ndarray, " n"]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.fromstring(data, np.float64, sep=" ")
        except (DeprecationWarning, ValueError):
            raise broken(path, "what follows its header are not all numbers") from None


# --- rows ----------------------------------------------------------------------------------------------------------------------


def _element(data: memoryview, at: int, element: Element, order: str, path: Path) -> tuple[dict[str, ndarray | Lists], int]:
    """The columns of one element that begins at a byte, and where the next begins."""
    least = sum(np.dtype(p.count or p.type).itemsize for p in element.properties)
    if element.rows * least > len(data) - at:
        raise broken(path, f"{element.rows} rows of {element.name[:40]!r} are promised, {len(data) - at} bytes are there")
    if element.rows == 0:
        empty = np.zeros(0)
        return {p.name: (empty, empty.astype(int)) if p.count else empty for p in element.properties}, at
    even = _evenly(data, at, element, order)
    return even or _walked(data, at, element, order, path)


def _evenly(data: memoryview, at: int, element: Element, order: str) -> tuple[dict[str, ndarray | Lists], int] | None:
    """Rows whose lists are as long as those of the first row; None where they are not."""
    lengths, fields, place = {}, [], at
    for i, p in enumerate(element.properties):
        if p.count:
            size = _length(data, place, _counter(order, p.count))
            if size is None or size > len(data):
                return None
            lengths[i] = size
            fields += [(f"n{i}", order + p.count), (f"p{i}", order + p.type, (size,))]
        else:
            fields.append((f"p{i}", order + p.type))
        place = at + sum(np.dtype(field[1]).itemsize * (field[2][0] if len(field) > 2 else 1) for field in fields)
        if place > len(data):
            return None
    size = place - at
    if element.rows * size > len(data) - at:
        return None
    rows = np.frombuffer(data, np.dtype(fields), element.rows, at)
    if any(bool((rows[f"n{i}"] != length).any()) for i, length in lengths.items()):
        return None
    full = {i: np.full(element.rows, length) for i, length in lengths.items()}
    columns = {p.name: (rows[f"p{i}"].ravel(), full[i]) if p.count else rows[f"p{i}"] for i, p in enumerate(element.properties)}
    return columns, at + element.rows * size


def _counter(order: str, kind: str) -> struct.Struct:
    return struct.Struct(order + {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f8": "d"}[kind])


def _length(data: memoryview, place: int, counter: struct.Struct) -> int | None:
    """The length of a list; None where there is none, or it is no length."""
    if place + counter.size > len(data):
        return None
    (value,) = counter.unpack_from(data, place)
    return int(value) if 0 <= value <= len(data) and value == int(value) else None


def _walked(data: memoryview, at: int, element: Element, order: str, path: Path) -> tuple[dict[str, ndarray | Lists], int]:
    """Rows whose lists differ in length: one after the other to find where they are, then all of one length at once."""
    sizes = [(_counter(order, p.count) if p.count else None, np.dtype(p.type).itemsize) for p in element.properties]
    starts = np.empty((len(sizes), element.rows), np.int64)
    lengths = np.ones((len(sizes), element.rows), np.int64)
    short = broken(path, f"fewer rows of {element.name[:40]!r} than promised")
    for row in range(element.rows):
        for i, (count, size) in enumerate(sizes):
            number = 1
            if count is not None:
                number, at = _length(data, at, count), at + count.size
            if number is None or at + number * size > len(data):
                raise short
            starts[i, row], lengths[i, row] = at, number
            at += number * size
    columns = {}
    for i, p in enumerate(element.properties):
        values = _gathered(data, starts[i], lengths[i], np.dtype(order + p.type))
        columns[p.name] = (values, lengths[i]) if p.count else values
    return columns, at


def _gathered(data: memoryview, starts: Int[ndarray, " n"], lengths: Int[ndarray, " n"], kind: np.dtype) -> ndarray:
    """The values at places of a file, one row after the other."""
    raw, ends = np.frombuffer(data, np.uint8), np.cumsum(lengths)
    out = np.empty(int(ends[-1]), kind)
    for length in np.unique(lengths[lengths > 0]):
        rows = np.flatnonzero(lengths == length)
        block = raw[starts[rows, None] + np.arange(length * kind.itemsize)]
        out[(ends - lengths)[rows, None] + np.arange(length)] = block.view(kind)
    return out


# --- a mesh --------------------------------------------------------------------------------------------------------------------


def _piece(columns: dict, faces: dict, lists: Lists, texture: str | None, path: Path, said: list[str]) -> Piece:
    flat, lengths = lists
    Budget(path).take("faces", int(np.maximum(lengths - 2, 0).sum()))
    precise = any(columns[key].dtype == np.float64 for key in "xyz" if key in columns)
    vertices = stacked(columns, ("x", "y", "z"), path, np.float64 if precise else np.float32)
    index = within(flat, len(vertices), path)
    corners = cut(lengths, vertices[index], said)
    index = index[corners]
    picture = beside(path, texture) if texture else None
    if texture and picture is None:
        said.append(f"{texture[:60]!r} is not there: no texture")
    uv, rgb = _uv(columns, faces, lengths, corners, index, path) if picture else None, colours(columns, path)
    left = {NO_UV: picture and uv is None, BESIDE: uv is not None and rgb is not None, "colours of faces are left out": "red" in faces,
            "its other textures are left out": "texnumber" in faces and bool(np.any(faces["texnumber"]))}  # fmt: skip
    said += [words for words, true in left.items() if true]
    rgb = None if uv is not None else rgb
    return Piece(vertices, index, uv, rgb, Material(colour=picture if uv is not None else None))


def _uv(columns: dict, faces: dict, lengths: ndarray, corners: ndarray, index: ndarray, path: Path) -> Float[ndarray, "F 3 2"] | None:
    """Of corners, as MeshLab writes them, or of vertices."""
    wedge = faces.get("texcoord")
    if isinstance(wedge, tuple) and bool((wedge[1] == 2 * lengths).all()):
        return wedge[0].reshape(-1, 2).astype(np.float32)[corners]
    for pair in (("s", "t"), ("u", "v"), ("texture_u", "texture_v")):
        if set(pair) <= set(columns):
            return stacked(columns, pair, path)[index]
    return None


def stacked(columns: dict[str, ndarray], names: tuple[str, ...], path: Path, kind: type = np.float32) -> Float[ndarray, "N K"]:
    """Some of the columns side by side."""
    if missing := [name for name in names if name not in columns]:
        packed = "packed_position" in columns
        raise broken(path, "its Gaussians are compressed" if packed else f"vertices have no {missing[0]!r}",
                     fix="save it as a plain PLY" if packed else "export it again")  # fmt: skip
    with np.errstate(over="ignore", invalid="ignore"):
        return np.stack([columns[name].astype(kind) for name in names], -1)


def colours(columns: dict[str, ndarray], path: Path) -> Float[ndarray, "N 3"] | None:
    """red green blue in [0, 1], or None."""
    names = next((names for names in COLOURS if set(names) <= set(columns)), None)
    if names is None:
        return None
    values, kind = finite(stacked(columns, names, path), path, "colours"), columns[names[0]].dtype
    scale = np.iinfo(kind).max if kind.kind in "iu" else 255.0 if len(values) and values.max() > 1 else 1.0  # ASCII has no types
    return (values / np.float32(scale)).clip(0, 1)
