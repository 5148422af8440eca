"""What takes a scene over looks like it: a short fit to pictures of what was handed over, after the direct conversion.

One representation is distilled into another through what both show (`_handing.py` does it for volumes through what they say at places).
The pictures are drawn once, from all around; chance comes from the number of the step alone, so that the same data end as the same scene.
The optimiser is this file's own: a stage starts with none of its moments.
"""

import math

import torch
import torch.nn.functional as F
from dream3d.renderers import _fields
from jaxtyping import Float
from torch import Tensor

from dream3d.cameras import DISTANCE, FOVY
from dream3d.export.views import sphere
from dream3d.interfaces import Representation, device_of
from dream3d.optim import Adam
from dream3d.types import Cameras, Field, Mesh, Points, Step

VIEWS, SIZE, BATCH = 24, 64, 4
FINEST, TEXTURE = 128, 512  # nodes and texels a side with which fields and textures are drawn


def settle(scene: Representation, data: Points | Mesh | Field, steps: int) -> None:
    """`steps` steps towards pictures of `data`: squared errors in colour, over random backgrounds, and in alpha. The scene is drawn as
    outside of optimisation, without chance; what it does not learn stays. Nothing is split, pruned or remeshed."""
    if steps == 0:
        return
    radius = DISTANCE * math.sin(math.radians(FOVY) / 2)  # as the cameras of the house see it
    cameras, optimizer = sphere(VIEWS, radius=radius, size=SIZE).to(device_of(scene)), Adam()
    with torch.no_grad():
        rgb, alpha = _pictures(data, cameras)
    for index in range(steps):
        now = Step.make(index, steps, 0, salt="settle")
        pick = torch.randperm(len(cameras), generator=now.rng)[:BATCH].to(rgb.device)
        behind = now.uniform(len(pick), 1, 1, 3, device=rgb.device)
        with torch.enable_grad():
            drawn = scene.render(cameras.at(pick))
            more = drawn.alpha - alpha[pick]
            loss = (drawn.rgb - rgb[pick] - more * behind).square().sum() + more.square().sum()
            (loss / len(pick)).backward()
        optimizer.step(scene.groups(now))
    scene.zero_grad()  # of what is not trained


def _pictures(data: Points | Mesh | Field, cameras: Cameras) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W 1"]]:
    """Colour, premultiplied, and alpha of what was handed over."""
    shown = _shown(data).to(cameras.device)
    parts = [shown.render(cameras.at(rows)) for rows in torch.arange(len(cameras), device=cameras.device).split(BATCH)]
    return torch.cat([part.rgb for part in parts]), torch.cat([part.alpha for part in parts])


def _shown(data: Points | Mesh | Field) -> Representation:
    """What takes such data as they are."""
    from dream3d.renderers.gaussians import Gaussians  # which settle by this file
    from dream3d.renderers.mesh import TriangleMesh
    from dream3d.renderers.voxels import Voxels

    rng = torch.Generator()
    if isinstance(data, Points):
        scene = Gaussians(rng, count=1, sh_degree=0 if data.sh is None else min(math.isqrt(data.sh.shape[1]) - 1, 3))
    elif isinstance(data, Mesh):
        textured = data.texture is not None and data.uv is not None
        scene = TriangleMesh(rng, appearance="texture" if textured else "vertex", texture=TEXTURE, stiffness=0.0)
    else:
        side = min(max(_fields.density(data).shape), FINEST)
        scene = Voxels(rng, resolution=side, samples=side, bound=data.bound, blob="none")
    scene.init_from(data)
    if isinstance(data, Field):  # what is empty need not be evaluated
        scene.density.copy_(F.adaptive_max_pool3d(_fields.density(data)[None], scene.density.shape)[0])
    return scene
