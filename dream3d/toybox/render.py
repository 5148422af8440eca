"""Exact buffers of toybox soups for any camera: rgb, alpha, depth, normal, labels, albedo, part labels."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from dream3d.errors import Mistake
from dream3d.toybox.motion import at_times
from dream3d.toybox.shapes import TORUS
from dream3d.toybox.world import Soup
from dream3d.types import Cameras, Render

ALL = ("rgb", "alpha", "depth", "normal", "labels", "albedo", "parts")


def render(
    soups: list[Soup],
    cameras: Cameras,
    *,
    buffers: tuple[str, ...] = ("rgb", "alpha", "depth", "normal", "labels"),
    supersample: int = 2,
    backend: Literal["auto", "numba", "torch"] = "auto",
) -> Render:
    """What the cameras see; `cameras.subject` says which soup each view shows (None: the only one), `cameras.time` when: soups whose
    wish names a motion move.

    rgb is display sRGB, shaded by a light fixed in the world, premultiplied over black like every buffer; depth is
    camera z, normals are in the world. labels: one weight per object (things of the wish, in order), the background
    last. extras: "albedo" (B H W 3), "parts" (B H W 1 int32: index into soup.parts of the nearest sample, -1 for none).
    rgb and depth are zeros where they are not asked for, alpha is always there, the others are left out. `auto` is
    numba for cameras on the CPU, else torch; torch computes in the cameras' precision, numba in double. No gradients.
    """
    soups, which = at_times(soups, _subjects(soups, cameras), None if cameras.time is None else cameras.time.cpu().numpy())
    unknown = set(buffers) - set(ALL)
    if unknown:
        raise Mistake(f"no buffer {', '.join(sorted(unknown))} in the toybox", near=", ".join(ALL))
    things = max(len(soup.wish.things) for soup in soups)
    fine = cameras.sized(cameras.height * supersample, cameras.width * supersample)
    if backend == "numba" or (backend == "auto" and cameras.device.type == "cpu"):
        out = _draw_numba(soups, fine, which, frozenset(buffers), supersample, things)
    else:
        from dream3d.toybox import twin

        out = twin.draw(soups, fine, which, supersample, things)
    out |= {
        name: out["alpha"].new_zeros(*out["alpha"].shape[:3], c)
        for name, c in (("rgb", 3), ("depth", 1))
        if name not in buffers
    }
    extras = {name: out[name] for name in ("albedo", "parts") if name in buffers}
    optional = {name: out[name] for name in ("normal", "labels") if name in buffers}
    return Render(rgb=out["rgb"], alpha=out["alpha"], depth=out["depth"], extras=extras, **optional)


def _subjects(soups: list[Soup], cameras: Cameras) -> np.ndarray:
    if cameras.subject is None and len(soups) != 1:
        raise Mistake(f"{len(soups)} soups, but cameras.subject does not say which view shows which")
    if cameras.subject is None:
        return np.zeros(len(cameras), dtype=np.int64)
    which = cameras.subject.detach().cpu().numpy().astype(np.int64)
    if len(which) and (which.min() < 0 or which.max() >= len(soups)):
        raise Mistake(f"cameras.subject goes from {which.min()} to {which.max()}, but there are {len(soups)} soups")
    return which


def _draw_numba(soups, fine: Cameras, which, wanted, samples: int, things: int) -> dict[str, torch.Tensor]:
    from dream3d.toybox import raster

    used, which = np.unique(which, return_inverse=True)
    soups = [soups[i] for i in used]
    pose = np.concatenate([soup.pose for soup in soups])
    inverse = np.linalg.inv(pose)
    centre, ray, to_pixel = _lenses(fine)
    images, index, view = pairs([len(soup) for soup in soups], which)
    local = inverse[index]
    met = (
        index,
        np.einsum("pij,pj->pi", local[:, :3, :3], centre[view]) + local[:, :3, 3],
        local[:, :3, :3] @ ray[view],
        to_pixel[view] @ (pose * _reach(soups))[index],
    )
    prims = (*(column(soups, name) for name in ("kind", "shape")), np.ascontiguousarray(inverse[:, :3, :3]))
    prims += tuple(column(soups, name) for name in ("colour", "second", "pattern", "part", "thing", "frame"))
    out = _outputs(len(which), fine.height // samples, fine.width // samples, wanted, things)
    raster.draw(images, met, prims, centre, ray, samples, tuple(out.values()))
    out["labels"][..., -1:] = 1 - out["alpha"][: len(out["labels"])]
    return {name: torch.from_numpy(array).to(fine.device) for name, array in out.items()}


def _lenses(fine: Cameras):
    """Per view: centre (3), pixel to world direction (3 3), world to pixel (3 4), in double precision."""
    to_world = fine.to_world.detach().cpu().double().numpy()
    intrinsics = fine.intrinsics.detach().cpu().double().numpy()
    ray = to_world[:, :3, :3] @ np.linalg.inv(intrinsics)
    to_pixel = intrinsics @ np.linalg.inv(to_world)[:, :3]
    return np.ascontiguousarray(to_world[:, :3, 3]), ray, to_pixel


def _reach(soups: list[Soup]) -> np.ndarray:
    """Column scales (N 1 4) that make [-1, 1]^3 the local bounds of every primitive."""
    kind, shape = column(soups, "kind"), np.abs(column(soups, "shape"))
    lean = np.maximum(shape[:, 0] + shape[:, 2], shape[:, 1] + shape[:, 3])
    wide = np.choose(kind, [np.ones(len(kind)), np.maximum(1, lean), np.maximum(1, shape[:, 0]), 1 + shape[:, 0]])
    tall = np.where(kind == TORUS, shape[:, 0], 1.0)
    return np.stack([wide, wide, tall, np.ones(len(kind))], -1)[:, None]


def pairs(sizes: list[int], which: np.ndarray):
    """Every (view, primitive) to draw, views in order: (start, stop) per view, primitive and view per pair."""
    first = np.concatenate([[0], np.cumsum(sizes)])
    count = np.asarray(sizes, dtype=np.int64)[which]
    stop = np.cumsum(count)
    view = np.repeat(np.arange(len(which)), count)
    index = first[which][view] + np.arange(len(view)) - (stop - count)[view]
    return (stop - count, stop), index, view


def column(soups: list[Soup], name: str) -> np.ndarray:
    return np.concatenate([getattr(soup, name) for soup in soups])


def _outputs(
    views: int, height: int, width: int, wanted: frozenset[str], things: int
) -> dict[str, Float[np.ndarray, "..."]]:
    channels = {"rgb": 3, "alpha": 1, "depth": 1, "normal": 3, "albedo": 3, "labels": things + 1}
    rows = {name: views if name in wanted or name == "alpha" else 0 for name in (*channels, "parts")}
    out = {name: np.zeros((rows[name], height, width, c), dtype=np.float32) for name, c in channels.items()}
    return out | {"parts": np.full((rows["parts"], height, width, 1), -1, dtype=np.int32)}
