"""When Gaussians come and go, and which: by gradient (surgery.py), into gaps, out by size alone, and under a cap.

Compactness is GSGEN's (Chen et al. 2023, arXiv:2309.16585): where the ellipsoids of one standard deviation of two near neighbours do not
reach each other along the line between their centres, a round Gaussian of a sixth of the gap is put into its middle. Here a pair has one
such child however many name it, pairs of two objects have none, and at most a share of the scene is added a time, first between the most
opaque: what stands alone in the fog has the widest gaps. Windows in which nothing is added and only what is too large goes are
HumanGaussian's (Liu et al. 2023, arXiv:2311.17061); what has faded stays to the end there, so that size alone decides.
"""

from dataclasses import dataclass

import torch
from dream3d.renderers._backends.project import matrix
from dream3d.renderers._backends.surgery import choose, divide, splits
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from dream3d.types import Step

FILL = 1 / 6  # a child's standard deviation, of its gap: three of them reach either end
TOUCH = 1e-3  # of the distance between two centres: what leaves less than this free touches


@dataclass(frozen=True)
class Crowd:
    """Gaussians on their way through an upkeep: their values by name, the row of before that each continues, and whose moments begin
    anew."""

    rows: dict[str, Tensor]
    source: Int[Tensor, " N"]
    fresh: Bool[Tensor, " N"]

    @staticmethod
    def of(rows: dict[str, Tensor]) -> "Crowd":
        source = torch.arange(len(rows["position"]), device=rows["position"].device)
        return Crowd(rows, source, torch.zeros_like(source, dtype=torch.bool))

    def __len__(self) -> int:
        return len(self.source)

    def only(self, index: Int[Tensor, " n"]) -> "Crowd":
        return Crowd({k: v[index] for k, v in self.rows.items()}, self.source[index], self.fresh[index])

    def plus(self, rows: dict[str, Tensor], parent: Int[Tensor, " n"], fresh: Bool[Tensor, " n"]) -> "Crowd":
        """And these behind them, children of `parent` (its rows here)."""
        joined = {k: torch.cat([v, rows[k]]) for k, v in self.rows.items()}
        return Crowd(joined, torch.cat([self.source, self.source[parent]]), torch.cat([self.fresh, fresh]))


@dataclass(frozen=True)
class Upkeep:
    """The settings of `gaussians` that say when Gaussians come and go. Times are fractions of the run."""

    densify: str
    densify_from: float
    densify_until: float
    densify_every: float
    densify_share: float
    neighbours: int
    max_count: int
    when_full: str
    split_scale: float
    prune_opacity: float
    prune_scale: float
    prune_only: tuple[float, float] | None
    prune_only_scale: float
    reset_every: float

    def watches(self, now: Step) -> bool:
        """Whether screen-space gradients still decide something."""
        return now.progress <= self.densify_until

    def due(self, now: Step) -> bool:
        grows = self.densify_from <= now.progress <= self.densify_until
        return (grows or self._thins(now)) and now.every(_interval(self.densify_every, now))

    def resets(self, now: Step) -> bool:
        return self.watches(now) and now.every(_interval(self.reset_every, now))

    def turn(self, rows: dict[str, Tensor], label: Int[Tensor, " N"] | None, score: Float[Tensor, " N"], now: Step) -> Crowd | None:
        """What the scene becomes, or None where it stays: an empty one could never come back."""
        crowd = Crowd.of(rows)
        if self._thins(now):
            crowd = crowd.only((_largest(rows) <= self.prune_only_scale).nonzero()[:, 0])
        else:
            crowd = self._divided(crowd, score, now)
            if self.densify != "gradient" and len(crowd) > 1:
                crowd = self._filled(crowd, label)
            crowd = crowd.only(self.within(crowd.rows, crowd.fresh))
        return crowd if len(crowd) else None

    def within(self, rows: dict[str, Tensor], fresh: Bool[Tensor, " N"] | None = None) -> Int[Tensor, " n"]:
        """Who may be there: with `when_full: replace` the `max_count` most important, else all. What has just begun (`fresh`) is spared
        before the others, for it is small; ties go to the lower index."""
        count = len(rows["position"])
        everyone = torch.arange(count, device=rows["position"].device)
        if self.when_full == "wait" or count <= self.max_count:
            return everyone
        worth = importance(rows) if fresh is None else importance(rows).masked_fill(fresh, torch.inf)
        return worth.argsort(descending=True, stable=True)[: self.max_count].sort().values

    def _thins(self, now: Step) -> bool:
        return self.prune_only is not None and self.prune_only[0] <= now.progress <= self.prune_only[1]

    def _limit(self, count: int) -> int:
        """How many there may be after something was added to `count`: with `replace` the cap comes afterwards."""
        return self.max_count if self.when_full == "wait" else 2 * count

    def _divided(self, crowd: Crowd, score: Float[Tensor, " N"], now: Step) -> Crowd:
        """Without those that have faded or grown too large, and with two for each of those with the largest gradient."""
        rows = crowd.rows
        alive = (rows["logit"].sigmoid() > self.prune_opacity) & (_largest(rows) < self.prune_scale)
        share = 0.0 if self.densify == "compactness" else self.densify_share
        keep, parents = choose(alive, score, share, self._limit(int(alive.sum())))
        children = divide({k: v[parents] for k, v in rows.items()}, self.split_scale, now)
        # of a pair of clones the first is its parent and keeps its moments: two that move alike would never part
        halves = splits(rows["log_scale"][parents], self.split_scale)
        both = torch.cat([keep, parents, parents])
        fresh = torch.cat([torch.zeros_like(keep, dtype=torch.bool), halves, torch.ones_like(halves)])
        joined = {k: torch.cat([v[keep], children[k]]) for k, v in rows.items()}
        return Crowd(joined, crowd.source[both], fresh)

    def _filled(self, crowd: Crowd, label: Int[Tensor, " N"] | None) -> Crowd:
        """With a child in every gap, as far as there is room; it is as its pair's first in all but place, size and turn."""
        pairs, gap, middle = gaps(crowd.rows, None if label is None else label[crowd.source], self.neighbours)
        room = max(0, min(int(self.densify_share * len(crowd)), self._limit(len(crowd)) - len(crowd)))
        solid = crowd.rows["logit"][pairs].amin(-1)
        chosen = solid.argsort(descending=True, stable=True)[:room]
        parent = pairs[chosen, 0]
        size = (FILL * gap[chosen]).log()[:, None].expand(-1, 3)
        rows = {k: v[parent] for k, v in crowd.rows.items()} | {"position": middle[chosen], "log_scale": size}
        return crowd.plus(rows, parent, torch.ones_like(parent, dtype=torch.bool))


