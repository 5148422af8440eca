"""How well a representation can look like a known thing: python launch.py bench fit [NAME ...] [--steps 600] [--out fit.json]

24 views of one toybox object, evenly over the whole sphere, are fitted by squared error in colour and mask on random views over random
backgrounds; 12 other views are held out. A representation that cannot do this cannot be blamed on its guidance.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d import build
from dream3d.cameras import ring
from dream3d.commands.parser import Parser, one_of
from dream3d.export.views import renders, sphere
from dream3d.files import write_json
from dream3d.interfaces import Representation
from dream3d.optim import Adam
from dream3d.penalties import Penalties
from dream3d.schedule import Ramp
from dream3d.toybox.language import parse
from dream3d.toybox.render import render
from dream3d.toybox.world import Soup, instance_seed
from dream3d.toybox.world import build as made
from dream3d.types import Cameras, Render, Step

VIEWS, HELD, RADIUS = 24, 12, 0.95
BUDGET = {"gaussians": 600, "nerf": 2400, "hashgrid": 600, "voxels": 600, "triplane": 600, "dmtet": 600, "mesh": 600}  # steps
PENALTIES = {"voxels": {"variation": 5e-5}}
GOAL = {"dmtet": 27.0, "mesh": 27.0}  # dB; others 30


def thing(caption: str = "a red car") -> Soup:
    """An instance that no prior has seen."""
    return made(parse(caption), instance_seed("test", 0))


def known(soup: Soup, size: int) -> tuple[tuple[Cameras, Render], tuple[Cameras, Render]]:
    """Views to fit, and views held out: a ring between them."""
    cameras = sphere(VIEWS, radius=RADIUS, size=size), ring(HELD, start=7.5, size=size)
    return tuple((part, render([soup], part, supersample=4)) for part in cameras)


def fit(
    scene: Representation, seen: tuple[Cameras, Render], steps: int, *, batch: int = 4, seed: int = 0, penalties: dict | None = None,
    each: Callable[[int], bool] | None = None,
) -> None:  # fmt: skip
    """`steps` steps of Adam on squared errors in colour and mask, and `penalties` (name: weight); `each` hears of every step done, and
    ends it by True."""
    optimizer, (cameras, truth) = Adam(), seen
    more = Penalties({name: Ramp(weight) for name, weight in (penalties or {}).items()})
    for index in range(steps):
        now = Step.make(index, steps, seed)
        pick = torch.randperm(len(cameras), generator=now.rng)[:batch]
        drawn, wanted = scene.render(cameras.at(pick), now), truth.at(pick)
        behind = now.uniform(batch, 1, 1, 3)
        error = over(drawn, behind) - over(wanted, behind)
        loss = (error.square().sum() + (drawn.alpha - wanted.alpha).square().sum()) / batch
        (loss + (more(scene, drawn, now) or 0)).backward()
        if optimizer.step(scene.groups(now)):
            scene.refine(drawn, optimizer, now)
        if each is not None and each(index + 1):
            break


def over(part: Render, colour: Float[Tensor, "B 1 1 3"]) -> Float[Tensor, "B H W 3"]:
    return part.rgb + (1 - part.alpha) * colour


def psnr(scene: Representation, held: tuple[Cameras, Render]) -> float:
    """Mean peak signal-to-noise ratio over white, in dB."""
    cameras, truth = held
    drawn = torch.cat([over(part, torch.ones(1, 1, 1, 3)) for _, part in renders(scene, cameras)]).clamp(0, 1)
    error = (drawn - over(truth, torch.ones(1, 1, 1, 3))).square().mean((1, 2, 3))
    return float((-10 * torch.log10(error)).mean())


def main(words: list[str]) -> int:
    names = [name for name in build.available("renderers") if name in BUDGET]
    parser = Parser("bench fit", "Fit representations to a known object; held-out views.", ["bench fit voxels --steps 200"])
    parser.add_argument("names", nargs="*", type=one_of(names, "renderer"))
    parser.add_argument("--steps", type=int, help="instead of each one's own budget")
    parser.add_argument("--caption", default="a red car")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--out", type=Path)
    wanted, rows = parser.parse_args(words), []
    seen, held = known(thing(wanted.caption), wanted.size)
    for name in wanted.names or names:
        scene = build.make("renderers", {"type": name}, torch.Generator().manual_seed(0))
        steps, begin = wanted.steps or BUDGET[name], time.perf_counter()
        fit(scene, seen, steps, penalties=PENALTIES.get(name))
        seconds = time.perf_counter() - begin
        rows.append({"renderer": name, "steps": steps, "seconds": seconds, "psnr": psnr(scene, held), "goal": GOAL.get(name, 30.0)})
        print("{renderer:12} {steps:5} steps {seconds:7.1f} s  {psnr:5.1f} dB (goal {goal:.0f})".format(**rows[-1]), flush=True)
    if wanted.out:
        write_json(wanted.out, {"caption": wanted.caption, "size": wanted.size, "rows": rows})
    return 0
