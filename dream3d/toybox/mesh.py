"""The ground-truth mesh of a soup: every primitive as a closed part, coloured per vertex, labelled per face."""

import numpy as np
import torch
from jaxtyping import Float

from dream3d.toybox.shapes import BOX, surface
from dream3d.toybox.world import Soup
from dream3d.types import Mesh


def truth(soup: Soup, *, fine: int = 12) -> Mesh:
    """A union-like soup of closed parts: unlit display sRGB per vertex, `label` indexes soup.parts per face.

    A circle has 4 `fine` edges, 8 where a pattern needs them; patterned boxes are gridded, plain ones have 12 faces.
    """
    pieces = [_piece(soup, n, fine) for n in range(len(soup))]
    first = np.cumsum([0] + [len(vertices) for vertices, _, _ in pieces[:-1]])
    faces = [faces + offset for (_, faces, _), offset in zip(pieces, first, strict=True)]
    return Mesh(
        vertices=torch.from_numpy(np.concatenate([p[0] for p in pieces])).float(),
        faces=torch.from_numpy(np.concatenate(faces)),
        rgb=torch.from_numpy(np.concatenate([p[2] for p in pieces])).float(),
        label=torch.from_numpy(np.concatenate([np.full(len(f), soup.part[n]) for n, f in enumerate(faces)])),
    )


def _piece(soup: Soup, n: int, fine: int):
    """World vertices, faces and colours of primitive n."""
    steps = 1 if soup.kind[n] == BOX and soup.pattern[n] == 0 else fine * (1 + (soup.pattern[n] > 0))
    local, faces = surface(int(soup.kind[n]), tuple(soup.shape[n]), int(steps))
    vertices = local @ soup.pose[n, :3, :3].T + soup.pose[n, :3, 3]
    return vertices, faces, _colours(soup, n, vertices, _normals(vertices, faces))


def _normals(vertices: Float[np.ndarray, "V 3"], faces) -> Float[np.ndarray, "V 3"]:
    """Area-weighted, not normalised."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], np.cross(b - a, c - a))
    return normals


def _colours(soup: Soup, n: int, vertices, normals) -> Float[np.ndarray, "V 3"]:
    if soup.pattern[n] == 0:
        return np.broadcast_to(soup.colour[n], vertices.shape)
    from dream3d.toybox.raster import second

    points = zip(vertices, normals, strict=True)
    shows = np.array([second(soup.pattern[n], point, soup.frame[n], normal) for point, normal in points])
    return np.where(shows[:, None], soup.second[n], soup.colour[n])
