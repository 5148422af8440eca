"""`bench claims`: what papers say, measured where the truth is known; one JSON a claim, and a page written from them alone.

A claim that is measured again replaces its numbers for that prior; the others stay. Whole runs go on where they were stopped.
"""

import argparse
import hashlib
import importlib
import json
import re
import sys
import time
from pathlib import Path
from tempfile import gettempdir

from filelock import FileLock

from dream3d import __version__, files
from dream3d.bench.claims_core import PRIORS, Claim, judge, lacking
from dream3d.bench.claims_list import CLAIMS
from dream3d.bench.claims_notes import NOTES
from dream3d.build import place
from dream3d.commands.parser import Parser
from dream3d.errors import Mistake, choices

NOISE = "of each prompt"  # what older numbers lack: all prompts had the noise of a seed in common
EXAMPLES = ["bench claims --list", "bench claims --prior mixture", "bench claims asd-variance csd-direction --prior exact",
            "bench claims 3d-saturation --prior exact", "bench claims --prior toybox", "bench claims --page"]  # fmt: skip


def parser() -> Parser:
    made = Parser("bench claims", "Papers' claims as numbers, with intervals and verdicts. Without names: all but those that take "
                  "whole runs.", EXAMPLES)  # fmt: skip
    made.add_argument("names", nargs="*", metavar="NAME", help="claims; a name that ends in * means all that begin so")
    made.add_argument("--prior", choices=PRIORS, help="measure on this one (default: mixture, then exact)")
    made.add_argument("--model", metavar="FOLDER", help="the trained weights behind --prior toybox (those that ship)")
    made.add_argument("--prompts", type=int, default=6, metavar="N", help="the first N prompts (6)")
    made.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N - 1 of each prompt (3)")
    made.add_argument("--out", type=Path, default=Path("docs/claims"), help="where the numbers lie; the page is beside it (docs/claims)")
    made.add_argument("--runs", type=Path, help="where whole runs lie, and go on (runs/claims-PRIOR)")
    made.add_argument("--set", action="append", default=[], metavar="key=value", help="of whole runs besides, for a trial: steps=10")
    made.add_argument("--list", action="store_true", help="the claims, and nothing else")
    made.add_argument("--page", action="store_true", help="write the page from what there is, and nothing else")
    return made


def main(words: list[str] | None = None) -> int:
    """Measure, write, tell. Returns 128 + a signal's number where one stopped it."""
    given = parser().parse_args(sys.argv[1:] if words is None else words)
    chosen = _chosen(given.names)
    if given.list:
        print("\n".join(f"{claim.name:24} {claim.kind:9} {claim.says}" for claim in chosen))
        return 0
    if not given.page:
        _check(given)
        for prior in [given.prior] if given.prior else ["mixture", "exact"]:
            if stopped := _measured(given, chosen, prior):
                return 128 + stopped
    return _written(given.out)


def _chosen(names: list[str]) -> list[Claim]:
    if not names:
        return list(CLAIMS.values())
    found = {}
    for name in names:
        matching = [c for c in CLAIMS.values() if c.name == name or name.endswith("*") and c.name.startswith(name[:-1])]
        if not matching:
            known = choices(name, sorted(CLAIMS))
            raise Mistake(f"there is no claim {name!r}", where="command line", near=known, fix="bench claims --list")
        found |= {claim.name: claim for claim in matching}
    return list(found.values())


def _check(given: argparse.Namespace) -> None:
    if given.model and given.prior != "toybox":
        raise Mistake("these weights are for the trained prior", where="--model", fix="--prior toybox")
    if not (1 <= given.prompts <= 6 and given.seeds >= 1):
        raise Mistake("there are 1 to 6 prompts and at least one seed", where="--prompts, --seeds", fix="--prompts 6 --seeds 3")


def _measured(given: argparse.Namespace, chosen: list[Claim], prior: str) -> int | None:
    """The claims that this prior can say something about: those of scenes prompt by prompt, then runs (only by name)."""
    open_to = [c for c in chosen if c.kind != "nothing" and prior in c.priors and prior not in c.silent]
    scenes = [c for c in open_to if c.kind == "pointwise"]
    runs = [c for c in open_to if c.kind == "runs" and given.names]
    for claim, cells, seconds in _scenes(scenes, prior, given) if scenes else ():
        _kept(given, claim, prior, cells, seconds)
    for claim in runs:
        from dream3d.bench import claims_runs

        began = time.monotonic()
        out = given.runs or Path(f"runs/claims-{prior}")
        cells, stopped = claims_runs.measure(claim, prior, given.model, given.prompts, given.seeds, out, tuple(given.set))
        if stopped is not None:
            return stopped
        _kept(given, claim, prior, cells, time.monotonic() - began)
    return None


