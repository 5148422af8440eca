"""`python launch.py bench overhead [RECIPE ...] [--steps N]`: where a step's time goes, recipe by recipe: networks, what a formula trains,
the renderer, and bookkeeping, which is everything else. Shares of one run; printed and written to overhead.json."""

import contextlib
import json
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

from dream3d.commands.parser import Parser

PARTS = ("network", "training", "renderer", "bookkeeping")


class Watch:
    """Seconds by part; what is called inside another timed part counts for the outer one."""

    def __init__(self):
        self.seconds, self.inside = defaultdict(float), False

    def over(self, part: str, function):
        def timed(*args, **kwargs):
            if self.inside:
                return function(*args, **kwargs)
            self.inside, start = True, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.inside = False
                self.seconds[part] += time.perf_counter() - start

        return timed


@contextlib.contextmanager
def watched(system):
    """A system whose networks, formulas that learn, and renderer are timed. Backward through a renderer is taken from the step's own
    laps, since autograd walks it."""
    from dream3d import discriminator, learner

    watch, undo = Watch(), []

    def patch(owner, name: str, part: str) -> None:
        undo.append((owner, name, owner.__dict__.get(name)))
        setattr(owner, name, watch.over(part, getattr(owner, name)))

    for prior in {term.guidance.prior for term in system.terms}:
        patch(prior, "eps", "network")
    patch(learner.Learner, "eps", "network")
    for judge in (discriminator.Discriminator, discriminator.Densities):
        patch(judge, "log_ratio", "network")
    for term in system.terms:
        patch(term.guidance, "learn", "training")
        if hasattr(module := sys.modules[type(term.guidance).__module__], "ascent"):
            patch(module, "ascent", "network")  # a scorer's walk there and back
    try:
        yield watch
    finally:
        for owner, name, before in undo:
            setattr(owner, name, before) if before is not None else delattr(owner, name)


def measure(recipe: str, steps: int, overrides: list[str]) -> dict[str, float]:
    """Milliseconds per step and the shares of PARTS over the stages of a recipe, after a few steps to warm up."""
    from dream3d import assemble, config

    found, rows, handed = config.load(recipe, overrides), [], None
    for number, stage in enumerate(found.stages):
        system = assemble.stage(stage, 0, "cpu", number, 0)
        if handed is not None:
            system.scene.init_from(handed)
        middle = stage["steps"] // 2
        for index in range(3):
            system.step(middle + index)
        with watched(system) as watch:
            for index in range(steps):
                watch.seconds.clear()
                start = time.perf_counter()
                log = system.step(middle + 3 + index)
                total = time.perf_counter() - start
                spent = {**watch.seconds, "renderer": log.seconds.get("renderer", 0.0)}
                rows.append({**{k: spent.get(k, 0.0) / total for k in PARTS}, "ms": 1e3 * total})
                rows[-1]["bookkeeping"] = 1 - sum(rows[-1][k] for k in PARTS)
        handed = system.scene.handover()
    return {key: statistics.median(row[key] for row in rows) for key in ("ms", *PARTS)}


def main(words: list[str] | None = None) -> int:
    """Measure the recipes named, or all."""
    parser = Parser("bench overhead", "Where a step's time goes, recipe by recipe: networks, what a formula trains, the renderer, and "
                    "bookkeeping, which is everything else. Printed and written to overhead.json.",
                    ["bench overhead", "bench overhead sds-gaussian vsd-gaussian --steps 20"])  # fmt: skip
    parser.add_argument("recipes", nargs="*", metavar="RECIPE")
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_intermixed_args(words)
    from dream3d import catalogue

    print(f"{'recipe':26} {'ms/step':>8} " + " ".join(f"{part:>12}" for part in PARTS))
    found = {}
    for recipe in options.recipes or catalogue.names("configs"):
        row = found[recipe] = measure(recipe, options.steps, [])
        print(f"{recipe:26} {row['ms']:8.1f} " + " ".join(f"{100 * row[part]:11.1f}%" for part in PARTS), flush=True)
    Path("overhead.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
