"""`bench edits`: scenes made from one text and changed to another; is the change there, and has the silhouette stayed?

Each edit is an ordinary run of `dds-gaussian` in runs/<method>-<edit>-s0/: first a scene of what it was, then the edit. The judge looks at
it from the 12 views of the quality bench: the object, in the new colour (and pattern), in at least 90 % of them. The silhouettes are
compared with those of the scene as the edit found it, which its folder keeps: mean intersection over union of at least 0.85. Two readings
stand beside it. The unedited scene under the new text and under its own: where it passed the one, or not the other, the edit proves
nothing and has not succeeded. And `sds`: score
distillation in place of the edit's formula over the same noise levels, which is told nothing of what there was.

Everything is made only where it is missing, so the same command goes on where it was stopped: runs/, scores/ (one JSON each), edits.json.
Nothing here imports torch before the edits and the configurations are checked.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dream3d import __version__, config, files, needs, vocabulary
from dream3d.bench.compare_grid import OWN, Job, background, fill, read_prompts, ready, run_name
from dream3d.commands.parser import Parser, one_of
from dream3d.errors import Mistake
from dream3d.toybox.language import Thing, parse

EDITS = (
    ("a blue car", "a red car"),
    ("a red ball", "a green ball"),
    ("a yellow duck", "a pink duck"),
    ("a brown bear", "a white bear"),
    ("a green mug", "an orange mug"),
    ("an orange cone", "a purple cone"),
    ("a red chair", "a blue chair"),
    ("a white house", "a yellow house"),
    ("a red teapot", "a green teapot"),
    ("a purple cube", "a striped purple cube"),
)
ARROW = " -> "
METHODS = {
    "dds": (),
    "sds": ("stages.1.guidance={type: sds, scale: 7.5, t: {start: 0.8, end: 0.4}}",),
}
RIGHT, KEPT, WANTED = 0.9, 0.85, 0.8  # share of views; silhouette IoU; share of edits that shall pass
EXAMPLES = ["bench edits", "bench edits --method dds --background", "bench edits --edits mine.txt steps=500"]


@dataclass(frozen=True)
class Edit(Job):
    """One edit under one method: `prompt` says what it shall show, `before` what it shows."""

    before: str = ""

    @property
    def name(self) -> str:
        return run_name(self.method, f"{self.before} to {self.prompt}", self.seed)


def parser() -> Parser:
    made = Parser("bench edits", "Colours changed, shapes kept? The same command goes on where it was stopped.", EXAMPLES)
    made.add_argument("--edits", type=Path, metavar="FILE", help="'a blue car -> a red car', one a line (a list of ten)")
    made.add_argument("--method", action="append", type=one_of(METHODS, "method"), metavar="NAME", help=f"{' or '.join(METHODS)} (both)")
    made.add_argument("--out", type=Path, default=Path("edits"), help="the folder it lies in, and goes on in (edits)")
    made.add_argument("--background", action="store_true", help="go on in another process that outlives the terminal")
    made.add_argument("overrides", nargs="*", metavar="key=value", help="of the recipe: steps=500 prior.renders=400")
    return made


def main(words: list[str] | None = None) -> int:
    """Run what is missing, score it, write the table. Exit code 6 where some runs failed."""
    words = sys.argv[1:] if words is None else words
    given = parser().parse_intermixed_args(words)
    jobs = planned(given)
    if given.background:
        return background(["bench", "edits"], words, given.out)
    from dream3d.bench.quality import generate

    stopped = fill(jobs, Scores(), generate, line)
    return report(given.out, [stored(job) for job in jobs]) if stopped is None else 128 + stopped


# --- what there is to do ----------------------------------------------------------------------------------------------------------


def planned(given: argparse.Namespace) -> list[Edit]:
    """Every job, method by method. Raises Mistake with file and line before anything is made."""
    ready(given.overrides, "bench", (*OWN, "stages"), "use --edits and --out")
    pairs = [("the bench's own list", *pair) for pair in EDITS] if given.edits is None else read_edits(given.edits)
    return [_job(method, pair, given) for method in dict.fromkeys(given.method or METHODS) for pair in pairs]


def read_edits(path: Path) -> list[tuple[str, str, str]]:
    """(file:line, before, after)."""
    rows = [(f"{path}:{number}", *text.partition(ARROW.strip())) for number, text in read_prompts(path)]
    for where, before, arrow, after in rows:
        if not (arrow and before.strip() and after.strip()):
            raise Mistake("this line is no edit", where=where, near=ARROW.join(EDITS[0]), fix="BEFORE -> AFTER, one a line")
    return [(where, before.strip(), after.strip()) for where, before, _, after in rows]


def _job(method: str, pair: tuple[str, str, str], given: argparse.Namespace) -> Edit:
    where, before, after = pair
    name = run_name(method, f"{before} to {after}", 0)
    own = [f"prompt={after}", f"stages.0.prompt={before}", "seed=0", f"out={given.out / 'runs' / name}"]
    own += ["keep.checkpoints=1000"]  # the scene as the edit found it is among them
    told = METHODS[method] or (f"stages.1.guidance.source={before}",)
    try:
        alike(before, after)
        found = config.load("dds-gaussian", ["export.mesh=false", *told, *given.overrides, *own])
        vocabulary.check_vocabulary(found)
    except Mistake as mistake:
        raise mistake.completed(where=where) from None
    needs.check_needs(found)
    return Edit(after, 0, found, given.out, method, before)


def alike(before: str, after: str) -> None:
    """Raises Mistake where the two are not one object in two looks, which is all that this bench can judge."""
    old, new = (parse(text).things for text in (before, after))
    if not (len(old) == len(new) == 1 and old[0].name == new[0].name):
        raise Mistake("an edit is of one object, which stays", near=ARROW.join(EDITS[0]), fix="change its colour or its pattern")
    if all(look in (None, getattr(old[0], kind)) for kind, look in (("colour", new[0].colour), ("pattern", new[0].pattern))):
        raise Mistake(f"there is nothing to change from {before!r} to {after!r}", near=ARROW.join(EDITS[0]), fix="ask for another colour")


# --- how it went ------------------------------------------------------------------------------------------------------------------


class Scores:
    """The scores in one folder; those made by another judge are made again."""

    def __init__(self):
        from dream3d.bench import judge, score

        self.judge = judge.load()
        self.version = score.digest([Path(__file__)]) + score.version()

    def of(self, job: Edit, make: Callable[[], None]) -> dict:
        """The record of one job: made by `make` where its run is not finished, scored where it is not scored."""
        key = {"version": self.version, "config": job.config.hash}
        if (found := stored(job)).get("key") == key and found["state"] == "done":
            return found
        record = {"key": key, "name": job.name, "method": job.method, "seed": job.seed, "before": job.before, "prompt": job.prompt}
        try:
            make()
            after, before = scenes(job)
            record |= {"state": "done", **scored(after, before, job.prompt, job.before, self.judge)}
        except Mistake as mistake:
            if mistake.code == 2:  # the user's to mend, and the same for every job
                raise
            record |= {"state": "failed", "reason": mistake.lines[0]}
        files.write_json(job.score, record)
        return record


def stored(job: Edit) -> dict:
    try:
        found = json.loads(job.score.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def scenes(job: Edit):
    """What the 24 cameras of the ring see of a finished run, and of the scene as its edit found it."""
    from dream3d import api, assemble, checkpoint
    from dream3d.bench.rings import of_scene, shoot

    last = len(job.config.stages) - 1
    first = sum(stage["steps"] for stage in job.config.stages[:last])
    for folder in sorted((job.run / "checkpoints").glob(f"step_{first:07d}*")):  # the end of the stage before has this number too
        about, state = checkpoint.read(folder)
        if about["stage"] == last:
            before = assemble.scene(job.config.stages[last], job.config.values["seed"], last)
            before.restore(state["scene"])
            return shoot(of_scene(api.load(job.run).scene)), shoot(of_scene(before))
    raise Mistake("the scene as the edit found it is not there any more", where=str(job.run), fix="remove this folder", code=6)


def scored(after, before, prompt: str, was: str, judge) -> dict:
    """Of two rings: shares of the views in which the edited scene shows what it shall, the unedited one what it shall (the control) and
    what it was; and the mean silhouette IoU of the two over all views."""
    shares = {"right": shown(after, prompt, judge), "control": shown(before, prompt, judge), "was": shown(before, was, judge)}
    found = {"score": {**shares, "iou": iou(after, before)}}
    return {**found, "verdict": verdict(found["score"])}


def shown(ring, prompt: str, judge) -> float:
    """The share of 12 views in which the strongest object is the one of the prompt, in its colour and its pattern."""
    from dream3d.bench.truth import STEP
    from dream3d.toybox.language import COLOURS, OBJECTS, PATTERNS

    thing: Thing = parse(prompt).things[0]
    seen, which = judge.see(ring.render.rgb[::STEP], ring.render.alpha[::STEP]), OBJECTS.index(thing.name)
    right = seen.objects == which
    if thing.colour:
        right &= seen.colour[:, which].argmax(-1) == list(COLOURS).index(thing.colour)
    if thing.pattern:
        right &= seen.pattern[:, which].argmax(-1) == PATTERNS.index(thing.pattern) + 1
    return round(right.float().mean().item(), 4)


def iou(one, other) -> float:
    """Of two rings' silhouettes, mean over the views; views that show nothing of either do not agree."""
    both, either = one.mask * other.mask, (one.mask + other.mask).clamp(max=1)
    return round((both.sum((1, 2)) / either.sum((1, 2)).clamp(min=1)).mean().item(), 4)


