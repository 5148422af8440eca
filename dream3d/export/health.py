"""What a mesh is fit for: closed or not, in how many pieces, wound outwards, and how evenly its texture lies on it.

Stretch is the L2 norm of Sander, Snyder, Gortler and Hoppe ("Texture Mapping Progressive Meshes", SIGGRAPH 2001): the root mean square
length of a texture's unit vectors on the surface. It is divided by what it would be were every face unfolded at one scale: 1 is perfect.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from dream3d.types import Mesh

LONG = 1 << 16  # bytes of a file that says it
GRID = 1024  # texels a side in which overlaps are counted
LAYERS = 4  # of faces over the whole texture, above which the count is coarser: nobody's file takes all memory
THIN = 1e-12  # of a face's longest edge, squared: its area is nothing
FULL = 0.01  # of the covered texels: more overlap than this is no rounding at the edges of charts


@dataclass(frozen=True)
class Health:
    """watertight: every edge has two faces, in opposite directions. winding: no two neighbours look to opposite sides. outward: the
    enclosed volume is positive. components: parts without a common edge. degenerate: faces without area; duplicate: faces there already.
    box: metres along x, y, z of the world. Of a mesh with uvs: overlap is the share of covered texels that several faces claim, stretch
    the mesh's (1 at best), worst_stretch that which 1 % of the faces exceed, flat_uv faces without area in the texture; of one with a
    texture, density in texels per metre: least (which 1 % of the faces fall short of) and median by area. files: those that hold it."""

    triangles: int
    vertices: int
    watertight: bool
    winding: bool
    outward: bool
    components: int
    euler: int
    open_edges: int
    crowded_edges: int
    degenerate: int
    duplicate: int
    box: tuple[float, float, float]
    overlap: float | None = None
    stretch: float | None = None
    worst_stretch: float | None = None
    flat_uv: int | None = None
    texture: tuple[int, int] | None = None
    least_density: float | None = None
    median_density: float | None = None
    files: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """JSON values, in this order; what there is nothing to say of is null."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}

    @property
    def sound(self) -> bool:
        """Nothing that a game engine or a printer would stumble over."""
        return not self.complaints

    @property
    def complaints(self) -> list[str]:
        """What is wrong, one line each, worst first."""
        known = ((self.open_edges, f"{_of(self.open_edges, 'edge')} with one face only: it is not closed"),
                 (self.crowded_edges, f"{_of(self.crowded_edges, 'edge')} with more than two faces: not a manifold"),
                 (not self.winding, "neighbouring faces look to opposite sides"),
                 (self.winding and not self.outward, "faces look inwards"),
                 (self.degenerate, f"{_of(self.degenerate, 'face')} without area"),
                 (self.duplicate, f"{_of(self.duplicate, 'face')} there already"),
                 ((self.overlap or 0) > FULL, f"{self.overlap or 0:.1%} of the texture is used by more than one place"),
                 (self.flat_uv, f"{_of(self.flat_uv or 0, 'face')} without area in the texture"))  # fmt: skip
        return [text for there, text in known if there]

    def told(self) -> list[str]:
        """Lines for people."""
        closed = "watertight" if self.watertight else "not watertight"
        x, y, z = self.box
        lines = [f"{self.triangles:,} triangles, {self.vertices:,} vertices, {_of(self.components, 'part')}, {closed}, "
                 f"Euler number {self.euler:d}",
                 f"{x:.3g} x {y:.3g} x {z:.3g} m"]  # fmt: skip
        if self.stretch is not None:
            lines.append(f"uv: stretch {self.stretch:.2f} (1 is none), worst {self.worst_stretch:.2f}, overlap {self.overlap:.2%}")
        if self.texture is not None:
            lines.append(f"texture: {self.texture[0]:d} x {self.texture[1]:d}, {self.median_density:.0f} texels per metre, "
                         f"{self.least_density:.0f} at least")  # fmt: skip
        return lines + self.complaints


def health(mesh: Mesh) -> Health:
    """Of a mesh in metres. Vertices at the same place count as one, so that seams of uvs are no holes. Raises ValueError for a mesh
    without faces."""
    if not len(mesh.faces):
        raise ValueError("a mesh without faces has no health")
    place = mesh.vertices.detach().cpu().numpy()
    faces = welded(place, mesh.faces.cpu().numpy())
    corners = place.astype(np.float64)[mesh.faces.cpu().numpy()]
    area = areas(corners)
    used = place[np.unique(mesh.faces.cpu().numpy())].astype(np.float64)
    return Health(
        triangles=len(faces),
        vertices=len(np.unique(faces)),
        degenerate=int(flat(corners).sum()),
        duplicate=len(faces) - len(np.unique(np.sort(faces, 1), axis=0)),
        box=tuple((used.max(0) - used.min(0)).tolist()),
        outward=volume(corners) > 0,
        **_edges(faces),
        **({} if mesh.uv is None else _uvs(mesh, corners, area)),
    )


