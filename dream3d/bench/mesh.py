"""Speed and memory of drawing meshes: python launch.py bench mesh [--out mesh.json] [--threads 2] [--device cuda]

Spheres of several numbers of faces, 4 views of several sizes. Three times each, the best of interleaved rounds after one that does not
count: the z-buffer, the search for where surfaces end, and a whole step (draw, and back to the vertices from colour, mask, depth and
normals). Memory is what numpy hands to the numba kernels during z-buffer and search; on a device, what torch hands out during a step.
Exponents are least squares of log cost on log faces and log pixels.
"""

import math
import sys
from functools import partial

import torch
from dream3d.renderers import _surface
from dream3d.renderers._backends import raster_nvdiffrast
from torch import Tensor

from dream3d.bench import _speed
from dream3d.bench._speed import EXPONENT
from dream3d.cameras import ring
from dream3d.types import Cameras

FACES, SIZES, VIEWS = (1280, 5120, 20480, 81920), (64, 128, 256), 4
KERNELS = {"cpu": ("numba", "torch"), "cuda": ("nvdiffrast", "torch")}  # what runs where, the fast one first
OPTIONAL = {"nvdiffrast": raster_nvdiffrast}
PARTS = ("z-buffer", "ends", "step")
GOALS = {"z-buffer": 8.0, "step": 1.8}  # times as fast as the twin, 5120 faces and 256 px


def sphere(faces: int) -> tuple[Tensor, Tensor]:
    """A sphere that fills most of the frame, of about equal triangles: vertices and 20 * 4^n faces."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=round(math.log(faces / 20, 4)), radius=0.75)
    return torch.tensor(ball.vertices).float(), torch.tensor(ball.faces).long()


def kernels(device: str) -> tuple[str, ...]:
    """Those that can run on this machine."""
    return _speed.present(KERNELS[device], OPTIONAL)


def once(part: str, backend: str, vertices: Tensor, faces: Tensor, cameras: Cameras) -> float:
    """Seconds of one call."""
    rasterize, search = _surface.BACKENDS[backend]
    points = (vertices - cameras.centre[:, None]) @ cameras.to_world[:, :3, :3]
    seen = rasterize(points, faces, cameras.intrinsics, cameras.height, cameras.width)[0] if part == "ends" else None
    leaf = vertices.clone().requires_grad_()

    def call() -> None:
        if part == "z-buffer":
            rasterize(points, faces, cameras.intrinsics, cameras.height, cameras.width)
        elif part == "ends":
            search(points, faces, cameras.intrinsics, seen)
        else:
            picture = _surface.draw(leaf, faces, cameras, lambda hits: (0.5 + 0.5 * hits.position, None), backend=backend)
            buffers = list(picture.buffers().values())
            torch.autograd.backward(buffers, [torch.ones_like(v) for v in buffers])

    return _speed.seconds(call, vertices.device.type)


def memory(backend: str, *mesh) -> float:
    """Peak megabytes: of the kernels' own arrays on the CPU, of a step on a device."""
    if mesh[0].is_cuda:
        return _speed.on_card(partial(once, "step", backend, *mesh))
    return _speed.traced(partial(once, "ends", backend, *mesh))


def grid(rounds: int, device: str) -> list[dict]:
    rows, names = [], kernels(device)
    for count in FACES:
        vertices, faces = (v.to(device) for v in sphere(count))
        for size in SIZES:
            mesh, row = (vertices, faces, ring(VIEWS, size=size).to(device)), {"faces": len(faces), "size": size}
            for part in PARTS:
                row[part] = _speed.best({name: partial(once, part, name, *mesh) for name in names}, rounds)
            rows.append(row | {"memory": memory(names[0], *mesh)})
    return rows


def exponents(rows: list[dict], costs: list[float]) -> tuple[float, float]:
    """(in faces, in pixels)."""
    return _speed.exponents([(r["faces"], r["size"] ** 2) for r in rows], costs)


def measure(rounds: int, device: str = "cpu") -> dict:
    rows, names = grid(rounds, device), kernels(device)
    fits = {part: exponents(rows, [r[part][names[0]] for r in rows]) for part in PARTS}
    fits["memory"] = exponents(rows, [r["memory"] for r in rows])
    middle = next(r for r in rows if (r["faces"], r["size"]) == (5120, 256))
    ratios = {part: middle[part][names[-1]] / middle[part][names[0]] for part in PARTS}
    return _speed.told(KERNELS[device], OPTIONAL, device) | {"views": VIEWS, "grid": rows, "exponents": fits, "ratios": ratios}


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
    return "\n".join([*lines, *_speed.foot(result)])


def main(words: list[str] | None = None) -> int:
    what = "Speed and memory of drawing meshes, kernels against their twins"
    return _speed.run(_speed.parser("mesh", what, "torch, and nvdiffrast where installed"), words, measure, report)


if __name__ == "__main__":
    sys.exit(main())
