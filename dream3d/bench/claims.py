"""`bench claims`: what papers say, measured where the truth is known; one JSON a claim, and a page written from them alone.

A claim that is measured again replaces its numbers for that prior; the others stay. Whole runs go on where they were stopped.
"""

import argparse
import hashlib
import importlib
import json
import sys
import time
from pathlib import Path

from dream3d import __version__, files
from dream3d.bench import claims_files
from dream3d.bench.claims_core import PRIORS, Claim
from dream3d.bench.claims_list import CLAIMS
from dream3d.commands.parser import Parser, some
from dream3d.errors import Mistake, choices, one_line

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
    made.add_argument("--out", type=some, help="where the numbers lie; the page is beside it (docs/claims)")
    made.add_argument("--runs", type=some, help="where whole runs lie, and what is not done yet, and go on (runs/claims-PRIOR)")
    made.add_argument("--set", action="append", default=[], metavar="key=value", help="of whole runs besides, for a trial: steps=10; with "
                      "--out and --runs, for numbers of its own")  # fmt: skip
    made.add_argument("--list", action="store_true", help="the claims, and nothing else")
    made.add_argument("--page", action="store_true", help="write the page from what there is, and nothing else")
    return made


def main(words: list[str] | None = None) -> int:
    """Measure, write, tell. Exit code 6 where runs failed. Raises Interrupted."""
    given = parser().parse_args(sys.argv[1:] if words is None else words)
    chosen, code = _chosen(given.names), 0
    if given.list:
        print("\n".join(f"{claim.name:24} {claim.kind:9} {claim.says}" for claim in chosen))
        return 0
    if given.page and given.names:
        raise Mistake("the page is written of all claims", where="--page", fix="without names")
    _check(given, chosen)
    given.out = (given.out or Path("docs/claims")).resolve()
    for claim in CLAIMS.values():
        claims_files.stored(given.out, claim)  # whether it can be read, before hours of work
    for prior in () if given.page else [given.prior] if given.prior else ["mixture", "exact"]:
        code = max(code, _measured(given, chosen, prior))
    print(claims_files.write(given.out))
    return code


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


def _check(given: argparse.Namespace, chosen: list[Claim]) -> None:
    if given.model and given.prior != "toybox":
        raise Mistake("these weights are for the trained prior", where="--model", fix="--prior toybox")
    if not (1 <= given.prompts <= 6 and given.seeds >= 1):
        raise Mistake("there are 1 to 6 prompts and at least one seed", where="--prompts, --seeds", fix="--prompts 6 --seeds 3")
    if given.set and (given.out is None or given.runs is None):
        fix = "--out trial/claims --runs trial/runs"
        raise Mistake("runs with other settings are no measurement of these claims", where="--set", fix=fix)
    if given.set and not (given.names and any(claim.kind == "runs" for claim in chosen)):
        raise Mistake("none of these claims takes whole runs", where="--set", near="3d-*", fix="without --set")


def _measured(given: argparse.Namespace, chosen: list[Claim], prior: str) -> int:
    """The claims that this prior can say something about: those of scenes prompt by prompt, then runs (only by name). An exit code."""
    open_to = [c for c in chosen if c.kind != "nothing" and prior in c.priors and prior not in c.silent]
    for claim in chosen if given.names else ():
        if claim not in open_to:
            why = claim.silent.get("") or claim.silent.get(prior) or "not asked of it"
            print(one_line(f"{claim.name}, {prior}: cannot be tested here: {why}", 240), flush=True)
    scenes = [c for c in open_to if c.kind == "pointwise"]
    for claim, cells, seconds in _scenes(scenes, prior, given) if scenes else ():
        claims_files.keep(given, claim, prior, cells, seconds)
    codes = [_run(given, claim, prior) for claim in open_to if claim.kind == "runs" and given.names]
    return max(codes, default=0)


def _run(given: argparse.Namespace, claim: Claim, prior: str) -> int:
    from dream3d.bench import claims_runs

    began = time.monotonic()
    try:
        cells, failed = claims_runs.measure(claim, prior, given.model, given.prompts, given.seeds, _runs(given, prior), tuple(given.set))
        claims_files.keep(given, claim, prior, cells, time.monotonic() - began, failed)
    except Mistake as mistake:
        if mistake.code != 6:
            raise
        print(f"error: {mistake}", file=sys.stderr)
        return 6
    return 6 if failed else 0


def _runs(given: argparse.Namespace, prior: str) -> Path:
    return given.runs or Path(f"runs/claims-{prior}")


def _scenes(claims: list[Claim], prior: str, given: argparse.Namespace) -> list[tuple[Claim, list, float]]:
    """Numbers by prompt and seed and the seconds they took, a measure that several claims share once. What was measured is kept beside
    whole runs, measure by measure and prompt by prompt, until all are there."""
    from dream3d.bench.claims_world import world

    measures = {claim.measure: load(claim.measure) for claim in claims}
    path, about = _runs(given, prior) / "scenes.json", _about(given)
    done = _begun(path, about)
    shared = None
    for prompt in range(given.prompts):
        missing = [name for name in measures if f"{name} {prompt}" not in done]
        if missing and (shared is None or prior == "exact"):
            shared = world(prior, given.model)
        for name in missing:
            began = time.monotonic()
            row = [_rounded(measures[name](shared, prompt, seed)) for seed in range(given.seeds)]
            done[f"{name} {prompt}"] = [row, time.monotonic() - began]
            files.write_json(path, {"about": about, "done": done})
        spent = sum(seconds for _, seconds in done.values())
        print(f"{prior}: prompt {prompt + 1} of {given.prompts}, {spent:.0f} s", flush=True)
    path.unlink(missing_ok=True)
    rows = {name: [done[f"{name} {prompt}"] for prompt in range(given.prompts)] for name in measures}
    return [(c, [row for row, _ in rows[c.measure]], sum(seconds for _, seconds in rows[c.measure])) for c in claims]


def _about(given: argparse.Namespace) -> list:
    """What numbers of scenes depend on, besides their prompt."""
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("claims_*.py"))))
    return [__version__, given.model, given.seeds, code.hexdigest()]


def _begun(path: Path, about: list) -> dict[str, list]:
    """What an earlier command measured alike before it was stopped."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return dict(found["done"]) if found["about"] == about else {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def load(name: str):
    """The function behind Claim.measure."""
    module, _, function = name.partition(".")
    return getattr(importlib.import_module(f"dream3d.bench.claims_{module}"), function)


def _rounded(cell: dict) -> dict:
    return {key: None if number is None else float(f"{number:.5g}") for key, number in cell.items()}


if __name__ == "__main__":
    sys.exit(main())
