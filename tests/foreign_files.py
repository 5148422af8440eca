"""Files as others write them, small and by hand: the seeds of tests and of the fuzz."""

import base64
import io
import json
import struct

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from PIL import Image

from dream3d.types import Mesh

TETRA = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], "<f4")
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], "<u2")  # outwards
UV = np.array([[0, 0], [1, 0], [0, 1], [0.5, 0.25]], "<f4")


def ball(subdivisions: int = 2) -> Mesh:
    made = trimesh.creation.icosphere(subdivisions, radius=0.6)
    return Mesh(torch.from_numpy(made.vertices.copy()).float(), torch.from_numpy(made.faces.copy()).long())


def saved(path, data: bytes):
    path.write_bytes(data)
    return path


def at(mesh: Mesh, weights=(1 / 3, 1 / 3, 1 / 3)) -> torch.Tensor:
    """The texture's colour at a place of each face."""
    uv = (mesh.uv * torch.tensor(weights)[:, None]).sum(1) * 2 - 1
    grid = torch.stack([uv[:, 0], -uv[:, 1]], -1)[None, None]
    return F.grid_sample(mesh.texture.movedim(-1, 0)[None], grid, align_corners=False, mode="nearest")[0, :, 0].T


def png(width: int, height: int, seed: int = 0) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels(width, height, seed)).save(data, format="PNG")
    return data.getvalue()


def pixels(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def document(*, texture: bytes | None = None) -> tuple[dict, bytes]:
    """A tetrahedron as glTF's JSON and buffer; with uv where there is a texture."""
    parts = [TETRA.tobytes(), FACES.tobytes(), UV.tobytes(), texture or b""]
    starts = np.cumsum([0, *(len(p) + -len(p) % 4 for p in parts)]).tolist()
    blob = b"".join(p + bytes(-len(p) % 4) for p in parts)
    views = [{"buffer": 0, "byteOffset": s, "byteLength": len(p)} for s, p in zip(starts, parts, strict=False)]
    made = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "mode": 4}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
                      {"bufferView": 1, "componentType": 5123, "count": 12, "type": "SCALAR"}],
        "bufferViews": views[:2], "buffers": [{"byteLength": len(blob)}],
    }  # fmt: skip
    if texture is not None:
        made["accessors"].append({"bufferView": 2, "componentType": 5126, "count": 4, "type": "VEC2"})
        made["bufferViews"] = views
        made["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"] = 2
        made["meshes"][0]["primitives"][0]["material"] = 0
        made["materials"] = [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}]
        made["textures"], made["images"] = [{"source": 0}], [{"bufferView": 3, "mimeType": "image/png"}]
    return made, blob


def glb(made: dict, blob: bytes) -> bytes:
    text = json.dumps(made).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(blob), b"BIN\0") + blob
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def gltf(made: dict, blob: bytes) -> bytes:
    """Everything in one JSON."""
    uri = "data:application/octet-stream;base64," + base64.b64encode(blob).decode()
    return json.dumps({**made, "buffers": [{"byteLength": len(blob), "uri": uri}]}).encode()


def ply(order: str = "<", *, quads: bool = False, colours: bool = True) -> bytes:
    """The tetrahedron, or a square pyramid of four triangles and a quadrangle, in binary."""
    vertices = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [0, 0, 1]], np.float32) if quads else TETRA
    polygons = [[3, 2, 1, 0], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]] if quads else FACES.tolist()
    name = {"<": "binary_little_endian", ">": "binary_big_endian"}[order]
    tints = "property uchar red\nproperty uchar green\nproperty uchar blue\n" if colours else ""
    head = f"ply\nformat {name} 1.0\ncomment by hand\nelement vertex {len(vertices)}\n"
    head += f"property float x\nproperty double y\nproperty float z\n{tints}element edge 1\nproperty int a\nproperty list uchar short b\n"
    head += f"element face {len(polygons)}\nproperty list uchar int vertex_indices\nend_header\n"
    body = b"".join(struct.pack(order + "fdf", *v) + (bytes([51 * i, 0, 255]) if colours else b"") for i, v in enumerate(vertices))
    body += struct.pack(order + "iBhh", 7, 2, 1, 2)
    return head.encode() + body + b"".join(struct.pack(f"{order}B{len(p)}i", len(p), *p) for p in polygons)


def ascii_ply() -> bytes:
    lines = [f"{x:g} {y:g} {z:g}" for x, y, z in TETRA] + [f"3 {a} {b} {c}" for a, b, c in FACES]
    head = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    return (head + "element face 4\nproperty list uchar uint vertex_index\nend_header\n" + "\n".join(lines) + "\n").encode()


OBJ = """# a house
mtllib house.mtl
o house
v -1 0 -1
v 1 0 -1
v 1 0 1
v -1 0 1
v 0 2 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
g floor
usemtl wood
f 1/1 2/2 3/3 4/4
g roof
usemtl red
s 1
f -1 -2 -3
f -1 -3 -4
f 5//  \\
  2// 1//
f 5 1 4
l 1 2
"""
MTL = """newmtl wood
Kd 0.8 0.8 0.8
map_Kd -s 1 1 1 wood.png
newmtl red
Kd 1 0 0
"""
