"""Exported meshes against what they were made of: python launch.py bench bake RUN ... [--faces 20000] [--texture 2048]

Every run's scene is baked as `export` does. The mesh is drawn by our rasteriser, from 12 views that the baking did not have, beside the
scene itself: PSNR of colours where both are opaque, three pixels away from either's edge, and the silhouettes' IoU. A mesh that is lit is
drawn under the scene's own environment. Seconds are of the processor, of each part of the work; memory is the process's peak so far.
"""

import re
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dream3d import build
from dream3d.cameras import ring
from dream3d.commands.parser import Parser
from dream3d.export.health import health
from dream3d.export.stock import Stock
from dream3d.export.views import renders
from dream3d.files import write_json
from dream3d.interfaces import Representation
from dream3d.options import Export
from dream3d.types import Cameras, Mesh

PSNR, SOLID, SPLATS = 27.0, 0.97, 0.93  # decibels; the silhouettes' IoU, of surfaces and of Gaussians
EDGE = 3  # pixels
RINGS = ((4, 0.0, 20.0), (4, 35.0, 65.0), (4, -30.0, 5.0))  # views, elevation, first azimuth
Seen = tuple[Tensor, Tensor]  # premultiplied colours (B H W 3), alphas (B H W 1)


def drawn(mesh: Mesh, like: Representation | None = None) -> Representation:
    """A baked mesh as a scene: its colours, or lit as `like` is."""
    lit = mesh.orm is not None and getattr(like, "shading", None) is not None and like.shading.pbr
    settings = {"type": "mesh", "appearance": "texture", "texture": max(mesh.texture.shape[:2]), "remesh_every": 0.0}
    scene = build.make("renderers", settings | {"shading": "pbr" if lit else "albedo"}, torch.Generator().manual_seed(0))
    scene.init_from(mesh)
    if lit:
        scene.shading.sky = like.shading.sky
    return scene


def cameras(size: int) -> list[Cameras]:
    """The 12 views, ring by ring."""
    return [ring(count, elevation=up, start=first, size=size) for count, up, first in RINGS]


@torch.no_grad()
def seen(scene: Representation, size: int) -> Seen:
    """What the 12 views show."""
    found = [(render.rgb, render.alpha) for view in cameras(size) for _, render in renders(scene, view)]
    return torch.cat([rgb for rgb, _ in found]).detach(), torch.cat([alpha for _, alpha in found]).detach()


def compared(source: Representation, mesh: Mesh, size: int = 256) -> dict[str, float]:
    """PSNR inside both silhouettes and their IoU, over all views; and the worst view's."""
    return alike(seen(source, size), seen(drawn(mesh, source), size))


def alike(one: Seen, other: Seen) -> dict[str, float]:
    """The same of pictures."""
    (rgb, alpha), (painted, beta) = one, other
    first, second = alpha[..., 0] > 0.5, beta[..., 0] > 0.5
    both = first & second
    inner = -F.max_pool2d(-both[:, None].float(), 2 * EDGE + 1, 1, EDGE)[:, 0] > 0.5
    off = ((rgb / alpha.clamp(min=1e-3)).clamp(0, 1) - (painted / beta.clamp(min=1e-3)).clamp(0, 1)).square().mean(-1)
    each = [-10 * float(off[i][inner[i]].mean().clamp(min=1e-10).log10()) for i in range(len(off)) if bool(inner[i].any())]
    overlap = (both.sum((1, 2)) / (first | second).sum((1, 2)).clamp(min=1)).tolist()
    return {"psnr": -10 * float(off[inner].mean().clamp(min=1e-10).log10()), "worst_psnr": min(each),
            "iou": float(both.sum() / (first | second).sum()), "worst_iou": min(overlap)}  # fmt: skip


def measured(name: str, scene: Representation, settings: Export, *, size: int = 256) -> dict:
    """One row: the asset of a scene, what it is fit for, how it looks beside the scene, and what it cost."""
    marks: list[tuple[str, float]] = [("surface", time.process_time())]
    stock = Stock(scene, settings)
    stock.tell = lambda what, share: marks.append((re.sub(r" \d+/\d+$", "", what), time.process_time()))  # "fit 3/440" is a part of "fit"
    mesh = stock.mesh(0)
    marks.append(("", time.process_time()))
    seconds: dict[str, float] = {}
    for (what, begin), (_, end) in zip(marks, marks[1:], strict=False):
        seconds[what] = seconds.get(what, 0.0) + end - begin
    row = {"name": name, "splats": stock.gaussian, "lighting": stock.lighting(mesh), "seconds": seconds, "memory": _peak()}
    if mesh.texture is None:
        return row
    return row | {"health": health(mesh).json()} | compared(scene, mesh, size)


def _peak() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(rows: list[dict]) -> str:
    lines = [f"{'':28} {'faces':>6} {'dB':>5} {'worst':>5} {'IoU':>5} {'worst':>5} {'s':>6} {'MB':>5}"]
    for r in rows:
        if "psnr" not in r:
            lines.append(f"{r['name'][:28]:28} keeps its own colours: nothing is baked")
            continue
        total = sum(r["seconds"].values())
        lines.append(f"{r['name'][:28]:28} {r['health']['triangles']:6d} {r['psnr']:5.1f} {r['worst_psnr']:5.1f} {r['iou']:5.3f} "
                     f"{r['worst_iou']:5.3f} {total:6.1f} {r['memory']:5.0f}")  # fmt: skip
        lines.append("  " + ", ".join(f"{what} {value:.1f}" for what, value in r["seconds"].items()) + f"; {r['lighting']}")
    lines.append(f"goals: {PSNR} dB; IoU {SOLID}, of Gaussians {SPLATS}; 40 s on two cores, 2048 MB")
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    parser = Parser("bench bake", "Exported meshes against the scenes they were made of.", ["bench bake runs/car runs/duck --faces 5000"])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    parser.add_argument("--faces", type=int, default=20000)
    parser.add_argument("--texture", type=int, default=2048)
    parser.add_argument("--rebake", action="store_true", help="also what has a texture already")
    parser.add_argument("--plain", action="store_true", help="surfaces are not fitted to pictures")
    parser.add_argument("--out", type=Path, help="a .json file for the numbers")
    options = parser.parse_args(words)

    from dream3d.api import load

    settings = Export(faces=options.faces, texture=options.texture, rebake="always" if options.rebake else "never",
                      fit=not options.plain)  # fmt: skip
    rows = [measured(run.name, load(run).scene, settings) for run in options.runs]
    print(report(rows))
    if options.out:
        write_json(options.out, {"rows": rows, "settings": {"faces": options.faces, "texture": options.texture}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
