"""Triangles that follow a moving surface: edges are split, collapsed and flipped, and vertices slide within the surface.

The operations of Botsch and Kobbelt ("A Remeshing Approach to Multiresolution Modeling", SGP 2004), many at once on edges that do not
disturb each other, between steps of an optimiser as in Palfinger ("Continuous remeshing for inverse rendering", CAVW 2022). What is closed
stays closed, and the Euler characteristic is kept. Numbers only, no chance: the same mesh gives the same mesh.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

LONG, SHORT = 4 / 3, 4 / 5  # of the wanted length: an edge is split above, collapsed below
ROUNDS = 6  # of each operation: edges that had to wait for their neighbours get their turn
CREASE = 0.8  # cosine between faces below which an edge is not flipped
SLIDE = 0.3  # share of the way to the middle of the neighbours


@dataclass
class Net:
    """A mesh that changes: `rows` (V, 3 + C) are positions and whatever goes with them, `source` the vertex that each continues,
    `label` of faces."""

    rows: Float[ndarray, "V K"]
    faces: Int[ndarray, "F 3"]
    source: Int[ndarray, " V"]
    label: Int[ndarray, " F"]

    @property
    def place(self) -> Float[ndarray, "V 3"]:
        return self.rows[:, :3]


@dataclass
class Edges:
    """Every edge once: its ends, lower first; how many faces it has; two of them and their third corners where it has two (-1)."""

    ends: Int[ndarray, "E 2"]
    count: Int[ndarray, " E"]
    face: Int[ndarray, "E 2"]
    third: Int[ndarray, "E 2"]
    of_face: Int[ndarray, "F 3"]  # of corner k: the edge that starts there


def remesh(net: Net, length: float, most: int) -> Net:
    """With edges of about `length` metres, and at most about `most` faces."""
    for _ in range(ROUNDS):
        if len(net.faces) >= most or not _split(net, LONG * length, most):
            break
    for _ in range(ROUNDS):
        if not _collapse(net, SHORT * length, LONG * length):
            break
    for _ in range(ROUNDS):
        if not _flip(net):
            break
    _slide(net)
    return net


def edges(faces: Int[ndarray, "F 3"]) -> Edges:
    """Who meets whom."""
    start, end = faces.reshape(-1), np.roll(faces, -1, 1).reshape(-1)
    third = np.roll(faces, -2, 1).reshape(-1)
    low, high = np.minimum(start, end).astype(np.int64), np.maximum(start, end)
    code, first, index, count = np.unique(low << 32 | high, return_index=True, return_inverse=True, return_counts=True)
    index = index.reshape(-1)
    order = np.argsort(index, kind="stable")
    begin = np.cumsum(count) - count
    two = count == 2
    pair = np.full((len(code), 2), -1)
    pair[two] = np.stack([order[begin[two]], order[begin[two] + 1]], 1)
    thirds = np.where(two[:, None], third[pair], -1)
    forward = start[pair[:, 0]] == (code >> 32)  # the first face runs from the lower to the higher end, the second back
    swap = two & ~forward
    pair[swap], thirds[swap] = pair[swap][:, ::-1], thirds[swap][:, ::-1]
    ends = np.stack([code >> 32, code & 0xFFFFFFFF], 1)
    return Edges(ends, count, np.where(pair < 0, -1, pair // 3), thirds, index.reshape(-1, 3))


def _lengths(net: Net, e: Edges) -> Float[ndarray, " E"]:
    return np.linalg.norm(net.place[e.ends[:, 0]] - net.place[e.ends[:, 1]], axis=1)


def _split(net: Net, longest: float, most: int) -> bool:
    """A new vertex in the middle of every edge that is too long, the longest first; faces are cut into two, three or four."""
    e = edges(net.faces)
    size = _lengths(net, e)
    long = np.flatnonzero(size > longest)
    long = long[np.argsort(-size[long], kind="stable")][: max((most - len(net.faces)) // 2, 0)]
    if len(long) == 0:
        return False
    middle = np.full(len(e.ends), -1)
    middle[long] = len(net.rows) + np.arange(len(long))
    a, b = e.ends[long].T
    net.rows = np.concatenate([net.rows, (net.rows[a] + net.rows[b]) / 2])
    net.source = np.concatenate([net.source, net.source[a]])
    cut = middle[e.of_face]
    pieces = [(net.faces[same], net.label[same]) for same in [(cut < 0).all(1)]]
    for pattern in range(1, 8):
        marks = [bool(pattern >> k & 1) for k in range(3)]
        which = np.flatnonzero(((cut >= 0) == marks).all(1))
        if len(which):
            new = _cut(net, net.faces[which], cut[which], marks)
            pieces.append((np.concatenate(new), np.tile(net.label[which], len(new))))
    net.faces, net.label = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return True


def _cut(net: Net, face: Int[ndarray, "n 3"], cut: Int[ndarray, "n 3"], marks: list[bool]) -> list[Int[ndarray, "n 3"]]:
    """Faces whose marked edges have a middle, in pieces that turn the same way."""
    total = sum(marks)
    k = marks.index(True) if total == 1 else (marks.index(False) + 1) % 3 if total == 2 else 0
    a, b, c = (face[:, (k + i) % 3] for i in range(3))
    p, q, r = (cut[:, (k + i) % 3] for i in range(3))  # the middles of ab, bc, ca
    if total == 1:
        pieces = [(a, p, c), (p, b, c)]
    elif total == 3:
        pieces = [(a, p, r), (p, b, q), (q, c, r), (p, q, r)]
    else:  # the quadrilateral a p q c along its shorter diagonal
        x = net.place
        across = np.linalg.norm(x[a] - x[q], axis=1) < np.linalg.norm(x[p] - x[c], axis=1)
        pieces = [(p, b, q), (a, p, np.where(across, q, c)), (np.where(across, a, p), q, c)]
    return [np.stack(corners, 1) for corners in pieces]


def _collapse(net: Net, shortest: float, longest: float) -> bool:
    """Edges that are too short become their middle, where that keeps the surface a surface and turns no face over."""
    e = edges(net.faces)
    size = _lengths(net, e)
    inner = np.ones(len(net.rows), bool)
    inner[e.ends[e.count != 2].reshape(-1)] = False  # borders, and where more than two faces meet, stay
    short = np.flatnonzero((size < shortest) & inner[e.ends].all(1))
    short = short[np.argsort(size[short], kind="stable")]
    if len(short) == 0:
        return False
    neighbours = _neighbours(len(net.rows), e.ends)
    a, b = e.ends[short].T
    common = np.asarray(neighbours[a].multiply(neighbours[b]).sum(1)).reshape(-1)
    valence = np.bincount(e.ends.reshape(-1), minlength=len(net.rows))
    short = short[(common == 2) & (valence[e.third[short]] > 3).all(1)]
    short = short[_apart(e, short, len(net.rows))]
    short = short[_harmless(net, e, short, longest)]
    if len(short) == 0:
        return False
    a, b = e.ends[short].T
    net.rows[a] = (net.rows[a] + net.rows[b]) / 2
    to = np.arange(len(net.rows))
    to[b] = a
    faces = to[net.faces]
    alive = (faces != np.roll(faces, 1, 1)).all(1)
    used, index = np.unique(faces[alive], return_inverse=True)
    net.faces, net.label = index.reshape(-1, 3), net.label[alive]
    net.rows, net.source = net.rows[used], net.source[used]
    return True


def _neighbours(count: int, ends: Int[ndarray, "E 2"]):
    from scipy.sparse import csr_matrix

    both = np.concatenate([ends, ends[:, ::-1]])
    return csr_matrix((np.ones(len(both), np.int32), (both[:, 0], both[:, 1])), shape=(count, count))


def _apart(e: Edges, wanted: Int[ndarray, " n"], count: int) -> ndarray:
    """Which of the edges, in their order, come first among all whose ends are neighbours of theirs."""
    first = np.full(count, len(wanted))
    for k in range(2):
        np.minimum.at(first, e.ends[wanted, k], np.arange(len(wanted)))
    near = first.copy()
    np.minimum.at(near, e.ends[:, 0], first[e.ends[:, 1]])
    np.minimum.at(near, e.ends[:, 1], first[e.ends[:, 0]])
    return near[e.ends[wanted]].min(1) == np.arange(len(wanted))


def _harmless(net: Net, e: Edges, wanted: Int[ndarray, " n"], longest: float) -> ndarray:
    """Which collapses, all done at once, leave no long edge and turn no face by more than 60 degrees."""
    a, b = e.ends[wanted].T
    role = np.full(len(net.rows), -1)
    role[a] = role[b] = np.arange(len(wanted))
    moved = net.place.copy()
    moved[a] = moved[b] = (moved[a] + moved[b]) / 2
    owner = role[net.faces]
    stays = (owner >= 0).sum(1) == 1  # faces with both ends vanish
    whose = owner[stays].max(1)
    before, after = (_normals(x[net.faces[stays]]) for x in (net.place, moved))
    bad = (before * after).sum(1) < 0.5
    far = np.linalg.norm(moved[e.ends[:, 0]] - moved[e.ends[:, 1]], axis=1) > longest
    fine = np.ones(len(wanted), bool)
    fine[whose[bad]] = False
    for k in range(2):
        hurt = role[e.ends[far, k]]
        fine[hurt[hurt >= 0]] = False
    return fine


def _normals(corners: Float[ndarray, "n 3 3"]) -> Float[ndarray, "n 3"]:
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)


def _flip(net: Net) -> bool:
    """Edges change to the other diagonal of their two faces, where that brings vertices nearer to six neighbours each."""
    e = edges(net.faces)
    valence = np.bincount(e.ends.reshape(-1), minlength=len(net.rows))
    wanted = np.flatnonzero((e.count == 2) & (net.label[e.face[:, 0]] == net.label[e.face[:, 1]]))
    four = np.concatenate([e.ends, e.third], 1)[wanted]
    off = valence[four] - 6
    gain = (off**2).sum(1) - ((off + [-1, -1, 1, 1]) ** 2).sum(1)
    wanted, four, gain = (v[(gain > 0) & (valence[four][:, :2] > 3).all(1)] for v in (wanted, four, gain))
    code = e.ends[:, 0].astype(np.int64) << 32 | e.ends[:, 1]
    new = np.sort(four[:, 2:], 1).astype(np.int64)
    free = (new[:, 0] != new[:, 1]) & ~np.isin(new[:, 0] << 32 | new[:, 1], code)
    free &= _flat(net.place[four])
    order = np.argsort(-gain[free], kind="stable")
    wanted, four = wanted[free][order], four[free][order]
    first = np.full(len(net.rows), len(wanted))
    for k in range(4):
        np.minimum.at(first, four[:, k], np.arange(len(wanted)))
    alone = first[four].min(1) == np.arange(len(wanted))
    if not alone.any():
        return False
    one, other = e.face[wanted[alone]].T
    a, b, c, d = four[alone].T  # the first face is a b c, the second b a d
    net.faces[one], net.faces[other] = np.stack([c, d, b], 1), np.stack([d, c, a], 1)
    return True


def _flat(x: Float[ndarray, "n 4 3"]) -> ndarray:
    """Whether the two faces, and the two that would replace them, all look about the same way."""
    a, b, c, d = x.transpose(1, 0, 2)
    sides = [_normals(np.stack(corners, 1)) for corners in ((a, b, c), (b, a, d), (c, d, b), (d, c, a))]
    return np.minimum.reduce([(sides[0] * side).sum(1) for side in sides[1:]]) > CREASE


def _slide(net: Net) -> None:
    """Every inner vertex towards the middle of its neighbours, but within its tangent plane. Whatever goes with it slides along."""
    e = edges(net.faces)
    total, count = np.zeros_like(net.rows), np.bincount(e.ends.reshape(-1), minlength=len(net.rows))[:, None]
    for a, b in (e.ends.T, e.ends.T[::-1]):
        np.add.at(total, a, net.rows[b])
    face = np.cross(*(net.place[net.faces[:, k]] - net.place[net.faces[:, 0]] for k in (1, 2)))
    normal = np.zeros((len(net.rows), 3))
    for k in range(3):
        np.add.at(normal, net.faces[:, k], face)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    step = SLIDE * (total / np.maximum(count, 1) - net.rows)
    step[:, :3] -= normal * (step[:, :3] * normal).sum(1, keepdims=True)
    step[e.ends[e.count != 2].reshape(-1)] = 0
    net.rows = net.rows + step
