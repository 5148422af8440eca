"""What variational guidances own: a student that learns, step by step, which noise hides the renders of now."""

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise
from dream3d.interfaces import Prior
from dream3d.types import Step, View


class Learner:
    """A prior's student and its optimiser (AdamW). It learns by denoising (ProlificDreamer, arXiv:2305.16213, eq. 10), always in
    eps, whatever the prior's own parametrisation.

    rank: of the student; lr: AdamW's; inner: learning steps per step of the scene; drop: how often a learning step hides the
    cameras, so that the student also knows the mean over them.
    """

    def __init__(self, prior: Prior, *, rank: int, lr: float, inner: int = 1, drop: float = 0.1):
        self.prior, self.student, self.inner, self.drop = prior, prior.student(rank=rank), inner, drop
        self.student.to(next(iter([*prior.parameters(), *prior.buffers()])).device)
        self.names = [name for name, p in self.student.named_parameters() if p.requires_grad]
        learnt = dict(self.student.named_parameters())
        self.optimizer = torch.optim.AdamW([learnt[name] for name in self.names], lr=lr, weight_decay=0.0)

    @torch.no_grad()
    def eps(
        self, z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], view: View, row: str = "bare", *, camera: bool = True
    ) -> Float[Tensor, "B C h w"]:
        """The student's noise, with or without being told the cameras. Counts as an evaluation of the prior."""
        self.prior.evaluations += len(z)
        return self.student.eps(z, t, view.text[row], view.cameras if camera else None, view.render)

    def learn(self, view: View, now: Step, row: str = "bare") -> float:
        """`inner` steps on what was last rendered; returns the last loss, mean |eps - noise|^2."""
        for _ in range(self.inner):
            loss = self._loss(view, now, row)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return loss.item()

    def _loss(self, view: View, now: Step, row: str) -> Float[Tensor, ""]:
        """At any noise level, one per group, whatever the window of the guidance."""
        groups = len(view.x) // (view.cameras.views * view.cameras.frames)
        t = now.uniform(groups, device=view.x.device)[view.cameras.group].clamp(1e-4, 1 - 1e-4)
        noise = now.normal(*view.x.shape, device=view.x.device).to(view.x.dtype)
        hidden = now.uniform(1).item() < self.drop
        z = add_noise(self.prior, view.x, t, noise)
        eps = self.student.eps(z, t, view.text[row], None if hidden else view.cameras, view.render)
        return (eps - noise).square().mean()

    def state(self) -> dict:
        """Parameters and moments by name."""
        learnt = dict(self.student.named_parameters())
        moments = self.optimizer.state_dict()["state"]
        return {"parameters": {name: learnt[name].detach() for name in self.names},
                "moments": {self.names[i]: row for i, row in moments.items()}}  # fmt: skip

    def restore(self, state: dict) -> None:
        learnt = dict(self.student.named_parameters())
        with torch.no_grad():
            for name, value in state["parameters"].items():
                learnt[name].copy_(value)
        moments = {self.names.index(name): row for name, row in state["moments"].items()}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
