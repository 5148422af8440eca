"""Which of two merged scenes a place belongs to, by graph cut (Vox-E, Sella et al., arXiv:2303.12048): nodes of a grid are told by how
much the scenes differ there, neighbours that look alike stay together. The least cut is found exactly, by maximum flow."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from dream3d.types import Field

EVEN = 0.25  # evidence that speaks for neither scene
TOGETHER, ALIKE = 0.5, 0.1  # what parting two equal neighbours costs, and the difference that makes it cheap
THERE = 0.02  # of a cell's light: less is empty in either scene, and belongs to whom it belonged to
UNIT = 1000  # capacities are whole numbers


def looks(field: Field) -> Float[Tensor, "X Y Z 4"]:
    """What a cell takes of the light, and its colour times that."""
    cell = 2 * field.bound / max(len(field.density) - 1, 1)
    alpha = 1 - torch.exp(-field.density[..., None] * cell)
    return torch.cat([alpha, alpha * field.rgb], -1)


def evidence(one: Float[Tensor, "X Y Z 4"], other: Float[Tensor, "X Y Z 4"]) -> Float[Tensor, "X Y Z"]:
    """How much two scenes differ at every node, in [0, 1]: in the light taken or in a channel of the colour."""
    return (one - other).abs().amax(-1)


def cut(one: Float[Tensor, "X Y Z 4"], other: Float[Tensor, "X Y Z 4"], weights: Float[Tensor, "X Y Z"]) -> Bool[Tensor, "X Y Z"]:
    """Where the other scene is to be taken, given for every node how much speaks for it."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    there = (torch.maximum(one[..., 0], other[..., 0]) > THERE).numpy()
    count = int(there.sum())
    if count == 0:
        return torch.zeros(weights.shape, dtype=torch.bool)
    number = np.cumsum(there).reshape(there.shape) - 1
    told = weights.numpy()[there]
    stay, change = np.clip((told - EVEN) / (1 - EVEN), 0, 1), np.clip((EVEN - told) / EVEN, 0, 1)
    first, second, alike = _neighbours(there, number, torch.cat([one, other], -1).numpy())
    node, begin, end = np.arange(count), np.full(count, count), np.full(count, count + 1)
    ends = np.concatenate([begin, node, first, second]), np.concatenate([node, end, second, first])
    capacity = np.rint(UNIT * np.concatenate([stay, change, alike, alike])).astype(np.int32)
    graph = csr_matrix((capacity, ends), shape=(count + 2, count + 2))
    left = graph - maximum_flow(graph, count, count + 1).flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    reached = breadth_first_order(left, count, return_predecessors=False)
    taken = np.zeros(count, bool)
    taken[reached[reached < count]] = True
    found = np.zeros(there.shape, bool)
    found[there] = taken
    return torch.from_numpy(found)


def _neighbours(there: ndarray, number: ndarray, look: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Pairs of nodes next to each other along x, y or z that hold something, and what parting each costs."""
    pairs = []
    for axis in range(3):
        near, far = (tuple(slice(a, b) if k == axis else slice(None) for k in range(3)) for a, b in ((None, -1), (1, None)))
        both = there[near] & there[far]
        apart = np.square(look[near][both] - look[far][both]).sum(-1)
        pairs.append((number[near][both], number[far][both], TOGETHER * np.exp(-apart / (2 * ALIKE**2))))
    return tuple(np.concatenate(column) for column in zip(*pairs, strict=True))
