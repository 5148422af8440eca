"""What one may expect of the exact prior, measured: `python -m dream3d.priors.exact "a red car" [setting=value
...]`."""

import argparse
import dataclasses
import time

import torch
import yaml

from dream3d import build
from dream3d.cameras import VIEW_WORDS, view_index
from dream3d.diffusion import per_view, x0_from_eps
from dream3d.errors import Mistake
from dream3d.priors._renders import orbit, spread
from dream3d.toybox import world
from dream3d.toybox.language import parse
from dream3d.toybox.render import render
from dream3d.types import Cameras, Embedding, Render

TIMES = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


def held_out(prompt: str, size: int, count: int = 16) -> tuple[Render, Cameras]:
    """Renders that no prior has seen: instances of the test split, cameras between the prior's."""
    cameras = dataclasses.replace(orbit(spread(2000 + count, 3)[2000:], size, 1), subject=torch.arange(count))
    soups = [world.build(parse(prompt), world.instance_seed("test", i)) for i in range(count)]
    return render(soups, cameras, buffers=("rgb", "alpha")), cameras


def measure(prior, prompt: str, *, times: tuple[float, ...] = TIMES, seed: int = 0) -> list[dict[str, float]]:
    """Per t, at noisy held-out renders over white: effective renders 1 / sum rho^2 (median) under the prompt with its
    view word ("text"), the prompt alone ("bare") and "" ("empty"); root mean square error of x0_hat under "text";
    milliseconds for 4 views x 2 rows.
    """
    shown, cameras = held_out(prompt, prior.spec.size)
    x = prior.encode(shown.rgb + 1 - shown.alpha)
    named = [f"{prompt}, {VIEW_WORDS[i]} view" for i in view_index(cameras).tolist()]
    texts = {"text": named, "bare": [prompt] * len(x), "empty": [""] * len(x)}
    rows = {name: prior.text(prompts) for name, prompts in texts.items()}
    prior.prepare()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return [_measure(prior, x, noise, torch.full((len(x),), t), rows, cameras) for t in times]


def _measure(prior, x, noise, t, rows: dict[str, Embedding], cameras: Cameras) -> dict[str, float]:
    alpha, sigma = (per_view(v, x) for v in prior.alpha_sigma(t))
    z = alpha * x + sigma * noise
    rho = {name: prior.responsibilities(z, t, text, cameras) for name, text in rows.items()}
    found = {name: (1 / r.square().sum(1)).median().item() for name, r in rho.items()}
    x0 = x0_from_eps(prior, z, t, prior.eps(z, t, rows["text"], cameras))
    four = torch.arange(4).repeat(2)
    both = Embedding.cat([rows["text"].at(four[:4]), rows["empty"].at(four[:4])])
    started = time.perf_counter()
    prior.eps(z[four], t[four], both, cameras.at(four))
    spent = 1000 * (time.perf_counter() - started)
    return {"t": t[0].item(), **found, "error": (x0 - x).square().mean().sqrt().item(), "ms": spent}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m dream3d.priors.exact", description=measure.__doc__)
    parser.add_argument("prompt")
    parser.add_argument("settings", nargs="*", help="for example tangents=4 renders=1600")
    arguments = parser.parse_args()
    try:
        _print(arguments.prompt, dict(item.partition("=")[::2] for item in arguments.settings))
    except Mistake as error:
        parser.exit(error.code, f"error: {error}\n")


def _print(prompt: str, settings: dict[str, str]) -> None:
    known = build.signature("priors", "exact").parameters
    if unknown := set(settings) - set(known):
        raise Mistake(f"the exact prior has no {sorted(unknown)[0]!r}", near=", ".join(known))
    values = {name: build.typed(yaml.safe_load(value), known[name][0], name) for name, value in settings.items()}
    prior = build.make("priors", {"type": "exact", **values})
    prior.text([prompt])
    started = time.perf_counter()
    prior.prepare()
    print(f"prepared in {time.perf_counter() - started:.1f} s")
    for wish, parts in prior.libraries.items():
        name = " ".join(map(str, wish.things)) or "(anything)"
        size = (parts.rgb.nbytes + parts.gap.nbytes) / 2**20
        print(f"{name}: {len(parts)} renders, h = {parts.std[0]:.4f}, {size:.0f} MiB")
    print("    t | effective renders: text  bare  empty | error of x0 | ms")
    for row in measure(prior, prompt):
        print("{t:5.2f} | {text:23.1f} {bare:5.1f} {empty:6.1f} | {error:11.4f} | {ms:.0f}".format(**row))


if __name__ == "__main__":
    main()
