"""Two volumes at the same places of the same rays: what progressive volume distillation compares (PVD, Fang et al., arXiv:2211.15977)."""

from typing import NamedTuple

import torch
from dream3d.renderers import _march
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.schedule import at
from dream3d.types import Step

DARK = 0.01  # of a ray's light: behind where the teacher leaves less, nothing is asked


class Beside(NamedTuple):
    """Each pair is (student, teacher). Of n places: the ray each lies on, densities (1/metre), colours, and the share of a ray's light
    that the teacher's section there takes; of R rays: premultiplied colour and alpha. light: all shares of the student's sections."""

    ray: Int[Tensor, " n"]
    density: tuple[Float[Tensor, " n"], Float[Tensor, " n"]]
    colour: tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]
    taken: Float[Tensor, " n"]
    rgb: tuple[Float[Tensor, "R 3"], Float[Tensor, "R 3"]]
    alpha: tuple[Float[Tensor, "R 1"], Float[Tensor, "R 1"]]
    depth: Float[Tensor, "R 1"]
    light: Float[Tensor, "R S"]


def beside(student, teacher, origin: Float[Tensor, "R 3"], way: Float[Tensor, "R 3"], now: Step) -> Beside | None:
    """The student's rays through its own cube, in even sections with one place each, by chance. A place counts where either knows that
    there may be something and the teacher's light still comes: what the one has too much is seen as well as what it lacks, but not what
    nobody sees. Beyond its own cube the teacher has nothing."""
    if not hasattr(teacher, "beside") or student.channels or teacher.channels:
        return None
    if student.training:
        student.width = torch.full_like(student.width, at(student.edge, now))
    near, far = _march.cross(origin, way, student.bound)
    jitter = now.uniform(len(way), student.samples, device=way.device)
    t, delta = _march.places(_march.sections(near, far, student.samples, None), jitter)
    points = origin[:, None] + t[..., None] * way[:, None]
    within = (points.abs() <= teacher.bound).all(-1)
    worth = student.worth(points, far > near) | teacher.worth(points, far > near) & within
    index = worth.flatten().nonzero()[:, 0]
    x, inside = points.view(-1, 3)[index], within.flatten()[index]
    length = (delta * way.norm(dim=-1, keepdim=True)).flatten()
    with torch.no_grad():
        shape, paint = teacher.told(x)
        its = inside.nonzero()[:, 0]
        given = teacher.lit(shape[its], index[its], length, t.shape)
        left = 1 - given.cumsum(1) + given > DARK
        given = torch.where(left, given, 0)
        shown = _march.gather(given, index, paint), given.sum(1, keepdim=True).clamp(max=1)
        comes = left.flatten()[index]
        index, x, inside = index[comes], x[comes], inside[comes]
        told = torch.where(inside, teacher.dense(shape[comes]), 0), paint[comes]
    shape, paint = student.told(x, now)
    light = student.lit(shape, index, length, t.shape)
    seen = _march.gather(light, index, paint), light.sum(1, keepdim=True).clamp(max=1)
    density, colour, rgb, alpha = zip((student.dense(shape), paint, *seen), (*told, *shown), strict=True)
    depth = (light * t).sum(1, keepdim=True)
    return Beside(index // student.samples, density, colour, given.flatten()[index], rgb, alpha, depth, light)
