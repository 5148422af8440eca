"""What the benches of speed share: clocks that wait for the device, memory, exponents, and the frame around their tables."""

import ctypes
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import dream3d
from dream3d.commands.parser import Parser
from dream3d.errors import Mistake
from dream3d.files import write_json
from dream3d.run import one_team_of_threads

EXPONENT = 1.1  # the goal for whatever has to grow linearly
MB = 2**20

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}

Call = Callable[[], Any]
clock = "wall"  # `run` may set another


def seconds(call: Call, device: str) -> float:
    """Of one call, and of all that it left to the device."""
    _wait(device)
    begin = CLOCKS[clock]()
    call()
    _wait(device)
    return CLOCKS[clock]() - begin


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def best(calls: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Milliseconds of what tells its seconds: the least of several interleaved rounds, after one that does not count (it compiles, and
    fills caches)."""
    for call in calls.values():
        call()
    times = [{name: call() for name, call in calls.items()} for _ in range(rounds)]
    return {name: 1000 * min(row[name] for row in times) for name in calls}


def traced(call: Call) -> float:
    """Peak megabytes of numpy's arrays during a call: those of the numba kernels."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / MB
    finally:
        tracemalloc.stop()


def on_card(call: Call) -> float:
    """Peak megabytes that torch hands out on the device during a call."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / MB


def alone(function: Callable[..., Any], *given) -> Any:
    """What `function(*given)` answers in a process of its own, whose memory is all there is to see."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def growth(call: Call) -> float:
    """Megabytes that resident memory grows by at the peak of a call. Inside `alone`, after a small call that compiles."""
    if sys.platform == "linux":
        if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)  # what was freed would be used again, unseen
        Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now; getrusage's would be the parent's too
    before = _peak()
    call()
    return _peak() - before


def _peak() -> float:
    """Peak resident megabytes of this process."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MB if sys.platform == "darwin" else 1024)


def exponents(sizes: Iterable[tuple[int, ...]], costs: Iterable[float]) -> tuple[float, ...]:
    """The power of each size that costs grow with: least squares of log cost on log sizes."""
    logs = torch.tensor([(1, *size) for size in sizes], dtype=torch.float64)
    logs[:, 1:].log_()
    target = torch.tensor(list(costs), dtype=torch.float64).log()[:, None]
    return tuple(torch.linalg.lstsq(logs, target).solution[1:, 0].tolist())


def present(names: Iterable[str], optional: dict[str, ModuleType]) -> tuple[str, ...]:
    """Those that can run here: an optional one is a module whose `trouble()` says why it cannot."""
    return tuple(name for name in names if name not in optional or not optional[name].trouble())


def told(names: Iterable[str], optional: dict[str, ModuleType], device: str) -> dict[str, Any]:
    """What a result says of where it was measured, and of what was left out."""
    names = list(names)
    here = present(names, optional)
    return {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "threads": torch.get_num_threads(), "clock": clock,
            "backends": here, "left_out": [f"{name} is left out: {optional[name].trouble()}" for name in names if name not in here],
            "version": dream3d.__version__}  # fmt: skip


def foot(result: dict) -> list[str]:
    """The last lines of every table."""
    return [*result["left_out"], f"{result['device']}, {result['threads']} threads, {result['clock']} time"]


def parser(name: str, what: str, cuda: str, examples: tuple[str, ...] = ()) -> Parser:
    """The words that every bench of speed takes; `cuda` says what it measures there."""
    made = Parser(f"bench {name}", f"{what}, as a table and as JSON.",
                  [f"bench {name}", f"bench {name} --rounds 2 --threads 1 --out {name}-1.json", *examples])  # fmt: skip
    made.add_argument("--out", type=Path, default=Path(f"{name}.json"))
    made.add_argument("--threads", type=int, default=torch.get_num_threads())
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--clock", choices=tuple(CLOCKS), default="wall",
                      help="processor: what this process had of the cores, where other work runs, too; with --threads 1")  # fmt: skip
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help=f"cuda: {cuda}")
    return made


def run(made: Parser, words: list[str] | None, measure: Callable[..., dict], report: Callable[[dict], str], **more: str) -> int:
    """Measure, print, write. `words` are the arguments (None: of this process); `more` names what else `measure` is given of them."""
    global clock
    given = made.parse_args(words)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise Mistake("there is no CUDA device to measure on", where="--device", fix="--device cpu")
    torch.set_num_threads(given.threads)
    one_team_of_threads()
    clock = given.clock
    result = measure(given.rounds, given.device, **{name: getattr(given, word) for name, word in more.items()})
    print(report(result))
    write_json(given.out, result)
    return 0
