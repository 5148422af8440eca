"""A mesh as writers of files want it: arrays in the axes and the unit of the file, pictures as PNG, words that stay on one line."""

import json
import warnings
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.export.decimate import closed
from dream3d.export.video import png
from dream3d.types import Mesh

MILLIMETRES = 1000.0  # of a metre
WALL, THIN, SAMPLES = 0.8, 0.02, 20_000  # millimetres: two lines of a usual nozzle; of the surface; faces that are looked at
LINE = 16384  # characters of a comment: readers hold headers for short


def finite(mesh: Mesh) -> Mesh:
    """The mesh, all of whose vertices are numbers. Raises Mistake where they are not, or where there are no faces."""
    if not bool(mesh.vertices.isfinite().all()):
        raise Mistake("this mesh has vertices that are not finite: the run has diverged", code=5)
    if not len(mesh.faces):
        raise Mistake("this mesh has no faces: there is nothing to write", code=5)
    return mesh


def turned(vectors: Float[ndarray, "V 3"], up: Literal["y", "z"]) -> Float[ndarray, "V 3"]:
    """From the world's axes (z up) to a file's: (x, y, z) -> (x, z, -y) where y points up."""
    return np.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], -1) if up == "y" else np.asarray(vectors)


def printed(mesh: Mesh, millimetres: float | None, name: str) -> Float[ndarray, "V 3"]:
    """The vertices in millimetres, in the world's axes: the longest side as long as asked, else a metre is 1000. Says where the mesh is
    not closed, as printers need an inside, and where walls are thin. Raises Mistake where it has no size."""
    vertices = finite(mesh).vertices.double().numpy()
    longest = float(np.ptp(vertices[np.unique(mesh.faces.numpy())], axis=0).max())
    if longest <= 0:
        raise Mistake("this mesh has no size: there is nothing to print", code=5)
    if not closed(mesh.faces):
        warnings.warn(f"{name}: the mesh is not closed (holes, or edges of more than two faces): a printer may refuse it, or fill it",
                      stacklevel=3)  # fmt: skip
    vertices = vertices * (MILLIMETRES if millimetres is None else millimetres / longest)
    if (share := thin(vertices, mesh.faces.numpy())) > THIN:
        warnings.warn(f"{name}: {100 * share:.0f} % of the surface belongs to walls thinner than {WALL:g} mm: print it larger "
                      "(--print-size-mm)", stacklevel=3)  # fmt: skip
    return vertices


def thin(vertices: Float[ndarray, "V 3"], faces: Int[ndarray, "F 3"]) -> float:
    """The share of the surface behind which, straight inwards, another surface comes within WALL (same unit as the vertices), by the middle
    of at most SAMPLES faces."""
    from dream3d.export.rays import Tree

    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normal, axis=1)
    some = np.flatnonzero(area > 0)
    some = some[:: max(1, len(some) // SAMPLES)]
    if not len(some):
        return 0.0
    place, inwards = (torch.from_numpy(rows.astype(np.float32)) for rows in (corners[some].mean(1), -normal[some] / area[some, None]))
    tree = Tree(Mesh(torch.from_numpy(vertices.astype(np.float32)), torch.from_numpy(faces)))
    free = tree.open(place, inwards, np.array([[0.0, 0.0, 1.0]]), WALL, 1e-5 * float(np.ptp(vertices)))
    return float(area[some] @ (free.numpy() < 0.5) / area[some].sum())


def charted(mesh: Mesh) -> tuple[Float[ndarray, "T 2"], Int[ndarray, "F 3"]]:
    """The different uvs of a mesh, and which of them each corner has."""
    uv, index = np.unique(mesh.uv.reshape(-1, 2).numpy(), axis=0, return_inverse=True)
    return uv, index.reshape(-1, 3)


def painted(mesh: Mesh) -> Float[ndarray, "V 3"] | None:
    """A colour for every vertex: its own, or the mean of what the texture shows where its corners lie; None where there is neither."""
    if mesh.texture is None or mesh.uv is None:
        return None if mesh.rgb is None else mesh.rgb.numpy().clip(0, 1)
    height, width = mesh.texture.shape[:2]
    u, v = mesh.uv.reshape(-1, 2).numpy().T
    x, y = (np.floor(a * n).astype(int).clip(0, n - 1) for a, n in ((u, width), (1 - v, height)))
    shown, corner = mesh.texture.numpy()[y, x].clip(0, 1), mesh.faces.flatten().numpy()
    count = np.bincount(corner, minlength=len(mesh.vertices))[:, None]
    total = np.stack([np.bincount(corner, shown[:, i], len(mesh.vertices)) for i in range(3)], -1)
    return total / np.maximum(count, 1)


def bytes_of(values: Float[Tensor, "h w 3"]) -> bytes:
    """Values in [0, 1] as a PNG."""
    return png(values.clamp(0, 1).mul(255).round().byte().numpy())


def grey(values: Float[Tensor, "h w"]) -> bytes:
    """One channel in [0, 1] as a PNG in grey."""
    return bytes_of(values[..., None].expand(-1, -1, 3))


def line(facts: dict[str, Any]) -> str:
    """Facts as JSON in ASCII: one line, whatever a prompt holds; where it would be very long, with shortened values."""
    whole = json.dumps(facts, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return whole if len(whole) <= LINE else json.dumps({key: str(value)[:200] for key, value in sorted(facts.items())})
