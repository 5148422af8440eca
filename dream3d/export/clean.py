"""A mesh made fit for use: loose bits dropped, vertices joined, faces that are nothing left out, small holes filled, all wound outwards.

Colours, uvs and labels go along with the faces that stay; faces that fill a hole have the colour around it. What was done is said.
"""

import dataclasses

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from dream3d.errors import Mistake
from dream3d.export.health import areas, edge_of, flat, parts
from dream3d.types import Mesh

WELD = 1e-6  # of the longest side of the box: vertices nearer than that are one
RING = 3  # corners of the smallest hole


def clean(mesh: Mesh, *, keep: float = 0.005, hole: float = 0.1, weld: bool = True) -> tuple[Mesh, list[str]]:
    """The mesh, and what was done to it, one line each. Parts with less than the share `keep` of the surface are dropped, never all of
    them. Holes no longer around than the share `hole` of the box's diagonal times pi are closed, one of flat length by a fan about its
    middle. Vertices at one place are joined (`weld`) where that leaves every edge at most two faces. Neighbours are wound alike where
    that is possible, closed parts outwards, open ones so that most of their faces look away from their middle. Raises Mistake where
    nothing would be left."""
    said: list[str] = []
    if not bool(mesh.vertices.isfinite().all()):
        raise Mistake("this mesh has vertices that are not finite", where="cleaning", fix="mend it, and export it again")
    if not len(mesh.faces):
        raise Mistake("there are no faces in this mesh", where="cleaning")
    if weld:
        mesh = _welded(mesh, said)
    mesh = _chosen(mesh, ~_nothing(mesh), "without area", said)
    mesh = _chosen(mesh, _first(mesh.faces.numpy()), "there already", said)
    mesh = _dropped(mesh, keep, said)
    mesh = _wound(mesh, said)
    mesh = _filled(mesh, hole, said)
    mesh = _outward(mesh, said)
    return _used(mesh), said


