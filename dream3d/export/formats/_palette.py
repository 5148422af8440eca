"""Tables for what is stored as indices: of numbers, and of rows of numbers. No chance in it: the same values give the same table."""

import heapq

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

SIZE = 256
ROUNDS = 10
SAMPLE = 64  # rows a centre is found from, at most


def codes(values: Float[ndarray, "*n"]) -> tuple[UInt8[ndarray, "*n"], list[float]]:
    """An index per value into a rising table of 256 numbers, which are chosen for a small squared error."""
    known = np.unique(values)
    table = known if len(known) <= SIZE else _lloyd(np.sort(values.ravel().astype(np.float64)))
    table = np.concatenate([table, np.full(SIZE - len(table), table[-1])]).astype(np.float32)
    index = np.searchsorted((table[1:].astype(np.float64) + table[:-1]) / 2, values)
    return index.astype(np.uint8), table.tolist()


def _lloyd(rising: Float[ndarray, " n"]) -> Float[ndarray, "256"]:
    """What has the largest error is parted at its mean until there are enough parts; then every number becomes the mean of those that are
    nearest to it, some times (Lloyd 1982)."""
    one, two = (np.concatenate([[0], np.cumsum((rising - rising.mean()) ** power)]) for power in (1, 2))

    def part(a: int, b: int) -> tuple[float, int, int, float]:
        mean = (one[b] - one[a]) / (b - a)
        error = two[b] - two[a] - (b - a) * mean**2
        return -error if b - a > 1 else 0.0, a, b, mean + rising.mean()

    parts = [part(0, len(rising))]
    while len(parts) < SIZE and parts[0][2] - parts[0][1] > 1:
        _, a, b, mean = heapq.heappop(parts)
        middle = min(max(int(np.searchsorted(rising[a:b], mean)) + a, a + 1), b - 1)
        for ends in ((a, middle), (middle, b)):
            heapq.heappush(parts, part(*ends))
    table = np.sort([mean for *_, mean in parts])
    for _ in range(3 * ROUNDS):
        ends = np.concatenate([[0], np.searchsorted(rising, (table[1:] + table[:-1]) / 2), [len(rising)]])
        many = np.diff(ends)
        table = np.where(many > 0, np.diff(one[ends]) / np.maximum(many, 1) + rising.mean(), table)
    return table


def palette(rows: Float[ndarray, "N D"], most: int) -> tuple[Float[ndarray, "P D"], Int[ndarray, " N"]]:
    """At most that many rows, and of every row which stands for it. All of them where they are few; else by k-means in two floors: first
    the square root of `most` groups, then each is divided among as many as its share of the error asks for."""
    known, index = np.unique(rows, axis=0, return_inverse=True)
    if len(known) <= most:
        return known, index.reshape(-1)
    top = _means(rows, int(most**0.5))
    group, error = _nearest(rows, top)
    shares = _shares(np.bincount(group, error, len(top)), np.bincount(group, minlength=len(top)), most)
    entries, label = [], np.zeros(len(rows), np.int64)
    for i, share in enumerate(shares):
        mine = np.flatnonzero(group == i)
        if len(mine):
            centres = _means(rows[mine], share)
            label[mine] = _nearest(rows[mine], centres)[0] + sum(map(len, entries))
            entries.append(centres)
    return np.concatenate(entries), label


def _shares(error: Float[ndarray, " G"], count: Int[ndarray, " G"], most: int) -> list[int]:
    """How many entries each group has: at least one, at most one per row."""
    weight = np.sqrt(error * count)
    share = np.floor((most - len(error)) * weight / max(weight.sum(), 1e-30)).astype(np.int64) + 1
    return np.minimum(share, np.maximum(count, 1)).tolist()


def _means(rows: Float[ndarray, "N D"], count: int) -> Float[ndarray, "P D"]:
    """k-means, from rows evenly spaced in the order in which they come."""
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE * count)).astype(np.int64)].astype(np.float32)
    centres = some[np.linspace(0, len(some) - 1, min(count, len(some))).astype(np.int64)]
    for _ in range(ROUNDS):
        mine, _ = _nearest(some, centres)
        order = np.argsort(mine, kind="stable")
        there, first = np.unique(mine[order], return_index=True)
        centres = np.add.reduceat(some[order], first) / np.diff([*first, len(some)])[:, None]
    return centres


def _nearest(rows: Float[ndarray, "N D"], centres: Float[ndarray, "P D"]) -> tuple[Int[ndarray, " N"], Float[ndarray, " N"]]:
    """Which centre is nearest to each row, and the squared distance."""
    rows, centres = rows.astype(np.float32), centres.astype(np.float32)
    half, step = (centres * centres).sum(1) / 2, max(1, (1 << 22) // len(centres))
    which, far = np.zeros(len(rows), np.int64), np.zeros(len(rows))
    for begin in range(0, len(rows), step):
        near = rows[begin : begin + step]
        score = near @ centres.T - half
        which[begin : begin + step] = score.argmax(1)
        far[begin : begin + step] = np.maximum((near * near).sum(1) - 2 * score.max(1), 0)
    return which, far
