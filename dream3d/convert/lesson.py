"""What a scene has to be like another one, in terms of errors: of densities and colours at places, of what pixels show."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.types import Render

CLIP = (-2.0, 7.0)  # of log densities (PVD, Fang et al., arXiv:2211.15977): below, light goes through; above, none does
UNSEEN = 0.01  # what a colour counts for where no light is taken
LEAST = 1e-30  # 1/metre: the smallest density that has a logarithm here


def stage(progress: float, milestones: tuple[float, ...]) -> int:
    """1 before the first milestone, one more from each on."""
    return 1 + sum(progress >= mark for mark in milestones)


def density_gap(density: Float[Tensor, " n"], wanted: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Squared differences of logarithms, between the ends of CLIP. Where the teacher is beyond an end, whatever is beyond it too is right;
    what is beyond an end where the teacher is not, is pulled back: the published code clips both, and leaves it there. So is every density
    down to LEAST: that of a signed distance 1 cm wide, 0.7 m from its surface. What is less is a number no more, and stays."""
    low, high = CLIP
    student, teacher = (d.clamp(min=LEAST).log() for d in (density, wanted))
    gap = student - teacher.clamp(low, high)
    gap = torch.where(teacher <= low, gap.clamp(min=0), gap)
    return torch.where(teacher >= high, gap.clamp(max=0), gap).square()


def per_ray(values: Float[Tensor, " n"], ray: Int[Tensor, " n"], rays: int, samples: int) -> Float[Tensor, " R"]:
    """Means over the sections of each ray; those that were not looked at have none."""
    return torch.zeros(rays, device=values.device, dtype=values.dtype).index_add(0, ray, values) / samples


def shown_gap(seen: Render, wanted: Render) -> Float[Tensor, "B H W"]:
    """Squared errors of every pixel in colour, over the same background, and in alpha."""
    return (seen.rgb - wanted.rgb).square().sum(-1) + (seen.alpha - wanted.alpha).square()[..., 0]


def shape_gap(seen: Render, wanted: Render, depth: float, normal: float) -> Float[Tensor, "B H W"]:
    """Squared errors in depth (metres) and in normals, where both have them, with these weights."""
    gap = depth * (seen.depth - wanted.depth).square()[..., 0]
    if normal and seen.normal is not None and wanted.normal is not None:
        gap = gap + normal * (seen.normal - wanted.normal).square().sum(-1)
    return gap


def decibels(seen: Render, wanted: Render) -> float:
    """Peak signal-to-noise ratio of what is shown."""
    return float(-10 * torch.log10((seen.rgb - wanted.rgb).detach().square().mean().clamp(min=1e-12)))
