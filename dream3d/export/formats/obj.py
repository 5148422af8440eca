"""Wavefront OBJ with its materials (.mtl) and PNG pictures beside it: what old programs read.

The .mtl has Kd or map_Kd, and of a mesh with a material the physically based keywords that Blender and others read: map_Pr (roughness),
map_Pm (metallic), norm (tangent-space normals); there is no keyword for occlusion, which is left out. Baked light is `illum 0`: colour
as it is, no lamp. Without a texture there is no .mtl: readers look for colours of vertices, which stand behind their places as display
sRGB, only where there is no material.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from dream3d.export.formats import Ask
from dream3d.export.solid import bytes_of, charted, finite, grey, line, turned
from dream3d.export.texels import vertex_normals
from dream3d.files import write_bytes, write_text
from dream3d.types import Mesh

FILES = {"mesh": "mesh.obj"}
UP = "y"
EXTRA = ""


def write(item: Mesh, path: Path, ask: Ask) -> None:
    """The pictures and the .mtl first, so that the .obj never names what is not there."""
    if finite(item).uv is not None and item.texture is not None:
        write_text(path.with_suffix(".mtl"), "\n".join([f"# dream3d {line(ask.facts)}", *_material(item, path), ""]))
    write_text(path, _geometry(item, path, ask))


def _material(mesh: Mesh, path: Path) -> list[str]:
    """The lines of the material; writes its pictures."""
    lines = ["newmtl surface", "Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "d 1", f"illum {0 if mesh.orm is None else 2}"]
    pictures = {"map_Kd": ("colour", bytes_of(mesh.texture))}
    if mesh.orm is not None:
        lines += ["Pr 1", "Pm 1"]  # factors: 0 would be no metal anywhere
        pictures |= {"map_Pr": ("roughness", grey(mesh.orm[..., 1])), "map_Pm": ("metallic", grey(mesh.orm[..., 2]))}
    if mesh.orm is not None and mesh.bump is not None:
        pictures["norm"] = ("normal", bytes_of(mesh.bump / 2 + 0.5))
    for keyword, (name, data) in pictures.items():
        target = path.with_name(f"{path.stem}_{name}.png")
        write_bytes(target, data)
        lines.append(f"{keyword} {target.name}")
    return lines


def _geometry(mesh: Mesh, path: Path, ask: Ask) -> str:
    up, corner = ask.up or UP, mesh.faces.numpy() + 1
    places, normals = (turned(v.double().numpy(), up) for v in (mesh.vertices, vertex_normals(mesh)))
    textured = mesh.uv is not None and mesh.texture is not None
    coloured = not textured and mesh.rgb is not None
    rows = np.concatenate([places, mesh.rgb.double().numpy().clip(0, 1)], 1) if coloured else places
    parts = [f"# dream3d {line(ask.facts)}", *[f"mtllib {path.with_suffix('.mtl').name}"] * textured, "o object", *_rows("v", rows)]
    if mesh.uv is None:
        faces = _faces("%d//%d", np.stack([corner, corner], -1))
    else:
        uv, index = charted(mesh)
        parts += _rows("vt", uv)
        faces = _faces("%d/%d/%d", np.stack([corner, index + 1, corner], -1))
    return "\n".join([*parts, *_rows("vn", normals), "s 1", *["usemtl surface"] * textured, *faces, ""])


def _rows(keyword: str, values: ndarray) -> list[str]:
    shape = f"{keyword}{' %.9g' * values.shape[1]}"  # nine digits are a float32, exactly
    return [shape % tuple(row) for row in values.tolist()]


def _faces(corner: str, index: Int[ndarray, "F 3 K"]) -> list[str]:
    shape = f"f {corner} {corner} {corner}"
    return [shape % tuple(row) for row in index.reshape(len(index), -1).tolist()]
