"""Worlds in which claims are measured: a mixture of Gaussians, and pictures of the toybox under a prior that knows them. Both answer
scenes of four independent views (or of as many as asked for) that depend on prompt and seed alone."""

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dream3d import build
from dream3d.bench.compare_variance import held
from dream3d.cameras import ring
from dream3d.diffusion import jump, predict, x0_from_eps
from dream3d.interfaces import Guidance, Prior
from dream3d.options import Words
from dream3d.priors.mixture import Mixture
from dream3d.prompt import Prompt
from dream3d.toybox.language import parse
from dream3d.toybox.render import render
from dream3d.toybox.world import build as build_soup
from dream3d.toybox.world import instance_seed
from dream3d.types import Cameras, Condition, Embedding, Render, Step, View

LEVELS, DRAWS, VIEWS = (0.2, 0.5, 0.8), 16, 4
PROMPTS = ("a red car", "a yellow duck", "a blue mug", "a green tree", "an orange plane", "a purple bear")
SOURCES = ("a blue car", "a white duck", "a red mug", "a pink tree", "a green plane", "a brown bear")  # the same things before an edit
SIDE, KINDS, BROAD, NARROW = 4, 6, 1.0, 0.5  # of the mixture: pixels, components with a name, deviations of "" and of these


@dataclass(frozen=True)
class Scene:
    """view: half-made (View.x) with its rows; data: true pictures under the same cameras; inside: where the object is."""

    view: View
    data: Float[Tensor, "B C h w"]
    inside: Float[Tensor, "B 1 h w"]


