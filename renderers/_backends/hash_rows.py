"""Where the entries of a hash grid lie: what hash_torch, hash_numba and hash_cuda share. Imports no torch.

Instant-NGP's grid (Mueller et al., arXiv:2201.05989, section 3): level l divides the cube into resolutions[l] cells a side. Where all
its (r + 1)^3 nodes have room in `size` entries, node (x, y, z) is entry x + (r + 1) (y + (r + 1) z); elsewhere it is entry
(x ^ 2654435761 y ^ 805459861 z) mod size, in 32 bits, and nodes may share one. Levels lie one after the other in the table.
"""

PRIMES = 2654435761, 805459861  # of y and z; x's is 1, so that neighbours along x lie side by side


def rows(resolutions: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The first entry of every level, and the number of all entries."""
    first = [0]
    for r in resolutions:
        first.append(first[-1] + min((r + 1) ** 3, size))
    return tuple(first)


def levels(resolutions: tuple[int, ...], size: int, entries: int) -> list[tuple[int, int, bool]]:
    """Of every level: cells a side, first entry, whether every node has one of its own. Raises ValueError for a table of another length,
    beyond which a kernel would read."""
    first = rows(resolutions, size)
    if entries != first[-1]:
        raise ValueError(f"a hash grid of {len(resolutions)} levels has {first[-1]} entries, not {entries}")
    return [(r, first[k], dense(r, size)) for k, r in enumerate(resolutions)]


def dense(resolution: int, size: int) -> bool:
    """Whether every node of a level has an entry of its own."""
    return (resolution + 1) ** 3 <= size
