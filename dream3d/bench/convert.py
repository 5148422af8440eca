"""What distillation saves: python launch.py bench convert [--size 24] [--steps 400] [--seeds 3] [--out FOLDER]

A hash grid is fitted to a known thing as in `bench fit`; a perceptron (nerf) then learns it by the system `distil`, from nothing and from
what a stage hands over, and in comparison is fitted from scratch to the same pictures: four whole views a step, and as many rays a step as
distillation has. Counted are seconds of processor time until the held-out views are within 1.5 dB of the teacher's (goal: five times fewer
than from scratch), and how many decibels mining hard rays gains at equal steps (goal 0.3), means over seeds. Whatever has been measured
stays in FOLDER, and is not measured again until the code that it is of has changed.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dream3d import build, checkpoint, config
from dream3d.background import Random
from dream3d.bench.fit import fit, known, psnr, thing
from dream3d.cameras import Orbit
from dream3d.commands.parser import Parser
from dream3d.convert.teacher import scene as taken
from dream3d.files import write_json
from dream3d.folder import Folder
from dream3d.interfaces import Representation
from dream3d.optim import Adam
from dream3d.penalties import Penalties
from dream3d.types import Cameras, Render

NEAR, FASTER, GAIN = 1.5, 5.0, 0.3  # dB, times, dB
TEACHING, LOOK, RAYS = 300, 25, 256  # steps of the teacher's fit; steps between two looks at the held-out views; rays of a step
LONGER = 2  # a fit from scratch may take this times the steps of a distillation
WAYS = {"distilled from nothing": {"start": "nothing"}, "from scratch, whole views": 4, "from scratch, as many rays": RAYS,
        "distilled from a handover": {"start": "handover"}}  # settings of the system, or the views or rays of a step
SOURCES = {"systems": ["distil.py"], "convert": ["lesson.py", "pool.py", "teacher.py"], "bench": ["convert.py", "fit.py"],
           "renderers": ["_beside.py", "_volume.py", "_handing.py", "_mlp.py", "nerf.py", "hashgrid.py"]}  # what numbers are of
SHOWN = "{name:34} {steps:5} steps {seconds:7.1f} s of a processor  {psnr:5.1f} dB  {end}"


class Curve:
    """Decibels over steps and seconds of processor time, of which looking takes none; stops at a goal."""

    def __init__(self, scene: Representation, held, goal: float):
        self.scene, self.held, self.goal = scene, held, goal
        self.points: list[tuple[int, float, float]] = []
        self.done, self.spent, self.last = 0, 0.0, time.process_time()

    def __call__(self, done: int) -> bool:
        """Whether the goal has been reached after this many steps."""
        self.spent += time.process_time() - self.last
        self.done = done
        if done % LOOK == 0:
            self.look()
        self.last = time.process_time()
        return bool(self.points) and self.points[-1][2] >= self.goal

    def look(self) -> tuple[int, float, float]:
        """Steps, seconds and decibels as they are."""
        if not self.points or self.points[-1][0] != self.done:
            self.points.append((self.done, self.spent, psnr(self.scene, self.held)))
        return self.points[-1]


def teacher(folder: Path, seen, size: int) -> Path:
    """A run of a fitted hash grid, made once of the same code."""
    path = folder / f"teacher-{size}-{version()}"
    if not (path / "checkpoints").is_dir():
        found = config.load("sds-hashgrid", [f"out={path}", "renderer.grid=64"])
        run = Folder(path, found)
        scene = build.make("renderers", found.stages[0]["renderer"], torch.Generator().manual_seed(0))
        fit(scene, seen, TEACHING)
        checkpoint.save(path / "checkpoints", TEACHING, {"scene": scene.state()}, {"stage": 0, "index": TEACHING, "attempt": 0})
        run.close()
    return path


def made(seed: int) -> Representation:
    """It draws no normals: nothing asks for them."""
    return build.make("renderers", {"type": "nerf", "normals": "none"}, torch.Generator().manual_seed(seed))


def pixels(seen: tuple[Cameras, Render]) -> tuple[Cameras, Render]:
    """Every pixel of the views as a view of its own."""
    cameras, truth = seen
    many = cameras.at(torch.arange(len(cameras)).repeat_interleave(cameras.height * cameras.width))
    lens, corner = many.intrinsics.clone(), torch.cartesian_prod(torch.arange(cameras.height), torch.arange(cameras.width)).flip(1)
    lens[:, :2, 2] -= corner.repeat(len(cameras), 1)
    rows = [value.reshape(-1, 1, 1, value.shape[-1]) for value in (truth.rgb, truth.alpha, truth.depth)]
    return dataclasses.replace(many, intrinsics=lens, height=1, width=1), Render(*rows)


def distilled(path: Path, scene: Representation, steps: int, size: int, each: Callable[[int], bool], seed: int = 0, **settings) -> None:
    """`steps` steps of the system, or until `each` is content; what the conversion before them takes counts."""
    values = {"type": "distil", "teacher": str(path), **settings}
    cameras = Orbit(size, batch=4, elevation=(-60.0, 80.0))
    system = build.make("systems", values, scene, [], cameras, Random(), Adam(), Penalties({}), None, steps, seed, "bench")
    system.begin(None)
    for index in range(steps):
        system.step(index)
        if each(index + 1):
            break


def main(words: list[str]) -> int:
    parser = Parser("bench convert", "What distillation saves, and what mining gains.", ["bench convert --steps 300 --seeds 1"])
    parser.add_argument("--size", type=int, default=24)
    parser.add_argument("--steps", type=int, default=400, help="at most, of each distillation; from scratch twice as many")
    parser.add_argument("--equal", type=int, default=120, help="steps at which mining is compared")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-convert"), help="what is there already is not measured again")
    wanted = parser.parse_args(words)
    seen, held = known(thing(), wanted.size)
    path = teacher(wanted.out, seen, wanted.size)
    found = Found(wanted.out / f"convert-{wanted.size}.json")
    best = found.get("teacher", lambda: psnr(taken(str(path)), held))
    print(f"teacher (hashgrid) {best:.1f} dB; the goal is {best - NEAR:.1f} dB", flush=True)
    gains = [found.get(f"mining, seed {seed}, {wanted.equal} steps", lambda seed=seed: _mining(wanted, path, held, seed))
             for seed in range(wanted.seeds)]  # fmt: skip
    mean, told = sum(gains) / max(len(gains), 1), ", ".join(f"{gain:+.2f}" for gain in gains)
    print(f"mining at {wanted.equal} steps: {mean:+.2f} dB (goal {GAIN:g}); by seed {told}", flush=True)
    tell({name: [found.get(f"{name}, {wanted.steps} steps, seed {seed}", lambda way=way, seed=seed: _way(way, wanted, path, seen, held,
                                                                                                        best - NEAR, seed))
                 for seed in range(wanted.seeds)] for name, way in WAYS.items()})  # fmt: skip
    return 0


def tell(rows: dict[str, list[dict]]) -> None:
    """Every way's seeds, and how many times faster distillations were than fits, seed by seed."""
    for name, row in rows.items():
        for one in row:
            print(SHOWN.format(name=name, **one, end="goal reached" if one["reached"] else "goal not reached"), flush=True)
    for name, row in rows.items():
        for other in (other for other in rows if isinstance(WAYS[other], int) and not isinstance(WAYS[name], int)):
            print(f"{name}, beside {other}: {faster(row, rows[other])}; goal {FASTER:g}", flush=True)


