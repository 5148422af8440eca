"""What the formulas of every stage need of its other parts, checked before any work and without torch."""

from typing import Any

from dream3d import build, catalogue, claims, models, parts, trackers
from dream3d.config import Config
from dream3d.errors import Mistake
from dream3d.export import fits
from dream3d.recipe import Where
from dream3d.schedule import Ramp

GIVERS = {"prior": "priors", "renderer": "renderers"}


def check_needs(config: Config) -> None:
    """Raises Mistake for a stage whose formula needs what no part of it offers, whose cameras and prior count views differently, or whose
    model is nowhere, for a tracker that is not installed, and for an export that could not be made. Parts that say nothing of what they
    offer are asked when they are built."""
    trackers.check(config.values["track"], config.where("track"))
    for i, stage in enumerate(config.stages):
        changed = config.values["stages"][i] if config.values["stages"] else {}

        def where(path: str, i=i, changed=changed) -> str:
            return config.where(f"stages.{i}.{path}" if path.split(".")[0] in changed else path) or path

        try:
            models.check(stage["prior"])
            _check(stage, where)
        except Mistake as mistake:
            raise mistake.completed(within=f"stage {i + 1}: " if config.values["stages"] else "") from None
    fits.check_run(config)


def _check(stage: dict[str, Any], where: Where) -> None:
    terms = stage["guidance"] if isinstance(stage["guidance"], list) else [stage["guidance"]]
    for k, term in enumerate(terms):
        path = f"guidance.{k}.type" if isinstance(stage["guidance"], list) else "guidance.type"
        try:
            _check_term(term["type"], stage)
        except Mistake as mistake:
            raise mistake.completed(where=where(path)) from None
    _check_groups(stage, where)
    _check_motion(stage, where)
    _check_penalties(stage, where)


def _check_term(name: str, stage: dict[str, Any]) -> None:
    found = build.signature("guidance", name)
    offers = [_offers(section, stage[section]) for section in GIVERS]
    missing = sorted((found.needs or frozenset()) - frozenset().union(*(o or () for o in offers)))
    if missing and None not in offers:
        raise lacking(name, missing, stage)
    if stage["text"]["perp_neg"] and found.perp_neg is False:
        fix = "text.perp_neg=0, or another guidance.type"
        raise Mistake(f"guidance {name!r} has no place for Perp-Neg, but text.perp_neg is {stage['text']['perp_neg']:g}", fix=fix)
    if not stage["text"]["views"] and (stage["text"]["perp_neg"] or stage["text"]["blend"]):
        raise Mistake("text.blend and text.perp_neg are about view words, but text.views is false", fix="text.views=true")


def lacking(name: str, missing: list[str], stage: dict[str, Any]) -> Mistake:
    """Whose parts have it, of all there are."""
    found = givers(missing[0])
    offers = ", ".join(sorted(_offers("prior", stage["prior"]) or ())) or "nothing special"
    fix = "one of these, or another guidance.type" if found else "another guidance.type"
    problem = f"guidance {name!r} needs {', '.join(missing)}; prior {stage['prior']['type']!r} offers {offers}"
    return Mistake(problem, near="; ".join(found[:4]), fix=fix)


def givers(need: str) -> list[str]:
    """The parts that have it, as settings."""
    rows = [(section, kind, other) for section, kind in GIVERS.items() for other in catalogue.names(kind)]
    return [giver for row in rows if (giver := _giver(*row, need))]


def _giver(section: str, kind: str, other: str, need: str) -> str:
    """How to have what is needed from another part: "prior=exact_joint (views > 1)"."""
    condition = (build.signature(kind, other).offers or {}).get(need)
    return "" if condition is None else f"{section}={other}" + ("" if condition == "True" else f" ({condition})")


def _offers(section: str, settings: dict[str, Any]) -> frozenset[str] | None:
    said = build.signature(GIVERS[section], settings["type"]).offers
    return None if said is None else claims.offered(said, settings)


def _check_groups(stage: dict[str, Any], where: Where) -> None:
    """Views and frames that a prior answers for together have to come together."""
    for key in ("views", "frames"):
        together, given = stage["prior"].get(key, 1), stage["cameras"].get(key, 1)
        if given % together:
            kind = stage["cameras"]["type"]
            fix = f"cameras.{key}={together}" if key in stage["cameras"] else f"cameras=orthogonal cameras.{key}={together}"
            raise Mistake(f"this prior answers for {together} {key} together, but {kind} cameras come {given} at a time",
                          where=where(f"prior.{key}"), fix=f"{fix}, or prior.{key}=1")  # fmt: skip


def _check_penalties(stage: dict[str, Any], where: Where) -> None:
    """What a penalty reads of a scene over time has to be there."""
    offers = [_offers("renderer", part) for part in (stage["renderer"], *parts.within("renderers", stage["renderer"]))]
    for name, (need, moments) in build.penalty_needs().items():
        if name not in stage["penalties"] or Ramp.parse(stage["penalties"][name]).zero:
            continue
        path, fix, frames = where(f"penalties.{name}"), f"penalties.{name}=0", stage["cameras"].get("frames", 1)
        if None not in offers and not any(need in offer for offer in offers):
            near = "; ".join(giver for giver in givers(need) if giver.startswith("renderer"))
            mine = stage["renderer"]["type"]
            raise Mistake(f"penalty {name!r} needs {need}, which renderer {mine!r} has not", where=path, near=near, fix=fix)
        if frames < moments:
            raise Mistake(f"penalty {name!r} compares {moments} moments, but cameras see {frames}", where=path,
                          near=f"cameras.frames={moments + 1}", fix=fix)  # fmt: skip


def _check_motion(stage: dict[str, Any], where: Where) -> None:
    """What moves a scene would learn nothing from cameras that see one moment."""
    every = (stage["renderer"], *parts.within("renderers", stage["renderer"]))
    moving = [part["type"] for part in every if "motion" in (_offers("renderer", part) or ())]
    if moving and stage["cameras"].get("frames", 1) == 1:
        kind, still = stage["cameras"]["type"], moving[0].removeprefix("dynamic_")
        fix = "cameras.frames=4" if "frames" in stage["cameras"] else "cameras={type: orbit, frames: 4}"
        raise Mistake(f"{moving[0]} moves, but {kind} cameras see one moment", where=where("cameras.frames"),
                      fix=f"{fix}, or {still} instead")  # fmt: skip
