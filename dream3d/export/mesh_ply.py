"""A mesh as a binary .ply: vertices with normals and colours, triangles, and of a textured mesh `texcoord` per face and the picture's
name (`comment TextureFile`), as MeshLab writes them. Vertices stay welded, so a closed mesh is closed in the file; readers that know
no texture show the colours that it has at the vertices."""

from pathlib import Path

import numpy as np

from dream3d.export.formats import Ask
from dream3d.export.solid import bytes_of, finite, line, painted, turned
from dream3d.export.texels import vertex_normals
from dream3d.files import write_bytes
from dream3d.types import Mesh


def write_mesh_ply(mesh: Mesh, path: Path, ask: Ask, up: str = "z") -> None:
    """Raises Mistake for a mesh without faces, or that is not finite."""
    textured = finite(mesh).uv is not None and mesh.texture is not None
    lines = ["ply", "format binary_little_endian 1.0", f"comment dream3d {line(ask.facts)}"]
    if textured:
        picture = path.with_name(f"{path.stem}_colour.png")
        write_bytes(picture, bytes_of(mesh.texture))
        lines.append(f"comment TextureFile {picture.name}")
    vertices, faces = _vertices(mesh, ask.up or up), _faces(mesh, textured)
    lines += [f"element vertex {len(vertices)}", *(_property(name, vertices.dtype[name]) for name in vertices.dtype.names)]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    lines += ["property list uchar float texcoord"] * textured
    write_bytes(path, "\n".join([*lines, "end_header\n"]).encode("ascii") + vertices.tobytes() + faces.tobytes())


def _vertices(mesh: Mesh, up: str) -> np.ndarray:
    colour = painted(mesh)
    names = ["x", "y", "z", "nx", "ny", "nz"]
    kind = [(name, "<f4") for name in names] + [(name, "u1") for name in ("red", "green", "blue") if colour is not None]
    rows = np.empty(len(mesh.vertices), kind)
    floats = np.concatenate([turned(v.numpy(), up) for v in (mesh.vertices, vertex_normals(mesh))], 1)
    for name, column in zip(names, floats.T, strict=True):
        rows[name] = column
    if colour is not None:
        for name, column in zip(("red", "green", "blue"), np.round(255 * colour).T, strict=True):
            rows[name] = column
    return rows


def _property(name: str, kind: np.dtype) -> str:
    return f"property {'float' if kind == '<f4' else 'uchar'} {name}"


def _faces(mesh: Mesh, textured: bool) -> np.ndarray:
    fields = [("count", "u1"), ("corners", "<i4", 3)] + [("uvs", "u1"), ("uv", "<f4", 6)] * textured
    rows = np.empty(len(mesh.faces), fields)
    rows["count"], rows["corners"] = 3, mesh.faces.numpy()
    if textured:
        rows["uvs"], rows["uv"] = 6, mesh.uv.reshape(-1, 6).numpy()
    return rows
