"""`bench motion`: ten prompts that say how something moves, through one recipe; is what was made seen to move that way?

What a run shows over its clip from four sides is compared by optical flow (`motion_flow.py`) with true objects of the prompt, instances
that no prior has seen, in each of the five motions. A motion counts as recognised where the prompted one is the nearest of the five, and
nearer than standing still: so it goes at least half as far as it should. Everything lies in one folder and is made only where it is
missing: runs/<prompt>-s<seed>/ (ordinary runs), scores/ (one JSON each), motion.json, motion.md. --controls reads true objects and still
ones in place of runs: all of the first have to be recognised, and none of the others.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

from dream3d import __version__, files
from dream3d.bench.compare_grid import Job, Method, check, fill, plan
from dream3d.commands.parser import Parser

PROMPTS = (
    "a red car driving", "a blue ball bouncing", "a blue car spinning", "a green cactus waving", "a red mushroom growing",
    "a yellow bus driving", "a brown rabbit bouncing", "a red house spinning", "a pink flower waving", "a green tree growing",
)  # fmt: skip
EXAMPLES = ["bench motion --out motion", "bench motion --config video_sds-dynamic_mesh --prompts 5 --out motion-mesh steps=1400",
            "bench motion --controls"]  # fmt: skip
SOURCES = ("bench/motion_flow", "bench/rings", "toybox/motion", "toybox/world", "toybox/render")  # what changes with them is read again
WANTED = 0.8


def parser() -> Parser:
    made = Parser("bench motion", "Is the prompted motion recognised? The same command goes on where it was stopped.", EXAMPLES)
    made.add_argument("--prompts", type=int, default=len(PROMPTS), metavar="N", help=f"the first N of {len(PROMPTS)} prompts")
    made.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N - 1 of each prompt")
    made.add_argument("--config", default="video_sds-gaussian", metavar="NAME", help="the recipe (video_sds-gaussian)")
    made.add_argument("--out", type=Path, default=Path("motion"), help="the folder it lies in, and goes on in (motion)")
    made.add_argument("--controls", action="store_true", help="true objects, moving and still, in place of runs; makes nothing")
    made.add_argument("overrides", nargs="*", metavar="key=value", help="of the recipe: steps=400")
    return made


def main(words: list[str] | None = None) -> int:
    """Run what is missing, read it, write the table. Exit code 6 where some runs failed."""
    given = parser().parse_intermixed_args(sys.argv[1:] if words is None else words)
    said = prompts(given.prompts)
    if given.controls:
        return controls(said)
    jobs = planned(given, said)
    from dream3d.bench.quality import generate

    scores = Scores()
    stopped = fill(jobs, scores, generate, line)
    return report(given.out, jobs, scores) if stopped is None else 128 + stopped


def prompts(count: int) -> tuple[str, ...]:
    """The first of them: every motion once, then again. Raises Mistake."""
    from dream3d.errors import Mistake

    if not 1 <= count <= len(PROMPTS):
        raise Mistake(f"there are {len(PROMPTS)} prompts, not {count}", where="--prompts", fix="--prompts 5")
    return PROMPTS[:count]


def planned(given: argparse.Namespace, said: tuple[str, ...]) -> list[Job]:
    """Every job, checked before anything is made but the list of prompts."""
    check(given, "bench")
    path = given.out / "prompts.txt"
    files.write_text(path, "".join(f"{text}\n" for text in said))
    return plan([Method("", given.config, ("export.mesh=false", *given.overrides))], path, given.seeds, given.out)


class Scores:
    """Readings of finished runs, kept as JSON; those of other code are made again."""

    def __init__(self):
        here = Path(__file__).parents[1]
        self.version = hashlib.sha256(b"".join((here / f"{name}.py").read_bytes() for name in SOURCES)).hexdigest()[:12]

    def of(self, job: Job, make) -> dict:
        """The record of one job: made by `make` where its run is not finished, read where it is not read."""
        from dream3d.errors import Mistake

        if (found := self.stored(job)) and found["state"] == "done":
            return found
        record = {"key": self.key(job), "name": job.name, "prompt": job.prompt, "seed": job.seed}
        try:
            make()
            record |= {"state": "done", **read(job)}
        except Mistake as mistake:
            if mistake.code == 2:  # the user's to mend, and the same for every job
                raise
            record |= {"state": "failed", "reason": mistake.lines[0], "recognised": False}
        files.write_json(job.score, record)
        return record

    def key(self, job: Job) -> dict:
        return {"version": self.version, "config": job.config.hash}

    def stored(self, job: Job) -> dict | None:
        """The record of a job that has ended, well or not, if nothing has changed since."""
        try:
            found = json.loads(job.score.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and found.get("key") == self.key(job) else None


def read(job: Job) -> dict:
    """What a finished run is seen to do."""
    from dream3d import api
    from dream3d.bench import motion_flow
    from dream3d.bench.rings import of_scene
    from dream3d.bench.score import run_seconds

    track = motion_flow.track(of_scene(api.load(job.run).scene))
    return {**verdict(job.prompt, motion_flow.motions(job.prompt).read(track)), "seconds": run_seconds(job.run)}


def verdict(prompt: str, reading) -> dict:
    """A reading as a record: `recognised` where the nearest motion is the prompt's."""
    from dream3d.toybox.language import parse

    return {"motion": parse(prompt).motion, "recognised": reading.nearest == parse(prompt).motion, **vars(reading)}