def verdict(score: dict) -> dict[str, bool]:
    """`proves`: the unedited scene shows what it was, and not what it shall be. `edited`: the edited one does, its silhouette stayed, and
    that proves it."""
    looks, stays, proves = score["right"] >= RIGHT, score["iou"] >= KEPT, score["control"] < RIGHT <= score["was"]
    return {"looks": looks, "stays": stays, "edited": looks and stays and proves, "proves": proves}


# --- what is told -----------------------------------------------------------------------------------------------------------------


def summary(records: list[dict]) -> dict:
    """By method: how many of its edits succeeded (a failed run has not), how many were right, how many kept the silhouette, the mean IoU,
    and in how many the unedited scene proves nothing: it passes as well, or was not what it shall have been (a bench that works has
    none)."""
    rows = {}
    for method in dict.fromkeys(record["method"] for record in records):
        mine = [record for record in records if record["method"] == method]
        done = [record for record in mine if record["state"] == "done"]
        counts = {name: sum(record["verdict"][name] for record in done) for name in ("edited", "looks", "stays")}
        mean = round(sum(record["score"]["iou"] for record in done) / len(done), 4) if done else None
        rows[method] = {"of": len(mine), "failed": len(mine) - len(done), **counts, "iou": mean,
                        "unedited": sum(not record["verdict"]["proves"] for record in done)}  # fmt: skip
    return rows


