"""The ratio of two densities of noisy x, learnt from samples: how much likelier the prior finds a picture than renders are."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.diffusion import add_noise, jump, predict, x0_from_eps
from dream3d.errors import Mistake
from dream3d.interfaces import Prior, device_of
from dream3d.learner import Owned, noisy
from dream3d.types import Step, View


class Discriminator:
    """log p_t(z) - log q_t(z) of prior and renders by logistic regression at every noise level: where samples of both are equally
    many, that is the best logit. The prior's samples it draws itself, for the very views it learns from: no data is needed.

    width: channels; lr: AdamW's; every: steps of the scene between two of learning; draws: DDIM steps of a sample, one evaluation of
    the prior each.
    """

    def __init__(self, prior: Prior, *, width: int, lr: float, every: int, draws: int):
        self.prior, self.every, self.draws = prior, every, draws
        self.network = Critic(prior, width=width).to(device_of(prior))
        self.owned = Owned(self.network, lr)

    @torch.no_grad()
    def log_ratio(self, z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], view: View) -> Float[Tensor, " B"]:
        """log p_t(z) - log q_t(z), 0 before anything is learnt."""
        return self.network(z, t, view).to(z.dtype)

    def learn(self, views: list[View], now: Step) -> float:
        """One step on what was seen, where this is a step for learning; returns the loss, log 4 where nothing can be told apart."""
        due = views if now.index % self.every == 0 else []
        total = sum(len(view.x) for view in due)
        return self.owned.descend([self._loss(view, now) * (len(view.x) / total) for view in due]) if due else 0.0

    def _loss(self, view: View, now: Step) -> Float[Tensor, ""]:
        real = sample(self.prior, view, now, self.draws)
        _, t, z = noisy(self.prior, view, now)
        other = add_noise(self.prior, real, t, now.normal(*real.shape, device=real.device).to(real.dtype))
        return (F.softplus(self.network(z, t, view)) + F.softplus(-self.network(other, t, view))).mean()

    def state(self) -> dict:
        return self.owned.state()

    def restore(self, state: dict) -> None:
        self.owned.restore(state)


class Densities:
    """The same ratio where prior and student know their densities: nothing to learn."""

    def __init__(self, prior: Prior, student: nn.Module):
        if "density" not in prior.spec.capabilities:
            problem, fix = "this prior has no density to take a ratio of", "ratio: discriminator"
            raise Mistake(problem, where="guidance.ratio: exact", fix=fix)
        self.prior, self.student = prior, student

    @torch.no_grad()
    def log_ratio(self, z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], view: View) -> Float[Tensor, " B"]:
        """log p_t(z) of the prior under the view's prompt minus log q_t(z) of the student under the bare one."""
        real = self.prior.log_density(z, t, view.text["text"], view.cameras, view.render)
        return real - self.student.log_density(z, t, view.text["bare"], view.cameras, view.render)

    def learn(self, views: list[View], now: Step) -> float:
        return 0.0

    def state(self) -> dict:
        return {}

    def restore(self, state: dict) -> None:
        """Nothing was learnt."""


class Critic(nn.Module):
    """One number for a noisy x: two convolutions that are told the time and the camera, then their squares' mean over the pixels
    beside their own, so that a Gaussian's quadratic logit is within reach. It answers 0 at first."""

    def __init__(self, prior: Prior, *, width: int):
        super().__init__()
        self.noise = prior.alpha_sigma
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.tell = nn.Sequential(nn.Linear(8, width), nn.SiLU(), nn.Linear(width, 2 * width))
            self.first = nn.Conv2d(prior.spec.channels, width, 3, padding=1)
            self.second = nn.Conv2d(width, width, 3, stride=2, padding=1)
            self.mix = nn.Linear(3 * width, width)
            self.last = nn.Linear(width, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], view: View) -> Float[Tensor, " B"]:
        alpha, sigma = self.noise(t)
        cameras = view.cameras
        angles = torch.stack([cameras.azimuth, cameras.elevation], 1)
        told = self.tell(torch.cat([torch.stack([t, alpha, sigma, sigma.log()], 1), angles.sin(), angles.cos()], 1).float())
        scale, shift = told.chunk(2, 1)
        hidden = F.silu(self.first(z.float()) * (1 + scale[..., None, None]) + shift[..., None, None])
        pooled = self.second(hidden).flatten(2)
        features = torch.cat([pooled.mean(2), pooled.square().mean(2), told[:, : pooled.shape[1]]], 1)
        return self.last(F.silu(self.mix(features)))[:, 0]


def sample(prior: Prior, view: View, now: Step, draws: int, row: str = "text") -> Float[Tensor, "B C h w"]:
    """What the prior itself draws for these views, by deterministic DDIM in `draws` evaluations from noise to t = 0, unguided."""
    times = torch.linspace(0.9995, 0.0005, draws + 1, device=view.x.device)
    z = now.normal(*view.x.shape, device=view.x.device).to(view.x.dtype)
    for i in range(draws):
        t, to = (level.expand(len(z)) for level in times[i : i + 2])
        (eps,) = predict(prior, z, t, view, row)
        z = jump(prior, z, t, to, eps) if i + 1 < draws else x0_from_eps(prior, z, t, eps)
    return z
