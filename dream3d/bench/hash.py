"""Speed and memory of the hash grid's kernels: python launch.py bench hash [--out hash.json] [--threads 2]

Times are the best of several interleaved rounds of forward and backward to the entries, after one that does not count, at places all over
the cube and on the grid that `renderer: {type: hashgrid}` has by default; `slopes` goes back to the places too. Exponents are least
squares of log cost on log places. Memory is what numpy hands to the numba backend during the call (tracemalloc: all its buffers), and with
--device cuda the peak of what torch hands out; what a whole process grows by is told for the largest number, backend by backend.
"""

from functools import partial

import torch
from dream3d.renderers._backends import hash_cuda, hash_numba, hash_torch
from dream3d.renderers.hashgrid import HashGrid
from torch import Tensor

from dream3d.bench import _speed
from dream3d.bench._speed import EXPONENT

COUNTS, AT = (50_000, 200_000, 800_000), 200_000
BACKENDS = {"numba": hash_numba.encode, "torch": hash_torch.encode, "cuda": hash_cuda.encode}
KERNELS = {"cpu": ("numba", "torch"), "cuda": ("cuda", "torch")}  # what runs where, the fast one first
OPTIONAL = {"cuda": hash_cuda}
FASTER = 5.0  # the goal


def places(count: int, device: str = "cpu") -> tuple[Tensor, Tensor, tuple[int, ...], int]:
    """What `encode` takes: places, and the default grid."""
    rng = torch.Generator().manual_seed(0)
    scene = HashGrid(rng)
    return torch.rand(count, 3, generator=rng).to(device), scene.table.detach().to(device), scene.resolutions, scene.entries


def kernels(device: str) -> tuple[str, ...]:
    """Those that can run on this machine."""
    return _speed.present(KERNELS[device], OPTIONAL)


def once(backend: str, data: tuple, slopes: bool = False) -> float:
    """Seconds of one forward and backward."""
    x, table = data[0].clone().requires_grad_(slopes), data[1].clone().requires_grad_()

    def call() -> None:
        out = BACKENDS[backend](x, table, *data[2:])
        out.backward(torch.ones_like(out))

    return _speed.seconds(call, x.device.type)


def grid(rounds: int, device: str) -> list[dict]:
    rows, names = [], kernels(device)
    for count in COUNTS:
        data = places(count, device)
        calls = {name: partial(once, name, data) for name in names} | {"slopes": partial(once, names[0], data, True)}
        best = _speed.best(calls, rounds)
        memory = (_speed.traced if device == "cpu" else _speed.on_card)(calls[names[0]])
        rows.append({"places": count, **best, "ratio": best[names[-1]] / best[names[0]], "memory": memory})
    return rows


def resident(backend: str, count: int) -> float:
    """Growth of peak resident memory in megabytes, for a process of its own."""
    once(backend, places(100))
    data = places(count)
    return _speed.growth(lambda: once(backend, data))


def exponent(rows: list[dict], cost: str) -> float:
    """The power of the number of places that a column grows with."""
    return _speed.exponents([(row["places"],) for row in rows], [row[cost] for row in rows])[0]


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
    return "\n".join([*lines, *_speed.foot(result)])


def measure(rounds: int, device: str = "cpu") -> dict:
    names = kernels(device)
    peak = {name: _speed.alone(resident, name, COUNTS[-1]) for name in names} if device == "cpu" else None
    rows = grid(rounds, device)
    fits = {"time": exponent(rows, names[0]), "memory": exponent(rows, "memory")}
    return _speed.told(KERNELS[device], OPTIONAL, device) | {
        "grid": rows, "exponents": fits, "ratio": next(r["ratio"] for r in rows if r["places"] == AT), "resident_mb": peak}  # fmt: skip


def main(words: list[str] | None = None) -> int:
    what = "Speed and memory of the hash grid's kernels against their twin"
    return _speed.run(_speed.parser("hash", what, "our kernels, and the torch twin"), words, measure, report)
