"""Claims about the noise and the direction of gradients at fixed scenes and noise levels."""

import dataclasses

import torch

from dream3d.bench.claims_world import LEVELS, cosine, draws, formula, noise, own
from dream3d.diffusion import add_noise, predict

Numbers = dict[str, float | None]
ANY = [0.02, 0.98]  # the window of formulas whose level is held


def _noise(guidance, view, seed: int, levels=LEVELS) -> tuple[float, float | None]:
    """tr Cov per number of x and its share of the second moment, means over the levels."""
    found = [noise(draws(guidance, view, t, seed=seed)) for t in levels]
    shares = [share for _, share in found if share is not None]
    return sum(cov for cov, _ in found) / len(found), sum(shares) / len(shares) if shares else None


def _two(world, prompt: int, seed: int, **formulas) -> Numbers:
    """<name>_cov and <name>_share of each formula at one scene."""
    view, found = world.scene(prompt, seed).view, {}
    for name, (kind, settings) in formulas.items():
        found[f"{name}_cov"], found[f"{name}_share"] = _noise(formula(world.prior, kind, **settings), view, own(prompt, seed))
    return found


def asd_variance(world, prompt: int, seed: int) -> Numbers:
    """Beside the rule's two, both without guidance (scale 1)."""
    plain = {"t": ANY, "scale": 1.0}
    return _two(world, prompt, seed, sds=("sds", {"t": ANY}), asd=("asd", {"t": ANY}), sds_1=("sds", plain), asd_1=("asd", plain))


def sjc_variance(world, prompt: int, seed: int) -> Numbers:
    return _two(world, prompt, seed, kept=("sjc", {"t": ANY, "subtract": False}), subtracted=("sjc", {"t": ANY}))


def rfds_reverse(world, prompt: int, seed: int) -> Numbers:
    settings = {"t": ANY, "shift": 1.0}
    return _two(world, prompt, seed, plain=("rfds", settings), reverse=("rfds", {**settings, "reverse": True}))


def ism_seeds(world, prompt: int, seed: int) -> Numbers:
    return _two(world, prompt, seed, sds=("sds", {"t": ANY}), ism=("ism", {"t": ANY}))


def sdi_seeds(world, prompt: int, seed: int) -> Numbers:
    settings = {"t": ANY}
    return _two(world, prompt, seed, random=("sdi", {**settings, "noise": "random"}), inverted=("sdi", settings))


def dds_variance(world, prompt: int, seed: int) -> Numbers:
    view, found = world.edit(prompt, seed), {}
    for name, settings in (("sds", {"w": "uniform"}), ("dds", {})):
        found[f"{name}_cov"], found[f"{name}_share"] = _noise(formula(world.prior, name, t=ANY, **settings), view, own(prompt, seed))
    return found


def cds_seeds(world, prompt: int, seed: int) -> Numbers:
    """Steps of one run differ in t1 alone, which CDS draws; runs differ in eps*."""
    view, key = world.scene(prompt, seed).view, own(prompt, seed)
    cds, sds = formula(world.prior, "cds", t=ANY), formula(world.prior, "sds", scale=101.0, w="uniform", t=ANY)
    runs = [torch.cat([draws(cds, view, t, seed=own(prompt, seed, run), count=1) for run in range(16)]) for t in LEVELS]
    shares = [share for gradients in runs if (share := noise(gradients)[1]) is not None]
    return {"cds_steps": _noise(cds, view, key)[1], "sds_steps": _noise(sds, view, key)[1],
            "cds_runs": sum(shares) / len(shares) if shares else None}  # fmt: skip


def divergence_variance(world, prompt: int, seed: int) -> Numbers:
    """The student is N(x, 0.5^2), half way from the mean of everything to the data."""
    scene, found = world.scene(prompt, seed), {}
    for name in ("forward-kl", "js"):
        guidance = formula(world.prior, "f_distill", divergence=name, ratio="exact", scale=1.0, t=ANY)
        with torch.no_grad():
            guidance.phi.student.means[:] = 0.5 * world.mean(prompt)
        found[name.replace("-", "_")] = _noise(guidance, scene.view, own(prompt, seed))[0]
    return found


# --- directions -------------------------------------------------------------------------------------------------------------------


def _directions(world, prompt: int, seed: int, kind: str, **settings) -> Numbers:
    """Cosines of mean gradients with that of SDS at 101, means over the levels."""
    view = world.scene(prompt, seed).view
    bad = dataclasses.replace(view, text=dataclasses.replace(view.text, rows=view.text.rows | {"negative": view.text["bad"]}))
    sds = {scale: formula(world.prior, "sds", scale=scale, t=ANY) for scale in (101.0, 7.5)}
    asked = ((sds[101.0], view), (formula(world.prior, kind, t=ANY, **settings), bad), (sds[7.5], view))
    near, plain = [], []
    for t in LEVELS:
        high, mine, low = (draws(guidance, seen, t, seed=own(prompt, seed), progress=0.0).mean(0) for guidance, seen in asked)
        near, plain = [*near, cosine(mine, high)], [*plain, cosine(low, high)]
    known = [(a, b) for a, b in zip(near, plain, strict=True) if a is not None and b is not None]
    mean = [sum(column) / len(known) for column in zip(*known, strict=True)] if known else [None, None]
    return {f"{kind}_cosine": mean[0], "sds_cosine": mean[1]}


