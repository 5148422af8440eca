"""The kinds of tiers: what learns, over which base, and how it is shown and measured. One row each."""

import importlib
from pathlib import Path

from dream3d.build import place
from dream3d.errors import Mistake
from dream3d.toybox.training.network import Learner
from dream3d.toybox.training.presets import Place, Tier

KINDS = {"pixels": "network.Pixels"}  # -> module and class beside this file


def made(tier: Tier, where: Place, base: Path | None, device: str) -> tuple[Learner, Learner, str | None]:
    """What learns and its moving average, the same at first, and what tells their base from others (None: they have none)."""
    module, _, name = KINDS[tier.kind].partition(".")
    kind = getattr(importlib.import_module(f"dream3d.toybox.training.{module}"), name)
    return kind(tier), kind(tier), None


def base_of(tier: Tier, given: Path | None) -> Path | None:
    """The folder of the prior that a tier stands over: as given, as shipped, or as its training left it."""
    if tier.base is None:
        return None
    places = [given] if given else [place("assets") / tier.base, Path("train") / tier.base / "pipeline"]
    if found := next((p for p in places if (p / "model_index.json").exists()), None):
        return found
    raise Mistake(f"it stands over {tier.base}, which is not there", where="--base", near=", ".join(map(str, places)),
                  fix=f"python -m dream3d.toybox.train {tier.base}, or name its folder")  # fmt: skip


def grid(training, path: Path) -> None:
    """A picture of what the published weights make."""
    from dream3d.toybox.training.measure import grid, opened

    grid(opened(training.out / "pipeline", training.device), training.tier.shown, path)


def finish(training, name: str, preset: str, out: Path | None) -> None:
    """Measure, and publish into `out` unless it is None."""
    from dream3d.toybox.training.card import finish

    finish(training, name, preset, out)
