"""What a library tells while it is worked on and afterwards: its state, and a table of what failed. No torch."""

import csv
import io
import json
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dream3d import files
from dream3d.batch import failures
from dream3d.batch.library import Library
from dream3d.batch.plan import Job, Plan
from dream3d.estimate import human, total

FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")  # what spreadsheets run, wide ones in Japan too
INSIDE = re.compile(r"([;\t\r\n])([=+@-])")  # and what they run where they take another separator than the comma
DISK = 12 << 20  # bytes of an asset of the default recipe with its run, measured
COLUMNS = ("id", "name", "prompt", "seed", "lines", "failure", "tries", "reason")


def state(library: Library, jobs: list[Job], policy: failures.Policy = failures.Policy()) -> dict[str, list[Job]]:
    """Jobs by what they are: done, failed, working (somebody has a claim that was not given back), waiting."""
    found: dict[str, list[Job]] = {"done": [], "failed": [], "working": [], "waiting": []}
    for job in jobs:
        found[_state(library, job, policy)].append(job)
    return found


def _state(library: Library, job: Job, policy: failures.Policy) -> str:
    if library.done(job) is not None:
        return "done"
    if not failures.again(library.tries(job), policy):  # whoever lost it may never have given its claim back
        return "failed"
    return "working" if library.claimed(job) else "waiting"


def told(library: Library, jobs: list[Job]) -> list[str]:
    """The lines of `batch status`."""
    found = state(library, jobs)
    lines = [", ".join(f"{len(part)} {name}" for name, part in found.items()) + f", of {len(jobs)}"]
    records = [record for job in found["done"] if (record := library.done(job))]
    if records and (left := len(found["working"]) + len(found["waiting"])):
        seconds = statistics.fmean(record.get("seconds") or 0.0 for record in records)
        lines.append(f"{seconds:.0f} s a job so far: {left * seconds / 3600:.1f} hours of one worker are left")
    why = Counter(str(_last(library, job).get("failure", "error")) for job in found["failed"])
    lines += [f"{count} failed: {kind}" for kind, count in why.most_common()]
    return lines


def failed(library: Library, jobs: list[Job]) -> Path | None:
    """Write failures.csv of those that failed for good; None, and no file, where none did."""
    path, rows = library.path / "failures.csv", []
    for job in state(library, jobs)["failed"]:
        tries, last = len(library.tries(job)), _last(library, job)
        told = {"lines": " ".join(map(str, job.lines)), "tries": tries, **{k: last.get(k, "") for k in ("failure", "reason")}}
        rows.append({"id": job.id, "name": job.name, "prompt": job.prompt, "seed": job.seed, **told})
    if not rows:
        path.unlink(missing_ok=True)
        return None
    files.write_text(path, table(rows, COLUMNS))
    return path


def _last(library: Library, job: Job) -> dict[str, Any]:
    """The try that failed last; empty where another launcher has begun again with the job meanwhile."""
    return next(reversed(library.tries(job)), {})


def listed(library: Library) -> Path:
    """The catalogue as people look at it: catalog.jsonl mended, catalog.parquet where pyarrow is there, gallery.html with what failed too.
    Returns the page."""
    from dream3d.batch.page import write_gallery

    records = library.mend()
    _parquet(library.path / "catalog.parquet", records)
    lost = [{"name": job.name, "prompt": job.prompt, "seed": job.seed, "category": job.category, "tags": list(job.tags), "state": "failed",
             "reason": _last(library, job).get("reason", "")} for job in state(library, library.jobs())["failed"]]  # fmt: skip
    return write_gallery(library.path, [*records, *lost], library.path.absolute().name)


def _parquet(path: Path, records: list[dict[str, Any]]) -> None:
    """One row a record; metrics, files and changes as columns of their own (metrics.recognition), lists as JSON."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        path.unlink(missing_ok=True)  # an old one would not be the catalogue
        return
    rows = [dict(_flat(record)) for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    kept = {name: values if _alike(values) else [None if v is None else str(v) for v in values] for name, values in columns.items()}
    with files.replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(kept), temporary)


def _alike(values: list) -> bool:
    """Whether a column can be one of numbers, truths or texts."""
    kinds = {type(value) for value in values if value is not None}
    if any(isinstance(value, int) and not -(1 << 63) <= value < 1 << 63 for value in values):
        return False
    return len(kinds) <= 1 or kinds == {int, float}


def _flat(record: dict[str, Any], head: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{head}{name}.")
        else:
            yield head + name, json.dumps(value) if isinstance(value, list) else value


def table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    """CSV that no spreadsheet takes for formulas: such cells begin with an apostrophe."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([cell(row.get(name, "")) for name in columns] for row in rows)
    return out.getvalue()


def cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return ("'" if value.startswith(FORMULA) else "") + value[:1] + INSIDE.sub(r"\1'\2", value[1:])


def sketched(plan: Plan, library: Library, workers: int, together: int = 1) -> list[str]:
    """The lines of --dry-run: how many, how long, how much. Hours are known once jobs of the same recipes are done here."""
    missing = [job for job in plan.jobs if library.done(job) is None]
    lines = [f"{len(plan.jobs)} jobs of {len(plan.recipes)} configurations, {plan.repeated} asked for more than once, "
             f"{len(plan.jobs) - len(missing)} done before"]  # fmt: skip
    paces = _paces(library)
    known = [paces[job.recipe] for job in missing if job.recipe in paces]
    if len(known) < len(missing):
        lines.append(f"hours: unknown for {len(missing) - len(known)} jobs until one of their configuration is done")
    if known:
        hours = sum(known) / 3600
        lines.append(f"hours: {hours / workers:.1f} on {workers} workers, by jobs that are done ({hours:.1f} of one)")
    return [*lines, _memory(plan, missing, together), f"disk: about {human(float(DISK * len(missing)))}"]


def _memory(plan: Plan, missing: list[Job], together: int) -> str:
    """Of the recipe that takes most, with as many at once as there are alike. What runs in one process share counts for each of them."""
    alike = Counter((job.recipe, job.image) for job in missing)
    at_once = {recipe: min(together, count) for (recipe, _), count in sorted(alike.items(), key=lambda row: row[1])}
    sizes = {name: total(found.stages, found.values) for name, found in plan.configs.items()}
    worst = max(sizes, key=lambda name: sizes[name][0] * at_once.get(name, 1), default=None)
    size, count = (sizes[worst][0], at_once.get(worst, 1)) if worst else (0.0, 1)
    unknown = ", ".join(sorted({name for _, names in sizes.values() for name in names}))
    times = f" ({count} times {human(size)})" if count > 1 else ""
    return f"memory a worker, an upper estimate: {human(size * count)}{times}" + (f" and what {unknown} needs" if unknown else "")


def _paces(library: Library) -> dict[str, float]:
    """Seconds a job of each configuration took here."""
    found: dict[str, list[float]] = {}
    recipes = {job.id: job.recipe for job in library.jobs()}
    for record in library.catalogue():
        if (recipe := recipes.get(record.get("id"))) and record.get("seconds"):
            found.setdefault(recipe, []).append(record["seconds"])
    return {recipe: statistics.fmean(seconds) for recipe, seconds in found.items()}
