"""Claims about pixels: gradients through an encoder, and objects with prompts of their own."""

import dataclasses
from functools import lru_cache

import torch
from torch import Tensor, nn

from dream3d import build
from dream3d.bench.claims_noise import ANY, Numbers
from dream3d.bench.claims_world import EXACT, LEVELS, PROMPTS, Pictures, backed, blurred, draws, formula, own, play
from dream3d.cameras import ring
from dream3d.optim import clip_pixels
from dream3d.options import Words
from dream3d.priors.mixture import Mixture
from dream3d.prompt import Prompt
from dream3d.toybox.language import COLOURS, parse
from dream3d.toybox.render import render
from dream3d.toybox.world import build as build_soup
from dream3d.toybox.world import instance_seed
from dream3d.types import Embedding

PAIRS = (("red", "ball", "on", "blue", "cube"), ("yellow", "duck", "next to", "green", "tree"), ("white", "cat", "on", "red", "sofa"),
         ("orange", "cone", "next to", "purple", "cylinder"), ("green", "apple", "on", "yellow", "table"),
         ("pink", "fish", "next to", "brown", "mug"))  # fmt: skip


# --- two objects ------------------------------------------------------------------------------------------------------------------


@lru_cache(1)
def _paired(prompt: int):
    """An exact prior that knows one pair of objects."""
    return build.make("priors", EXACT)


def binding(world, prompt: int, seed: int) -> Numbers:
    """Two objects in each other's colours, half-made: how strongly each formula pulls each object from the wrong colour towards the right
    one, as a share of its pull there, mean over both objects and the levels."""
    a, first, relation, b, second = PAIRS[prompt % len(PAIRS)]
    prior = _paired(prompt) if world.name == "exact" else world.prior
    where = ring(4, start=37.0 * seed, size=prior.spec.size)
    soup = build_soup(parse(f"a {b} {first} {relation} a {a} {second}"), instance_seed("test", seed))
    seen = render([soup], where, buffers=("rgb", "alpha", "labels"))
    x = 0.5 * blurred(2 * (seen.rgb + 0.5 * (1 - seen.alpha)).movedim(-1, 1) - 1, 2.0)
    told = Prompt(prior, [f"a {a} {first} {relation} a {b} {second}"], "", Words(), [f"a {a} {first}", f"a {b} {second}"])
    view = Pictures("pair", prior).plain(x, where, told(where))
    view = dataclasses.replace(view, render=dataclasses.replace(backed(x), labels=seen.labels))
    right = torch.tensor(COLOURS[a]) - torch.tensor(COLOURS[b])
    ways = (right, -right)
    found = {}
    for name, settings in (("sds", {}), ("semantic_sds", {"scene": 0.0})):
        guidance, shares = formula(prior, name, t=ANY, **settings), []
        for t in LEVELS:
            pull = -draws(guidance, view, t, seed=own(prompt, seed)).mean(0).movedim(1, -1)
            shares += [_along(pull[seen.labels[..., k] > 0.5], way.double()) for k, way in enumerate(ways)]
        known = [share for share in shares if share is not None]
        found[name] = sum(known) / len(known) if known else None
    return found


def _along(pull: Tensor, way: Tensor) -> float | None:
    """The mean of rows along a direction, over their root mean square length; None where there is no pull."""
    size = pull.square().sum(1).mean().sqrt() if len(pull) else torch.tensor(0.0)
    return ((pull.mean(0) @ (way / way.norm())) / size).item() if size > 1e-12 else None


# --- through an encoder -----------------------------------------------------------------------------------------------------------


