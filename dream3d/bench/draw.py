"""Speed and memory of drawing, with its way back: python launch.py bench draw [NAME ...] [--sizes 128 192 256] [--device cuda]

Each representation as it is by default, a volume after one look at where it is empty, is drawn by one camera at several sizes: every
buffer, and back to every parameter. Times are the best of interleaved rounds after one that does not count. A volume's samples are the
points at which it was asked on the way forward. Memory is what resident memory grows by at its peak in a process of its own, on a device
the peak of what torch hands out. Exponents are least squares of log cost on log pixels. A frame that does not fit is one that is drawn an
eighth at a time: its values and gradients beside those of the frame drawn at once. On a device, beside it, what libraries take (direct.py).
"""

import sys
from functools import partial

import torch
from dream3d.renderers._volume import Volume
from torch import Tensor

from dream3d import build
from dream3d.bench import _speed, direct
from dream3d.bench._speed import EXPONENT
from dream3d.cameras import ring
from dream3d.commands.parser import one_of
from dream3d.interfaces import Representation
from dream3d.types import Cameras, Step

NAMES = ("gaussians", "nerf", "hashgrid", "voxels", "triplane", "dmtet", "mesh")
SIZES = {"cpu": (128, 192, 256), "cuda": (128, 256, 512)}  # volumes are drawn in parts at all of them, and so twice on the way back
PARTS = 8  # of a frame that does not fit
SAME = 1e-5  # how far its values may be from those of the frame drawn at once, relative to the largest


def made(name: str, device: str = "cpu", **settings) -> Representation:
    scene = build.make("renderers", {"type": name, **settings}, torch.Generator().manual_seed(0)).to(device)
    if isinstance(scene, Volume):
        with torch.no_grad():
            scene.refine(scene.render(ring(1, size=8).to(device)), None, Step.make(0, 1, 0))
    return scene


def drawn(scene: Representation, cameras: Cameras) -> dict[str, Tensor]:
    """Every buffer, whose sum has been walked back."""
    scene.zero_grad()
    buffers = scene.render(cameras).buffers()
    learnt = [v for v in buffers.values() if v.requires_grad]
    torch.autograd.backward(learnt, [torch.ones_like(v) for v in learnt])
    return buffers


def once(scene: Representation, cameras: Cameras) -> float:
    """Seconds of one forward and backward."""
    return _speed.seconds(lambda: drawn(scene, cameras), cameras.to_world.device.type)


def samples(scene: Representation, cameras: Cameras) -> int:
    """Points that a volume is asked at for one picture; 0 of what is none."""
    if not isinstance(scene, Volume):
        return 0
    asked, at = [], scene.at
    scene.at = lambda x, now: (asked.append(len(x)), at(x, now))[1]
    try:
        with torch.no_grad():
            scene.render(cameras)
    finally:
        del scene.at
    return sum(asked)


def resident(name: str, sizes: list[int]) -> list[float]:
    """Growth of peak resident memory in megabytes, for a process of its own."""
    scene = made(name)
    drawn(scene, ring(1, size=8))
    return [_speed.growth(partial(drawn, scene, ring(1, size=size))) for size in sizes]


def grid(names: list[str], sizes: list[int], rounds: int, device: str) -> list[dict]:
    rows = []
    for name in names:
        scene = made(name, device)
        views = {size: ring(1, size=size).to(device) for size in sizes}
        times = _speed.best({str(size): partial(once, scene, view) for size, view in views.items()}, rounds)
        if device == "cpu":
            memory = _speed.alone(resident, name, sizes)
        else:
            memory = [_speed.on_card(partial(drawn, scene, view)) for view in views.values()]
        for (size, view), peak in zip(views.items(), memory, strict=True):
            rows.append({"name": name, "size": size, "ms": times[str(size)], "samples": samples(scene, view), "memory": peak})
    return rows


def parted(name: str, size: int, device: str) -> dict[str, float]:
    """How far a volume's frame drawn in parts is from the one drawn at once: values and gradients, relative to the largest."""
    cameras, seen = ring(1, size=size).to(device), []
    for chunk in (size**2 * 64, size**2 * 64 // PARTS):
        scene = made(name, device, chunk=chunk, samples=64)
        buffers = drawn(scene, cameras)
        values = torch.cat([v.detach().flatten() for v in buffers.values()])
        seen.append((values, torch.cat([p.grad.flatten() for p in scene.parameters() if p.grad is not None])))
    return {what: float((a - b).abs().max() / a.abs().max()) for what, a, b in zip(("values", "gradients"), *seen, strict=True)}


def fitted(rows: list[dict]) -> dict[str, dict[str, float]]:
    """name -> the powers of the number of pixels that time and memory grow with."""
    powers = {}
    for name in dict.fromkeys(row["name"] for row in rows):
        own = [row for row in rows if row["name"] == name]
        pixels = [(row["size"] ** 2,) for row in own]
        powers[name] = {cost: _speed.exponents(pixels, [row[cost] for row in own])[0] for cost in ("ms", "memory")}
    return powers


def measure(rounds: int, device: str = "cpu", names: list[str] | None = None, sizes: list[int] | None = None) -> dict:
    names, sizes = names or list(NAMES), sorted(sizes or SIZES[device])
    rows = grid(names, sizes, rounds, device)
    volumes = [name for name in names if isinstance(made(name), Volume)]
    beside, left_out = direct.measure(rounds, device) if device == "cuda" else ([], [])
    return _speed.told((), {}, device) | {
        "grid": rows, "exponents": fitted(rows), "parts": {name: parted(name, sizes[0], device) for name in volumes},
        "direct": beside, "left_out": left_out}  # fmt: skip


def report(result: dict) -> str:
    lines = [f"{'':10} {'px':>4} {'ms':>8} {'s/Mpx':>7} {'s/Msample':>9} {'MB':>7}"]
    for r in result["grid"]:
        asked = f"{1000 * r['ms'] / r['samples']:9.2f}" if r["samples"] else f"{'':9}"
        lines.append(f"{r['name']:10} {r['size']:4d} {r['ms']:8.1f} {1000 * r['ms'] / r['size'] ** 2:7.1f} {asked} {r['memory']:7.1f}")
    for name, power in result["exponents"].items():
        lines.append(f"{name}: exponent in pixels {power['ms']:.2f} of time, {power['memory']:.2f} of memory (goal: at most {EXPONENT})")
    for name, far in result["parts"].items():
        told = f"values off by {far['values']:.1e}, gradients by {far['gradients']:.1e} of the largest"
        lines.append(f"{name}, an eighth of the frame at a time: {told} (goal: {SAME})")
    for r in result["direct"]:
        lines.append(f"ours {r['ours']:.2f} ms, {r['name']} {r['direct']:.2f} ms: {r['ours'] / r['direct']:.2f} (goal: {direct.ON_TOP})")
    return "\n".join([*lines, *_speed.foot(result)])


def main(words: list[str] | None = None) -> int:
    what = "Speed and memory of drawing each representation, with its way back"
    parser = _speed.parser("draw", what, "there, and libraries called directly", ("bench draw hashgrid voxels --sizes 32 64",))
    parser.add_argument("names", nargs="*", type=one_of(NAMES, "renderer"))
    parser.add_argument("--sizes", type=int, nargs="+", help="pixels a side; 128 192 256, on CUDA 128 256 512")
    return _speed.run(parser, words, measure, report, names="names", sizes="sizes")


if __name__ == "__main__":
    sys.exit(main())
