"""docs/claims.md from the numbers in docs/claims/*.json alone."""

from dream3d.bench.claims_core import AGREES, DISAGREES, PRIORS, SILENT, UNDECIDED
from dream3d.bench.claims_files import digest

HEAD = """# The papers' claims as numbers

Written by `python launch.py bench claims --page` from docs/claims/*.json, which hold every number; nothing on this page is written by hand.

Every claim is a sentence of a paper, put to a world whose truth is known. Its rules are inequalities between measured numbers that the
claim implies. They stand in dream3d/bench/claims_list.py and claims_list_runs.py and were written before the grid was measured; what was
changed later is listed below. Of every rule the margin (left side less right side) is taken for each prompt and seed, so differences are
paired, and its mean gets a 95 % cluster bootstrap interval (prompts are drawn with replacement, then seeds within each; 2000 draws,
seed 0; ends as far out as few prompts need, docs/compare.md). A claim **agrees** where the intervals of all its margins lie above 0,
**disagrees** where one lies below, and is **undecided** otherwise. Margins of fewer than six prompts decide nothing: three fall on one
side by chance once in four times. Where a margin has no value (nothing pulls at all) it **says nothing here**. A disagreement is a result
about this world, not about the paper's. A sentence below the numbers is a reading of them, written afterwards; it was not itself measured.

Changed after numbers were seen: the two modes of f-modes were moved apart, and the picture that the PGC claims start from (both after a
look at the first prompt and seed). After the whole grid: intervals reach further out (plain percentiles of six prompts hold the truth in
87 %, not 95 %); a verdict needs six prompts (it was three); every prompt has noise of its own (all had that of a seed in common, so that
intervals on the mixture lay beside values that are known exactly); edits step with one length for all of x (Adam's length for each
number moves what is hardly pulled as fast as the rest); sdi-ddim also asks for a picture nearer to DDIM's than the start; the sentences
of nfsd-direction and rescale-saturation were brought to what their rules ask for.

* **mixture**: Gaussians in 48 numbers: "" is N(0, 1), each of six prompts N(mu, 0.5^2); wide distributions that overlap, in closed form.
* **exact**: the exact score of pictures of 32 pixels (300 of the prompt's objects, 300 of them in another colour, 300 of the world), which
  looks up the nearest picture at low noise (docs/exact-prior.md): what lives on local variance is not decided there. In whole runs it is
  the recipes' own, of 3200 pictures of the prompt's objects and 2000 of the world; 3d-binding and 3d-multiview-janus take the joint one.
* **toybox**: the prior that is trained on the toybox, `toybox-32` as it ships (docs/trained-priors.md).

Half-made scenes: the mixture's x is half of a draw of the prompt's component; a picture's is half the contrast of an unseen true object,
blurred by two pixels, over grey, from four sides. Unless said otherwise: 6 prompts x 3 seeds; scale 7.5 and every other setting the
formula's default; t = 0.2, 0.5 and 0.8 one by one, then the mean over them; 16 noises. What one noise level or a play in x shows need
not hold in three dimensions: claims whose name begins with 3d- are whole runs, scored by the judge.
"""
SIGNS = {AGREES: "agrees", DISAGREES: "**disagrees**", UNDECIDED: "undecided", SILENT: "says nothing"}


def page(records: list[dict]) -> str:
    """Markdown: how many of what, one table, then each claim with its rules and numbers."""
    sections = (line for record in records for line in _section(record))
    return "\n".join([HEAD, *_counts(records), "", *_table(records), "", *sections]).rstrip() + "\n"


def _counts(records: list[dict]) -> list[str]:
    lines = [f"{len(records)} claims of {len({r['paper'] for r in records})} papers.", ""]
    for prior in PRIORS:
        verdicts = [r["results"][prior]["verdict"] for r in records if prior in r["results"]]
        counted = ", ".join(f"{v} {verdicts.count(v)}" for v in SIGNS if v in verdicts)
        lines.append(f"* {prior}: {counted or 'nothing measured yet'}")
    return lines


def _table(records: list[dict]) -> list[str]:
    lines = ["| claim | paper | " + " | ".join(PRIORS) + " |", "|" + "---|" * (2 + len(PRIORS))]
    for record in records:
        cells = [state(record, prior) for prior in PRIORS]
        lines.append(f"| [{record['name']}](#{record['name']}): {_safe(record['says'])} | {_cite(record)} | {' | '.join(cells)} |")
    return lines


def state(record: dict, prior: str) -> str:
    """The verdict on a prior, or why there is none."""
    if prior in record["results"]:
        return SIGNS[record["results"][prior]["verdict"]]
    return "-" if reason(record, prior) else "open"


def reason(record: dict, prior: str) -> str:
    """Why a prior says nothing of a claim; empty where it might."""
    return record["silent"].get("") or record["silent"].get(prior) or ("" if prior in record["priors"] else "not asked")


def _cite(record: dict) -> str:
    return f"[{record['arxiv']}](https://arxiv.org/abs/{record['arxiv']})" if record["arxiv"] else record["title"]


def _section(record: dict) -> list[str]:
    lines = [f"## {record['name']}", "", f"{record['says']} *{record['title']}*, {_cite(record)}.", ""]
    if record["kind"] == "nothing":
        return [*lines, f"Cannot be tested here: {record['silent']['']}.", ""]
    lines += [f"Measured: {record['measured']}", ""]
    for prior in PRIORS:
        if prior in record["results"]:
            lines += [*_result(record, prior), ""]
        elif why := reason(record, prior):
            lines += [f"{prior}: cannot be tested here: {why}.", ""]
        else:
            lines += [f"{prior}: open. `python launch.py bench claims {record['name']} --prior {prior}`", ""]
    return lines


def _result(record: dict, prior: str) -> list[str]:
    found = record["results"][prior]
    cells = [cell for row in found["cells"] for cell in row]
    size = f"{len(found['cells'])} prompts x {max(map(len, found['cells']))} seeds"
    numbers = "; ".join(f"{name} {_number(number)}" for name, number in found["numbers"].items() if number)
    lines = [f"{prior}: **{found['verdict']}** ({size}, {len(cells)} cells). {numbers}."]
    margins = [(_safe(rule), found["margins"].get(rule)) for rule in record["rules"]]
    rows = [f"| `{rule}` | {_number(margin)}{_few(margin, cells)} |" for rule, margin in margins]
    lines += ["", _read(record["notes"][prior], found)] if prior in record["notes"] else []
    lines += ["", f"{found['failed']} runs failed, whose numbers are missing."] if found.get("failed") else []
    if record["kind"] == "pointwise" and "noise" not in found:
        lines += ["", "To be measured again: prompts had the noise of a seed in common here, which the intervals do not see."]
    return [*lines, "", "| rule | margin (95 % interval) |", "|---|---|", *rows, "", f"`{found['command']}`"]


def _read(note: str, found: dict) -> str:
    """A reading, or what it is where the numbers are others by now."""
    return note if found.get("read") == digest(found["cells"]) else f"Of an earlier measurement: {note}"


def _few(found: dict | None, cells: list) -> str:
    """Of how much a margin is, where it lacks some: failed runs, objects without a front."""
    return "" if found is None or found["cells"] == len(cells) else f", of {found['cells']} cells and {found['prompts']} prompts"


def _number(found: dict | None) -> str:
    if found is None:
        return "no value"
    ends = "" if found["low"] is None else f" ({found['low']:.3g} to {found['high']:.3g})"
    return f"{found['mean']:.3g}{ends}"


def _safe(text: str) -> str:
    return text.replace("|", "\\|")
