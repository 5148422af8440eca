"""The table of a comparison: every measure of every method with an interval, as numbers, text, CSV and LaTeX."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm, t

DRAWS, SURE = 2000, 0.95  # of the bootstrap
ENOUGH = 6  # prompts from which on a difference is marked: fewer all fall on one side by chance too often, 2 ** (1 - prompts)


@dataclass(frozen=True)
class Measure:
    """A column: where a record has it, its title, unit and format, and what is good: "high", "low", or a number to be near to."""

    key: str
    title: str
    form: str
    good: str | float | None
    what: str


MEASURES = (
    Measure("score.recognised", "recognised", "{:.0%}", "high", "share of 12 views with the right objects in the right colours"),
    Measure("score.iou", "IoU", "{:.3f}", "high", "silhouettes against the nearest true object"),
    Measure("score.chamfer", "Chamfer", "{:.3f}", "low", "metres between visible surfaces"),
    Measure("score.janus", "fronts", "{:.2f}", 1.0, "of objects that have one: more is the Janus problem"),
    Measure("score.view_gap", "view gap", "{:.3f}", "low", "0: the views are of one object; of objects with a front"),
    Measure("score.saturation", "saturation", "{:.2f}", 1.0, "chroma over the true object's"),
    Measure("diversity", "diversity", "{:.3f}", None, "variance between seeds over that between true objects"),
    Measure("variance.0.2", "noise t=0.2", "{:.3f}", None, "share of noise in the pixel gradient at t = 0.2, on one scene for all"),
    Measure("variance.0.5", "noise t=0.5", "{:.3f}", None, "the same at t = 0.5"),
    Measure("variance.0.8", "noise t=0.8", "{:.3f}", None, "the same at t = 0.8"),
    Measure("evaluations", "evaluations", "{:,.0f}", "low", "of the prior's networks, per run"),
    Measure("cost.seconds", "seconds", "{:.1f}", "low", "of a run: building the prior, steps, export"),
    Measure("cost.memory", "memory", "{:.2f}", "low", "peak resident GB (2^30 bytes) of a run's process"),
    Measure("cost.card", "on the card", "{:.2f}", "low", "peak GB of CUDA memory"),
)


def value(record: dict, key: str) -> Any:
    """A measure of a finished run."""
    section, _, name = key.partition(".")
    found = record.get(section)
    return found.get(name) if isinstance(found, dict) else found


def summarise(about: dict, jobs: list, records: list[dict], diversity: dict[str, dict[str, float | None]]) -> dict[str, Any]:
    """What the grid is and, for every method, counts and measures: mean over prompts of means over seeds, interval, how many prompts and
    runs have it, how far runs are `off` what is good where that is a number, and `against`: the same of the difference from the first
    method, prompt by prompt and seed by seed."""
    prompts, seeds = list(dict.fromkeys(job.prompt for job in jobs)), sorted({job.seed for job in jobs})
    done: dict[tuple, dict] = {(r["method"], r["prompt"], r["seed"]): r for r in records if r["state"] == "done"}
    found, first = [], about["rows"][0].method.name
    for row in about["rows"]:
        name, mine = row.method.name, [r for r in records if r["method"] == row.method.name]
        table = {m.key: _measure(m, name, first, prompts, seeds, done, diversity) for m in MEASURES}
        found.append({"name": name, "recipe": row.method.recipe, "guidance": row.guidance, "notes": list(row.notes),
                      "unlike": list(row.unlike),
                      "planned": len(prompts) * len(seeds), "done": sum(r["state"] == "done" for r in mine),
                      "failed": sum(r["state"] != "done" for r in mine), "measures": table})  # fmt: skip
    stages, steps = [stage for job in jobs for stage in job.config.stages], dict.fromkeys(job.config.values["steps"] for job in jobs)
    priors = list(dict.fromkeys(stage["prior"]["type"] for stage in stages))
    return {**{key: about.get(key) for key in ("command", "base", "plugins")}, "priors": priors,
            "steps": list(steps), "prompts": prompts, "seeds": seeds, "methods": found}  # fmt: skip


def _measure(
    measure: Measure, name: str, first: str, prompts: list[str], seeds: list[int], done: dict, diversity: dict
) -> dict[str, Any] | None:
    key = measure.key
    if key == "diversity":
        mine, theirs = ([[diversity[who][p]] for p in prompts] for who in (name, first))
    else:
        mine, theirs = ([[value(done.get((who, p, s), {}), key) for s in seeds] for p in prompts] for who in (name, first))
    known = [[v for v in row if v is not None] for row in mine]
    if not any(known):
        return None
    both = [[a - b for a, b in zip(*rows, strict=True) if a is not None and b is not None] for rows in zip(mine, theirs, strict=True)]
    against = {**interval(both), "prompts": sum(map(bool, both))} if name != first and any(both) else None
    goal = measure.good if isinstance(measure.good, float) else None  # 0 and 2 fronts are not 1 each
    off = None if goal is None else interval([[abs(v - goal) for v in row] for row in known])["mean"]
    return {**interval(known), "off": off, "prompts": sum(map(bool, known)), "runs": sum(map(len, known)), "against": against}


def interval(groups: list[list[float | int]], *, draws: int = DRAWS, seed: int = 0) -> dict[str, float | None]:
    """Mean of the groups' means, and its 95 % cluster bootstrap interval: groups (prompts) drawn with replacement, then in each as many
    values (seeds) as it has; its ends are quantiles as far out as `tail` says. Low and high are None for a single value."""
    groups = [group for group in groups if group]
    count, sizes = len(groups), np.array([len(group) for group in groups])
    mean = float(np.mean([np.mean(group) for group in groups]))
    if sizes.sum() < 2:
        return {"mean": mean, "low": None, "high": None}
    padded = np.zeros((count, sizes.max()))
    for row, group in zip(padded, groups, strict=True):
        row[: len(group)] = group
    rng = np.random.default_rng(seed)
    chosen = rng.integers(count, size=(draws, count))
    n = sizes[chosen][..., None]
    inside = (rng.random((draws, count, sizes.max())) * n).astype(int)
    kept = np.arange(sizes.max()) < n
    means = ((padded[chosen[..., None], inside] * kept).sum(-1) / n[..., 0]).mean(-1)
    out = tail(count if count > 1 else int(sizes[0]))
    low, high = np.quantile(means, [out, 1 - out])
    return {"mean": mean, "low": float(low), "high": float(high)}


def tail(count: int) -> float:
    """How much of a bootstrap's distribution lies beyond each end of a 95 % interval. Draws from n groups spread too little by
    sqrt((n - 1) / n), and n groups hardly know their spread: with 2.5 % an interval of six covers 87 % (Hesterberg 2015, the expanded
    percentile interval)."""
    return float(norm.cdf((count / (count - 1)) ** 0.5 * t.ppf((1 - SURE) / 2, count - 1)))


def differs(found: dict | None) -> bool:
    """Whether a method surely differs from the first one."""
    against = found and found["against"]
    return bool(against and against["prompts"] >= ENOUGH and against["low"] is not None and not against["low"] <= 0 <= against["high"])


def shown(summary: dict) -> list[Measure]:
    """The columns that some method has something in."""
    return [m for m in MEASURES if any(method["measures"][m.key] for method in summary["methods"])]


def most(summary: dict, measure: Measure) -> int:
    """The runs that the method with most of them has a measure of: others lack some, failed or not made yet, perhaps the hardest."""
    return max((m["measures"][measure.key]["runs"] for m in summary["methods"] if m["measures"][measure.key]), default=0)


def best(summary: dict, measure: Measure) -> set[str]:
    """The methods whose mean is the highest or the lowest, or whose runs are nearest to what is good, of those that lack no run. None where
    nothing is good, or there is nothing to choose from."""
    found = {m["name"]: m["measures"][measure.key] for m in summary["methods"] if m["measures"][measure.key]}
    sign = {"high": -1, "low": 1}.get(measure.good if isinstance(measure.good, str) else "")
    rank = {name: f["off"] if sign is None else sign * f["mean"] for name, f in found.items() if f["runs"] == most(summary, measure)}
    if measure.good is None or len(set(rank.values())) < 2:
        return set()
    return {name for name, value in rank.items() if value == min(rank.values())}


def texts(measure: Measure, found: dict | None) -> tuple[str, str]:
    """Mean and interval as text."""
    if found is None:
        return "-", ""
    ends = "" if found["low"] is None else f"{measure.form.format(found['low'])} to {measure.form.format(found['high'])}"
    return measure.form.format(found["mean"]), ends


def table(summary: dict) -> str:
    """One line a method, means alone."""
    columns, rows = shown(summary), summary["methods"]
    width = max(6, *(len(row["name"]) for row in rows))
    lines = [f"{'method':{width}} {'runs':>7} " + " ".join(f"{m.title:>{max(8, len(m.title))}}" for m in columns)]
    for row in rows:
        cells = (f"{texts(m, row['measures'][m.key])[0]:>{max(8, len(m.title))}}" for m in columns)
        lines.append(f"{row['name']:{width}} {row['done']:>3}/{row['planned']:<3} " + " ".join(cells))
    failed = sum(row["failed"] for row in rows)
    return "\n".join([*lines, *([f"failed runs: {failed}; the page says why"] if failed else [])])


def csv(summary: dict) -> str:
    """A line a method; of every measure mean, low and high, as exact as they are."""
    columns = shown(summary)
    head = ["method", "planned", "done", "failed", *(f"{m.title}{end}" for m in columns for end in ("", " low", " high", " runs"))]
    lines = [head]
    for row in summary["methods"]:
        cells = [row["measures"][m.key] or dict.fromkeys(("mean", "low", "high", "runs")) for m in columns]
        numbers = [cell[end] for cell in cells for end in ("mean", "low", "high", "runs")]
        lines.append([row["name"], row["planned"], row["done"], row["failed"], *("" if n is None else f"{n:.6g}" for n in numbers)])
    return "".join(",".join(_quoted(str(cell)) for cell in line) + "\n" for line in lines)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n') else text


def tex(summary: dict) -> str:
    r"""A table for LaTeX (\usepackage{booktabs}); the interval's ends stand above and below, the best of a column is bold."""
    columns, arrows = shown(summary), {"high": r" $\uparrow$", "low": r" $\downarrow$"}
    bests = {m.key: best(summary, m) for m in columns}
    rows = [["method", "runs", *(_escaped(m.title) + arrows.get(m.good, "") for m in columns)]]
    rows += [[_escaped(row["name"]), f"{row['done']}/{row['planned']}",
              *(_cell(m, row["measures"][m.key], row["name"] in bests[m.key]) for m in columns)] for row in summary["methods"]]  # fmt: skip
    head, *body = (" & ".join(row) + r" \\" for row in rows)
    about = f"% {len(summary['prompts'])} prompts, {len(summary['seeds'])} seeds; intervals: 95 % cluster bootstrap"
    begin = rf"\begin{{tabular}}{{l{'r' * (1 + len(columns))}}}"
    return "\n".join([about, begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _cell(measure: Measure, found: dict | None, top: bool) -> str:
    if found is None:
        return "--"
    told = (None if found[key] is None else measure.form.format(found[key]) for key in ("mean", "low", "high"))
    mean, low, high = (None if text is None else text.replace("%", r"\%").replace(",", "{,}") for text in told)
    mean = rf"\mathbf{{{mean}}}" if top else mean
    return f"${mean}$" if low is None else f"${mean}_{{{low}}}^{{{high}}}$"


def _escaped(text: str) -> str:
    instead = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {mark: f"\\{mark}" for mark in "_%&#${}"}
    return "".join(instead.get(mark, mark) for mark in text)
