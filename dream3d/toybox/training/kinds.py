"""The kinds of tiers: what learns, over which base, and how it is shown and measured. One row each."""

import copy
import importlib
from pathlib import Path
from typing import Any

from dream3d.build import place
from dream3d.errors import Mistake
from dream3d.toybox.training import network
from dream3d.toybox.training.data import Draw
from dream3d.toybox.training.presets import Place, Tier

OVER = {"latent": "latent.Latent", "views": "over.MultiView", "control": "over.Control", "side": "over.Side", "inpaint": "over.Inpaint",
        "joint": "over.Joint", "clip": "over.Clip"}  # kind -> module and class beside this file; fmt: skip


def made(tier: Tier, where: Place, base: Path | None, device: str) -> tuple[network.Learner, network.Learner, Any]:
    """What learns and its moving average, the same at first, and what tells their base from others (None: they have none)."""
    if tier.kind == "pixels":
        learner, under = network.Pixels(tier), None
        told = learner.take(base) if base else None
    else:
        from dream3d.toybox.training.latent import Base

        under = Base(base, device) if base else None
        learner, told = _kind(tier)(tier, where, under), under and under.digest
    shared = {id(one): one for one in (under, learner.tokenizer, learner.scheduler)}
    return learner, copy.deepcopy(learner, shared), told


def _kind(tier: Tier) -> type[network.Learner]:
    module, _, name = OVER[tier.kind].partition(".")
    return getattr(importlib.import_module(f"dream3d.toybox.training.{module}"), name)


def drawn(tier: Tier) -> Draw:
    """What a tier is shown."""
    return network.Pixels.draw if tier.kind == "pixels" else _kind(tier).draw


def base_of(tier: Tier, given: Path | None) -> Path | None:
    """The folder of the prior that a tier stands over: as given, as shipped, or as its training left it; that from whose weights one in
    pixel space begins, if any."""
    if tier.base is None:
        if given and tier.kind != "pixels":
            raise Mistake("this tier stands over no other", where="--base", fix="leave it out")
        return given
    places = [given] if given else [place("assets") / tier.base, Path("train") / tier.base / "pipeline"]
    if found := next((p for p in places if (p / "model_index.json").exists()), None):
        return found
    raise Mistake(f"it stands over {tier.base}, which is not there", where="--base", near=", ".join(map(str, places)),
                  fix=f"python -m dream3d.toybox.train {tier.base}, or name its folder")  # fmt: skip


def grid(training, path: Path) -> None:
    """A picture of what the published weights make."""
    if training.tier.kind != "pixels":
        from dream3d.toybox.training import check

        return check.grid(training, path)
    from dream3d.toybox.training.measure import grid, opened

    grid(opened(training.out / "pipeline", training.device), training.tier.shown, path)


def finish(training, name: str, preset: str, out: Path | None, brief: bool = False) -> None:
    """Measure, and publish into `out` unless it is None; brief: with so few pictures that it says nothing but that it runs."""
    if training.tier.kind != "pixels":
        from dream3d.toybox.training import check

        return check.finish(training, name, preset, out, brief)
    from dream3d.toybox.training.card import finish

    finish(training, name, preset, out, brief)