def _welded(mesh: Mesh, said: list[str]) -> Mesh:
    """Vertices on one place of a grid are one, where they look alike; not where an edge would get more than two faces."""
    place = mesh.vertices.double().numpy()
    step = WELD * float(np.ptp(place, axis=0).max())
    key = np.round((place - place.min(0)) / step).astype(np.int64) if step > 0 else np.zeros(place.shape, np.int64)
    if mesh.rgb is not None:
        key = np.concatenate([key, np.round(255 * mesh.rgb.numpy()).astype(np.int64)], 1)
    _, first, index = np.unique(key, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(place):
        return mesh
    faces = mesh.faces.numpy()
    joined = first[index.reshape(-1)][faces]
    crowd = [_crowded(which) for which in (faces, joined)]
    if crowd[1] > crowd[0]:
        return mesh
    said.append(f"{len(place) - len(first):,} vertices joined with others at the same place")
    return _used(dataclasses.replace(mesh, faces=torch.from_numpy(joined)))


def _crowded(faces: Int[ndarray, "F 3"]) -> int:
    """Edges of more than two faces, without those of faces that have collapsed."""
    real = faces[(faces != np.roll(faces, 1, 1)).all(1)]
    return int((np.bincount(edge_of(real)[0].reshape(-1)) > 2).sum()) if len(real) else 0


def _nothing(mesh: Mesh) -> Bool[ndarray, " F"]:
    faces = mesh.faces.numpy()
    return flat(_corners(mesh)) | (faces == np.roll(faces, 1, 1)).any(1)


def _corners(mesh: Mesh) -> Float[ndarray, "F 3 3"]:
    return mesh.vertices.double().numpy()[mesh.faces.numpy()]


def _first(faces: Int[ndarray, "F 3"]) -> Bool[ndarray, " F"]:
    """Which faces are the first of their three vertices, whichever way round."""
    _, first = np.unique(np.sort(faces, 1), axis=0, return_index=True)
    keep = np.zeros(len(faces), bool)
    keep[first] = True
    return keep


def _chosen(mesh: Mesh, keep: Bool[ndarray, " F"], what: str, said: list[str]) -> Mesh:
    """The mesh with these faces only."""
    if keep.all():
        return mesh
    if not keep.any():
        raise Mistake("no face of this mesh has an area", where="cleaning")
    gone = int((~keep).sum())
    said.append(f"{gone:,} face{'s' * (gone > 1)} {what}: left out")
    rows = {name: getattr(mesh, name)[torch.from_numpy(keep)] for name in ("faces", "uv", "label") if getattr(mesh, name) is not None}
    return dataclasses.replace(mesh, **rows)


def _dropped(mesh: Mesh, least: float, said: list[str]) -> Mesh:
    count, part = parts(mesh.faces.numpy())
    share = np.bincount(part, areas(_corners(mesh)), count)
    share /= share.sum()
    keep = (share >= least) | (share == share.max())
    if keep.all():
        return mesh
    gone, lost = int((~keep).sum()), float(share[~keep].sum())
    quiet: list[str] = []
    mesh = _chosen(mesh, keep[part], "", quiet)
    said.append(f"{gone:,} loose part{'s' * (gone > 1)} with {lost:.2%} of the surface: dropped")
    return mesh


def _wound(mesh: Mesh, said: list[str]) -> Mesh:
    """Every face turned as the neighbour from which it is reached, part by part."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import breadth_first_order

    faces = mesh.faces.numpy()
    edge, way = edge_of(faces)
    order = np.argsort(edge.reshape(-1), kind="stable")
    count = np.bincount(edge.reshape(-1))
    begin = (np.cumsum(count) - count)[count == 2]
    one, other = order[begin] // 3, order[begin + 1] // 3
    alike = way.reshape(-1)[order[begin]] != way.reshape(-1)[order[begin + 1]]  # run against each other: wound alike
    if alike.all():
        return mesh
    inner = one != other
    one, other, alike = one[inner], other[inner], alike[inner]
    size = len(faces)
    sign = np.where(alike, 1, -1)
    pairs = {}
    for a, b, s in zip(one.tolist(), other.tolist(), sign.tolist(), strict=True):
        pairs[a, b] = pairs[b, a] = s
    graph = coo_matrix((np.ones(2 * len(one)), (np.r_[one, other], np.r_[other, one])), (size, size)).tocsr()
    turned = np.zeros(size, np.int64)
    for start in range(size):
        if turned[start]:
            continue
        reached, before = breadth_first_order(graph, start)
        turned[start] = 1
        for face in reached[1:].tolist():
            turned[face] = turned[before[face]] * pairs[int(before[face]), face]
        if (turned[reached] < 0).sum() * 2 > len(reached):  # the fewer are turned
            turned[reached] *= -1
    return _turned(mesh, turned < 0, "turned as their neighbours", said)


def _turned(mesh: Mesh, which: Bool[ndarray, " F"], what: str, said: list[str]) -> Mesh:
    if not which.any():
        return mesh
    said.append(f"{int(which.sum()):,} face{'s' * (int(which.sum()) > 1)} {what}")
    mask = torch.from_numpy(which)
    faces = torch.where(mask[:, None], mesh.faces.flip(1), mesh.faces)
    uv = None if mesh.uv is None else torch.where(mask[:, None, None], mesh.uv.flip(1), mesh.uv)
    return dataclasses.replace(mesh, faces=faces, uv=uv)


def _outward(mesh: Mesh, said: list[str]) -> Mesh:
    """Parts whose signed volume is negative, turned; a part inside another, a hollow's wall, is left as it is beside that."""
    count, part = parts(mesh.faces.numpy())
    corners = _corners(mesh)
    middle = np.stack([np.bincount(part, corners[:, :, k].mean(1), count) for k in range(3)], 1) / np.bincount(part)[:, None]
    a, b, c = (corners - middle[part][:, None]).transpose(1, 0, 2)
    volume = np.bincount(part, (a * np.cross(b, c)).sum(1), count)
    if not (volume < 0).any():
        return mesh
    low = np.stack([[corners[part == p][..., k].min() for k in range(3)] for p in range(count)])
    high = np.stack([[corners[part == p][..., k].max() for k in range(3)] for p in range(count)])
    inside = np.zeros(count, bool)
    for p in np.flatnonzero(volume < 0):
        inside[p] = ((low < low[p]).all(1) & (high > high[p]).all(1) & (volume > -volume[p])).any()
    return _turned(mesh, ((volume < 0) & ~inside)[part], "turned outwards", said)


def _filled(mesh: Mesh, hole: float, said: list[str]) -> Mesh:
    """Rings of open edges that are short enough, closed: three corners by a face, more by a fan about their middle."""
    faces = mesh.faces.numpy()
    rings = _rings(faces)
    if not rings:
        return mesh
    place = mesh.vertices.double().numpy()
    most = np.pi * hole * float(np.linalg.norm(np.ptp(place, axis=0)))
    small = [ring for ring in rings if _round(place[ring]) <= most]
    if small:
        mesh = _capped(mesh, small)
        said.append(f"{len(small):,} hole{'s' * (len(small) > 1)} filled")
    if len(rings) > len(small):
        large = len(rings) - len(small)
        said.append(f"{large:,} hole{'s' * (large > 1)} left open: too large to be a flaw")
    return mesh


def _round(ring: Float[ndarray, "n 3"]) -> float:
    return float(np.linalg.norm(ring - np.roll(ring, -1, 0), axis=1).sum())


def _rings(faces: Int[ndarray, "F 3"]) -> list[list[int]]:
    """Holes as rings of vertices, in the direction that new faces run; where rings touch in a vertex, it is left alone."""
    edge, _ = edge_of(faces)
    alone = np.bincount(edge.reshape(-1))[edge.reshape(-1)] == 1
    start, end = faces.reshape(-1)[alone], np.roll(faces, -1, 1).reshape(-1)[alone]
    if not len(start):
        return []
    twice = np.flatnonzero((np.bincount(start, minlength=faces.max() + 1) > 1) | (np.bincount(end, minlength=faces.max() + 1) > 1))
    after = dict(zip(end.tolist(), start.tolist(), strict=True))  # against the faces that are there
    shared, rings, seen = set(twice.tolist()), [], set()
    for first in after:
        if first in seen:
            continue
        ring, at = [first], after[first]
        seen.add(first)
        while at != first and at in after and at not in seen:
            ring.append(at)
            seen.add(at)
            at = after[at]
        if at == first and len(ring) >= RING and not shared & set(ring):
            rings.append(ring)
    return rings


def _capped(mesh: Mesh, rings: list[list[int]]) -> Mesh:
    faces, uv, vertices, rgb, label = [], [], [], [], []
    count = len(mesh.vertices)
    corner = {vertex: i for i, vertex in enumerate(mesh.faces.flatten().tolist())}  # some corner with that vertex
    for ring in rings:
        at = torch.tensor([corner[vertex] for vertex in ring])
        own = None if mesh.uv is None else mesh.uv.reshape(-1, 2)[at]
        if len(ring) == RING:
            new, corners = [ring], None if own is None else own[None]
        else:
            new = [[a, b, count + len(vertices)] for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)]
            vertices.append(mesh.vertices[ring].mean(0))
            rgb += [] if mesh.rgb is None else [mesh.rgb[ring].mean(0)]
            flat_uv = None if own is None else own[:1].expand(len(ring), 2)  # one texel: a ring may cross charts
            corners = None if own is None else torch.stack([flat_uv, flat_uv, flat_uv], 1)
        faces += new
        uv += [] if corners is None else [corners if len(ring) > RING else own[:1].expand(3, 2)[None]]
        label += [] if mesh.label is None else [mesh.label[at[0] // 3].expand(len(new))]
    more = {"faces": torch.cat([mesh.faces, torch.tensor(faces, dtype=mesh.faces.dtype)])}
    for name, rows in (("vertices", vertices), ("rgb", rgb)):
        more |= {name: torch.cat([getattr(mesh, name), torch.stack(rows)])} if rows else {}
    for name, rows in (("uv", uv), ("label", label)):
        more |= {name: torch.cat([getattr(mesh, name), *rows])} if rows else {}
    return dataclasses.replace(mesh, **more)


def _used(mesh: Mesh) -> Mesh:
    """Without vertices of no face."""
    used = torch.zeros(len(mesh.vertices), dtype=torch.bool)
    used[mesh.faces.flatten()] = True
    if bool(used.all()):
        return mesh
    rgb = None if mesh.rgb is None else mesh.rgb[used]
    return dataclasses.replace(mesh, vertices=mesh.vertices[used], rgb=rgb, faces=(used.cumsum(0) - 1)[mesh.faces])