class Gaussians:
    """Component 0, N(0, 1), is what "" and the negative row mean; prompts are components N(mu_k, 0.5^2) with mu_k ~ N(0, 0.75), so that
    all prompts together are about what "" is; the last one, N(mu, 1), is what a negative prompt names. 3 x 4 x 4 numbers, double."""

    name, bounded = "mixture", False

    def __init__(self, subjects: int = 1):
        means = math.sqrt(BROAD**2 - NARROW**2) * torch.randn(KINDS + 2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
        means[0] = 0
        std = torch.tensor([BROAD, *[NARROW] * KINDS, BROAD])
        self.prior: Prior = Mixture.of(means.double(), std.double(), subjects=subjects)

    def rows(self, prompt: int, count: int) -> Condition:
        k, other = prompt % KINDS + 1, (prompt + 1) % KINDS + 1
        said = {"text": k, "bare": k, "negative": 0, "empty": 0, "source": other, "other": other, "bad": KINDS + 1}
        return Condition({name: self.prior.text([f"{text}"]).at(torch.zeros(count, dtype=torch.long)) for name, text in said.items()})

    def mean(self, prompt: int) -> Float[Tensor, "C h w"]:
        return self.prior.means[prompt % KINDS + 1]

    def scene(self, prompt: int, seed: int, views: int = VIEWS) -> Scene:
        """Data are draws of the prompt's component, x is half of each: half way from the mean of everything."""
        data = self.mean(prompt) + NARROW * _normal(f"{prompt} {seed}", views, 3, SIDE, SIDE).double()
        return Scene(self.view(0.5 * data, prompt), data, torch.ones(views, 1, SIDE, SIDE).double())

    def edit(self, prompt: int, seed: int) -> View:
        """What an edit starts from: x and its source are data of another prompt, which "source" names."""
        x = self.mean(prompt + 1) + NARROW * _normal(f"edit {prompt} {seed}", VIEWS, 3, SIDE, SIDE).double()
        return dataclasses.replace(self.view(x, prompt), source=x.clone())

    def view(self, x: Tensor, prompt: int, subjects: bool = False) -> View:
        blank = x.new_zeros(len(x), SIDE, SIDE, 1)
        cameras = ring(len(x), size=SIDE, subject=torch.arange(len(x)) if subjects else None)
        return View(x, Render(blank.expand(-1, -1, -1, 3), blank, blank), cameras, self.rows(prompt, len(x)))


class Pictures:
    """Pictures of toybox objects of 32 pixels over grey, under a prior that reads the toybox's words. Truth is of objects that no prior
    has seen. A scene's x is half the contrast of a truth blurred by a Gaussian of two pixels: a shape in about the right colour."""

    bounded = True

    def __init__(self, name: str, prior: Prior):
        self.name, self.prior, self.size = name, prior, prior.spec.size
        self.told = lru_cache(32)(self._told)
        self.shown = lru_cache(64)(self._shown)

    def _told(self, prompt: int) -> Prompt:
        return Prompt(self.prior, [PROMPTS[prompt % KINDS]], "", Words(), [SOURCES[prompt % KINDS]], SOURCES[prompt % KINDS])

    def _shown(self, text: str, seed: int, views: int):
        where = ring(views, start=37.0 * seed, size=self.size)
        seen = render([build_soup(parse(text), instance_seed("test", seed))], where, buffers=("rgb", "alpha", "labels"))
        return where, seen

    def pictures(self, text: str, seed: int, views: int) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B 1 h w"], Cameras]:
        """x of a true object over grey, where it is, and whence it is seen."""
        where, seen = self.shown(text, seed, views)
        alpha = seen.alpha.movedim(-1, 1)
        return 2 * (seen.rgb.movedim(-1, 1) + 0.5 * (1 - alpha)) - 1, (alpha > 0.5).float(), where

    def scene(self, prompt: int, seed: int, views: int = VIEWS) -> Scene:
        data, inside, where = self.pictures(PROMPTS[prompt % KINDS], seed, views)
        return Scene(self.view(0.5 * blurred(data, 2.0), prompt, where), data, inside)

    def edit(self, prompt: int, seed: int) -> View:
        x, _, where = self.pictures(SOURCES[prompt % KINDS], seed, VIEWS)
        return dataclasses.replace(self.view(x, prompt, where), source=x.clone())

    def view(self, x: Tensor, prompt: int, where: Cameras) -> View:
        return self.plain(x, where, self.told(prompt)(where))

    def plain(self, x: Tensor, where: Cameras, text: Condition) -> View:
        """Pictures with their text, and two rows besides: what a negative prompt says, and the side that a view must not show."""
        ahead = (where.azimuth.cos() > 0).long()  # such a view must not show the back, others not the front
        other = Embedding.cat([text["front"], text["back"]]).at(ahead * len(x) + torch.arange(len(x)))
        text = dataclasses.replace(text, rows=text.rows | {"bad": text["empty"], "other": other})
        return View(x, backed(x), where, text)


def backed(x: Float[Tensor, "B C h w"]) -> Render:
    """The render behind pictures over grey: only the colour of its background is known."""
    blank = x.new_zeros(len(x), *x.shape[-2:], 1)
    return Render(blank.expand(-1, -1, -1, 3), blank, blank, extras={"background": torch.full((len(x), 3), 0.5)})


EXACT = {"type": "exact", "size": 32, "instances": 2, "renders": 75, "others": 300}


def world(name: str, model: str | None = None):
    """A world by the name of its prior; `model` is the folder of trained weights (None: those that ship). One for each prompt: what ""
    means to the exact prior depends on what it was asked for."""
    if name == "mixture":
        return Gaussians()
    trained = {"type": name, **({"model": model} if model else {})}
    return Pictures(name, build.make("priors", EXACT if name == "exact" else trained))


def _normal(key: str, *shape: int) -> Tensor:
    return Step.make(0, 1, 0, salt=key).normal(*shape)


def own(prompt: int, seed: int, run: int = 0) -> int:
    """The seed of a prompt's noise. Prompts that had the noise of a seed in common would all be off by the same amount, which an
    interval that resamples prompts does not see."""
    return (1000 * prompt + seed) * 1000 + run


def blurred(x: Float[Tensor, "B C h w"], width: float) -> Float[Tensor, "B C h w"]:
    """By a Gaussian of this deviation in pixels; borders are repeated."""
    reach = math.ceil(3 * width)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).to(x) / width) ** 2)
    line = (line / line.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="replicate"), line, groups=x.shape[1])
    return F.conv2d(F.pad(x, (0, 0, reach, reach), mode="replicate"), line.mT, groups=x.shape[1])


# --- formulas ---------------------------------------------------------------------------------------------------------------------


def formula(prior: Prior, name: str, **settings) -> Guidance:
    """A guidance by name; what is not set is its default."""
    return build.make("guidance", {"type": name, **settings}, prior)


