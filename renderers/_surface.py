"""Triangles seen by cameras: what a pixel meets, and a picture that is differentiable in the vertices.

A z-buffer (`_backends/raster_*`) says which face each pixel shows. Here, in torch: where on it, in what direction it faces, what `shade`
says it looks like, and how surfaces end between pixels (`_contours`). What a surface looks like is `_appearance`'s business.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from dream3d.renderers import _contours
from dream3d.renderers._backends import contours_numba, contours_torch, raster_numba, raster_nvdiffrast, raster_torch
from dream3d.renderers._contours import gather
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.types import Cameras, Render

LOST = 0.01  # how far weights in single precision may be from the rasteriser's
CANCEL = 1e-4  # of the area around a vertex: a smaller sum of normals is rounding
BACKENDS = {
    "numba": (raster_numba.rasterize, contours_numba.find),
    "torch": (raster_torch.rasterize, contours_torch.find),
    "nvdiffrast": (raster_nvdiffrast.rasterize, contours_torch.find),
}


@dataclass(frozen=True)
class Hits:
    """The n covered pixels, in order, those of a frame around the picture too. `weights` are barycentric, differentiable in the vertices;
    `position` and `normal` are in the world, a normal on the side of its face that the camera sees (a smooth one may lean over the
    horizon); `towards` is the unit vector from the surface to the camera."""

    index: Int[Tensor, " n"]  # flat, into B (H + 2) (W + 2): the picture and a frame of one pixel around it
    view: Int[Tensor, " n"]
    face: Int[Tensor, " n"]
    weights: Float[Tensor, "n 3"]
    position: Float[Tensor, "n 3"]
    normal: Float[Tensor, "n 3"]
    towards: Float[Tensor, "n 3"]


Shade = Callable[[Hits], tuple[Float[Tensor, "n 3"], Float[Tensor, "n K"] | None]]  # display sRGB in [0, 1], latent features


def draw(
    vertices: Float[Tensor, "V 3"],
    faces: Int[Tensor, "F 3"],
    cameras: Cameras,
    shade: Shade,
    *,
    smooth: bool = True,
    label: Int[Tensor, " F"] | None = None,
    labels: int = 0,
    backend: str = "auto",
) -> Render:
    """A mesh as `cameras` see it, premultiplied over black, both sides of every face. `shade` is asked once, for all hits.

    smooth: normals interpolate those of the vertices (of their faces, by area), else they are the faces'. labels: how many objects
    `label` tells apart; the buffer has the background behind them. backend: "numba" (float32 on the CPU), "torch", "nvdiffrast"
    (CUDA; installed by the user, whose licence it is), or "auto": one of the first two.
    Surfaces antialias where they end before others or the background, and there the picture has its derivative with respect to
    their outline. extras: vertices, faces. Mistake where vertices are not finite or faces name none.
    """
    _check(vertices, faces, label, labels)
    cameras, given, faces = _framed(cameras), faces, faces.long()
    rotation = cameras.to_world[:, :3, :3]
    points = (vertices - cameras.centre[:, None]) @ rotation
    rasterize, search = _kernels(points, backend)
    seen, exact = rasterize(points.detach(), faces, cameras.intrinsics, cameras.height, cameras.width)
    hits, depth = _hits(vertices, faces, points, cameras, seen, exact, smooth)
    rgb, features = shade(hits)
    parts = {"rgb": rgb, "alpha": torch.ones_like(depth), "depth": depth, "normal": hits.normal}
    if labels:
        parts["labels"] = F.one_hot(label[hits.face].long(), labels).to(depth.dtype)
    if features is not None:
        parts["features"] = features
    values = torch.cat(list(parts.values()), -1)
    picture = values.new_zeros(seen.numel(), values.shape[1]).index_copy(0, hits.index, values)
    if len(hits.index):
        ends = search(points.detach(), faces, cameras.intrinsics, seen)
        picture = _contours.blend(picture, points, cameras.intrinsics, ends, seen.shape[1:])
    buffers = picture.view(*seen.shape, -1)[:, 1:-1, 1:-1].split([part.shape[1] for part in parts.values()], -1)
    buffers = dict(zip(parts, buffers, strict=True))
    if labels:
        buffers["labels"] = torch.cat([buffers["labels"], 1 - buffers["alpha"]], -1)
    return Render(**buffers, extras={"vertices": vertices, "faces": given})


def _check(vertices: Tensor, faces: Tensor, label: Tensor | None, labels: int) -> None:
    if not bool(vertices.isfinite().all()):
        raise Mistake(f"{int((~vertices.isfinite().all(1)).sum())} of {len(vertices)} vertices are not finite", where="a mesh to draw",
                      fix="lower the learning rate of the vertices")  # fmt: skip
    if len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < len(vertices):
        raise Mistake(f"faces name vertices {int(faces.min())} to {int(faces.max())}, there are {len(vertices)}", where="a mesh to draw")
    if labels and (label is None or len(label) != len(faces)):
        raise Mistake("labels want one label per face", where="a mesh to draw")


def _framed(cameras: Cameras) -> Cameras:
    """One pixel more on every side: a surface may end between a pixel of the picture and its neighbour outside."""
    shift = cameras.intrinsics.new_tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    return replace(cameras, intrinsics=cameras.intrinsics + shift, height=cameras.height + 2, width=cameras.width + 2)


def _kernels(points: Tensor, backend: str):
    """What finds faces and ends of surfaces. A backend wanted by name is never replaced."""
    fast = points.device.type == "cpu" and points.dtype == torch.float32
    if backend == "auto":
        return BACKENDS["numba" if fast else "torch"]
    if backend not in BACKENDS:
        raise Mistake(f"no mesh backend {backend!r}", where="renderer.backend", near=", ".join(("auto", *BACKENDS)))
    if backend == "numba" and not fast:
        raise Mistake("the numba backend needs the CPU and float32", where="renderer.backend", near="auto, torch")
    return BACKENDS[backend]


def _hits(vertices, faces, points, cameras: Cameras, seen, exact, smooth: bool) -> tuple[Hits, Float[Tensor, "n 1"]]:
    """What the pixels meet, and at which depth. A pixel's ray stands still: its hit moves along it. Where a face is so narrow or so seen
    from the side that single precision loses it, weights are the rasteriser's, `exact`, and have no derivative."""
    index = (seen.flatten() >= 0).nonzero()[:, 0]
    view, face = index // seen[0].numel(), seen.flatten()[index]
    rows = faces[face]
    corners = gather(points.flatten(0, 1), view[:, None] * len(vertices) + rows)
    spot = torch.stack([index % cameras.width + 0.5, index // cameras.width % cameras.height + 0.5], -1).to(points)
    weights = _contours.shares(_contours.offsets(corners, spot, cameras.intrinsics[view]))
    total = weights.sum(1, keepdim=True)
    facing = torch.where(total < 0, 1.0, -1.0).to(points)
    weights = weights / torch.where(total == 0, 1, total)
    exact = gather(exact.flatten(0, 2), index)
    trusted = ((weights.detach() - exact).abs() < LOST).all(1, keepdim=True)
    weights = torch.where(trusted, weights, exact)
    depth = (weights * corners[..., 2]).sum(1, keepdim=True)
    origin, way = (v.reshape(-1, 3)[index] for v in cameras.rays())
    normal = _normals(vertices, faces, face, rows, weights, smooth) * facing
    return Hits(index, view, face, weights, origin + depth * way, normal, -F.normalize(way, dim=-1)), depth


def _normals(vertices, faces, face, rows, weights, smooth: bool) -> Float[Tensor, "n 3"]:
    """Unit normals of counter-clockwise faces; where those of the vertices cancel, the face's."""
    a, b, c = gather(vertices, faces).unbind(1)
    area = torch.linalg.cross(b - a, c - a)
    flat = gather(F.normalize(area, dim=-1, eps=1e-30), face)
    if not smooth:
        return flat
    each = torch.cat([area, area.detach().norm(dim=-1, keepdim=True)], 1).repeat_interleave(3, 0)
    sums, size = area.new_zeros(len(vertices), 4).index_add(0, faces.flatten(), each).split([3, 1], 1)
    sums = torch.where(sums.detach().norm(dim=-1, keepdim=True) > CANCEL * size, sums, 0)
    normal = (weights[..., None] * gather(F.normalize(sums, dim=-1, eps=1e-30), rows)).sum(1)
    return F.normalize(torch.where(normal.detach().norm(dim=-1, keepdim=True) > 1e-3, normal, flat), dim=-1, eps=1e-30)
