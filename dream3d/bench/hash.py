"""Speed and memory of the hash grid's kernels: python launch.py bench hash [--out hash.json] [--threads 2]

Times are the best of several interleaved rounds of forward and backward to the entries, after one that does not count, at places all over
the cube and on the grid that `renderer: {type: hashgrid}` has by default; `slopes` goes back to the places too. Exponents are least
squares of log cost on log places. Memory is what numpy hands to the numba backend during the call (tracemalloc: all its buffers), and with
--device cuda the peak of what torch hands out; what a whole process grows by is told for the largest number, backend by backend.
"""

import math
import resource
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from dream3d.renderers._backends import hash_cuda, hash_numba, hash_torch
from dream3d.renderers.hashgrid import HashGrid
from torch import Tensor

import dream3d
from dream3d.commands.parser import Parser
from dream3d.errors import Mistake
from dream3d.files import write_json

COUNTS, AT = (50_000, 200_000, 800_000), 200_000
BACKENDS = {"numba": hash_numba.encode, "torch": hash_torch.encode, "cuda": hash_cuda.encode}
KERNELS = {"cpu": ("numba", "torch"), "cuda": ("cuda", "torch")}  # what runs where, the fast one first
FASTER, EXPONENT = 5.0, 1.1  # the goals


def places(count: int, device: str = "cpu") -> tuple[Tensor, Tensor, tuple[int, ...], int]:
    """What `encode` takes: places, and the default grid."""
    rng = torch.Generator().manual_seed(0)
    scene = HashGrid(rng)
    return torch.rand(count, 3, generator=rng).to(device), scene.table.detach().to(device), scene.resolutions, scene.entries


def kernels(device: str) -> tuple[str, ...]:
    """Those that can run on this machine."""
    return tuple(name for name in KERNELS[device] if name != "cuda" or not hash_cuda.trouble())


def once(backend: str, data: tuple, slopes: bool = False) -> float:
    """Seconds of one forward and backward."""
    x, table = data[0].clone().requires_grad_(slopes), data[1].clone().requires_grad_()
    _wait(x)
    begin = time.perf_counter()
    out = BACKENDS[backend](x, table, *data[2:])
    out.backward(torch.ones_like(out))
    _wait(x)
    return time.perf_counter() - begin


def _wait(values: Tensor) -> None:
    if values.is_cuda:
        torch.cuda.synchronize()


def grid(rounds: int, device: str) -> list[dict]:
    rows, names = [], kernels(device)
    for count in COUNTS:
        data = places(count, device)
        for name in names:
            once(name, data), once(name, data, True)  # compiles, and fills caches
        times = [{name: once(name, data) for name in names} | {"slopes": once(names[0], data, True)} for _ in range(rounds)]
        best = {name: 1000 * min(t[name] for t in times) for name in times[0]}
        memory = traced(data) if device == "cpu" else on_card(names[0], data)
        rows.append({"places": count, **best, "ratio": best[names[-1]] / best[names[0]], "memory": memory})
    return rows


def traced(data: tuple) -> float:
    """Peak megabytes of the numba backend's own arrays."""
    tracemalloc.start()
    once("numba", data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def on_card(backend: str, data: tuple) -> float:
    """Peak megabytes that torch hands out on the device during one call."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    once(backend, data)
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def resident(backend: str, count: int) -> float:
    """Growth of peak resident memory in megabytes, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_resident, backend, count).result()


def _resident(backend: str, count: int) -> float:
    once(backend, places(100))
    data = places(count)
    before = _peak()
    once(backend, data)
    return _peak() - before


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def exponent(rows: list[dict], cost: str) -> float:
    """The power of the number of places that a column grows with."""
    x, y = ([math.log(row[key]) for row in rows] for key in ("places", cost))
    middle = sum(x) / len(x)
    return sum((a - middle) * b for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x)


def report(result: dict) -> str:
    names = result["backends"]
    heads = " ".join(f"{name + ' ms':>9}" for name in (*names, "slopes"))
    lines = [f"{'places':>9} {heads} {'ratio':>6} {names[0] + ' MB':>9}"]
    for r in result["grid"]:
        speed = " ".join(f"{r[name]:9.1f}" for name in (*names, "slopes"))
        lines.append(f"{r['places']:9d} {speed} {r['ratio']:6.1f} {r['memory']:9.2f}")
    for cost, power in result["exponents"].items():
        lines.append(f"{cost}: exponent {power:.2f} in places (goal: at most {EXPONENT})")
    if len(names) > 1:
        lines.append(f"{AT} places: {names[0]} {result['ratio']:.1f} times as fast as {names[1]} (goal: {FASTER:g})")
    if peak := result["resident_mb"]:
        lines.append(f"{COUNTS[-1]} places: peak memory " + ", ".join(f"+ {peak[name]:.0f} MB ({name})" for name in names))
    return "\n".join([*lines, *result["left_out"], f"{result['device']}, {result['threads']} threads"])


def measure(rounds: int, device: str = "cpu") -> dict:
    names = kernels(device)
    peak = {name: resident(name, COUNTS[-1]) for name in names} if device == "cpu" else None  # first: a process inherits the peak
    rows = grid(rounds, device)
    fits = {"time": exponent(rows, names[0]), "memory": exponent(rows, "memory")}
    left_out = [f"{name} is left out: {hash_cuda.trouble()}" for name in KERNELS[device] if name not in names]
    return {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "backends": names, "left_out": left_out,
            "threads": torch.get_num_threads(), "grid": rows, "exponents": fits,
            "ratio": next(r["ratio"] for r in rows if r["places"] == AT),
            "resident_mb": peak, "version": dream3d.__version__}  # fmt: skip


def main(words: list[str] | None = None) -> int:
    """Measure, print, write; `words` are the arguments (None: of this process)."""
    parser = Parser("bench hash", "Speed and memory of the hash grid's kernels against their twin, as a table and as JSON.",
                    ["bench hash", "bench hash --rounds 2 --threads 1 --out hash-1.json"])  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("hash.json"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=tuple(KERNELS), default="cpu", help="cuda: our kernels, and the torch twin")
    given = parser.parse_args(words)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise Mistake("there is no CUDA device to measure on", where="--device", fix="--device cpu")
    torch.set_num_threads(given.threads)
    result = measure(given.rounds, given.device)
    print(report(result))
    write_json(given.out, result)
    return 0
