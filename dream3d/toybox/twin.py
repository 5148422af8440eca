"""The readable renderer: the same images as toybox.raster in dense torch, on any device, in the cameras' precision.

P primitives of one kind meet R rays each; o is (P 1 3), d (P R 3), shape (P 1 4), in local coordinates.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dream3d.toybox import raster as r
from dream3d.toybox.render import column, pairs
from dream3d.toybox.shapes import BOX, ELLIPSOID, FRUSTUM, TORUS
from dream3d.types import Cameras

FAR = float("inf")
CHUNK_CPU, CHUNK_GPU = 2**20, 2**23  # rays x primitives at a time


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


def _either(hit: Tensor, t: Tensor) -> Tensor:
    return torch.where(hit & (t > 0), t, FAR)


def _slab(o: Tensor, d: Tensor, low, high) -> tuple[Tensor, Tensor]:
    """The interval in which low <= z <= high."""
    dz = d[..., 2] + r.TINY
    a, b = (low - o[..., 2]) / dz, (high - o[..., 2]) / dz
    return torch.minimum(a, b), torch.maximum(a, b)


def ellipsoid(o: Tensor, d: Tensor, shape: Tensor) -> Float[Tensor, "P R"]:
    a, b = _dot(d, d), _dot(o, d)
    disc = b * b - a * (_dot(o, o) - 1)
    root = disc.clamp(min=0).sqrt()
    enter, leave = _slab(o, d, shape[..., 0], shape[..., 1])
    near, far = torch.maximum((-b - root) / a, enter), torch.minimum((-b + root) / a, leave)
    return _either((disc > 0) & (near < far), near)


def _faces(shape: Tensor) -> tuple[Tensor, Tensor]:
    """Normals (P 1 6 3) and offsets (P 1 6) of a box's planes n.p <= w."""
    kx, ky, sx, sy = (0.5 * v for v in (shape[..., 0] - 1, shape[..., 1] - 1, shape[..., 2], shape[..., 3]))
    one, nil = torch.ones_like(kx), torch.zeros_like(kx)
    rows = [(nil, nil, one, one), (nil, nil, -one, one)]
    rows += [(one, nil, -kx - sx, 1 + kx + sx), (-one, nil, -kx + sx, 1 + kx - sx)]
    rows += [(nil, one, -ky - sy, 1 + ky + sy), (nil, -one, -ky + sy, 1 + ky - sy)]
    planes = torch.stack([torch.stack(row, -1) for row in rows], -2)
    return planes[..., :3], planes[..., 3]


def box(o: Tensor, d: Tensor, shape: Tensor) -> Float[Tensor, "P R"]:
    normal, offset = _faces(shape)
    speed = (normal * d[..., None, :]).sum(-1) + r.TINY
    t = (offset - (normal * o[..., None, :]).sum(-1)) / speed
    near = torch.where(speed < 0, t, -FAR).amax(-1)
    far = torch.where(speed > 0, t, FAR).amin(-1)
    return _either(near < far, near)


def frustum(o: Tensor, d: Tensor, shape: Tensor) -> Float[Tensor, "P R"]:
    a, b = 0.5 * (1 + shape[..., 0]), 0.5 * (shape[..., 0] - 1)
    ro, rd = a + b * o[..., 2], b * d[..., 2]
    qa = _dot(d[..., :2], d[..., :2]) - rd * rd + r.TINY
    qb = _dot(o[..., :2], d[..., :2]) - ro * rd
    qc = _dot(o[..., :2], o[..., :2]) - ro * ro
    disc = qb * qb - qa * qc
    q = -(qb + torch.copysign(disc.clamp(min=0).sqrt(), qb))
    best = torch.full_like(disc, FAR)
    for t in (q / qa, qc / (q + r.TINY)):
        best = torch.minimum(best, _either((disc > 0) & ((o[..., 2] + t * d[..., 2]).abs() <= 1), t))
    for cap in (-1.0, 1.0):
        t = (cap - o[..., 2]) / (d[..., 2] + r.TINY)
        p = o[..., :2] + t[..., None] * d[..., :2]
        best = torch.minimum(best, _either(_dot(p, p) <= (a + b * cap) ** 2, t))
    return best