@torch.no_grad()
def draws(
    guidance: Guidance, view: View, t: float | None, *, seed: int = 0, count: int = DRAWS, progress: float = 0.5
) -> Float[Tensor, "S B C h w"]:
    """Its gradient at one scene and noise level (None: as it draws them itself), again and again: other noise, the same step and run."""
    if t is None:
        return torch.stack([_gradient(guidance, view, seed, k, progress) for k in range(count)])
    with held([SimpleNamespace(guidance=guidance)], t):
        return torch.stack([_gradient(guidance, view, seed, k, progress) for k in range(count)])


def _gradient(guidance: Guidance, view: View, seed: int, k: int, progress: float) -> Tensor:
    rng = Step.make(k, DRAWS, seed, salt="claims").rng
    return guidance.gradient(view, Step(round(100 * progress), 101, seed, rng)).double()


def noise(gradients: Float[Tensor, "S B C h w"]) -> tuple[float, float | None]:
    """tr Cov per number of x (unbiased), and its share of the second moment, tr Cov / (|mean|^2 + tr Cov), also without bias."""
    cov = gradients.var(0).mean().item()
    power = gradients.square().mean().item()
    mean = max(0.0, power - cov)  # E|g|^2 = |E g|^2 + tr Cov
    return cov, cov / (mean + cov) if power > 0 else None


def cosine(a: Tensor, b: Tensor) -> float | None:
    """Of two stacks of views as one vector each; None where one of them is (next to) nothing."""
    size = a.norm() * b.norm()
    return ((a * b).sum() / size).item() if size > 1e-12 else None


def play(guidance: Guidance, view: View, steps: int, *, seed: int = 0, lr: float = 0.05, bounded: bool = False,
         whole: bool = False) -> Float[Tensor, "B C h w"]:  # fmt: skip
    """x itself descends (Adam, 0.9 and 0.99, a rate that falls to a tenth; pictures stay in [-1, 1]), as in the papers' experiments in
    two dimensions. `whole`: one second moment for all of x instead of one for each number, so that a number whose gradient is small
    moves little, as under the SGD of papers on edits. Returns the last x."""
    x = view.x.clone()
    m, v = torch.zeros_like(x), torch.zeros_like(x)
    for i in range(steps):
        now = Step.make(i, steps, seed, salt="claims")
        g = guidance.gradient(dataclasses.replace(view, x=x), now)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * (g.square().mean() if whole else g.square())
        rate = lr * (1 - 0.9 * i / steps)
        x = x - rate * (m / (1 - 0.9 ** (i + 1))) / ((v / (1 - 0.99 ** (i + 1))).sqrt() + 1e-12)
        x = x.clamp(-1, 1) if bounded else x
        guidance.learn(now)
    return x


@torch.no_grad()
def sampled(prior: Prior, z: Tensor, view: View, levels: list[float], row: str = "text") -> Tensor:
    """x0 by deterministic DDIM from z at levels[0] along falling levels."""
    for t, to in zip(levels, [*levels[1:], None], strict=True):
        at_t = torch.full((len(z),), t, dtype=z.dtype)
        (eps,) = predict(prior, z, at_t, view, row)
        if to is None:
            return x0_from_eps(prior, z, at_t, eps)
        z = jump(prior, z, at_t, torch.full((len(z),), to, dtype=z.dtype), eps)


@torch.no_grad()
def misfit(prior: Prior, x: Tensor, view: View, *, t: float = 0.3, seed: int = 0) -> float:
    """Root mean square of what the prior would still change: x0_hat - x at t for the prompt alone, no guidance, mean over 4 noises."""
    rng, total = torch.Generator().manual_seed(seed), 0.0
    at_t = torch.full((len(x),), t, dtype=x.dtype)
    alpha, sigma = (v.to(x.dtype).view(-1, 1, 1, 1) for v in prior.alpha_sigma(at_t))
    for _ in range(4):
        z = alpha * x + sigma * torch.randn(x.shape, generator=rng).to(x.dtype)
        total = total + x0_from_eps(prior, z, at_t, predict(prior, z, at_t, view, "text")[0])
    return (total / 4 - x).square().mean().sqrt().item()
