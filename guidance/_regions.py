"""Where the labelled objects of a scene are, at the size of what a prior sees."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.types import Render


def regions(render: Render, count: int, size: tuple[int, int], grow: int) -> Float[Tensor, "K B 1 h w"]:
    """Masks (0 or 1) of the `count` objects at the size of x: the object that covers most of a pixel, the background only where there
    is no object at all; then grown by `grow` pixels into the background, where they may meet. Raises Mistake where labels and
    prompts do not match."""
    if render.labels is None:
        raise Mistake("no object of this scene has a label", where="renderer", fix="renderer.halves=above (gaussians)")
    if count == 0 or render.labels.shape[-1] != count + 1:
        problem = f"{count} region prompts, but {render.labels.shape[-1] - 1} labelled objects"
        raise Mistake(problem, where="guidance.regions", fix='for two: guidance.regions="a red ball | a blue cube"')
    hard = F.one_hot(render.labels.argmax(-1), count + 1).movedim(-1, 0)[:, :, None].float()
    *objects, background = F.interpolate(hard.flatten(1, 2), size, mode="area").unflatten(1, (-1, 1))
    share = torch.stack(objects)
    empty = share.sum(0) == 0
    first = (share.argmax(0) == torch.arange(count, device=share.device).view(-1, 1, 1, 1, 1)) & ~empty
    near = F.max_pool2d(first.float().flatten(0, 1), 2 * grow + 1, 1, grow).view_as(share) > 0
    return (first | near & empty).float()
