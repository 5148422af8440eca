"""`python launch.py bench toybox`: images per second of the toybox, as a table and as JSON."""

import sys
import time
from pathlib import Path

import torch

from dream3d.cameras import ring
from dream3d.commands.parser import Parser
from dream3d.files import write_json
from dream3d.toybox.language import OBJECTS, parse
from dream3d.toybox.render import ALL, render
from dream3d.toybox.world import build, instance_seed

TASKS = {"rgb+alpha+labels": ("rgb", "alpha", "labels"), "all buffers": ALL}


def measure(backend: str, device: str, size: int, views: int) -> list[dict]:
    """One row per task: images/s of wall clock and of CPU time (per core), the mean over all objects."""
    soups = [build(parse(name), instance_seed("test", i)) for i, name in enumerate(OBJECTS)]
    subject = torch.arange(len(soups)).repeat(views)  # so every object is seen from all sides
    cameras = ring(len(subject), start=7.0, size=size, subject=subject).to(device)
    rows = []
    for name, buffers in TASKS.items():
        render(soups, cameras, buffers=buffers, backend=backend)  # compiles
        wall, cpu = time.perf_counter(), time.process_time()
        render(soups, cameras, buffers=buffers, backend=backend)
        if device != "cpu":
            torch.cuda.synchronize()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        speed = {"images_per_second": len(cameras) / wall, "images_per_cpu_second": len(cameras) / cpu}
        rows.append(
            {
                "task": name,
                "backend": backend,
                "device": device,
                "size": size,
                **{k: round(v, 1) for k, v in speed.items()},
            }
        )
    return rows


def main(words: list[str] | None = None) -> int:
    """Measure, print, write; `words` are the arguments (None: of this process)."""
    arguments = Parser("bench toybox", "Images per second of the toybox renderer, as a table and as JSON.",
                       ["bench toybox", "bench toybox --backend torch --size 32 --views 4"])  # fmt: skip
    arguments.add_argument("--size", type=int, default=64)
    arguments.add_argument("--views", type=int, default=16, help="views per object")
    arguments.add_argument("--backend", choices=("numba", "torch"), default="numba")
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--out", type=Path, default=Path("toybox.json"))
    options = arguments.parse_args(words)
    rows = measure(options.backend, options.device, options.size, options.views)
    for row in rows:
        print(
            f"{row['task']:18} {row['images_per_second']:8.0f} images/s"
            f" {row['images_per_cpu_second']:8.0f} per CPU second"
        )
    write_json(options.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