def torus(o: Tensor, d: Tensor, shape: Tensor) -> Float[Tensor, "P R"]:
    minor = shape[..., 0]
    a, b = _dot(d, d), _dot(o, d)
    disc = b * b - a * (_dot(o, o) - (1 + minor) ** 2)
    root, (enter, leave) = disc.clamp(min=0).sqrt(), _slab(o, d, -minor, minor)
    t = torch.maximum((-b - root) / a, enter).clamp(min=0)
    end = torch.minimum((-b + root) / a, leave)
    for _ in range(r.MARCH):
        gap = _tube(o, d, t, minor)[0]
        t = torch.where((gap < r.CLOSE) | (t > end), t, t + gap / a.sqrt())
    hit = (disc > 0) & (gap < r.CLOSE) & (t <= end)
    for _ in range(r.NEWTON):
        gap, slope = _tube(o, d, t, minor)
        hit &= slope < -r.TINY
        t = torch.where(hit, t - gap / slope, t)
    return _either(hit & (gap.abs() < r.CONVERGED), t)


def _tube(o: Tensor, d: Tensor, t: Tensor, minor: Tensor) -> tuple[Tensor, Tensor]:
    p = o + t[..., None] * d
    ring = p[..., :2].norm(dim=-1).clamp(min=r.TINY)
    away = torch.hypot(ring - 1, p[..., 2]).clamp(min=r.TINY)
    return away - minor, ((ring - 1) * _dot(p[..., :2], d[..., :2]) / ring + p[..., 2] * d[..., 2]) / away


