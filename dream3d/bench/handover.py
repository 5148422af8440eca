"""What a stage loses when the next one takes its scene over: python launch.py bench handover [SOURCE:TARGET ...] [--out handover.json]

Each source is fitted to a known thing as in `bench fit`, handed over, and looked at from the held-out cameras: decibels lost by the
conversion alone, as a stage begins (converted, and settled where the target does that: `renderers/_settle.py`; goal 3) and after 300 steps
of fitting (goal 1.5), and how far the silhouettes of a beginning stage agree (intersection over union of the masks; goal 0.9).
"""

from pathlib import Path

import torch

from dream3d import build
from dream3d.bench.fit import BUDGET, PENALTIES, fit, known, psnr, thing
from dream3d.commands.parser import Parser, one_of
from dream3d.export.views import renders
from dream3d.files import write_json
from dream3d.interfaces import Representation
from dream3d.types import Cameras, Field, Mesh, Points

PAIRS = ("hashgrid:dmtet", "nerf:dmtet", "dmtet:mesh", "hashgrid:mesh", "gaussians:mesh", "mesh:gaussians", "hashgrid:gaussians",
         "voxels:triplane")  # fmt: skip
AGAIN = 300  # steps of fitting afterwards
SHOWN = "{pair:22} {source:5.1f} dB, lost {direct:5.1f} converted, {lost:5.1f} at once, {later:5.1f} after 300 steps, IoU {agree:.3f}"


def masks(scene: Representation, cameras: Cameras) -> torch.Tensor:
    return torch.cat([render.alpha[..., 0] > 0.5 for _, render in renders(scene, cameras)])


def agreement(one: Representation, other: Representation, cameras: Cameras) -> float:
    """Intersection over union of silhouettes."""
    a, b = masks(one, cameras), masks(other, cameras)
    return float((a & b).sum() / (a | b).sum())


def made(name: str, seed: int = 0, **settings) -> Representation:
    return build.make("renderers", {"type": name, **settings}, torch.Generator().manual_seed(seed))


def taking(name: str, data: Points | Mesh | Field, *, converted: bool = False) -> Representation:
    """What starts from this data; `converted`: and does not settle."""
    settles = "settle" in build.signature("renderers", name).parameters
    target = made(name, **({"settle": 0} if converted and settles else {}))
    with torch.no_grad():
        target.init_from(data)
    return target


def main(words: list[str]) -> int:
    parser = Parser("bench handover", "What is lost from one representation to the next.", ["bench handover hashgrid:dmtet"])
    parser.add_argument("pairs", nargs="*", type=one_of(PAIRS, "pair"))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--share", type=float, default=1.0, help="of each source's budget of steps")
    parser.add_argument("--out", type=Path)
    wanted, sources, rows = parser.parse_args(words), {}, []
    seen, held = known(thing(), wanted.size)
    for pair in wanted.pairs or PAIRS:
        first, second = pair.split(":")
        if first not in sources:
            sources[first] = made(first)
            fit(sources[first], seen, max(1, round(wanted.share * BUDGET[first])), penalties=PENALTIES.get(first))
        source, data = sources[first], sources[first].handover()
        before, direct = psnr(source, held), psnr(taking(second, data, converted=True), held)
        target = taking(second, data)
        at_once, agree = psnr(target, held), agreement(source, target, held[0])
        fit(target, seen, AGAIN, penalties=PENALTIES.get(second))
        lost = {"direct": before - direct, "lost": before - at_once, "later": before - psnr(target, held)}
        rows.append({"pair": pair, "source": before, **lost, "agree": agree})
        print(SHOWN.format(**rows[-1]), flush=True)
    if wanted.out:
        write_json(wanted.out, {"rows": rows})
    return 0