def importance(rows: dict[str, Tensor]) -> Float[Tensor, " N"]:
    """The most light one can take from a picture: its opacity times the product of its two largest standard deviations (m^2)."""
    return rows["logit"].sigmoid() * rows["log_scale"].topk(2, -1).values.sum(-1).exp()


def gaps(
    rows: dict[str, Tensor], label: Int[Tensor, " N"] | None, neighbours: int
) -> tuple[Int[Tensor, "P 2"], Float[Tensor, " P"], Float[Tensor, "P 3"]]:
    """Pairs of Gaussians, the lower index first, one among the other's `neighbours` nearest and of the same object, that do not touch:
    who, how much is free between their ellipsoids of one standard deviation (metres), and the middle of that."""
    pairs = _neighbours(rows["position"], neighbours)
    if label is not None:
        pairs = pairs[label[pairs[:, 0]] == label[pairs[:, 1]]]
    first, second = pairs.unbind(1)
    way = rows["position"][second] - rows["position"][first]
    length = way.norm(dim=-1)
    direction = way / length.clamp(min=1e-12)[:, None]
    reach = _reach(rows, first, direction)
    gap = length - reach - _reach(rows, second, direction)
    middle = rows["position"][first] + (reach + gap / 2)[:, None] * direction
    apart = gap > TOUCH * length
    return pairs[apart], gap[apart], middle[apart]


def _neighbours(position: Float[Tensor, "N 3"], count: int) -> Int[Tensor, "P 2"]:
    """Every pair once, the lower index first, in order."""
    place, count = position.double().cpu().numpy(), min(count + 1, len(position))  # the nearest one is itself
    near = torch.from_numpy(cKDTree(place).query(place, k=range(1, count + 1))[1]).to(position.device)
    pairs = torch.stack([torch.arange(len(position), device=position.device)[:, None].expand_as(near), near], -1).flatten(0, 1)
    return pairs[pairs[:, 0] != pairs[:, 1]].sort(1).values.unique(dim=0)


def _reach(rows: dict[str, Tensor], index: Int[Tensor, " P"], direction: Float[Tensor, "P 3"]) -> Float[Tensor, " P"]:
    """Metres from a centre to its ellipsoid of one standard deviation."""
    along = torch.einsum("pji,pj->pi", matrix(rows["rotation"][index]), direction)
    return 1 / (along / rows["log_scale"][index].exp()).norm(dim=-1).clamp(min=1e-12)


def _largest(rows: dict[str, Tensor]) -> Float[Tensor, " N"]:
    return rows["log_scale"].exp().amax(-1)


def _interval(share: float, now: Step) -> int:
    """A fraction of the run in steps; 0 stays never."""
    return max(1, round(share * now.total)) if share > 0 else 0
