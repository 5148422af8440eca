"""Steps that move a surface as a whole: vertices x = (I + s L)^-1 u, with L the graph's Laplacian and u what is optimised.

Nicolet et al., "Large Steps in Inverse Rendering of Geometry", SIGGRAPH Asia 2021: a step of u is smoothed before it reaches x, and so is
the gradient. Theirs shares one second moment among all rows, ours has one for each.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


class Stiff:
    """Of a mesh with `count` vertices. `stiffness` 0 leaves vertices alone. Solved on the CPU in float64 by one factorisation, which
    lasts until faces change; nothing in it does, so that copies of a scene share it."""

    def __init__(self, faces: Int[Tensor, "F 3"], count: int, stiffness: float):
        from scipy.sparse import csc_matrix, identity
        from scipy.sparse.linalg import splu

        self.matrix, self.factor = None, None
        if stiffness == 0:
            return
        one = faces.cpu().numpy().reshape(-1)
        other = np.roll(faces.cpu().numpy(), -1, 1).reshape(-1)
        graph = csc_matrix((np.ones(2 * len(one)), (np.r_[one, other], np.r_[other, one])), shape=(count, count))
        graph.data[:] = 1
        degree = np.asarray(graph.sum(1)).reshape(-1)
        self.matrix = identity(count, format="csc") * 1.0 - stiffness * graph
        self.matrix.setdiag(1 + stiffness * degree)
        self.factor = splu(self.matrix)

    def __deepcopy__(self, memo: dict) -> "Stiff":
        return self  # SciPy's factors cannot be copied

    def vertices(self, u: Float[Tensor, "V C"]) -> Float[Tensor, "V C"]:
        """Where the vertices are, or other numbers of theirs, each column alone."""
        return u if self.factor is None else _Solve.apply(u, self.factor)

    def inverse(self, x: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3"]:
        """The u with these vertices."""
        return x if self.matrix is None else torch.from_numpy(self.matrix @ x.detach().cpu().double().numpy()).to(x)


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, factor):
        ctx.factor = factor
        return _solved(factor, u)

    @staticmethod
    def backward(ctx, pull):
        return _solved(ctx.factor, pull), None  # the matrix is symmetric


def _solved(factor, b: Float[Tensor, "V C"]) -> Float[Tensor, "V C"]:
    return torch.from_numpy(factor.solve(b.detach().cpu().double().numpy())).to(b)
