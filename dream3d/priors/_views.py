"""Groups of views as multi-view models know them."""

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.types import Cameras

OWN = {"MultiViewUNetModel": "dream3d.priors._mvunet.MultiViewUNet"}  # what published folders bring code for
VIEWS = 4  # that the published models were trained on, 90 degrees apart


def poses(cameras: Cameras) -> Float[Tensor, "B 16"]:
    """Camera to world as MVDream's code writes it, row by row. Its world is ours (z up, azimuth 0 on -y, growing towards +x), its camera
    axes are OpenGL's (x right, y up, z backward), and every camera is moved to the unit sphere."""
    made = cameras.to_world.float().clone()
    made[:, :3, 1:3] *= -1
    made[:, :3, 3] = torch.nn.functional.normalize(made[:, :3, 3], dim=-1)
    return made.flatten(1)


def check(t: Float[Tensor, " B"], cameras: Cameras | None) -> None:
    """Raises Mistake where rows are not whole groups of views of one t each."""
    fix = f"cameras={{type: orthogonal, views: {VIEWS}, batch: {VIEWS}}}"
    together = VIEWS if cameras is None else cameras.views * cameras.frames
    if len(t) % VIEWS or together != VIEWS or (cameras is not None and cameras.views != VIEWS):
        problem = f"this prior answers for {VIEWS} views together, but there are {together if len(t) % VIEWS == 0 else len(t)}"
        raise Mistake(problem, where="cameras", fix=fix)
    levels = t.unflatten(0, (-1, VIEWS))
    if not torch.equal(levels, levels[:, :1].expand_as(levels)):
        raise Mistake("the views of a group share one t", where="cameras", fix=fix)
