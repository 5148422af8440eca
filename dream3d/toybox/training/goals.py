"""What a trained prior should reach, and whether it does, by the numbers of its card. Imports no torch.

The judge cannot name more than he does of true renders, so where those stay below a goal, they are the goal."""

from typing import Any

NEAR = 10.0  # points by which pairs that were held out may stay below those that were shown
GOALS = {  # percent: object, colour, view as the judge names them; both objects of two; four views that are one thing
    "toybox-32": {"object": 90.0, "colour": 90.0, "view": 80.0},
    "toybox": {"object": 95.0, "colour": 95.0, "view": 90.0, "both": 80.0},  # from where on it may be the default prior
    "toybox-latent": {"object": 90.0, "colour": 90.0, "view": 80.0},
    "toybox-mv": {"agree": 90.0},
}


def goals(name: str, metrics: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What is asked of a tier -> what it is, what it should be, whether it is; nothing for tiers that the judge is not asked about. What
    was not measured is not reached."""
    told, doubles = metrics.get("judge", metrics), metrics.get("two_objects", {})
    seen, held = told.get("seen", {}) | doubles, told.get("held_out", {})
    truth = told.get("true_renders", {}) | doubles.get("true_renders", {})
    found = {what: _row(seen.get(what), min(goal, truth.get(what, goal))) for what, goal in GOALS.get(name, {}).items()}
    for what in set(GOALS.get(name, {})) - {"both"}:
        found[f"held-out {what}"] = _row(held.get(what), seen.get(what, 100.0) - NEAR)
    return dict(sorted(found.items()))


def reached(name: str, metrics: dict[str, Any]) -> bool:
    """Whether a tier reaches all that is asked of it; one of which nothing is asked does not."""
    found = goals(name, metrics)
    return bool(found) and all(row["reached"] for row in found.values())


def said(name: str, metrics: dict[str, Any]) -> str:
    """A line about it, with what to do next; nothing where nothing is asked."""
    short = [f"{what} {row['is']} of {row['goal']}" for what, row in goals(name, metrics).items() if not row["reached"]]
    if short:
        return f"{name} is short of its goals: {', '.join(short)}"
    default = "; it may be the default prior now: docs/trained-priors.md tells how" if name == "toybox" else ""
    return f"{name} reaches its goals{default}" if name in GOALS else ""


def _row(value: float | int | None, goal: float | int) -> dict[str, Any]:
    return {"is": value, "goal": round(goal, 1), "reached": value is not None and value >= goal}