def read(path: Path) -> Health | None:
    """What was written beside a mesh (`json`); None where that is not there, or something else."""
    try:
        data = Path(path).read_bytes()
        values = json.loads(data) if len(data) <= LONG else None
        found = Health(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
        found.told(), ", ".join(found.files)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return found


def welded(place: Float[ndarray, "V 3"], faces: Int[ndarray, "F 3"]) -> Int[ndarray, "F 3"]:
    """The faces, with one number for all vertices at exactly the same place."""
    _, index = np.unique(place + 0.0, axis=0, return_inverse=True)  # + 0.0: -0 is 0
    return index.reshape(-1)[faces]


def areas(corners: Float[ndarray, "F 3 3"]) -> Float[ndarray, " F"]:
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2


def flat(corners: Float[ndarray, "F 3 3"]) -> ndarray:
    """Which faces have no area to speak of."""
    longest = np.roll(corners, -1, 1) - corners
    return 2 * areas(corners) <= THIN * (longest**2).sum(-1).max(-1)


def volume(corners: Float[ndarray, "F 3 3"]) -> float:
    """Enclosed, positive where faces look outwards."""
    a, b, c = (corners - corners.mean((0, 1))).transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


def parts(faces: Int[ndarray, "F 3"]) -> tuple[int, Int[ndarray, " F"]]:
    """How many there are without a common edge, and to which each face belongs."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edge = edge_of(faces)[0].reshape(-1)
    face, count = np.arange(len(edge)) // 3, len(faces)
    size = count + int(edge.max()) + 1
    graph = coo_matrix((np.ones(len(edge), bool), (face, count + edge)), (size, size))
    _, label = connected_components(graph, directed=False)
    names, own = np.unique(label[:count], return_inverse=True)
    return len(names), own.reshape(-1)


def edge_of(faces: Int[ndarray, "F 3"]) -> tuple[Int[ndarray, "F 3"], Int[ndarray, "F 3"]]:
    """The number of the edge that starts at each corner, and whether it runs up (1) or down (-1) the numbers of its ends."""
    start, end = faces.astype(np.int64), np.roll(faces, -1, 1).astype(np.int64)
    _, edge = np.unique(np.minimum(start, end) << 32 | np.maximum(start, end), return_inverse=True)
    return edge.reshape(-1, 3), np.where(start < end, 1, -1)


def _edges(faces: Int[ndarray, "F 3"]) -> dict[str, Any]:
    edge, way = edge_of(faces)
    count, turn = np.bincount(edge.reshape(-1)), np.bincount(edge.reshape(-1), way.reshape(-1))
    winding = bool((turn[count == 2] == 0).all())
    return {
        "watertight": bool((count == 2).all()) and winding,
        "winding": winding,
        "open_edges": int((count == 1).sum()),
        "crowded_edges": int((count > 2).sum()),
        "components": parts(faces)[0],
        "euler": len(np.unique(faces)) - len(count) + len(faces),
    }


def _uvs(mesh: Mesh, corners: Float[ndarray, "F 3 3"], area: Float[ndarray, " F"]) -> dict[str, Any]:
    uv = mesh.uv.detach().cpu().numpy().astype(np.float64)
    s, t = (uv[:, 1] - uv[:, 0]), (uv[:, 2] - uv[:, 0])
    claimed = s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]  # twice the area in the texture
    fine = (np.abs(claimed) > 1e-14) & (area > 0)
    said: dict[str, Any] = {"flat_uv": int((~fine & (area > 0)).sum()), "overlap": overlap(uv)}
    if not fine.any():
        return said | {"stretch": None}
    a, b = corners[fine, 1] - corners[fine, 0], corners[fine, 2] - corners[fine, 0]
    (s, t), det = (s[fine], t[fine]), claimed[fine, None]
    along, up = (a * t[:, 1:] - b * s[:, 1:]) / det, (b * s[:, :1] - a * t[:, :1]) / det
    squared = ((along**2).sum(1) + (up**2).sum(1)) / 2
    scale = np.abs(claimed[fine]).sum() / 2 / area[fine].sum()
    each = np.sqrt(squared * scale)
    whole = float(np.sqrt((squared * area[fine]).sum() / area[fine].sum() * scale))
    said |= {"stretch": whole, "worst_stretch": float(np.quantile(each, 0.99))}
    if mesh.texture is not None:
        height, width = mesh.texture.shape[:2]
        dense = np.sqrt(np.abs(claimed[fine]) / 2 * height * width / area[fine])
        order = np.argsort(dense)
        half = np.searchsorted(np.cumsum(area[fine][order]), area[fine].sum() / 2)
        said |= {"texture": (width, height), "least_density": float(np.quantile(dense, 0.01)),
                 "median_density": float(dense[order[min(half, len(order) - 1)]])}  # fmt: skip
    return said


def overlap(uv: Float[ndarray, "F 3 2"]) -> float:
    """The share of covered texels, GRID a side, whose centre lies in more than one face. Faces that lie on other tiles of a texture that
    repeats are laid on the first; one that is larger than a tile covers itself: all of it."""
    import torch

    from dream3d.export.texels import inside

    if not np.ptp(uv, axis=1).max() <= 1 + 1e-3:
        return 1.0
    shift, (s, t) = np.floor(uv.min(1, keepdims=True) + 1e-6), np.moveaxis(uv[:, 1:] - uv[:, :1], 1, 0)
    layers = float(np.abs(s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).sum()) / 2
    side = max(int(GRID / max(1.0, layers / LAYERS) ** 0.5), 64)
    texel, _, weights = inside(torch.from_numpy((uv - shift) * side).float(), side)
    clear = (weights > 1e-4).all(-1) & (texel >= 0) & (texel < side * side)  # not on an edge that two faces share
    count = np.bincount(texel[clear].numpy(), minlength=1)
    return float((count > 1).sum() / max((count > 0).sum(), 1))


def _of(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
