"""`eval`: scores of a run, or of all of a library, and their pictures as other benchmarks want them."""

import argparse
import json
import sys
from pathlib import Path

from dream3d.commands.parser import Parser, one_of, plug, plugin, stored
from dream3d.errors import Mistake

LAYOUTS = ("t3bench", "gpteval3d")
EXAMPLES = [
    "eval duck",
    "eval library --clip models/clip-vit-base-patch32",
    "eval library --keep-best 1 --by recognition",
    "eval library --layout gpteval3d --to tournament --method dream3d-sds",
]


def parser() -> Parser:
    made = Parser("eval", "Scores of a finished run, or of a library: whether there is anything, the judge's truth for prompts of the toy "
                  "world, likeness to the prompt by models of your own, the health of meshes.", EXAMPLES)  # fmt: skip
    made.add_argument("path", type=Path, help="a run's folder, or a library")
    for name, about in (("clip", "CLIP"), ("pick", "PickScore"), ("hps", "HPS v2")):
        made.add_argument(f"--{name}", type=Path, metavar="FOLDER", help=f"{about}, as transformers writes it")
    made.add_argument("--keep-best", type=int, metavar="N", help="mark the N best seeds of every prompt in the catalogue")
    made.add_argument("--by", default="recognition", metavar="NAME", help="the best by this number (recognition)")
    made.add_argument("--layout", type=one_of(LAYOUTS, "layout"), help="write what another benchmark reads: t3bench, gpteval3d")
    made.add_argument("--to", type=Path, metavar="FOLDER", help="where (its root)")
    made.add_argument("--method", default="dream3d", metavar="NAME", help="under this name (dream3d)")
    made.add_argument("--group", default="single", metavar="NAME", help="of T3Bench: single, surr or multi")
    plugin(made)
    return made


def main(words: list[str]) -> int:
    """Score what is not scored. Exit code 6 where something was rejected."""
    given = parser().parse_args(words)
    plug(given.plugin)
    if given.layout and given.to is None:
        raise Mistake("where should it be written?", where="--layout", fix="--to FOLDER")
    if given.keep_best is not None and given.keep_best < 1:
        raise Mistake(f"the {given.keep_best} best are none", where="--keep-best", fix="--keep-best 1")
    if (given.path / "jobs.jsonl").is_file():
        return _library(given)
    prompt = stored(given.path).values["prompt"]
    prompt = prompt if isinstance(prompt, str) else prompt[0]
    found = _scores(given, [(given.path, prompt)])
    if given.layout:
        _lay_out(given, given.path, prompt, [prompt], given.method)
    print(json.dumps(found[0], indent=2))
    return 6 if found[0].get("rejected") else 0


def _library(given: argparse.Namespace) -> int:
    from dream3d import files
    from dream3d.batch import best, tables
    from dream3d.batch.library import Library

    library = Library(given.path)
    records = library.mend()
    if not records:
        raise Mistake("nothing is done in this library yet", where=str(given.path), fix=f"python launch.py batch status {given.path}")
    found = _scores(given, [(given.path / record["run"], record["prompt"]) for record in records], library=True)
    rejected = [record["name"] for record, scores in zip(records, found, strict=True) if scores.get("rejected")]
    records = library.mend()  # it may have grown meanwhile
    if given.keep_best is not None:
        records = best.marked(records, given.keep_best, given.by)
        chosen = [record for record in records if record["best"]]
        files.write_text(given.path / "best.csv", tables.table(chosen, ("id", "name", "prompt", "seed", "run")))
        print(f"{len(chosen)} of {len(records)} are the best by {given.by}: {given.path / 'best.csv'}")
    if given.layout:
        shown = chosen if given.keep_best is not None else [record for record in records if record["name"] not in rejected]
        prompts = [record["prompt"] for record in records]
        for record, method in zip(shown, best.methods(shown, given.layout, given.method), strict=True):
            _lay_out(given, given.path / record["run"], record["prompt"], prompts, method)
    print(tables.listed(library))
    print(*(f"rejected: {name}" for name in rejected), sep="\n", end="\n" if rejected else "")
    return 6 if rejected else 0


def _scores(given: argparse.Namespace, runs: list[tuple[Path, str]], *, library: bool = False) -> list[dict]:
    from dream3d.batch.evaluate import Evaluation
    from dream3d.batch.likeness import Likeness

    folders = {name: getattr(given, name) for name in ("clip", "pick", "hps") if getattr(given, name)}
    models = {name: Likeness(folder, learnt=name != "clip") for name, folder in folders.items()}
    evaluation, found = Evaluation(models, tuple(prompt for _, prompt in runs)), []
    for number, (run, prompt) in enumerate(runs, 1):
        try:
            found.append(evaluation.of(run, prompt))
        except Mistake as mistake:  # of one run, which may be made anew just now: the others have their scores all the same
            if not library:
                raise
            print(f"{run}: {mistake.lines[0]}", file=sys.stderr)
            found.append({"rejected": mistake.lines[0]})
            continue
        if len(runs) > 1:
            print(f"[{number}/{len(runs)}] {run.parent.name if run.name.startswith('run') else run.name}", flush=True)
    return found


def _lay_out(given: argparse.Namespace, run: Path, prompt: str, prompts: list[str], method: str) -> None:
    from dream3d.api import load
    from dream3d.batch import layouts
    from dream3d.options import Export

    values, scene = stored(run).values, load(run).scene
    if given.layout == "t3bench":
        print(layouts.t3bench(given.to, method, given.group, prompt, scene, Export(**values["export"])))
    else:
        print(layouts.gpteval3d(given.to, method, list(dict.fromkeys(prompts)), prompt, values["seed"], scene))
