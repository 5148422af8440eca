"""The system-level optimiser: pixel-wise gradient clipping at the waist, Adam behind the renderer."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dream3d.interfaces import Group
from dream3d.schedule import Decay, Positive


def clip_pixels(gradients: dict[str, Tensor], limit: dict[str, float] | float | None) -> dict[str, Tensor]:
    """Pixel-wise gradient clipping (PGC, Pan et al., arXiv:2310.12474): G min(1, C / max_c |G_c|) at every pixel of every buffer,
    so a pixel's direction over channels is kept. `limit` is C for all buffers or by name; None, or a buffer not named: no clip."""
    return {name: _clip(g, _limit(limit, name)) for name, g in gradients.items()}


def clipped_share(gradients: dict[str, Tensor], limit: dict[str, float] | float | None) -> float:
    """The share of pixels, over all clipped buffers, whose gradient exceeds its limit."""
    over = [_largest(g) > c for name, g in gradients.items() if (c := _limit(limit, name)) is not None]
    return torch.cat([o.flatten() for o in over]).float().mean().item() if over else 0.0


def _limit(limit, name: str) -> float | None:
    return limit.get(name) if isinstance(limit, dict) else limit


def _largest(gradient: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W 1"]:
    return gradient.abs().amax(-1, keepdim=True)


def _clip(gradient: Float[Tensor, "B H W C"], limit: float | None) -> Float[Tensor, "B H W C"]:
    if limit is None:
        return gradient
    return gradient * (limit / _largest(gradient)).clamp(
        max=1
    )  # 0 / 0 cannot happen: limit > 0, so 0 gives inf, clamped


class Adam:
    """Adam (Kingma and Ba, arXiv:1412.6980) over named groups, whose rows may come and go.

    A step whose gradients are not all finite changes nothing and is counted in `skipped`; `streak` counts those in a row.
    """

    def __init__(self, *, betas: tuple[Decay, Decay] = (0.9, 0.99), eps: Positive = 1e-15):
        self.betas, self.eps = betas, eps
        self.moments: dict[str, tuple[Tensor, Tensor, Tensor]] = {}  # m, v, and how many steps each row has had
        self.skipped = self.streak = 0

    @torch.no_grad()
    def step(self, groups: list[Group]) -> bool:
        """Subtract one Adam step from every group that has a gradient, then drop the gradients. False: skipped."""
        active = [group for group in groups if group.tensor.grad is not None]
        finite = all(bool(group.tensor.grad.isfinite().all()) for group in active)
        if finite:
            for group in active:
                self._update(group)
        for group in active:
            group.tensor.grad = None
        self.streak = 0 if finite else self.streak + 1
        self.skipped += not finite
        return finite

    def _update(self, group: Group) -> None:
        p, g, (b1, b2) = group.tensor, group.tensor.grad, self.betas
        moments = self.moments.get(group.name, (torch.zeros_like(p), torch.zeros_like(p), _ages(p)))
        m, v, k = self.moments[group.name] = tuple(x.to(p.device) for x in moments)  # a checkpoint comes on the CPU
        k += 1
        m.lerp_(g, 1 - b1)
        v.mul_(b2).addcmul_(g, g, value=1 - b2)
        p.sub_(group.lr * (m / (1 - b1**k)) / ((v / (1 - b2**k)).sqrt() + self.eps))

    def remap(self, names: list[str], source: Int[Tensor, " n"], fresh: Bool[Tensor, " n"]) -> None:
        """Rows come and go: row i of every named group now continues row source[i]; where `fresh`, it starts anew."""
        for name in set(names) & set(self.moments):
            old = self.moments[name]
            self.moments[name] = tuple(_fresh(moment[source], fresh) for moment in old)

    def forget(self, name: str) -> None:
        """A group's values were reset from outside: it starts anew."""
        if name in self.moments:
            self.moments[name] = tuple(torch.zeros_like(moment) for moment in self.moments[name])

    def state(self) -> dict:
        moments = {name: {"m": m, "v": v, "k": k} for name, (m, v, k) in self.moments.items()}
        return {"moments": moments, "skipped": self.skipped, "streak": self.streak}

    def restore(self, state: dict) -> None:
        self.moments = {name: tuple(row[key].clone() for key in "mvk") for name, row in state["moments"].items()}
        self.skipped, self.streak = state["skipped"], state["streak"]


def _ages(p: Tensor) -> Tensor:
    """Zero steps for every row: one number each, in a shape that broadcasts."""
    return p.new_zeros(p.shape[:1] + (1,) * (p.ndim - 1))


def _fresh(moment: Tensor, fresh: Bool[Tensor, " n"]) -> Tensor:
    return moment.masked_fill_(fresh.view(-1, *[1] * (moment.ndim - 1)), 0)
