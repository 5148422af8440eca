"""Arithmetic of rays: where they cross a cube, sections of them, sums over packed samples."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

NEAR = 0.05  # metres before a camera inside the cube
SPREAD = 0.1  # of the sections are laid evenly, wherever the light goes


def cross(
    origin: Float[Tensor, "R 3"], way: Float[Tensor, "R 3"], bound: float
) -> tuple[Float[Tensor, "R 1"], Float[Tensor, "R 1"]]:
    """First and last t of o + t d within [-bound, bound]^3; the same for rays that miss it."""
    slow = torch.where(way.abs() < 1e-9, 1e-9, way)
    a, b = (-bound - origin) / slow, (bound - origin) / slow
    near = torch.minimum(a, b).amax(1, keepdim=True).clamp(min=NEAR)
    return near, torch.maximum(torch.maximum(a, b).amin(1, keepdim=True), near)


def sections(
    near: Float[Tensor, "R 1"], far: Float[Tensor, "R 1"], count: int, share: Float[Tensor, "R P"] | None
) -> Float[Tensor, "R E"]:
    """The ends (E = count + 1) of `count` sections of each ray: even ones, or many where the `share` of even sections is large."""
    even = torch.linspace(0, 1, count + 1, device=near.device).expand(len(near), -1)
    if share is not None:
        even = _inverse(share + SPREAD / share.shape[1], even)
    return near + (far - near) * even


def _inverse(share: Float[Tensor, "R P"], u: Float[Tensor, "R E"]) -> Float[Tensor, "R E"]:
    """The inverse of the cumulative distribution over even sections of [0, 1], piecewise linear."""
    total = torch.nn.functional.pad(share.cumsum(1), (1, 0))
    total = total / total[:, -1:]
    after = torch.searchsorted(total, u.contiguous(), right=True).clamp(1, share.shape[1])
    low, high = total.gather(1, after - 1), total.gather(1, after)
    return (after - 1 + ((u - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)) / share.shape[1]


def places(
    edges: Float[Tensor, "R E"], jitter: Float[Tensor, "R S"] | None
) -> tuple[Float[Tensor, "R S"], Float[Tensor, "R S"]]:
    """One t in each section (its middle without jitter in [0, 1]) and how long the sections are."""
    delta = edges[:, 1:] - edges[:, :-1]
    return edges[:, :-1] + delta * (0.5 if jitter is None else jitter), delta


def between(t: Float[Tensor, "R S"]) -> Float[Tensor, "R S"]:
    """Half-way from the place before: where light is lost that one place still has and the next has not."""
    return torch.cat([t[:, :1], (t[:, 1:] + t[:, :-1]) / 2], 1)


def opacity(
    density: Float[Tensor, "R S"], delta: Float[Tensor, "R S"], way: Float[Tensor, "R 3"]
) -> Float[Tensor, "R S"]:
    """What sections of rays take of the light (Beer and Lambert)."""
    return 1 - torch.exp(-density * delta * way.norm(dim=-1, keepdim=True))


def laplace(distance: Float[Tensor, " N"], width: Float[Tensor, ""]) -> Float[Tensor, " N"]:
    """VolSDF's density, 1/metre: the Laplace distribution's cumulative."""
    half = 0.5 * torch.exp(-distance.abs() / width)
    return torch.where(distance > 0, half, 1 - half) / width


def logistic(distance: Float[Tensor, " N"], width: Float[Tensor, ""]) -> Float[Tensor, " N"]:
    """The most that NeuS's density is at a distance, 1/metre: on a ray that meets the surface at right angles."""
    return torch.sigmoid(-distance / width) / width


EDGES = {"volsdf": laplace, "neus": logistic}


def gather(
    weights: Float[Tensor, "R S"], index: Int[Tensor, " n"], values: Float[Tensor, "n K"]
) -> Float[Tensor, "R K"]:
    """Weighted sums per ray of values that are known at the samples `index` of R S."""
    sums = torch.zeros(len(weights), values.shape[1], dtype=values.dtype, device=values.device)
    return sums.index_add(0, index // weights.shape[1], weights.reshape(-1)[index, None] * values)


def cell(points: Float[Tensor, "*n 3"], bound: float, cells: int) -> Int[Tensor, "*n"]:
    """The flat index of the cell of [-bound, bound]^3 that a point lies in."""
    x, y, z = ((points / bound + 1) * (cells / 2)).long().clamp(0, cells - 1).unbind(-1)
    return (x * cells + y) * cells + z


def lattice(cells: int, bound: float, device) -> Float[Tensor, "n 3"]:
    """The middles of all cells of [-bound, bound]^3, z fastest."""
    axis = ((torch.arange(cells, device=device) + 0.5) / cells * 2 - 1) * bound
    return torch.cartesian_prod(axis, axis, axis)
