"""Speed and memory of the splat compositors: python launch.py bench splats [--out splats.json] [--threads 2]

Times are the best of several interleaved rounds of forward and backward, after one that does not count. Exponents are
least squares of log cost on log Gaussians and log pixels over the whole grid. The scene is a ball that fills most of
the frame, of Gaussians of one size in the world (0.02 m) and mixed opacities, so cost per Gaussian does not shrink with
their number. Memory is what numpy hands to the numba backend during the call (tracemalloc: all its buffers but the
bands' scratch, about 0.1 MB a thread); the torch twin's is its growth of peak resident memory in a process of its own.
With --device cuda the clock waits for the device, and memory is the peak of what torch hands out on it during a call.
"""

import math
import resource
import sys
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from dream3d.renderers._backends import splat_gsplat, splat_numba, splat_torch
from dream3d.renderers._backends.project import project
from dream3d.renderers.gaussians import Gaussians
from torch import Tensor

import dream3d
from dream3d.cameras import ring
from dream3d.commands.parser import Parser
from dream3d.errors import Mistake
from dream3d.files import write_json

COUNTS, SIZES, CHANNELS = (2000, 10000, 50000), (64, 128, 256), 7
BACKENDS = {"numba": splat_numba.composite, "torch": splat_torch.composite, "gsplat": splat_gsplat.composite}
KERNELS = {"cpu": ("numba", "torch"), "cuda": ("gsplat", "torch")}  # what runs where, the fast one first
FASTER, EXPONENT = 5.0, 1.1  # the goals


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
    return tuple(name for name in KERNELS[device] if name != "gsplat" or not splat_gsplat.trouble())


def once(backend: str, data: list[Tensor], size: int) -> float:
    """Seconds of one forward and backward."""
    leaves = [v.clone().requires_grad_(k < 4) for k, v in enumerate(data)]
    _wait(data)
    begin = time.perf_counter()
    image, alpha = BACKENDS[backend](*leaves, size, size)
    torch.autograd.backward([image, alpha], [torch.ones_like(image), torch.ones_like(alpha)])
    _wait(data)
    return time.perf_counter() - begin


def _wait(data: list[Tensor]) -> None:
    if data[0].is_cuda:
        torch.cuda.synchronize()


def traced(data: list[Tensor], size: int) -> float:
    """Peak megabytes of the numba backend's own arrays."""
    tracemalloc.start()
    once("numba", data, size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def resident(backend: str, count: int, size: int) -> float:
    """Growth of peak resident memory in megabytes, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_resident, backend, count, size).result()


def _resident(backend: str, count: int, size: int) -> float:
    once(backend, splats(100, 32), 32)
    data = splats(count, size)
    before = _peak()
    once(backend, data, size)
    return _peak() - before


def _peak() -> float:
    """Peak resident megabytes of this process. On Linux getrusage would count the parent's memory too."""
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def exponents(rows: list[dict], cost: str) -> tuple[float, float]:
    """(in Gaussians, in pixels)."""
    design = torch.tensor([[1.0, math.log(r["gaussians"]), 2 * math.log(r["size"])] for r in rows], dtype=torch.float64)
    target = torch.tensor([math.log(r[cost]) for r in rows], dtype=torch.float64)
    return tuple(torch.linalg.lstsq(design, target).solution[1:].tolist())


def grid(rounds: int, device: str) -> list[dict]:
    rows, names = [], kernels(device)
    for count in COUNTS:
        for size in SIZES:
            data = [v.to(device) for v in splats(count, size)]
            for name in names:
                once(name, data, size)  # compiles, and fills caches
            times = [{name: once(name, data, size) for name in names} for _ in range(rounds)]
            best = {name: 1000 * min(t[name] for t in times) for name in names}
            memory = traced(data, size) if device == "cpu" else on_card(names[0], data, size)
            ratio = best[names[-1]] / best[names[0]]
            rows.append({"gaussians": count, "size": size, **best, "ratio": ratio, "memory": memory})
    return rows


def on_card(backend: str, data: list[Tensor], size: int) -> float:
    """Peak megabytes that torch hands out on the device during one call."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    once(backend, data, size)
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def main_job(rounds: int, device: str) -> float:
    """Milliseconds of a whole forward and backward of the default renderer: 3000 Gaussians, 4 views, 64 px."""
    scene, cameras = Gaussians(torch.Generator().manual_seed(0), count=3000).to(device), ring(4, size=64).to(device)
    times = []
    for _ in range(4 * rounds + 1):
        begin = time.perf_counter()
        render = scene.render(cameras)
        render.backward({"rgb": torch.ones_like(render.rgb), "alpha": torch.ones_like(render.alpha)})
        _wait([scene.position])
        times.append(time.perf_counter() - begin)
    return 1000 * min(times[1:])


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
    return "\n".join([*lines, *result["left_out"], f"{result['device']}, {result['threads']} threads"])


def measure(rounds: int, device: str = "cpu") -> dict:
    rows, names = grid(rounds, device), kernels(device)
    ratio = next(r["ratio"] for r in rows if (r["gaussians"], r["size"]) == (10000, 128))
    fits = {"time": exponents(rows, names[0]), "memory": exponents(rows, "memory")}
    peak = {name: resident(name, 50000, 256) for name in names} if device == "cpu" else None
    where = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    left_out = [f"{name} is left out: {splat_gsplat.trouble()}" for name in KERNELS[device] if name not in names]
    return {"device": where, "backends": names, "left_out": left_out, "threads": torch.get_num_threads(), "grid": rows,
            "exponents": fits, "ratio": ratio, "resident_mb": peak, "main_job_ms": main_job(rounds, device),
            "version": dream3d.__version__}  # fmt: skip


def main(words: list[str] | None = None) -> int:
    """Measure, print, write; `words` are the arguments (None: of this process)."""
    parser = Parser("bench splats", "Speed and memory of the splat kernels against their twins, as a table and as JSON.",
                    ["bench splats", "bench splats --rounds 2 --threads 1 --out splats-1.json"])  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("splats.json"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=tuple(KERNELS), default="cpu", help="cuda: gsplat, where it is installed, and the torch tiles")
    given = parser.parse_args(words)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise Mistake("there is no CUDA device to measure on", where="--device", fix="--device cpu")
    torch.set_num_threads(given.threads)
    result = measure(given.rounds, given.device)
    print(report(result))
    write_json(given.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
