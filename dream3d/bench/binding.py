"""`bench binding`: prompts of two objects; is each object there in its own colour, from all sides, or have colours changed places?

Two methods make every scene, with the same prior, seed and number of steps: `composed` (the recipe semantic_sds-composed: each object a set
of Gaussians in a place of its own, under a prompt of its own) and `sds` (score distillation of one set under the prompt for all). The judge
names 12 views: how many show the objects that are to be seen there, each in its colour? Of a true scene of the prompt it is asked the same,
as it does not know every object from every side (a mug without its handle is a cylinder). A prompt is bound where at least 90 % as many
views are right as of the true scene, of which half have to be; "plainly" where 90 % of all views are. Two readings stand beside it: the
same scene under the prompt with the colours swapped (where that passes, the judge does not tell, and nothing is bound), and how often
objects and colours are right each for themselves.

Everything is made only where it is missing, so the same command goes on where it was stopped: runs/ (ordinary runs), scores/ (one JSON
each), binding.json. Nothing here imports torch before the prompts and the configurations are checked.
"""

import argparse
import copy
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

from dream3d import __version__, files
from dream3d.bench.compare_grid import OWN, Job, Method, background, fill, plan, ready
from dream3d.commands.parser import Parser, one_of
from dream3d.errors import Mistake
from dream3d.toybox.language import Wish, parse

PROMPTS = (
    "a red ball on a blue cube",
    "a yellow duck next to a green tree",
    "a white cat on a red sofa",
    "an orange cone next to a purple cylinder",
    "a green apple on a yellow table",
    "a pink fish next to a brown mug",
    "a blue car next to a red house",
    "a purple teapot on a white table",
    "a black penguin next to a yellow boat",
    "a red flower next to a blue chair",
    "a green cactus next to an orange ball",
    "a brown bear on a green cube",
    "a white rabbit next to a red mushroom",
    "a yellow lamp on a purple table",
    "a blue robot next to an orange rocket",
    "a red mug on a black chair",
    "a pink donut on a blue cylinder",
    "a green bus next to a white castle",
    "an orange cat on a purple cube",
    "a yellow plane next to a brown train",
)
ONE = ("guidance={type: sds, scale: 7.5, t: {start: 0.98, end: 0.4}}", "renderer={type: gaussians, count: 2400}", "stages=[]")
METHODS = {"composed": Method("composed", "semantic_sds-composed"), "sds": Method("sds", "semantic_sds-gaussian", ONE)}
RIGHT, WANTED = 0.9, 0.8  # share of views; share of prompts that shall be bound
SEEN = 0.5  # of the views of a true scene that have to be right for anything to be said
EXAMPLES = ["bench binding", "bench binding --method composed --background", "bench binding --prompts mine.txt steps=200"]


def parser() -> Parser:
    made = Parser("bench binding", "Two objects, each in its own colour? The same command goes on where it was stopped.", EXAMPLES)
    made.add_argument("--prompts", type=Path, metavar="FILE", help=f"one prompt of two objects a line (a list of {len(PROMPTS)})")
    made.add_argument("--method", action="append", type=one_of(METHODS, "method"), metavar="NAME", help=f"{' or '.join(METHODS)} (both)")
    made.add_argument("--out", type=Path, default=Path("binding"), help="the folder it lies in, and goes on in (binding)")
    made.add_argument("--background", action="store_true", help="go on in another process that outlives the terminal")
    made.add_argument("overrides", nargs="*", metavar="key=value", help="of both recipes: steps=200 cameras.resolution=32")
    return made


def main(words: list[str] | None = None) -> int:
    """Run what is missing, score it, write the table. Exit code 6 where some runs failed."""
    words = sys.argv[1:] if words is None else words
    given = parser().parse_intermixed_args(words)
    jobs = planned(given)
    if given.background:
        return background(["bench", "binding"], words, given.out)
    from dream3d.bench.quality import generate

    stopped = fill(jobs, Scores(), generate, line)
    return report(given.out, [stored(job) for job in jobs]) if stopped is None else 128 + stopped


# --- what there is to do ----------------------------------------------------------------------------------------------------------


def planned(given: argparse.Namespace) -> list[Job]:
    """Every job, prompt by prompt. Raises Mistake with file and line before anything is made."""
    ready(given.overrides, "bench", (*OWN, "stages"), "use --prompts and --out")
    path = given.prompts
    if path is None:
        path = given.out / "prompts.txt"
        files.write_text(path, "\n".join(PROMPTS) + "\n")
    methods = [METHODS[name] for name in dict.fromkeys(given.method or METHODS)]
    more = ("export.mesh=false", *given.overrides)
    jobs = plan([dataclasses.replace(method, overrides=(*method.overrides, *more)) for method in methods], path, 1, given.out)
    for job in jobs:
        swapped(job.prompt, str(path))
    return jobs


def swapped(prompt: str, where: str = "") -> Wish:
    """What the prompt would say with the colours of its two objects swapped. Raises Mistake where that is nothing, or the same."""
    wish = parse(prompt)
    colours = [thing.colour for thing in wish.things]
    if len(set(colours)) != 2 or None in colours:
        raise Mistake(f"{prompt!r} does not name two objects in two colours", where=where, near=PROMPTS[0])
    pairs = zip(wish.things, reversed(colours), strict=True)
    return dataclasses.replace(wish, things=tuple(dataclasses.replace(thing, colour=colour) for thing, colour in pairs))


# --- how it went ------------------------------------------------------------------------------------------------------------------


