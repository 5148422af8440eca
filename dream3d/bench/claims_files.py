"""The files of claims: docs/claims/NAME.json each, and the page beside the folder. No torch."""

import argparse
import hashlib
import json
import re
import shlex
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from filelock import FileLock

from dream3d import __version__, files
from dream3d.bench.claims_core import SILENT, Claim, judge, lacking
from dream3d.bench.claims_list import CLAIMS
from dream3d.bench.claims_notes import NOTES
from dream3d.build import place
from dream3d.errors import Mistake

NOISE = "of each prompt"  # what older numbers lack: all prompts had the noise of a seed in common


def stored(out: Path, claim: Claim) -> dict[str, Any]:
    """What is known of a claim; empty where nothing is. Raises Mistake for a file that is none of a claim."""
    path = out / f"{claim.name}.json"
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(result["cells"], list) for result in found["results"].values()):
            return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise Mistake("this file holds no claim", where=str(path), fix="put it back as it was, or delete it: then it is measured anew")


def keep(given: argparse.Namespace, claim: Claim, prior: str, cells: list, seconds: float, failed: int = 0) -> None:
    """The result into its claim's file, beside those of other priors. Raises Mistake (code 6) where so many runs `failed` that there is
    none: what was there before stays."""
    found = {**judge(claim.rules, cells), "cells": cells, **({"noise": NOISE} if claim.kind == "pointwise" else {}),
             **({"failed": failed} if failed else {}), "version": __version__, "command": command(claim, prior, given),
             "seconds": round(seconds, 1)}  # fmt: skip
    if failed and found["verdict"] == SILENT:
        raise Mistake(f"{claim.name}, {prior}: {failed} runs failed, which leaves nothing to judge by; nothing was kept", code=6,
                      where=str(given.out), fix="the log.txt of each says why; the same command tries them again")  # fmt: skip
    with alone(given.out):
        before = stored(given.out, claim).get("results", {})
        read = {"read": before[prior]["read"]} if "read" in before.get(prior, {}) else {}
        files.write_json(given.out / f"{claim.name}.json", {**described(claim), "results": {**before, prior: {**found, **read}}})
    print(f"{claim.name}, {prior}: {found['verdict']}" + (f" ({failed} runs failed)" if failed else ""), flush=True)


def alone(out: Path) -> FileLock:
    """Held while files are read and written again: other processes may measure other priors into them."""
    return FileLock(Path(gettempdir()) / f"dream3d-claims-{hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:12]}.lock")


def command(claim: Claim, prior: str, given: argparse.Namespace) -> str:
    """What makes these numbers again."""
    words = ["python launch.py bench claims", claim.name, f"--prior {prior}", *(["--model FOLDER"] if given.model else [])]
    words += [f"--{name} {getattr(given, name)}" for name, usual in (("prompts", 6), ("seeds", 3)) if getattr(given, name) != usual]
    return " ".join([*words, *(f"--set {shlex.quote(text)}" for text in given.set)])


def described(claim: Claim) -> dict[str, Any]:
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


def write(out: Path) -> Path:
    """Every claim has a file, also one that nothing was measured of yet, judged from its cells; the page is written from the files."""
    from dream3d.bench.claims_page import page

    with alone(out):
        records = [_judged(out, claim) for claim in CLAIMS.values()]
    target = out.with_name(out.name + ".md")
    files.write_text(target, page(records))
    return target


def _judged(out: Path, claim: Claim) -> dict[str, Any]:
    """The file of a claim, with the rules as they are now."""
    before, again = stored(out, claim), {}
    notes = NOTES.get(claim.name, {})
    for prior, found in before.get("results", {}).items():
        if names := lacking(claim.rules, found["cells"]):
            print(f"{claim.name}, {prior}: left out, it was measured without {', '.join(sorted(names))}", flush=True)
        elif prior not in claim.silent:
            again[prior] = {**found, **judge(claim.rules, found["cells"])}
            if prior in notes and ("read" not in found or notes[prior] != before.get("notes", {}).get(prior)):
                again[prior]["read"] = digest(found["cells"])
    record = {**described(claim), "results": again}
    files.write_json(out / f"{claim.name}.json", record)
    return record


def digest(cells: list) -> str:
    """Of numbers, by which a reading of them is told from one of older ones."""
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:12]
