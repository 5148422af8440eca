"""Scores of many runs as a few numbers, with intervals, and as a table of text."""

import statistics

from scipy.stats import binomtest

UNDER = 0.85  # a floor under this leaves room: the mean IoU is also given for those objects alone
MEANS = ("recognised", "objects", "colours", "patterns", "views", "iou", "chamfer", "view_gap", "saturation", "clipped")


def share(flags: list[bool]) -> dict | None:
    """How many of how many, and Wilson's 95 % interval; None of none."""
    if not flags:
        return None
    interval = binomtest(sum(flags), len(flags)).proportion_ci(0.95, "wilson")
    return {"count": sum(flags), "of": len(flags), "low": round(interval.low, 4), "high": round(interval.high, 4)}


def summarise(records: list[dict], diversity: dict[str, float | None]) -> dict:
    """`shares` of runs that pass each verdict (a failed run passes none), `means` of the measures over finished runs, the mean IoU
    where there is room for a shape, and the mean diversity of the prompts with several seeds."""
    done = [record for record in records if record["state"] == "done"]
    names = dict.fromkeys(name for record in done for name in record["verdict"])
    rows = {name: [_passed(record, name) for record in records] for name in names}
    roomy = [r["score"]["iou"] for r in done if r["scale"]["floor"]["iou"] < UNDER]
    means = {name: _mean([r["score"][name] for r in done]) for name in MEANS}
    return {
        "runs": len(records), "failed": len(records) - len(done),
        "shares": {name: share([flag for flag in row if flag is not None]) for name, row in rows.items()},
        "means": means, "iou where the floor is under 0.85": _mean(roomy), "runs there": len(roomy),
        "scale": {end: _mean([r["scale"][end]["iou"] for r in done]) for end in ("floor", "ceiling", "true")},
        "seconds": _mean([r["seconds"] for r in done]), "diversity": _mean(list(diversity.values())),
        "diversities": diversity,
    }  # fmt: skip


def _passed(record: dict, name: str) -> bool | None:
    """None where the measure does not apply."""
    return False if record["state"] != "done" else record["verdict"].get(name)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.fmean(known), 4) if known else None


COLUMNS = (("recognised", "right", "{:.0%}"), ("views", "views", "{:.0%}"), ("iou", "IoU", "{:.2f}"), ("chamfer", "Chamfer", "{:.3f}"),
           ("janus", "fronts", "{}"), ("view_gap", "gap", "{:.2f}"), ("saturation", "chroma", "{:.2f}"),
           ("clipped", "clipped", "{:.0%}"))  # fmt: skip


def cells(score: dict) -> list[str]:
    """The measures of COLUMNS as text; a dash where there is none."""
    return ["-" if score[key] is None else form.format(score[key]) for key, _, form in COLUMNS]


def table(summary: dict, records: list[dict]) -> str:
    """One line a run, then what they come to."""
    width = min(48, max(len(record["prompt"]) for record in records))
    head = f"{'prompt':{width}} seed " + " ".join(f"{title:>8}" for _, title, _ in COLUMNS) + "  floor ceiling"
    return "\n".join([head, *(_row(record, width) for record in records), "", *words(summary)])


def _row(record: dict, width: int) -> str:
    start = f"{record['prompt'][:width]:{width}} {record['seed']:4} "
    if record["state"] != "done":
        return f"{start}failed: {record['reason']}"
    scale = record["scale"]
    ends = f"  {scale['floor']['iou']:5.2f} {scale['ceiling']['iou']:7.2f}"
    missed = [name for name, passed in record["verdict"].items() if not passed]
    return start + " ".join(f"{cell:>8}" for cell in cells(record["score"])) + ends + (f"  not {', '.join(missed)}" if missed else "")


def words(summary: dict) -> list[str]:
    """The summary, a line each."""
    lines = [f"{name}: {_share(value)}" for name, value in summary["shares"].items()]
    scale, means = summary["scale"], summary["means"]
    if means["iou"] is not None:
        lines.append(f"silhouette IoU {means['iou']:.3f} (best ellipsoid {scale['floor']:.3f}, fitted splats {scale['ceiling']:.3f}, "
                     f"another true object {scale['true']:.3f})")  # fmt: skip
    if summary["runs there"]:
        lines.append(f"silhouette IoU where the ellipsoid stays under {UNDER}: "
                     f"{summary['iou where the floor is under 0.85']:.3f} in {summary['runs there']} runs")  # fmt: skip
    if summary["diversity"] is not None:
        lines.append(f"diversity between seeds, true objects being 1: {summary['diversity']:.2f}")
    return [*lines, f"failed runs: {summary['failed']} of {summary['runs']}"]


def _share(value: dict | None) -> str:
    if value is None:
        return "does not apply"
    return f"{value['count']} of {value['of']} runs (95 % interval {value['low']:.0%} to {value['high']:.0%})"


def by_prompt(jobs: list) -> list[tuple[str, list]]:
    """Jobs of one prompt together, in the order given."""
    found: dict[str, list] = {}
    for job in jobs:
        found.setdefault(job.prompt, []).append(job)
    return list(found.items())


def line(record: dict) -> str:
    """One run in one line."""
    who = "".join(f"{record[key]}: " for key in ("method",) if record.get(key)) + f"{record['prompt']}, seed {record['seed']}"
    if record["state"] != "done":
        return f"{who}: failed, {record['reason']}"
    score, scale = record["score"], record["scale"]
    fronts = "" if score["janus"] is None else f", fronts {score['janus']}"
    ends = f"{scale['floor']['iou']:.2f} to {scale['ceiling']['iou']:.2f}"
    return f"{who}: recognised {score['recognised']:.0%}, IoU {score['iou']:.2f} ({ends}){fronts}"