def csd_direction(world, prompt: int, seed: int) -> Numbers:
    return _directions(world, prompt, seed, "csd", positive=1.0, empty=-1.0, negative=0.0, w="sds")


def nfsd_direction(world, prompt: int, seed: int) -> Numbers:
    return _directions(world, prompt, seed, "nfsd")


def csd_part(world, prompt: int, seed: int) -> Numbers:
    """The two parts of SDS: 100 (eps_c - eps_empty) and eps_c - eps, root mean squares."""
    view = world.scene(prompt, seed).view
    gap = draws(formula(world.prior, "csd", positive=1.0, empty=-1.0, negative=0.0, t=ANY), view, 0.5, seed=own(prompt, seed), progress=0.0)
    rest = draws(formula(world.prior, "sds", scale=1.0, w="uniform", t=ANY), view, 0.5, seed=own(prompt, seed))
    return {"classifier": 100 * gap.square().mean().sqrt().item(), "generative": rest.square().mean().sqrt().item()}


# --- answers ----------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def _answers(world, scene, x, t: float, row: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """eps_hat for a row at x noised 16 times, and the noise itself."""
    rng, found = torch.Generator().manual_seed(seed), []
    at_t = torch.full((len(x),), t, dtype=x.dtype)
    for _ in range(16):
        eps = torch.randn(x.shape, generator=rng).to(x.dtype)
        found.append((predict(world.prior, add_noise(world.prior, x, at_t, eps), at_t, scene.view, row)[0], eps))
    return tuple(torch.stack(column).double() for column in zip(*found, strict=True))


def denoising_error(world, prompt: int, seed: int) -> Numbers:
    """E |eps_hat - eps|^2 per number of x, at data."""
    scene, found = world.scene(prompt, seed), {}
    for percent in (10, 30, 50, 70, 90):
        answer, eps = _answers(world, scene, scene.data, percent / 100, "text", own(prompt, seed))
        found[f"error_{percent}"] = (answer - eps).square().mean().item()
    return found


def unconditional_noise(world, prompt: int, seed: int) -> Numbers:
    """How much of the injected noise eps_empty gives back, at data: <eps_empty, eps> / <eps, eps>."""
    scene, found = world.scene(prompt, seed), {}
    for percent in (10, 80):
        answer, eps = _answers(world, scene, scene.data, percent / 100, "empty", own(prompt, seed))
        answer = answer - answer.mean(0)
        found[f"kept_{percent}"] = ((answer * eps).sum() / (eps - eps.mean(0)).square().sum()).item()
    return found


def perp_neg(world, prompt: int, seed: int) -> Numbers:
    """What Perp-Neg adds to SDS's mean gradient: its pull towards what the prompt names and away from what the negative row names, as the
    change of the gradient's component along each (in units of |g|). t = 0.8, weight -1, scale 7.5."""
    view, guidance = world.scene(prompt, seed).view, formula(world.prior, "sds", t=ANY)
    told = dataclasses.replace(view.text, perp={"other": -torch.ones(len(view.x), dtype=view.x.dtype)})
    plain, perp = (draws(guidance, v, 0.8, seed=own(prompt, seed)).mean(0) for v in (view, dataclasses.replace(view, text=told)))
    rows = {row: _towards(world, view, row, own(prompt, seed)) for row in ("text", "other")}
    size = plain.norm()
    found = {name: -((gradient * rows["other"]).sum() / size).item() for name, gradient in (("plain_bad", plain), ("perp_bad", perp))}
    good = {name: -((gradient * rows["text"]).sum() / size).item() for name, gradient in (("plain_good", plain), ("perp_good", perp))}
    return found | good


def _towards(world, view, row: str, seed: int) -> torch.Tensor:
    """The unit direction from where everything pulls to where a row does: -(eps_row - eps_negative), mean over noises, t = 0.8."""
    rows = dict(view.text.rows) | {"text": view.text[row], "empty": view.text["negative"]}
    asked = dataclasses.replace(view, text=dataclasses.replace(view.text, rows=rows, perp={}))
    csd = formula(world.prior, "csd", positive=1.0, empty=-1.0, negative=0.0, t=ANY)
    found = -draws(csd, asked, 0.8, seed=seed, progress=0.0).mean(0)
    return found / found.norm().clamp(min=1e-12)
