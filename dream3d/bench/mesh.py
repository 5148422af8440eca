"""Speed and memory of drawing meshes: python launch.py bench mesh [--out mesh.json] [--threads 2] [--device cuda]

Spheres of several numbers of faces, 4 views of several sizes. Three times each, the best of interleaved rounds after one that does not
count: the z-buffer, the search for where surfaces end, and a whole step (draw, and back to the vertices from colour, mask, depth and
normals). Memory is what numpy hands to the numba kernels during z-buffer and search; on a device, what torch hands out during a step.
Exponents are least squares of log cost on log faces and log pixels.
"""

import math
import sys
import time
import tracemalloc
from pathlib import Path

import torch
from dream3d.renderers import _surface
from dream3d.renderers._backends import raster_nvdiffrast
from torch import Tensor

import dream3d
from dream3d.cameras import ring
from dream3d.commands.parser import Parser
from dream3d.errors import Mistake
from dream3d.files import write_json
from dream3d.types import Cameras

FACES, SIZES, VIEWS = (1280, 5120, 20480, 81920), (64, 128, 256), 4
KERNELS = {"cpu": ("numba", "torch"), "cuda": ("nvdiffrast", "torch")}  # what runs where, the fast one first
PARTS = ("z-buffer", "ends", "step")
GOALS = {"z-buffer": 8.0, "step": 1.8}  # times as fast as the twin, 5120 faces and 256 px
EXPONENT = 1.1


def sphere(faces: int) -> tuple[Tensor, Tensor]:
    """A sphere that fills most of the frame, of about equal triangles: vertices and 20 * 4^n faces."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=round(math.log(faces / 20, 4)), radius=0.75)
    return torch.tensor(ball.vertices).float(), torch.tensor(ball.faces).long()


def kernels(device: str) -> tuple[str, ...]:
    """Those that can run on this machine."""
    return tuple(name for name in KERNELS[device] if name != "nvdiffrast" or not raster_nvdiffrast.trouble())


def once(part: str, backend: str, vertices: Tensor, faces: Tensor, cameras: Cameras) -> float:
    """Seconds of one call."""
    rasterize, search = _surface.BACKENDS[backend]
    points = (vertices - cameras.centre[:, None]) @ cameras.to_world[:, :3, :3]
    seen = rasterize(points, faces, cameras.intrinsics, cameras.height, cameras.width)[0] if part == "ends" else None
    leaf = vertices.clone().requires_grad_()
    _wait(vertices)
    begin = time.perf_counter()
    if part == "z-buffer":
        rasterize(points, faces, cameras.intrinsics, cameras.height, cameras.width)
    elif part == "ends":
        search(points, faces, cameras.intrinsics, seen)
    else:
        picture = _surface.draw(leaf, faces, cameras, lambda hits: (0.5 + 0.5 * hits.position, None), backend=backend)
        torch.autograd.backward(list(picture.buffers().values()), [torch.ones_like(v) for v in picture.buffers().values()])
    _wait(vertices)
    return time.perf_counter() - begin


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()


def memory(backend: str, *mesh) -> float:
    """Peak megabytes: of the kernels' own arrays on the CPU, of a step on a device."""
    if mesh[0].is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        once("step", backend, *mesh)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    tracemalloc.start()
    once("ends", backend, *mesh)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def grid(rounds: int, device: str) -> list[dict]:
    rows, names = [], kernels(device)
    for count in FACES:
        vertices, faces = (v.to(device) for v in sphere(count))
        for size in SIZES:
            mesh, row = (vertices, faces, ring(VIEWS, size=size).to(device)), {"faces": len(faces), "size": size}
            for part in PARTS:
                for name in names:
                    once(part, name, *mesh)  # compiles, and fills caches
                times = [{name: once(part, name, *mesh) for name in names} for _ in range(rounds)]
                row[part] = {name: 1000 * min(t[name] for t in times) for name in names}
            rows.append(row | {"memory": memory(names[0], *mesh)})
    return rows


def exponents(rows: list[dict], costs: list[float]) -> tuple[float, float]:
    """(in faces, in pixels)."""
    design = torch.tensor([[1.0, math.log(r["faces"]), 2 * math.log(r["size"])] for r in rows], dtype=torch.float64)
    return tuple(torch.linalg.lstsq(design, torch.tensor(costs, dtype=torch.float64).log()[:, None]).solution[1:, 0].tolist())


def measure(rounds: int, device: str = "cpu") -> dict:
    rows, names = grid(rounds, device), kernels(device)
    fits = {part: exponents(rows, [r[part][names[0]] for r in rows]) for part in PARTS}
    fits["memory"] = exponents(rows, [r["memory"] for r in rows])
    middle = next(r for r in rows if (r["faces"], r["size"]) == (5120, 256))
    ratios = {part: middle[part][names[-1]] / middle[part][names[0]] for part in PARTS}
    where = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    left_out = [f"{name} is left out: {raster_nvdiffrast.trouble()}" for name in KERNELS[device] if name not in names]
    return {"device": where, "backends": names, "left_out": left_out, "threads": torch.get_num_threads(), "views": VIEWS, "grid": rows,
            "exponents": fits, "ratios": ratios, "version": dream3d.__version__}  # fmt: skip


def report(result: dict) -> str:
    names = result["backends"]
    heads = " ".join(f"{f'{part} {name}':>16}" for part in PARTS for name in names)
    lines = [f"milliseconds for {result['views']} views", f"{'faces':>6} {'px':>4} {heads} {'MB':>7}"]
    for r in result["grid"]:
        times = " ".join(f"{r[part][name]:16.1f}" for part in PARTS for name in names)
        lines.append(f"{r['faces']:6d} {r['size']:4d} {times} {r['memory']:7.1f}")
    for cost, (count, pixels) in result["exponents"].items():
        lines.append(f"{cost}: exponent {count:.2f} in faces, {pixels:.2f} in pixels (goal: at most {EXPONENT})")
    if len(names) > 1:
        for part, ratio in result["ratios"].items():
            goal = f" (goal: {GOALS[part]:g})" if part in GOALS and names[0] == "numba" else ""
            lines.append(f"5120 faces, 256 px, {part}: {names[0]} {ratio:.1f} times as fast as {names[-1]}{goal}")
    return "\n".join([*lines, *result["left_out"], f"{result['device']}, {result['threads']} threads"])


def main(words: list[str] | None = None) -> int:
    """Measure, print, write; `words` are the arguments (None: of this process)."""
    parser = Parser("bench mesh", "Speed and memory of drawing meshes, kernels against their twins, as a table and as JSON.",
                    ["bench mesh", "bench mesh --rounds 2 --threads 1 --out mesh-1.json"])  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("mesh.json"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=tuple(KERNELS), default="cpu", help="cuda: torch, and nvdiffrast where installed")
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