def report(out: Path, records: list[dict]) -> int:
    """edits.json, and the table on the terminal."""
    found = summary(records)
    files.write_json(out / "edits.json", {"version": __version__, "wanted": WANTED, "methods": found, "edits": records})
    print(table(records, found), out / "edits.json", sep="\n")
    return 6 if any(row["failed"] for row in found.values()) else 0


def table(records: list[dict], found: dict) -> str:
    width = max(len(title(record)) for record in records)
    head = f"{'method':6} {'edit':{width}} {'right':>6} {'unedited':>8} {'was':>6} {'IoU':>6}"
    rows = [head, *(f"{record['method']:6} {title(record):{width}} {_cells(record)}" for record in records), ""]
    for method, row in found.items():
        mean = "" if row["iou"] is None else f" (mean IoU {row['iou']:.3f})"
        rows.append(f"{method}: {row['edited']} of {row['of']} edits succeeded (wanted {WANTED:.0%}); {row['looks']} look right, "
                    f"{row['stays']} keep the silhouette{mean}; {row['unedited']} prove nothing; {row['failed']} failed")  # fmt: skip
    return "\n".join(rows)


def title(record: dict) -> str:
    return f"{record['before']}{ARROW}{record['prompt']}"


def _cells(record: dict) -> str:
    if record["state"] != "done":
        return f"failed: {record['reason']}"
    score = record["score"]
    ends = "" if record["verdict"]["edited"] else "  no"
    return f"{score['right']:6.0%} {score['control']:8.0%} {score['was']:6.0%} {score['iou']:6.3f}{ends}"


def line(record: dict) -> str:
    """One run in one line."""
    who = f"{record['method']}: {title(record)}"
    if record["state"] != "done":
        return f"{who}: failed, {record['reason']}"
    score = record["score"]
    return f"{who}: right {score['right']:.0%} (unedited {score['control']:.0%}), silhouette IoU {score['iou']:.2f}"