def _scenes(claims: list[Claim], prior: str, given: argparse.Namespace) -> list[tuple[Claim, list, float]]:
    """Numbers by prompt and seed and the seconds they took, a measure that several claims share once."""
    from dream3d.bench.claims_world import world

    measures = {claim.measure: load(claim.measure) for claim in claims}
    cells, seconds = {name: [] for name in measures}, dict.fromkeys(measures, 0.0)
    shared = None
    for prompt in range(given.prompts):
        shared = shared if prior != "exact" and shared else world(prior, given.model)
        for name, measure in measures.items():
            began = time.monotonic()
            cells[name].append([_rounded(measure(shared, prompt, seed)) for seed in range(given.seeds)])
            seconds[name] += time.monotonic() - began
        print(f"{prior}: prompt {prompt + 1} of {given.prompts}, {sum(seconds.values()):.0f} s", flush=True)
    return [(claim, cells[claim.measure], seconds[claim.measure]) for claim in claims]


def load(name: str):
    """The function behind Claim.measure."""
    module, _, function = name.partition(".")
    return getattr(importlib.import_module(f"dream3d.bench.claims_{module}"), function)


def _rounded(cell: dict) -> dict:
    return {key: None if number is None else float(f"{number:.5g}") for key, number in cell.items()}


def _kept(given: argparse.Namespace, claim: Claim, prior: str, cells: list, seconds: float) -> None:
    """The result into its claim's file, beside those of other priors."""
    path = given.out / f"{claim.name}.json"
    found = {**judge(claim.rules, cells), "cells": cells, **({"noise": NOISE} if claim.kind == "pointwise" else {}),
             "version": __version__, "command": command(claim, prior, given), "seconds": round(seconds, 1)}  # fmt: skip
    with alone(given.out):
        stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        files.write_json(path, {**described(claim), "results": {**stored.get("results", {}), prior: found}})
    print(f"{claim.name}, {prior}: {found['verdict']}", flush=True)


def alone(out: Path) -> FileLock:
    """Held while files are read and written again: other processes may measure other priors into them."""
    return FileLock(Path(gettempdir()) / f"dream3d-claims-{hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:12]}.lock")


def command(claim: Claim, prior: str, given: argparse.Namespace) -> str:
    """What makes these numbers again."""
    words = ["python launch.py bench claims", claim.name, f"--prior {prior}", *(["--model FOLDER"] if given.model else [])]
    words += [f"--{name} {getattr(given, name)}" for name, usual in (("prompts", 6), ("seeds", 3)) if getattr(given, name) != usual]
    return " ".join([*words, *(f"--set {text}" for text in given.set)])


def described(claim: Claim) -> dict:
    """What a page has to know of a claim besides its numbers."""
    return {"name": claim.name, "kind": claim.kind, **paper(claim.paper), "says": claim.says, "measured": claim.measured,
            "rules": list(claim.rules), "priors": list(claim.priors), "silent": claim.silent, "notes": NOTES.get(claim.name, {}),
            "order": list(CLAIMS).index(claim.name)}  # fmt: skip


def paper(key: str) -> dict[str, str | None]:
    """Title, arXiv number and year of an entry of assets/papers.bib. Raises Mistake where there is none."""
    text = (place("assets") / "papers.bib").read_text(encoding="utf-8")
    entry = re.search(rf"@\w+{{{re.escape(key)},(.*?)\n}}", text, re.DOTALL)
    if entry is None:
        raise Mistake(f"papers.bib has no {key!r}", where="assets/papers.bib")
    field = dict(re.findall(r"^\s*(\w+) = {(.*)},?$", entry[1], re.MULTILINE))
    title = field["title"].replace("{", "").replace("}", "")
    return {"paper": key, "title": title, "arxiv": field.get("eprint"), "year": field.get("year")}


def _written(out: Path) -> int:
    """Every claim has a file, also one that nothing was measured of yet, judged from its cells; the page is written from the files."""
    from dream3d.bench.claims_page import page

    with alone(out):
        _judged(out)
    records = sorted((json.loads(path.read_text(encoding="utf-8")) for path in out.glob("*.json")), key=lambda record: record["order"])
    target = out.with_suffix(".md")
    files.write_text(target, page(records))
    print(target)
    return 0


def _judged(out: Path) -> None:
    """The files of all claims, with the rules as they are now."""
    for claim in CLAIMS.values():
        path = out / f"{claim.name}.json"
        stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        again = {}
        for prior, found in stored.get("results", {}).items():
            if names := lacking(claim.rules, found["cells"]):
                print(f"{claim.name}, {prior}: left out, it was measured without {', '.join(sorted(names))}", flush=True)
            elif prior not in claim.silent:
                again[prior] = {**found, **judge(claim.rules, found["cells"])}
        files.write_json(path, {**described(claim), "results": again})


if __name__ == "__main__":
    sys.exit(main())