@lru_cache(1)
def encoder() -> nn.Module:
    """Untrained: three convolutions of stride 2 with groups normalised and SiLU between them, 3 to 4 channels, as an encoder of
    Stable Diffusion begins and ends; drawn once for all."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 32, 3, 2, 1), nn.GroupNorm(8, 32), nn.SiLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.GroupNorm(8, 64), nn.SiLU(),
                  nn.Conv2d(64, 64, 3, 1, 1), nn.GroupNorm(8, 64), nn.SiLU(), nn.Conv2d(64, 4, 3, 2, 1)]  # fmt: skip
        return nn.Sequential(*layers).requires_grad_(False)


class Encoded:
    """A formula on the encoded picture; its gradient is that on the picture."""

    def __init__(self, guidance, limit: float | None = None):
        self.guidance, self.limit = guidance, limit

    def gradient(self, view, now) -> Tensor:
        with torch.enable_grad():
            leaf = view.x.detach().requires_grad_()
            latent = encoder()(leaf)
        inner = self.guidance.gradient(dataclasses.replace(view, x=latent.detach()), now)
        (found,) = torch.autograd.grad(latent, leaf, inner)
        return found if self.limit is None else clip_pixels({"rgb": found.movedim(1, -1)}, self.limit)["rgb"].movedim(-1, 1)

    def learn(self, now) -> None:
        """Nothing learns."""


def clipping(world, prompt: int, seed: int) -> Numbers:
    """A picture of 64 pixels whose encoding is the mean of the prior's mode (deviation 0.25), started light grey, 120 steps of SDS at 7.5.
    spikes: largest over median L-infinity norm of a pixel's gradient at the first step, through the encoder, clipped at twice that
    median, and without any encoder. colour: root mean square error of the object's mean colour in [0, 1] at the end."""
    where = ring(2, start=37.0 * seed, size=64)
    seen = render([build_soup(parse(PROMPTS[prompt % len(PROMPTS)]), instance_seed("test", seed))], where, buffers=("rgb", "alpha"))
    truth, inside = 2 * (seen.rgb + 0.5 * (1 - seen.alpha)).movedim(-1, 1) - 1, (seen.alpha[..., 0] > 0.5)
    start, found = torch.full_like(truth, 0.4), {}  # neither the object nor what is behind it
    latents = Mixture.of(encoder()(truth), 0.25)
    plain = formula(latents, "sds")
    view = _each_own(world, start, latents)
    first = _norms(draws(Encoded(plain), view, None, seed=own(prompt, seed), count=1)[0])
    limit = 2 * first.median().item()
    pixels = Mixture.of(truth, 0.25)
    direct = _norms(draws(formula(pixels, "sds"), _each_own(world, start, pixels), None, seed=own(prompt, seed), count=1)[0])
    clipped = _norms(draws(Encoded(plain, limit), view, None, seed=own(prompt, seed), count=1)[0])
    for name, norms in (("encoder", first), ("clipped", clipped), ("pixels", direct)):
        found[f"spikes_{name}"] = (norms.max() / norms.median()).item()
    for name, guidance in (("raw", Encoded(plain)), ("clipped", Encoded(plain, limit))):
        x = play(guidance, view, 120, seed=own(prompt, seed), lr=0.02, bounded=True)
        found[f"colour_{name}"] = _colour(x, truth, inside)
    return found


def _each_own(world, x: Tensor, prior: Mixture):
    """Views of pictures whose text is one component each, and everything for the negative row."""
    rows = {row: Embedding(torch.eye(len(x))[:, None]) for row in ("text", "bare")}
    rows |= {row: Embedding(torch.ones(len(x), 1, len(x))) for row in ("negative", "empty")}
    view = world.view(torch.zeros(len(x), 3, 4, 4), 0)
    return dataclasses.replace(view, x=x, text=dataclasses.replace(view.text, rows=rows))


def _norms(gradient: Tensor) -> Tensor:
    return gradient.abs().amax(1).flatten()


def _colour(x: Tensor, truth: Tensor, inside: Tensor) -> float:
    means = [torch.stack([p.movedim(0, -1)[m].mean(0) for p, m in zip(v, inside, strict=True)]) for v in (x, truth)]
    return ((means[0] - means[1]) / 2).square().mean().sqrt().item()