def faster(row: list[dict], scratch: list[dict]) -> str:
    """The mean over seeds and by seed: how many times less one took; a distillation that did not arrive is not faster, a fit that did not
    took at least this."""
    pairs = [*zip(row, scratch, strict=True)]
    each = ["not" if not one["reached"] else f"{'' if fit['reached'] else 'at least '}{fit['seconds'] / one['seconds']:.1f}"
            for one, fit in pairs]  # fmt: skip
    if not all(one["reached"] for one, _ in pairs):
        return f"not with every seed ({', '.join(each)})"
    mean = sum(fit["seconds"] / one["seconds"] for one, fit in pairs) / len(pairs)
    return f"{'' if all(fit['reached'] for _, fit in pairs) else 'at least '}{mean:.1f} times faster ({', '.join(each)})"


class Found:
    """What has been measured, kept in a file as soon as it is; what other code has measured does not count."""

    def __init__(self, path: Path):
        self.path, self.version, self.values = path, version(), {}
        if path.is_file():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                kept = None
            if isinstance(kept, dict) and kept.get("version") == self.version and isinstance(kept.get("values"), dict):
                self.values = kept["values"]
            else:
                print(f"{path} is damaged or of other code: measured again", flush=True)

    def get(self, name: str, measure: Callable[[], Any]) -> Any:
        if name not in self.values:
            self.values[name] = measure()
            write_json(self.path, {"version": self.version, "values": self.values})
        return self.values[name]


def version() -> str:
    """What changes with the code that is measured."""
    files = [build.place(folder) / name for folder, names in SOURCES.items() for name in names]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def _way(way: dict | int, wanted, path: Path, seen, held, goal: float, seed: int) -> dict[str, Any]:
    """One way until the goal, or its budget: steps, seconds of processor time, decibels, the curve of all three."""
    scene = made(seed)
    curve = Curve(scene, held, goal)
    if isinstance(way, dict):
        distilled(path, scene, wanted.steps, wanted.size, curve, seed, rays=RAYS, **way)
    else:
        fit(scene, pixels(seen) if way == RAYS else seen, LONGER * wanted.steps, batch=way, seed=seed, each=curve)
    steps, seconds, decibels = curve.look()
    return {"steps": steps, "seconds": seconds, "psnr": decibels, "reached": decibels >= goal, "curve": curve.points}


def _mining(wanted, path: Path, held, seed: int) -> float:
    """Decibels at held-out views with mining minus without."""
    ends = []
    for share in (0.0, 0.1):
        scene = made(seed)
        distilled(path, scene, wanted.equal, wanted.size, lambda done: False, seed, start="nothing", mined=share)
        ends.append(psnr(scene, held))
    print(f"seed {seed}: {ends[0]:.2f} dB without mining, {ends[1]:.2f} with it", flush=True)
    return ends[1] - ends[0]