def gradient(kind: Tensor, p: Float[Tensor, "n 3"], shape: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3"]:
    """Outward normals in local coordinates: of the face whose constraint is the tightest."""
    x, y, z = p.unbind(-1)
    ring, up = p[:, :2].norm(dim=-1).clamp(min=r.TINY), torch.tensor([0.0, 0.0, 1.0]).to(p)
    around = torch.stack([x - x / ring, y - y / ring, z], -1)
    ball, isball = p, (kind == ELLIPSOID)
    low, high = torch.where(isball, shape[:, 0], -1.0), torch.where(isball, shape[:, 1], 1.0)
    cap = torch.where((low - z > z - high)[:, None], -up, up)
    worst = torch.maximum(low - z, z - high)
    a, b = 0.5 * (1 + shape[:, 0]), 0.5 * (shape[:, 0] - 1)
    cone = torch.stack([x / ring, y / ring, -b], -1)
    side = torch.where(isball, p.norm(dim=-1) - 1, ring - a - b * z)
    curved = torch.where((side > worst)[:, None], torch.where(isball[:, None], ball, cone), cap)
    normal, offset = _faces(shape)
    flat = normal[torch.arange(len(p), device=p.device), ((normal * p[:, None]).sum(-1) - offset).argmax(-1)]
    return torch.where((kind == TORUS)[:, None], around, torch.where((kind == BOX)[:, None], flat, curved))


def second(pattern: Tensor, q: Float[Tensor, "n 3"], normal: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
    """Where the pattern's second tone shows."""
    stripes = (q @ q.new_tensor(r.STRIPE_AXIS) / r.STRIPE).floor() % 2 == 1
    checks = (q / r.CHECK + r.CHECK_SHIFT).floor().sum(-1) % 2 == 1
    n = normal.abs()
    top = (n[:, 2] >= n[:, 0]) & (n[:, 2] >= n[:, 1])
    u = torch.where(top | (n[:, 1] >= n[:, 0]), q[:, 0], q[:, 1])
    v = torch.where(top, q[:, 1], q[:, 2]) / r.DOT
    u = u / r.DOT + 0.5 * (v.floor() % 2)
    dots = (u - u.floor() - 0.5) ** 2 + (v - v.floor() - 0.5) ** 2 < r.DOT_AREA
    return torch.where(pattern == 1, stripes, torch.where(pattern == 2, dots, (pattern == 3) & checks))


def _shade(normal: Tensor) -> Tensor:
    light = normal @ normal.new_tensor(r.KEY_LIGHT)
    return r.AMBIENT + r.SKY * normal[..., 2] + r.KEY * ((light + r.WRAP) / (1 + r.WRAP)).clamp(min=0)


@torch.no_grad()
def draw(soups, fine: Cameras, which: np.ndarray, samples: int, things: int) -> dict[str, Tensor]:
    """Every buffer of every view. `fine` are the cameras with all samples; `which` the soup of each view."""
    table = {
        name: torch.from_numpy(column(soups, name)).to(fine.device) for name in ("kind", "part", "thing", "pattern")
    }
    table |= {n: torch.from_numpy(column(soups, n)).to(fine.to_world) for n in ("shape", "colour", "second", "frame")}
    table["inverse"] = torch.from_numpy(np.linalg.inv(column(soups, "pose"))).to(fine.to_world)
    chunk = CHUNK_CPU if fine.device.type == "cpu" else CHUNK_GPU
    group = max(1, chunk // (max(map(len, soups)) * fine.height * fine.width))
    rows = [slice(v, v + group) for v in range(0, len(which), group)]
    views = [
        _views(table, soups, fine.at(torch.arange(len(which))[row].to(fine.device)), which[row], samples, things)
        for row in rows
    ]
    return {name: torch.cat([view[name] for view in views]) for name in views[0]}


def _views(table, soups, cameras: Cameras, which: np.ndarray, samples: int, things: int) -> dict[str, Tensor]:
    """A few views at once; rays in slices where even these are too many."""
    (start, _), index, view = pairs([len(soup) for soup in soups], which)
    slot, first = (
        torch.from_numpy(np.arange(len(view)) - start[view]),
        torch.from_numpy(index[start]).to(cameras.device),
    )
    index, view, slot = (torch.as_tensor(v, device=cameras.device) for v in (index, view, slot))
    rays, centre = cameras.rays()[1].flatten(1, 2), cameras.centre
    step = max(1, CHUNK_GPU // (len(which) * (int(slot.max()) + 1)))
    flat = [_samples(table, (index, view, slot, first), centre, part, things) for part in rays.split(step, 1)]
    grid = (len(which), cameras.height // samples, samples, cameras.width // samples, samples)
    cells = {n: torch.cat([f[n] for f in flat], 1).reshape(*grid, -1).transpose(2, 3).flatten(3, 4) for n in flat[0]}
    nearest = cells.pop("t").argmin(3, keepdim=True)
    parts = cells.pop("parts").gather(3, nearest)[:, :, :, 0].int()
    return {n: cell.mean(3).float() for n, cell in cells.items()} | {"parts": parts}


def _samples(table, who, centre: Float[Tensor, "V 3"], rays: Float[Tensor, "V R 3"], things: int) -> dict[str, Tensor]:
    """What every ray sees. `who`: primitive, view and slot per (view, primitive) pair, first primitive per view."""
    index, view, slot, first = who
    inverse, kind, shape = table["inverse"][index], table["kind"][index], table["shape"][index][:, None]
    o = (inverse[:, :3, :3] @ centre[view][..., None])[:, None, :, 0] + inverse[:, None, :3, 3]
    t = rays.new_full((len(rays), int(slot.max()) + 1, rays.shape[1]), FAR)
    for k, test in ((ELLIPSOID, ellipsoid), (BOX, box), (FRUSTUM, frustum), (TORUS, torus)):
        rows = (kind == k).nonzero()[:, 0]
        if len(rows):
            d = rays[view[rows]] @ inverse[rows, :3, :3].mT
            t[view[rows], slot[rows]] = test(o[rows], d, shape[rows])
    t, nearest = t.min(1)
    hit, owner = t < FAR, first[:, None] + nearest
    seen = _surface(
        {n: v[torch.where(hit, owner, 0)].flatten(0, 1) for n, v in table.items()},
        centre,
        rays,
        torch.where(hit, t, 0.0),
    )
    labels = torch.nn.functional.one_hot(torch.where(hit, table["thing"][owner], things), things + 1)
    parts = torch.where(hit, table["part"][owner], -1)
    seen = {name: value.reshape(*hit.shape, -1) * hit[..., None] for name, value in seen.items()}
    return seen | {"alpha": hit[..., None].to(t), "labels": labels.to(t), "parts": parts[..., None], "t": t[..., None]}


def _surface(own: dict[str, Tensor], centre: Tensor, rays: Tensor, t: Tensor) -> dict[str, Tensor]:
    """Depth, world normal, albedo and shaded colour of one hit per ray (rows of `own`)."""
    point = (centre[:, None] + t[..., None] * rays).flatten(0, 1)
    matrix = own["inverse"][:, :3, :3]
    local = (matrix @ point[..., None])[..., 0] + own["inverse"][:, :3, 3]
    normal = gradient(own["kind"], local, own["shape"])
    normal = torch.nn.functional.normalize((normal[:, None] @ matrix)[:, 0], dim=-1)
    inwards = own["frame"][:, :, :3]
    q, across = (inwards @ point[..., None])[..., 0] + own["frame"][:, :, 3], (inwards @ normal[..., None])[..., 0]
    albedo = torch.where(second(own["pattern"], q, across)[:, None], own["second"], own["colour"])
    rgb = (albedo * _shade(normal)[:, None]).clamp(max=1)
    return {"rgb": rgb, "depth": t, "normal": normal, "albedo": albedo}
