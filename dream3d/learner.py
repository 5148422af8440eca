"""What variational guidances own: a student that learns, step by step, which noise hides the renders of now."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.diffusion import add_noise
from dream3d.interfaces import Prior, device_of
from dream3d.types import Cameras, Embedding, Step, View


class Learner:
    """A prior's student and its optimiser (AdamW). It learns by denoising (ProlificDreamer, arXiv:2305.16213, eq. 10), always in
    eps, whatever the prior's own parametrisation. All particles (`cameras.subject`) share it, as all renders share one density.

    student: `prior.student(rank=...)`, of rank 0 where it shall learn nothing but what a camera means; lr: AdamW's; inner: learning
    steps per step of the scene; drop: how often one hides the cameras, so that the student also knows the mean over them.
    """

    def __init__(self, prior: Prior, student: nn.Module, *, lr: float, inner: int = 1, drop: float = 0.1):
        self.prior, self.student, self.inner, self.drop = prior, student.to(device_of(prior)), inner, drop
        self.owned = Owned(self.student, lr)
        self.seen: list[View] = []
        self.now: Step | None = None

    def see(self, view: View, now: Step) -> None:
        """Keep a view to learn from at the end of this step: a term may hand its views over in chunks."""
        if self.now is not now:
            self.seen, self.now = [], now
        self.seen.append(view)

    def views(self, now: Step) -> list[View]:
        """What was seen in this step: nothing where no view served the term, or the step before was skipped."""
        return self.seen if self.now is now else []

    def eps(
        self, z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], view: View, *rows: str, camera: bool = True, graph: bool = False
    ) -> tuple[Float[Tensor, "B C h w"], ...]:
        """The student's noise for each row of text ("bare" if none is named), with or without being told the cameras, in one
        batched call; `graph` keeps the graph from z. Counts as evaluations of the prior."""
        rows = rows or ("bare",)
        again = torch.arange(len(z), device=z.device).repeat(len(rows))
        text = Embedding.cat([view.text[row] for row in rows])
        self.prior.evaluations += len(again)
        cameras = view.cameras.at(again) if camera else None
        with torch.set_grad_enabled(graph):
            return self.student.eps(z[again], t[again], text, cameras, view.render.at(again)).chunk(len(rows))

    def learn(self, now: Step, row: str = "bare") -> float:
        """`inner` steps on what was seen in this step, all chunks as one batch; returns the last loss, mean |eps - noise|^2, or 0
        where nothing was seen."""
        loss, views, self.seen = 0.0, self.views(now), []
        share = [len(view.x) / sum(len(v.x) for v in views) for view in views]
        for _ in range(self.inner if views else 0):
            hidden = now.uniform(1).item() < self.drop
            losses = [self._loss(view, now, row, None if hidden else view.cameras) * s for view, s in zip(views, share, strict=True)]
            loss = self.owned.descend(losses)
        return loss

    def _loss(self, view: View, now: Step, row: str, cameras: Cameras | None) -> Float[Tensor, ""]:
        noise, t, z = noisy(self.prior, view, now)
        return (self.student.eps(z, t, view.text[row], cameras, view.render) - noise).square().mean()

    def state(self) -> dict:
        return self.owned.state()

    def restore(self, state: dict) -> None:
        self.owned.restore(state)


class Owned:
    """The trainable parameters of a network and their AdamW: what a guidance owns, descends and saves, by name."""

    def __init__(self, network: nn.Module, lr: float):
        self.parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=lr, weight_decay=0.0)

    def descend(self, losses: list[Float[Tensor, ""]]) -> float:
        """One step on the sum of the losses, which it returns. Nothing but the owned parameters collects a gradient, and not even
        they keep it."""
        grads = torch.autograd.grad(sum(losses), list(self.parameters.values()), allow_unused=True)
        for p, grad in zip(self.parameters.values(), grads, strict=True):
            p.grad = grad
        self.optimizer.step()
        self.optimizer.zero_grad()
        return sum(loss.item() for loss in losses)

    def state(self) -> dict:
        """Parameters and moments by name."""
        names, moments = list(self.parameters), self.optimizer.state_dict()["state"]
        return {"parameters": {name: p.detach() for name, p in self.parameters.items()},
                "moments": {names[i]: row for i, row in moments.items()}}  # fmt: skip

    def restore(self, state: dict) -> None:
        with torch.no_grad():
            for name, value in state["parameters"].items():
                self.parameters[name].copy_(value)
        names = list(self.parameters)
        moments = {names.index(name): {k: v.clone() for k, v in row.items()} for name, row in state["moments"].items()}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def noisy(
    prior: Prior, view: View, now: Step
) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, " B"], Float[Tensor, "B C h w"]]:
    """Fresh noise, t and the noisy x to learn from: t anywhere, one per group, whatever the window of the guidance."""
    groups = len(view.x) // (view.cameras.views * view.cameras.frames)
    t = now.uniform(groups, device=view.x.device)[view.cameras.group].clamp(1e-4, 1 - 1e-4)
    noise = now.normal(*view.x.shape, device=view.x.device).to(view.x.dtype)
    return noise, t, add_noise(prior, view.x, t, noise)
