"""Claims about where formulas lead, played in x itself: numbers of a mixture of Gaussians, or pixels."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from dream3d.bench.claims_noise import ANY, Numbers
from dream3d.bench.claims_world import Gaussians, formula, misfit, own, play
from dream3d.diffusion import per_view
from dream3d.priors.mixture import Mixture
from dream3d.types import Step

PARTICLES, STEPS, ANNEALED = 24, 250, {"start": 0.98, "end": 0.02}
SHORT = 120  # steps on pictures


def steps(world) -> int:
    return SHORT if world.bounded else STEPS


def overshoot(world, prompt: int, seed: int, **formulas) -> Numbers:
    """How far x ends beyond what it should be, 0 for right: on the mixture the mean's position along the way from the mean of everything
    to the prompt's, less 1; of pictures the mean chroma (CIELAB) where the object is over the truth's, less 1."""
    scene, found = world.scene(prompt, seed, 4), {}
    for name, (kind, settings) in formulas.items():
        guidance = formula(world.prior, kind, **settings)
        found[name] = beyond(world, prompt, scene, play(guidance, scene.view, steps(world), seed=own(prompt, seed), bounded=world.bounded))
    return found


def beyond(world, prompt: int, scene, x: Tensor) -> float:
    if not world.bounded:
        mean = world.mean(prompt)
        return ((x.mean(0) * mean).sum() / mean.square().sum()).item() - 1
    return chroma(x, scene.inside) / chroma(scene.data, scene.inside) - 1


def chroma(x: Tensor, inside: Tensor) -> float:
    from skimage.color import rgb2lab

    colours = ((x + 1) / 2).clamp(0, 1).movedim(1, -1)[inside[:, 0] > 0].double().numpy()
    return float(np.linalg.norm(rgb2lab(colours)[..., 1:], axis=-1).mean())


def saturation(world, prompt: int, seed: int) -> Numbers:
    lr = 0.003 if world.bounded else 0.02  # that of the recipe, and one that follows Gaussians
    return overshoot(world, prompt, seed, sds=("sds", {"scale": 101.0}), vsd=("vsd", {"scale": 7.5, "lr": lr}))


def balanced(world, prompt: int, seed: int) -> Numbers:
    return overshoot(world, prompt, seed, sds=("sds", {"scale": 15.0}), bsd=("bsd", {"scale": 15.0, "t": ANY}))


def rescaled(world, prompt: int, seed: int) -> Numbers:
    settings = {"scale": 50.0, "w": "x0"}
    return overshoot(world, prompt, seed, plain=("sds", settings), rescaled=("sds", {**settings, "rescale": 0.5}))


# --- schedules --------------------------------------------------------------------------------------------------------------------


def _schedules(world, prompt: int, seed: int, **windows) -> Numbers:
    """Misfit at the end of SDS with each window of levels."""
    scene, found = world.scene(prompt, seed), {}
    for name, t in windows.items():
        x = play(formula(world.prior, "sds", t=t), scene.view, steps(world), seed=own(prompt, seed), bounded=world.bounded)
        found[name] = misfit(world.prior, x, scene.view, seed=own(prompt, seed))
    return found


def annealing(world, prompt: int, seed: int) -> Numbers:
    return _schedules(world, prompt, seed, random=ANY, annealed=[0.02, {"start": 0.98, "end": 0.3}])


def dreamtime(world, prompt: int, seed: int) -> Numbers:
    return _schedules(world, prompt, seed, random=ANY, dreamtime={**ANNEALED, "shape": "dreamtime"})


def root(world, prompt: int, seed: int) -> Numbers:
    return _schedules(world, prompt, seed, random=ANY, root={**ANNEALED, "shape": "sqrt"})


def run_seeds(world, prompt: int, seed: int) -> Numbers:
    """Variance per number of x between the ends of four runs from the same start that differ in their seed alone."""
    scene, found = world.scene(prompt, seed), {}
    for name, settings in (("sds", {"scale": 51.0, "w": "uniform"}), ("cds", {})):
        guidance = formula(world.prior, name, **settings)
        ends = [play(guidance, scene.view, steps(world) // 2, seed=own(prompt, seed, run), bounded=world.bounded) for run in range(4)]
        found[name] = torch.stack(ends).var(0).mean().item()
    return found


# --- edits ------------------------------------------------------------------------------------------------------------------------


def edits(world, prompt: int, seed: int) -> Numbers:
    """Root mean square change of x across the direction of the edit (on the mixture from the source's mean to the prompt's), or, of
    pictures, where there is nothing to edit: outside the object. 120 steps."""
    view, found = world.edit(prompt, seed), {}
    for name, settings in (("sds", {"w": "uniform"}), ("dds", {}), ("pds", {"scale": 7.5})):
        x = play(formula(world.prior, name, **settings), view, SHORT, seed=own(prompt, seed), bounded=world.bounded, lr=0.02, whole=True)
        change = x - view.source
        if world.bounded:
            outside = (view.source - view.source[:, :, :1, :1]).abs().amax(1, keepdim=True) < 0.02
            found[name] = change.square().mean(1, keepdim=True)[outside].mean().sqrt().item()
        else:
            way = world.mean(prompt) - world.mean(prompt + 1)
            along = (change * way).sum((1, 2, 3)) / way.square().sum()
            found[name] = (change - per_view(along, change) * way).square().mean().sqrt().item()
            found[f"{name}_done"] = along.mean().item()
    return found


# --- ensembles (Gaussians alone: a student that learns a density) -----------------------------------------------------------------


def _spread(x: Tensor) -> float:
    return x.var(0).mean().item()


def _particles(world, prompt: int, seed: int, count: int, subjects: bool = False):
    start = 0.3 * Step.make(0, 1, seed, salt=f"particles {prompt}").normal(count, *world.mean(prompt).shape).double()
    return world.view(start, prompt, subjects)


def ensemble(world, prompt: int, seed: int) -> Numbers:
    """Variance per number of x over 24 particles at the end, the data's being 0.25: SDS at 101, VSD at 7.5 and at 1, and VSD at 1 whose
    every particle has a student of its own."""
    alone = Gaussians(subjects=PARTICLES)
    view, apart = _particles(world, prompt, seed, PARTICLES), _particles(alone, prompt, seed, PARTICLES, True)
    learner, key = {"t": ANY, "lr": 0.02, "inner": 2}, own(prompt, seed)
    return {"sds": _spread(play(formula(world.prior, "sds", scale=101.0), view, STEPS, seed=key)),
            "vsd": _spread(play(formula(world.prior, "vsd", scale=7.5, **learner), view, STEPS, seed=key)),
            "vsd_plain": _spread(play(formula(world.prior, "vsd", scale=1.0, **learner), view, STEPS, seed=key)),
            "vsd_alone": _spread(play(formula(alone.prior, "vsd", scale=1.0, **learner), apart, STEPS, seed=key))}  # fmt: skip


class Ensemble:
    """The exact student of particles, each with a camera of its own: told the camera it knows x, untold N(m, v^2) of all of them."""

    def __init__(self, prior):
        self.prior, self.x = prior, None

    def see(self, view, now) -> None:
        self.x = view.x

    def moments(self) -> tuple[Tensor, Tensor]:
        return self.x.mean(0), self.x.var(0, unbiased=False).mean()

    def eps(self, z, t, view, *rows, camera: bool = True, graph: bool = False) -> tuple[Tensor]:
        alpha, sigma = (per_view(v.to(z), z) for v in self.prior.alpha_sigma(t))
        mean, variance = self.moments()
        known, unknown = (z - alpha * self.x) / sigma, sigma * (z - alpha * mean) / (alpha**2 * variance + sigma**2)
        return (known if camera else unknown,)

    def views(self, now) -> list:
        return []

    def learn(self, now) -> None:
        """It knows already."""


def entropy(world, prompt: int, seed: int) -> Numbers:
    """Variance per number of x over 24 views at the end, with exact students, scale 1: ESD at lambda = 0 (VSD), 0.5 and 0.8."""
    view, found = _particles(world, prompt, seed, PARTICLES), {}
    for name, share in (("vsd", 0.0), ("esd", 0.5), ("esd_80", 0.8)):
        guidance = formula(world.prior, "esd", entropy=share, scale=1.0)
        guidance.phi = Ensemble(world.prior)
        found[name] = _spread(play(guidance, view, STEPS, seed=own(prompt, seed)))
    return found


def random_scale(world, prompt: int, seed: int) -> Numbers:
    """Distance of the ensemble at the end from the prompt's Gaussian, |m - mu|^2 / d + (v - S)^2: VSD at 2.25, with its student
    guided at 2.25 too, and both at kappa from U(0.5, 4)."""
    view, found = _particles(world, prompt, seed, PARTICLES), {}
    formulas = {"fixed": ("vsd", {"scale": 2.25}), "both": ("random_cfg", {"low": 2.25, "high": 2.25}), "random": ("random_cfg", {})}
    for name, (kind, settings) in formulas.items():
        x = play(formula(world.prior, kind, t=ANY, lr=0.02, inner=2, **settings), view, STEPS, seed=own(prompt, seed))
        found[name] = (x.mean(0) - world.mean(prompt)).square().mean().item() + (_spread(x) ** 0.5 - 0.5) ** 2
    return found


class Fitted(Ensemble):
    """The best Gaussian of the particles (a deviation per number), camera or not, and its density."""

    def moments(self) -> tuple[Tensor, Tensor]:
        return self.x.mean(0), self.x.var(0, unbiased=False)

    def eps(self, z, t, view, *rows, camera: bool = True, graph: bool = False) -> tuple[Tensor]:
        return super().eps(z, t, view, camera=False)

    def log_density(self, z, t, text, cameras=None, render=None) -> Tensor:
        alpha, sigma = (per_view(v.to(z), z) for v in self.prior.alpha_sigma(t))
        mean, variance = self.moments()
        total = alpha**2 * variance + sigma**2
        return -0.5 * ((z - alpha * mean) ** 2 / total + (2 * torch.pi * total).log()).flatten(1).sum(1)


def modes(world, prompt: int, seed: int) -> Numbers:
    """One Gaussian x = m + v xi as the only thing that can move, before two modes (+a and -a on the first of 4 numbers, a = 2, deviation
    0.5), started at m = a / 2, v = 0.5; levels from [0.02, 0.3], at which the modes are apart; exact ratio and student. Share of its
    mass on the lesser mode's side."""
    a = torch.zeros(1, 4, 1, 1).double()
    a[0, 0] = 2.0
    prior, found = Mixture.of(torch.cat([a, -a]), 0.5), {}
    rows = {row: prior.text(["0 and 1"]).at(torch.zeros(64, dtype=torch.long)) for row in ("text", "bare", "negative", "empty")}
    view = world.view(a.new_zeros(64, 3, 4, 4), prompt)
    view = dataclasses.replace(view, text=dataclasses.replace(view.text, rows=rows))
    for name in ("reverse-kl", "forward-kl"):
        guidance = formula(prior, "f_distill", divergence=name, ratio="exact", scale=1.0, t=[0.02, 0.3])
        guidance.phi = guidance.critic.student = Fitted(prior)
        mean, log_v = _descended(guidance, view, a / 2, own(prompt, seed))
        found[name.replace("-", "_")] = torch.special.ndtr(-(mean.abs() / log_v.exp()).squeeze()).item()
    return found


def _descended(guidance, view, mean: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Mean and log deviation (per number) of the Gaussian after 400 steps of 0.1 of SGD."""
    log_v = torch.full_like(mean, 0.5).log()
    for i in range(400):
        now = Step.make(i, 400, seed, salt="modes")
        xi = now.normal(64, *mean.shape[1:]).double()
        xi = xi - xi.mean(0)
        g = guidance.gradient(dataclasses.replace(view, x=mean + log_v.exp() * xi), now)
        mean, log_v = mean - 0.1 * g.mean(0, keepdim=True), log_v - 0.1 * (g * xi * log_v.exp()).mean(0, keepdim=True)
    return mean[0, 0], log_v[0, 0]