def line(record: dict) -> str:
    if record["state"] != "done":
        return f"{record['prompt']} (seed {record['seed']}): failed: {record['reason']}"
    word = "recognised" if record["recognised"] else f"seen as {record['nearest']}"
    return f"{record['prompt']} (seed {record['seed']}): {word}, {record['amount']:.2f} of the way"


def report(out: Path, jobs: list[Job], scores: Scores) -> int:
    """motion.json, motion.md, and the table on the terminal."""
    from dream3d.bench.summary import share

    records = [scores.stored(job) for job in jobs]
    known = share([record["recognised"] for record in records])
    summary = {"version": __version__, "config": jobs[0].config.values["name"], "recognised": known, "wanted": WANTED, "runs": records}
    files.write_json(out / "motion.json", summary)
    text = "\n".join([*table(records), "", f"Recognised: {known['count']} of {known['of']} (95 % interval {known['low']:.2f} to "
                      f"{known['high']:.2f}; wanted {WANTED})."])  # fmt: skip
    files.write_text(out / "motion.md", text + "\n")
    print(text, out / "motion.json", sep="\n")
    return 6 if any(record["state"] != "done" for record in records) else 0


def table(records: list[dict]) -> list[str]:
    """A row a run: distances to every motion and to stillness are in pixels, root mean square over the clip; the nearest says what it is
    seen as."""
    done = next((record for record in records if record["state"] == "done"), None)
    names = list(done["distance"]) if done else []
    rows = ["| prompt | seed | seen as | agreement | of the way | " + " | ".join(names) + " | s |", "|---" * (6 + len(names)) + "|"]
    for record in records:
        head = f"| {record['prompt']} | {record['seed']} |"
        if record["state"] != "done":
            rows.append(f"{head} failed: {record['reason']} |")
            continue
        mark = record["nearest"] if record["recognised"] else f"**{record['nearest']}**"
        cells = [mark, f"{record['agreement']:.2f}", f"{record['amount']:.2f}", *(f"{record['distance'][name]:.2f}" for name in names)]
        rows.append(f"{head} {' | '.join(cells)} | {'-' if record['seconds'] is None else record['seconds']} |")
    return rows


def controls(said: tuple[str, ...]) -> int:
    """True objects of a stream that the readings do not know, moving as they are asked to and not at all. Exit code 1 where one of the
    first is not recognised or one of the others is."""
    from dream3d.bench import motion_flow

    records = []
    for text in said:
        known = motion_flow.motions(text)
        for motion in (known.wish.motion, None):
            track = motion_flow.track(motion_flow.true(known.wish, motion, "judge", 0))
            name = text if motion else f"{text}, stood still"
            records.append({"prompt": name, "seed": 0, "state": "done", "seconds": None, **verdict(text, known.read(track))})
    print(*table(records), sep="\n")
    wrong = [r["prompt"] for r in records if r["recognised"] is r["prompt"].endswith("still")]
    print(f"wrong: {', '.join(wrong)}" if wrong else f"all {len(records)} as they should be")
    return 1 if wrong else 0
