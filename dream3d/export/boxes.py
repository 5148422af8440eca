"""Uvs for large meshes in linear time: faces seen along the axis that they look at most, joined to charts, packed on shelves.

Charts are connected faces of one side of a box. Where a chart lies over itself, the faces below become charts of their own. Stretch is at
worst that of a face at 55 degrees to its axis, sqrt(3) one way; xatlas lays charts flatter and closer.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from dream3d.export.health import edge_of

SMOOTH = 4  # rounds in which a face's direction becomes the mean of its neighbours'
SMALL = 24  # faces: a smaller chart joins the neighbour with which it has most edges, where its faces look that way
LEAN = 0.2  # cosine between a face and the axis of its chart, at least
ROUNDS = 8  # of taking apart what lies over itself
SIDES = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
ACROSS = np.array([[[0, 1, 0], [0, 0, 1]], [[0, -1, 0], [0, 0, 1]], [[-1, 0, 0], [0, 0, 1]],
                   [[1, 0, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0]], [[-1, 0, 0], [0, 1, 0]]], float)  # fmt: skip


def boxed(corners: Float[ndarray, "F 3 3"], faces: Int[ndarray, "F 3"], texture: int, padding: int) -> Float[ndarray, "F 3 2"]:
    """Uvs in [0, 1], charts at least `padding` texels apart."""
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    pairs = _pairs(faces)
    side = _sides(normal, pairs)
    chart, side = _merged(_joined(side, pairs), side, normal, pairs)
    flat = np.einsum("fck,fuk->fcu", corners, ACROSS[side])
    depth = np.einsum("fck,fk->f", corners, SIDES[side]) / 3
    for _ in range(ROUNDS):
        uv = _packed(flat, chart, texture, padding)
        below = _below(uv, depth, texture)
        if not below.any():
            return uv
        chart = _joined(2 * chart + below, pairs)
    chart = np.where(below, chart.max() + 1 + np.arange(len(chart)), chart)  # what is left, face by face
    return _packed(flat, np.unique(chart, return_inverse=True)[1].reshape(-1), texture, padding)


def _pairs(faces: Int[ndarray, "F 3"]) -> Int[ndarray, "P 2"]:
    """Faces that share an edge."""
    edge = edge_of(faces)[0].reshape(-1)
    order = np.argsort(edge, kind="stable")
    same = np.flatnonzero(edge[order][1:] == edge[order][:-1])
    return np.stack([order[same], order[same + 1]], 1) // 3


def _sides(normal: Float[ndarray, "F 3"], pairs: Int[ndarray, "P 2"]) -> Int[ndarray, " F"]:
    """Which side of a box each face belongs to, by directions that were smoothed first; its own where it would lean too far."""
    way = normal.copy()
    for _ in range(SMOOTH):
        total = way.copy()
        for a, b in (pairs.T, pairs.T[::-1]):
            for k in range(3):
                total[:, k] += np.bincount(a, way[b, k], len(way))
        way = total
    unit = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    side = (way @ SIDES.T).argmax(1)
    leans = (unit * SIDES[side]).sum(1) < LEAN
    return np.where(leans, (unit @ SIDES.T).argmax(1), side)


def _joined(label: Int[ndarray, " F"], pairs: Int[ndarray, "P 2"]) -> Int[ndarray, " F"]:
    """Charts: connected faces with one label."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    a, b = pairs[label[pairs[:, 0]] == label[pairs[:, 1]]].T
    graph = coo_matrix((np.ones(len(a), bool), (a, b)), (len(label), len(label)))
    return connected_components(graph, directed=False)[1]


def _merged(
    chart: Int[ndarray, " F"], side: Int[ndarray, " F"], normal: Float[ndarray, "F 3"], pairs: Int[ndarray, "P 2"]
) -> tuple[Int[ndarray, " F"], Int[ndarray, " F"]]:
    """Charts and sides of faces, once small charts have joined their neighbours."""
    unit = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    for _ in range(3):
        count = np.bincount(chart)
        a, b = np.concatenate([pairs, pairs[:, ::-1]]).T
        wants = (chart[a] != chart[b]) & (count[chart[a]] < SMALL) & (count[chart[b]] > count[chart[a]])
        if not wants.any():
            break
        own, other = chart[a[wants]].astype(np.int64), chart[b[wants]]
        code, edges = np.unique(own * len(count) + other, return_counts=True)
        order = np.lexsort((-edges, code // len(count)))
        first = order[np.unique(code[order] // len(count), return_index=True)[1]]
        to = np.full(len(count), -1)
        to[code[first] // len(count)] = code[first] % len(count)
        begin = np.zeros(len(count), np.int64)
        begin[chart] = side
        wish = np.where(to[chart] >= 0, begin[np.maximum(to[chart], 0)], side)
        bad = np.zeros(len(count), bool)
        np.logical_or.at(bad, chart, (unit * SIDES[wish]).sum(1) < LEAN)
        side = np.where(bad[chart], side, wish)
        chart = _joined(side, pairs)
    return chart, side


def _packed(flat: Float[ndarray, "F 3 2"], chart: Int[ndarray, " F"], texture: int, padding: int) -> Float[ndarray, "F 3 2"]:
    """Charts side by side on shelves, the highest first, as large as fits."""
    count = int(chart.max()) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    for k in range(3):
        np.minimum.at(low, chart, flat[:, k])
        np.maximum.at(high, chart, flat[:, k])
    size = high - low
    lies = size[:, 1] > size[:, 0]  # a quarter turn: shelves want what is wide
    size = np.where(lies[:, None], size[:, ::-1], size)
    order = np.argsort(-size[:, 1], kind="stable")
    least, most = 0.0, texture / max(float(size.max()), 1e-30)
    place = None
    for _ in range(24):
        scale = (least + most) / 2
        found = _shelves(size[order] * scale, texture, padding)
        if found is None:
            most = scale
        else:
            least, place = scale, found
    if place is None:
        raise ValueError(f"{count} charts do not fit into {texture} texels")
    at = np.empty((count, 2))
    at[order] = place
    local = flat - low[chart][:, None]
    turned = np.stack([local[..., 1], (high - low)[chart][:, None, 0] - local[..., 0]], -1)
    local = np.where(lies[chart][:, None, None], turned, local)
    return (local * least + at[chart][:, None]) / texture


def _shelves(size: Float[ndarray, "C 2"], texture: int, padding: int) -> Float[ndarray, "C 2"] | None:
    """Where the lower left corner of each box comes to lie, in texels; None where they do not fit."""
    place, x, y, height = np.empty_like(size), padding / 2, padding / 2, 0.0
    for i, (wide, high) in enumerate(size.tolist()):
        if x + wide + padding / 2 > texture:
            x, y, height = padding / 2, y + height + padding, 0.0
        height = max(height, high)
        if y + height + padding / 2 > texture or x + wide + padding / 2 > texture:
            return None
        place[i] = x, y
        x += wide + padding
    return place


def _below(uv: Float[ndarray, "F 3 2"], depth: Float[ndarray, " F"], texture: int) -> ndarray:
    """Faces that lie under another one of their chart: their texels are claimed by one further out."""
    import torch

    from dream3d.export.texels import inside

    texel, face, weights = (v.numpy() for v in inside(torch.from_numpy(uv * texture), texture))
    clear = (weights > 1e-3).all(-1)
    texel, face = texel[clear], face[clear]
    order = np.lexsort((-depth[face], texel))
    texel, face = texel[order], face[order]
    again = np.flatnonzero(texel[1:] == texel[:-1]) + 1
    below = np.zeros(len(uv), bool)
    below[face[again]] = True
    return below
