"""Speed and memory of the splat compositors: python launch.py bench splats [--out splats.json] [--threads 2]

Times are the best of several interleaved rounds of forward and backward, after one that does not count. Exponents are
least squares of log cost on log Gaussians and log pixels over the whole grid. The scene is a ball that fills most of
the frame, of Gaussians of one size in the world (0.02 m) and mixed opacities, so cost per Gaussian does not shrink with
their number. Memory is what numpy hands to the numba backend during the call (tracemalloc: all its buffers but the
bands' scratch, about 0.1 MB a thread); the torch twin's is its growth of peak resident memory in a process of its own.
With --device cuda the clock waits for the device, and memory is the peak of what torch hands out on it during a call.
"""

import sys
from functools import partial

import torch
from dream3d.renderers._backends import splat_gsplat, splat_numba, splat_torch
from dream3d.renderers._backends.project import project
from dream3d.renderers.gaussians import Gaussians
from torch import Tensor

from dream3d.bench import _speed
from dream3d.bench._speed import EXPONENT
from dream3d.cameras import ring

COUNTS, SIZES, CHANNELS = (2000, 10000, 50000), (64, 128, 256), 7
BACKENDS = {"numba": splat_numba.composite, "torch": splat_torch.composite, "gsplat": splat_gsplat.composite}
KERNELS = {"cpu": ("numba", "torch"), "cuda": ("gsplat", "torch")}  # what runs where, the fast one first
OPTIONAL = {"gsplat": splat_gsplat}
FASTER = 5.0  # the goal


def splats(count: int, size: int) -> list[Tensor]:
    """Projected splats of one view: means, conics, opacities, features, depths."""
    rng = torch.Generator().manual_seed(0)
    scene = Gaussians(rng, count=count, radius=0.75)
    opacity = torch.rand(count, generator=rng)
    axes = 0.02 * torch.eye(3) * (0.5 + torch.rand(count, 1, 3, generator=rng))
    with torch.no_grad():
        seen = project(scene.position, axes, opacity, ring(1, size=size))
    features = torch.rand(1, count, CHANNELS, generator=rng)
    return [seen.means2d, seen.conics, torch.where(seen.visible, opacity, 0), features, seen.depths]


def kernels(device: str) -> tuple[str, ...]:
    """Those that can run on this machine."""
    return _speed.present(KERNELS[device], OPTIONAL)


def once(backend: str, data: list[Tensor], size: int) -> float:
    """Seconds of one forward and backward."""
    leaves = [v.clone().requires_grad_(k < 4) for k, v in enumerate(data)]

    def call() -> None:
        image, alpha = BACKENDS[backend](*leaves, size, size)
        torch.autograd.backward([image, alpha], [torch.ones_like(image), torch.ones_like(alpha)])

    return _speed.seconds(call, data[0].device.type)


def resident(backend: str, count: int, size: int) -> float:
    """Growth of peak resident memory in megabytes, for a process of its own."""
    once(backend, splats(100, 32), 32)
    data = splats(count, size)
    return _speed.growth(lambda: once(backend, data, size))


def exponents(rows: list[dict], cost: str) -> tuple[float, float]:
    """(in Gaussians, in pixels)."""
    return _speed.exponents([(r["gaussians"], r["size"] ** 2) for r in rows], [r[cost] for r in rows])


def grid(rounds: int, device: str) -> list[dict]:
    rows, names = [], kernels(device)
    for count in COUNTS:
        for size in SIZES:
            data = [v.to(device) for v in splats(count, size)]
            calls = {name: partial(once, name, data, size) for name in names}
            best = _speed.best(calls, rounds)
            memory = (_speed.traced if device == "cpu" else _speed.on_card)(calls[names[0]])
            ratio = best[names[-1]] / best[names[0]]
            rows.append({"gaussians": count, "size": size, **best, "ratio": ratio, "memory": memory})
    return rows


def main_job(rounds: int, device: str) -> float:
    """Milliseconds of a whole forward and backward of the default renderer: 3000 Gaussians, 4 views, 64 px."""
    scene, cameras = Gaussians(torch.Generator().manual_seed(0), count=3000).to(device), ring(4, size=64).to(device)

    def call() -> None:
        render = scene.render(cameras)
        render.backward({"rgb": torch.ones_like(render.rgb), "alpha": torch.ones_like(render.alpha)})

    return _speed.best({"step": partial(_speed.seconds, call, device)}, 4 * rounds)["step"]


def report(result: dict) -> str:
    names = result["backends"]
    heads = " ".join(f"{name + ' ms':>9}" for name in names)
    lines = [f"{'Gaussians':>9} {'px':>4} {heads} {'ratio':>6} {names[0] + ' MB':>9}"]
    for r in result["grid"]:
        speed = " ".join(f"{r[name]:9.1f}" for name in names)
        lines.append(f"{r['gaussians']:9d} {r['size']:4d} {speed} {r['ratio']:6.1f} {r['memory']:9.2f}")
    for cost, (count, pixels) in result["exponents"].items():
        lines.append(f"{cost}: exponent {count:.2f} in Gaussians, {pixels:.2f} in pixels (goal: at most {EXPONENT})")
    if len(names) > 1:
        lines.append(f"10000 Gaussians, 128 px: {names[0]} {result['ratio']:.1f} times as fast as {names[1]} (goal: {FASTER:g})")
    if peak := result["resident_mb"]:
        grown = ", ".join(f"+ {peak[name]:.0f} MB ({name})" for name in names)
        lines.append(f"50000 Gaussians, 256 px: peak memory {grown}")
    lines.append(f"3000 Gaussians, 4 views of 64 px, whole render and backward: {result['main_job_ms']:.1f} ms")
    return "\n".join([*lines, *_speed.foot(result)])


def measure(rounds: int, device: str = "cpu") -> dict:
    names = kernels(device)
    peak = {name: _speed.alone(resident, name, 50000, 256) for name in names} if device == "cpu" else None
    rows = grid(rounds, device)
    ratio = next(r["ratio"] for r in rows if (r["gaussians"], r["size"]) == (10000, 128))
    fits = {"time": exponents(rows, names[0]), "memory": exponents(rows, "memory")}
    return _speed.told(KERNELS[device], OPTIONAL, device) | {
        "grid": rows, "exponents": fits, "ratio": ratio, "resident_mb": peak, "main_job_ms": main_job(rounds, device)}  # fmt: skip


def main(words: list[str] | None = None) -> int:
    what = "Speed and memory of the splat kernels against their twins"
    return _speed.run(_speed.parser("splats", what, "gsplat, where it is installed, and the torch tiles"), words, measure, report)


if __name__ == "__main__":
    sys.exit(main())
