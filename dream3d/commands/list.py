"""`list`: the names there are, each with the first sentence of its documentation and its paper."""

import json

from dream3d import catalogue
from dream3d.catalogue import KINDS, Entry
from dream3d.commands.parser import Parser, one_of, plug, plugin


def main(words: list[str]) -> int:
    """Print one catalogue, or how many names each has."""
    parser = Parser("list", "What there is, by name: " + ", ".join(KINDS) + ".",
                    ["list", "list guidance", "list models", "list renderers --json"])  # fmt: skip
    parser.add_argument("kind", nargs="?", metavar="KIND", type=one_of(KINDS, "list of"), help=", ".join(KINDS))
    parser.add_argument("--json", action="store_true", help="for programs")
    plugin(parser)
    options = parser.parse_args(words)
    plug(options.plugin)
    if options.kind is None:
        _overview(as_json=options.json)
    elif options.json:
        print(json.dumps([_row(entry) for entry in catalogue.entries(options.kind)], indent=1, ensure_ascii=False))
    else:
        _table(options.kind)
    return 0


def _overview(*, as_json: bool) -> None:
    counts = {kind: len(catalogue.names(kind)) for kind in KINDS}
    if as_json:
        print(json.dumps(counts))
        return
    for kind, count in counts.items():
        print(f"{kind:11} {count:3}  {KINDS[kind][0]}")
    print("\npython launch.py list KIND names them, python launch.py describe NAME tells more.")


def _row(entry: Entry) -> dict:
    more = {"card": entry.facts} if entry.facts else {}
    return {"name": entry.name, "what": entry.what, "papers": entry.papers, "file": str(entry.path), **more}


def _table(kind: str) -> None:
    rows = catalogue.entries(kind)
    width = max((len(row.name) for row in rows), default=0)
    cited = any(row.papers for row in rows)
    for row in rows:
        paper = f"arXiv:{row.papers[0]}" if row.papers else ""
        print(f"{row.name:{width}}  " + (f"{paper:16}  " if cited else "") + _what(row))
    if kind == "models":
        _weights()


def _what(row: Entry) -> str:
    kind, facts = row.facts.get("kind"), row.facts
    notes = [note for note, there in (("gated", facts.get("gated")), ("not for commercial use", facts.get("commercial") is False)) if there]
    end = f" ({facts['licence']}{''.join(f'; {note}' for note in notes)}; {facts['memory']:g} GB)" if "memory" in facts else ""
    return f"{kind}: {row.what}{end}" if kind else row.what


def _weights() -> None:
    """Which priors need no file at all."""
    needs = {prior: catalogue.weights(prior) for prior in catalogue.names("priors")}
    free = [prior for prior, model in needs.items() if model is None]
    if free:
        print(f"Priors that need no weights: {', '.join(free)}.")
    for prior, model in needs.items():
        if model is not None:
            print(f"The prior {prior} uses {model}.")
