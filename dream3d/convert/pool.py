"""The hardest so far: what is mined from while one scene learns another (PVD-AL, Fang et al., arXiv:2304.04012)."""

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.types import Step

FORGET = 0.98  # of an error a step: what was hard long ago may have been learnt since


class Pool:
    """At most `size` rows of `width` numbers (rays, views) with the errors they had when last seen; 0: none is kept."""

    def __init__(self, size: int, width: int, device="cpu"):
        self.size = size
        self.rows, self.error = torch.zeros(0, width, device=device), torch.zeros(0, device=device)
        self.drawn = torch.zeros(0, dtype=torch.long, device=device)

    def draw(self, count: int, now: Step) -> Float[Tensor, "n K"]:
        """Up to `count` of them, each once, by chance: all of them are hard."""
        pick = torch.randperm(len(self.rows), generator=now.rng)[: max(count, 0)]
        self.drawn = pick.to(self.rows.device)
        return self.rows[self.drawn]

    def learn(self, fresh: Float[Tensor, "n K"], error: Float[Tensor, " m"]) -> None:
        """What was drawn and then `fresh` rows, in this order, have these errors now. The largest stay."""
        error = error.detach().nan_to_num(0.0)
        old = (FORGET * self.error).index_put((self.drawn,), error[: len(self.drawn)])
        error, rows = torch.cat([old, error[len(self.drawn) :]]), torch.cat([self.rows, fresh])
        keep = error.argsort(descending=True, stable=True)[: self.size]
        self.rows, self.error, self.drawn = rows[keep].clone(), error[keep].clone(), self.drawn[:0]

    def state(self) -> dict[str, Tensor]:
        return {"rows": self.rows, "error": self.error}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.rows, self.error = (state[name].clone().to(self.rows.device) for name in ("rows", "error"))
