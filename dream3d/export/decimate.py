"""Fewer triangles, still closed: quadric edge collapses (Garland and Heckbert 1997; fast-simplification), mended.

The package collapses edges without the link condition. On noisy surfaces that folds triangles onto each other and lets
four of them meet in an edge, but leaves no hole. So mending is simple: folded pairs go, and a crowded edge gets one
midpoint per pair of triangles.
"""

import warnings

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from dream3d.types import Mesh

APART = 0.02  # how far the midpoints of a crowded edge move into their triangles, so that no reader welds them again


def closed(faces: Int[Tensor, "F 3"]) -> bool:
    """Whether there are faces and every edge is used exactly once in each direction: watertight, consistently wound."""
    start, end = _edges(faces.numpy())
    forward, backward = (np.sort(_code(a, b)) for a, b in ((start, end), (end, start)))
    once = (start != end).all() and (np.diff(forward) > 0).all() and (forward == backward).all()
    return len(faces) > 0 and bool(once)


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """The mesh (without colours) with about `faces` faces, or itself where it has no more. A closed mesh stays closed:
    where the wanted number would tear it, more faces are kept, with a warning."""
    whole, wanted = closed(mesh.faces), faces
    while faces < len(mesh.faces):
        small = _simplify(mesh, faces)
        if closed(small.faces) or not whole:
            break
        faces *= 2
    else:
        small = Mesh(mesh.vertices, mesh.faces)
    if faces > wanted and len(small.faces) > wanted:
        warnings.warn(f"kept {len(small.faces)} faces: {wanted} would tear the surface open", stacklevel=2)
    return small


def _simplify(mesh: Mesh, faces: int) -> Mesh:
    import fast_simplification

    vertices, triangles = fast_simplification.simplify(
        mesh.vertices.numpy().astype(np.float32), mesh.faces.numpy().astype(np.int32), target_count=faces, agg=5
    )
    return _mesh(*_mend(vertices.astype(np.float64), triangles.astype(np.int64)))


def _mesh(vertices: Float[ndarray, "V 3"], faces: Int[ndarray, "F 3"]) -> Mesh:
    """Only the vertices that are used."""
    used, index = np.unique(faces, return_inverse=True)
    return Mesh(torch.from_numpy(vertices[used]).float(), torch.from_numpy(index.reshape(-1, 3)))


def _mend(
    vertices: Float[ndarray, "V 3"], faces: Int[ndarray, "F 3"]
) -> tuple[Float[ndarray, "W 3"], Int[ndarray, "G 3"]]:
    faces = _unfolded(faces)
    points, triangles = list(vertices), [tuple(face) for face in faces.tolist()]
    for a, b in _crowded(faces):
        along = [_turned(i, face, a, b) for i, face in enumerate(triangles) if a in face and b in face]
        forward, backward = ([(i, c) for i, c, same in along if same is wanted] for wanted in (True, False))
        for (i, c), (j, d) in zip(forward, backward, strict=False):
            middle, m = (points[a] + points[b]) / 2, len(points)
            points.append(middle + APART * ((points[c] + points[d]) / 2 - middle))
            triangles[i], triangles[j] = (a, m, c), (b, m, d)
            triangles += [(m, b, c), (m, a, d)]
    return np.array(points), np.array(triangles, np.int64).reshape(-1, 3)


def _turned(i: int, face: tuple[int, int, int], a: int, b: int) -> tuple[int, int, bool]:
    """The face's index, its third corner, and whether it runs from a to b."""
    k = face.index(a)
    same = face[(k + 1) % 3] == b
    return i, face[(k + 2) % 3] if same else face[(k + 1) % 3], same


def _unfolded(faces: Int[ndarray, "F 3"]) -> Int[ndarray, "G 3"]:
    """Without pairs of faces that have the same corners and look in opposite directions."""
    first = faces.argmin(1)[:, None]
    turned = np.take_along_axis(faces, (first + np.arange(3)) % 3, 1)
    sign = np.where(turned[:, 1] < turned[:, 2], 1, -1)
    _, key = np.unique(np.sort(faces, 1), axis=0, return_inverse=True)
    key = key.reshape(-1)
    surplus = np.bincount(key, sign)[key]
    _, single = np.unique(2 * key + (sign > 0), return_index=True)
    return faces[np.sort(single[(surplus * sign)[single] > 0])]


def _crowded(faces: Int[ndarray, "F 3"]) -> list[list[int]]:
    """Edges of more than two faces."""
    edges, count = np.unique(np.sort(np.stack(_edges(faces), -1), 1), axis=0, return_counts=True)
    return edges[count > 2].tolist()


def _edges(faces: Int[ndarray, "F 3"]) -> tuple[Int[ndarray, " E"], Int[ndarray, " E"]]:
    return faces.reshape(-1), np.roll(faces, -1, 1).reshape(-1)


def _code(start: Int[ndarray, " E"], end: Int[ndarray, " E"]) -> Int[ndarray, " E"]:
    return start * (1 << 31) + end
