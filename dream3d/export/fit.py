"""A surface moved until it looks like its scene: its vertices fitted to pictures from all around.

What is soft has its outlines further out than the depth at which its colours lie, so that on the surface of any level colours slide as the
view turns. Pictures find the surface that is least wrong for both: errors of colours where scene and mesh are opaque, and of outlines, are
lowered by the derivatives of our rasteriser, first on coarse pictures, then on finer ones. What is fitted is a cage of fewer triangles with
a colour per vertex, in large steps (Nicolet et al., SIGGRAPH Asia 2021); the surface goes with it. Large steps round what is sharp: it is
for what is soft. The same scene gives the same surface.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dream3d import build
from dream3d.export.decimate import decimate
from dream3d.export.rays import Tree
from dream3d.export.texels import between
from dream3d.export.views import renders, sphere
from dream3d.interfaces import Group, Representation
from dream3d.optim import Adam
from dream3d.types import Cameras, Mesh

CAGE, PER_FACE = 5000, 4  # triangles at most; pixels of a picture for each
STIFFNESS = 8.0  # of the cage, see renderers/_stiff.py
VIEWS, BATCH = 48, 4
FRAME = 1.05  # of the surface's radius
STAGES = ((4, 30, 0.0, 0.1), (4, 200, 0.05, 0.02), (2, 150, 0.03, 0.02), (1, 60, 0.01, 0.02))
# how many times coarser the pictures are, steps, first rates: of vertices in radii, of colours
COARSEST = 4
LAST = 0.1  # of the first rates
OUTLINE = 0.06  # weight of the squared error of alpha beside that of colours
OPAQUE = 0.5  # less alpha than this is air


@dataclass(frozen=True)
class Pictures:
    """What the scene shows: colours, not premultiplied, and where it is more than half opaque."""

    cameras: Cameras
    rgb: Float[Tensor, "B H W 3"]
    there: Float[Tensor, "B H W 1"]


def fitted(mesh: Mesh, scene: Representation, *, size: int = 256, progress: Callable[[int, int], None] = lambda done, of: None) -> Mesh:
    """The mesh with its vertices where it looks most like the scene, in pictures of `size` pixels a side; faces stay. `progress` hears
    before each step how many are done, and of how many."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a cage may have more faces
        cage = decimate(mesh, min(CAGE, size * size // PER_FACE))
    radius, rng = float(cage.vertices.norm(dim=-1).max()), torch.Generator().manual_seed(0)
    doll = build.make("renderers", {"type": "mesh", "stiffness": STIFFNESS, "remesh_every": 0.0, "smooth": False}, torch.Generator())
    doll.init_from(Mesh(cage.vertices, cage.faces))
    before = doll.vertices().detach()
    cameras = sphere(VIEWS, radius=FRAME * radius, size=max(size // COARSEST, 1) * COARSEST)
    seen = [torch.cat([render.rgb, render.alpha], -1) for _, render in renders(scene, cameras)]
    shown = {coarser: _pictures(cameras, torch.cat(seen), coarser) for coarser, *_ in STAGES}
    done, total = 0, sum(steps for _, steps, *_ in STAGES)
    for stage in STAGES:
        for index in _learn(doll, shown[stage[0]], stage, radius, rng):
            progress(done + index, total)
        done += stage[1]
    moved = doll.vertices().detach() - before
    face, weights = Tree(cage).nearest(mesh.vertices)
    return dataclasses.replace(mesh, vertices=mesh.vertices + between(moved, cage.faces, face, weights))


def _pictures(cameras: Cameras, seen: Float[Tensor, "B H W 4"], coarser: int) -> Pictures:
    mean = F.avg_pool2d(seen.movedim(-1, 1), coarser).movedim(1, -1)
    rgb, alpha = mean.split([3, 1], -1)
    return Pictures(cameras.sized(*alpha.shape[1:3]), (rgb / alpha.clamp(min=1e-3)).clamp(0, 1), (alpha > OPAQUE).float())


def _learn(
    doll: Representation, pictures: Pictures, stage: tuple[int, int, float, float], radius: float, rng: torch.Generator
) -> Iterator[int]:
    """Each step of a stage, as it begins."""
    _, steps, rate, paint = stage
    optimizer = Adam()
    for index, views in enumerate(_turns(steps, rng)):
        yield index
        left = 1 - (1 - LAST) * index / steps
        shape = [Group("vertices", doll.u, left * rate * radius)] if rate else []
        with torch.enable_grad():
            _error(doll, pictures, views).backward()
        optimizer.step(shape + doll.look.groups(left * paint))
        doll.zero_grad()


def _turns(steps: int, rng: torch.Generator) -> Iterator[Int[Tensor, " n"]]:
    """Views of each step: all of them once before any again."""
    order = torch.cat([torch.randperm(VIEWS, generator=rng) for _ in range(-(-steps * BATCH // VIEWS))])
    return iter(order[: steps * BATCH].split(BATCH))


def _error(doll: Representation, pictures: Pictures, views: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    drawn, rgb, there = doll.render(pictures.cameras.at(views)), pictures.rgb[views], pictures.there[views]
    colours = ((drawn.rgb - rgb * drawn.alpha).square() * there).sum()
    return colours + OUTLINE * (drawn.alpha - there).square().sum()