class Scores:
    """The scores in one folder; those made by another judge are made again."""

    def __init__(self):
        from dream3d.bench import judge, score

        self.judge, self.version = judge.load(), score.digest([Path(__file__)]) + score.version()

    def of(self, job: Job, make: Callable[[], None]) -> dict:
        """The record of one job: made by `make` where its run is not finished, scored where it is not scored."""
        key = {"version": self.version, "config": job.config.hash}
        if (found := stored(job)).get("key") == key and found["state"] == "done":
            return found
        record = {"key": key, "name": job.name, "method": job.method, "seed": job.seed, "prompt": job.prompt}
        try:
            make()
            record |= {"state": "done", **self._scored(job)}
        except Mistake as mistake:
            if mistake.code == 2:  # the user's to mend, and the same for every job
                raise
            record |= {"state": "failed", "reason": mistake.lines[0]}
        files.write_json(job.score, record)
        return record

    def _scored(self, job: Job) -> dict:
        from dream3d import api
        from dream3d.bench.rings import of_scene, of_soup, shoot
        from dream3d.bench.truth import Truth

        truth = Truth(job.prompt)
        made, true = shoot(of_scene(api.load(job.run).scene)), shoot(of_soup(Truth(job.prompt, 1, "judge").soups[0]))
        return scored(made, truth, self.judge, true)


def scored(made, truth, judge, true=None) -> dict:
    """Of the ring of a scene: shares of the 12 views in which what is seen is right, objects and colours alone, and under the prompt with
    swapped colours; of a `true` scene the share that is right."""
    from dream3d.bench.measures import recognised

    match = truth.match(made)
    seen = judge.see(made.render.rgb, made.render.alpha)
    named, other = recognised(seen, truth, match), copy.copy(truth)
    other.wish = swapped(str_of(truth.wish))
    score = {"right": named["recognised"], "objects": named["objects"], "colours": named["colours"],
             "swapped": recognised(seen, other, match)["recognised"], "iou": match.iou}  # fmt: skip
    if true is not None:
        score["true"] = recognised(judge.see(true.render.rgb, true.render.alpha), truth, truth.match(true))["recognised"]
    score = {name: round(float(value), 4) for name, value in score.items()}
    return {"score": score, "verdict": verdict(score)}


def verdict(score: dict) -> dict[str, bool]:
    """`bound`: as a true scene is; one that nobody looked at counts as right everywhere. `plainly`: in nearly all views. `tells`: with
    swapped colours it does not pass; else it is neither."""
    true, right = score.get("true", 1.0), score["right"]
    tells = score["swapped"] < RIGHT * true
    return {"bound": tells and true >= SEEN and right >= RIGHT * true, "plainly": tells and right >= RIGHT, "tells": tells}


def str_of(wish: Wish) -> str:
    """A wish as a prompt."""
    return f" {wish.relation} ".join(map(str, wish.things))


def stored(job: Job) -> dict:
    try:
        found = json.loads(job.score.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# --- what is told -----------------------------------------------------------------------------------------------------------------


def summary(records: list[dict]) -> dict:
    """By method: how many of its prompts are bound (of a failed run: not), means of the shares over finished runs, and how many pass under
    swapped colours (of a judge that tells: none)."""
    rows = {}
    for method in dict.fromkeys(record["method"] for record in records):
        mine = [record for record in records if record["method"] == method]
        done = [record for record in mine if record["state"] == "done"]
        means = {name: round(sum(record["score"][name] for record in done) / len(done), 4) if done else None
                 for name in ("right", "objects", "colours", "swapped", "iou")}  # fmt: skip
        counts = {name: sum(record["verdict"][name] for record in done) for name in ("bound", "plainly")}
        rows[method] = {"of": len(mine), "failed": len(mine) - len(done), **counts,
                        "confused": sum(not record["verdict"]["tells"] for record in done),
                        "true": sum(record["score"]["true"] >= RIGHT for record in done), **means}  # fmt: skip
    return rows


def report(out: Path, records: list[dict]) -> int:
    """binding.json, and the table on the terminal."""
    found = summary(records)
    files.write_json(out / "binding.json", {"version": __version__, "wanted": WANTED, "methods": found, "prompts": records})
    print(table(records, found), out / "binding.json", sep="\n")
    return 6 if any(row["failed"] for row in found.values()) else 0


def table(records: list[dict], found: dict) -> str:
    width = max(len(record["prompt"]) for record in records)
    head = f"{'method':8} {'prompt':{width}} {'right':>6} {'objects':>8} {'colours':>8} {'swapped':>8} {'true':>6} {'IoU':>6}"
    rows = [head, *(f"{record['method']:8} {record['prompt']:{width}} {_cells(record)}" for record in records), ""]
    for method, row in found.items():
        mean = "" if row["right"] is None else f"; right in {row['right']:.0%} of the views, colours in {row['colours']:.0%}"
        rows.append(f"{method}: {row['bound']} of {row['of']} prompts bound (wanted {WANTED:.0%}), {row['plainly']} plainly{mean}; "
                    f"{row['confused']} pass with swapped colours; {row['true']} true scenes pass; {row['failed']} failed")  # fmt: skip
    return "\n".join(rows)


def _cells(record: dict) -> str:
    if record["state"] != "done":
        return f"failed: {record['reason']}"
    score = record["score"]
    ends = "" if record["verdict"]["bound"] else "  no"
    return (f"{score['right']:6.0%} {score['objects']:8.0%} {score['colours']:8.0%} {score['swapped']:8.0%} {score['true']:6.0%} "
            f"{score['iou']:6.3f}{ends}")  # fmt: skip


def line(record: dict) -> str:
    """One run in one line."""
    who = f"{record['method']}: {record['prompt']}"
    if record["state"] != "done":
        return f"{who}: failed, {record['reason']}"
    return f"{who}: right {record['score']['right']:.0%} (colours {record['score']['colours']:.0%})"
