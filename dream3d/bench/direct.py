"""What our drawing costs on a GPU beside the libraries under it, called directly: the last lines of `bench draw --device cuda`.

Each pair is a forward and backward of ours, and of the library's own call that answers the same question, on the same data; what is not
installed is left out and said. Written from the libraries' sources (gsplat 1.5.3, nvdiffrast 0.4.0, nerfacc 0.5.3, tiny-cuda-nn of April
2026). Their answers differ in details that ours fixes, and tiny-cuda-nn rounds its grids in another way: times are compared, not values.
"""

import importlib
from collections.abc import Callable
from functools import partial
from types import ModuleType

import torch
from dream3d.renderers import _surface
from dream3d.renderers._backends import hash_cuda, light_nerfacc, raster_nvdiffrast, splat_gsplat
from dream3d.renderers.gaussians import Gaussians
from dream3d.renderers.hashgrid import HashGrid
from torch import Tensor

from dream3d.bench import _speed
from dream3d.bench._speed import Call
from dream3d.bench.mesh import sphere
from dream3d.cameras import ring

SIZE, COUNT, FACES, PLACES, SECTIONS = 512, 50_000, 81_920, 1 << 21, 64
ON_TOP = 1.05  # the goal: ours, of the library's


def walked(answers: Callable[[], list[Tensor]]) -> Call:
    """A forward, and the backward of its sum."""

    def call() -> None:
        made = answers()
        torch.autograd.backward(made, [torch.ones_like(part) for part in made])

    return call


def splats(gsplat: ModuleType, device: str) -> tuple[Call, Call]:
    """Eight channels of Gaussians of mixed opacity, projection included."""
    rng = torch.Generator().manual_seed(0)
    scene = Gaussians(rng, count=COUNT, radius=0.75)
    scene.logit.data = torch.rand(COUNT, generator=rng).clamp(0.01, 0.99).logit()
    scene, cameras = scene.to(device), ring(1, size=SIZE).to(device)
    leaves = [getattr(scene, name).detach().clone().requires_grad_() for name in ("position", "rotation", "log_scale", "logit")]
    colours = torch.rand(COUNT, 8, generator=rng).to(device).requires_grad_()

    def theirs() -> list[Tensor]:
        place, turn, scale, logit = leaves
        return list(gsplat.rasterization(place, turn, scale.exp(), logit.sigmoid(), colours, cameras.to_camera, cameras.intrinsics, SIZE,
                                         SIZE, near_plane=0.01, packed=False, rasterize_mode="antialiased")[:2])  # fmt: skip

    return walked(lambda: list(scene.render(cameras).buffers().values())), walked(theirs)


def mesh(nvdiffrast: ModuleType, device: str) -> tuple[Call, Call]:
    """Eight channels of a sphere, with its outline."""
    vertices, faces = (v.to(device) for v in sphere(FACES))
    cameras, vertices = ring(1, size=SIZE).to(device), vertices.requires_grad_()
    context, tri = nvdiffrast.RasterizeCudaContext(device=device), faces.int().contiguous()

    def ours() -> list[Tensor]:
        shade = lambda hits: (0.5 + 0.5 * hits.position, None)  # noqa: E731
        return list(_surface.draw(vertices, faces, cameras, shade, backend="nvdiffrast").buffers().values())

    def theirs() -> list[Tensor]:
        points = (vertices - cameras.centre[:, None]) @ cameras.to_world[:, :3, :3]
        clip = raster_nvdiffrast.clipped(points, cameras.intrinsics, SIZE, SIZE).contiguous()
        seen, _ = nvdiffrast.rasterize(context, clip, tri, resolution=[SIZE, SIZE], grad_db=False)
        values = torch.cat([0.5 + 0.5 * vertices, torch.ones_like(vertices[:, :1]), points[0, :, 2:], vertices], 1)[None]
        picture, _ = nvdiffrast.interpolate(values.contiguous(), seen, tri)
        return [nvdiffrast.antialias(picture, seen, clip, tri)]

    return walked(ours), walked(theirs)


def light(nerfacc: ModuleType, device: str) -> tuple[Call, Call]:
    """Weights of sections along rays, of which a quarter was evaluated."""
    rng, rays = torch.Generator().manual_seed(0), SIZE**2
    some = torch.rand(rays, SECTIONS, generator=rng) < 0.25
    alpha = (some * 0.2 * torch.rand(rays, SECTIONS, generator=rng)).to(device).requires_grad_()
    index = some.flatten().nonzero()[:, 0].to(device)
    counts = some.sum(1).to(device)
    packed = torch.stack([counts.cumsum(0) - counts, counts], -1)
    part = alpha.detach().flatten()[index].requires_grad_()
    return (walked(lambda: [light_nerfacc.ask(alpha, index, nerfacc)]),
            walked(lambda: [nerfacc.render_weight_from_alpha(part, packed_info=packed)[0]]))  # fmt: skip


def grid(tinycudann: ModuleType, device: str) -> tuple[Call, Call]:
    """The hash grid that `renderer: {type: hashgrid}` has, in single precision, with gradients of its entries."""
    rng = torch.Generator().manual_seed(0)
    scene, x = HashGrid(rng), torch.rand(PLACES, 3, generator=rng).to(device)
    table, levels = scene.table.detach().to(device).requires_grad_(), scene.resolutions
    told = {"otype": "Grid", "type": "Hash", "n_levels": len(levels), "n_features_per_level": 2, "interpolation": "Linear",
            "log2_hashmap_size": (scene.entries - 1).bit_length(), "base_resolution": levels[0],
            "per_level_scale": (levels[-1] / levels[0]) ** (1 / (len(levels) - 1))}  # fmt: skip
    theirs = tinycudann.Encoding(3, told, dtype=torch.float32)
    return walked(lambda: [hash_cuda.encode(x, table, levels, scene.entries)]), walked(lambda: [theirs(x)])


def _absent() -> str:
    """Why tinycudann cannot be used here, or "" where it can."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    try:
        importlib.import_module("tinycudann")
    except Exception as error:  # whatever a compiler or another package does
        return f"tinycudann does not work: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
    return hash_cuda.trouble()


PAIRS: dict[str, tuple[str, Callable[[], str], Callable[[ModuleType, str], tuple[Call, Call]]]] = {
    "gsplat": ("gsplat", lambda: splat_gsplat.trouble(), splats),
    "nvdiffrast": ("nvdiffrast.torch", lambda: raster_nvdiffrast.trouble(), mesh),
    "nerfacc": ("nerfacc", lambda: light_nerfacc.trouble(), light),
    "tinycudann": ("tinycudann", _absent, grid),
}  # name -> module, why it cannot be used, the pair


def measure(rounds: int, device: str) -> tuple[list[dict], list[str]]:
    """Rows (name, ours, direct: milliseconds), and why others are left out."""
    rows, left_out = [], []
    for name, (module, trouble, pair) in PAIRS.items():
        if why := trouble():
            left_out.append(f"{name} is left out: {why}")
            continue
        ours, direct = pair(importlib.import_module(module), device)
        calls = {"ours": partial(_speed.seconds, ours, device), "direct": partial(_speed.seconds, direct, device)}
        rows.append({"name": name, **_speed.best(calls, rounds)})
    return rows, left_out
