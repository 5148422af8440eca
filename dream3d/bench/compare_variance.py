"""How noisy the gradient of a formula is at a given noise level, on a scene that all formulas share (docs/compare.md says it exactly)."""

import sys
from contextlib import contextmanager

import torch
from dream3d.guidance import _trajectory
from jaxtyping import Float
from torch import Tensor

from dream3d import assemble, checkpoint, diffusion
from dream3d.errors import Mistake
from dream3d.interfaces import Representation, System
from dream3d.run import device_named
from dream3d.types import Cameras, Render, Step

LEVELS, DRAWS = (0.2, 0.5, 0.8), 16


def of_run(job, scene: Representation) -> dict[str, float | str | None]:
    """The share of noise in the pixel gradient at each of LEVELS, by level; what the run's formula has learned counts. `why` says why
    there is none."""
    try:
        system = _learned(job)
        system.scene = scene.to(device_named(job.config.values["device"]))
        now, cameras, render = _seen(system)
        return {f"{t:g}": share(gradients(system.terms, t, system.seed, now, cameras, render)) for t in LEVELS}
    except Exception as error:  # whatever somebody's formula does with a scene of another kind: the record says so, the run counts
        why = error.problem if isinstance(error, Mistake) else f"{type(error).__name__}: {error}"[:200]
        return {**{f"{t:g}": None for t in LEVELS}, "why": why}


def _learned(job) -> System:
    """The last stage of a run, its terms as its newest checkpoint has them."""
    found = checkpoint.newest(job.run / "checkpoints")
    if found is None:
        raise Mistake("this run has no checkpoint", where=str(job.run))
    about, state = found
    settings = job.config.stages[about["stage"]]
    system = assemble.stage(settings, job.seed, device_named(job.config.values["device"]), about["stage"], 0)
    for i, term in enumerate(system.terms):
        term.restore(state.get("terms", {}).get(str(i), {}))
    return system


@torch.no_grad()
def _seen(system: System) -> tuple[Step, Cameras, Render]:
    """Half way through the run, the cameras of one batch, the same for all runs with such cameras, and what the scene shows to them."""
    now = Step.make(system.steps // 2, system.steps, 0, salt="variance")
    cameras = system.cameras(now).to(next(system.scene.parameters()).device)
    return now, cameras, system.background(system.draw(cameras, now), cameras, now)


def gradients(terms: list, t: float, seed: int, now: Step, cameras: Cameras, render: Render):
    """The gradient of all terms on all buffers of a render, B P, DRAWS times: other noise, the same step, seed and level."""
    with held(terms, t):
        for k in range(DRAWS):
            drawn = Step(now.index, now.total, seed, Step.make(k, DRAWS, seed, salt=f"variance at {t:g}").rng)
            seen = render.cut()
            for term in terms:
                term.pull(seen, cameras, drawn)
            yield torch.cat([g.flatten(1).double() for g in seen.gradients().values()], 1)


def share(draws) -> float | None:
    """tr Cov / (|mean|^2 + tr Cov) of S gradients, both without bias: S / (S - 1) (1 - |sample mean|^2 / mean of |g|^2). 0 for gradients
    that agree, 1 for nothing but noise (a sample may say up to S / (S - 1)); None where all are zero."""
    total, power, count = 0.0, 0.0, 0
    for gradient in draws:
        total, power, count = total + gradient, power + gradient.square().sum().item(), count + 1
    if power == 0.0:
        return None
    mean: Float[Tensor, "B P"] = total / count
    return round(max(0.0, 1 - mean.square().sum().item() * count / power) * count / (count - 1), 6)


@contextmanager
def held(terms: list, t: float):
    """Formulas that draw their noise level get this one (before a shift, what becomes it); their windows, which some read besides, stay.
    Raises Mistake where none draws."""
    levels: dict = {}
    for term in terms:
        for kind in type(term.guidance).__mro__:  # a formula may inherit where it draws
            levels[sys.modules[kind.__module__]] = _before(term.guidance, t)
    drawn = {"draw_t": (diffusion.draw_t, lambda u: lambda times, cameras, now: torch.full((len(cameras),), u, device=cameras.device)),
             "draw": (_trajectory.draw, lambda u: lambda times, now: u)}  # fmt: skip
    undo = [(module, name, real) for module in levels for name, (real, _) in drawn.items() if getattr(module, name, None) is real]
    if not undo:
        raise Mistake("its formula draws no noise level")
    for module, name, _ in undo:
        setattr(module, name, drawn[name][1](levels[module]))
    try:
        yield
    finally:
        for module, name, real in undo:
            setattr(module, name, real)


def _before(guidance, t: float) -> float:
    """What a formula that shifts its levels, t = shift u / (1 + (shift - 1) u), draws for t."""
    shift = getattr(guidance, "shift", 1.0)
    return t / (shift - (shift - 1) * t)
