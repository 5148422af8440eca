"""What a stage loses when the next one takes its scene over: python launch.py bench handover [SOURCE:TARGET ...] [--out handover.json]

Each source is fitted to a known thing as in `bench fit`, handed over, and looked at from the held-out cameras: decibels lost at once and
after 300 steps of fitting (goals 3 and 1.5), and how far the silhouettes agree (intersection over union of the masks; goal 0.9).
"""

from pathlib import Path

import torch

from dream3d import build
from dream3d.bench.fit import BUDGET, PENALTIES, fit, known, psnr, thing
from dream3d.commands.parser import Parser, one_of
from dream3d.export.views import renders
from dream3d.files import write_json
from dream3d.interfaces import Representation
from dream3d.types import Cameras

PAIRS = ("hashgrid:dmtet", "nerf:dmtet", "dmtet:mesh", "hashgrid:mesh", "gaussians:mesh", "mesh:gaussians", "hashgrid:gaussians",
         "voxels:triplane")  # fmt: skip
AGAIN = 300  # steps of fitting afterwards
SHOWN = "{pair:22} {source:5.1f} dB, lost {lost:5.1f} at once, {later:5.1f} after 300 steps, IoU {agree:.3f}"
LOSS, LATER, AGREE = 3.0, 1.5, 0.9  # the goals


def masks(scene: Representation, cameras: Cameras) -> torch.Tensor:
    return torch.cat([render.alpha[..., 0] > 0.5 for _, render in renders(scene, cameras)])


def agreement(one: Representation, other: Representation, cameras: Cameras) -> float:
    """Intersection over union of silhouettes."""
    a, b = masks(one, cameras), masks(other, cameras)
    return float((a & b).sum() / (a | b).sum())


def made(name: str, seed: int = 0) -> Representation:
    return build.make("renderers", {"type": name}, torch.Generator().manual_seed(seed))


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
        source, target = sources[first], made(second)
        with torch.no_grad():
            target.init_from(source.handover())
        before, at_once, agree = psnr(source, held), psnr(target, held), agreement(source, target, held[0])
        fit(target, seen, AGAIN, penalties=PENALTIES.get(second))
        rows.append({"pair": pair, "source": before, "lost": before - at_once, "later": before - psnr(target, held), "agree": agree})
        print(SHOWN.format(**rows[-1]), flush=True)
    if wanted.out:
        write_json(wanted.out, {"rows": rows})
    return 0
