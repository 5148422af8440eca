"""MVDream (Shi et al. 2023, arXiv:2308.16512): Stable Diffusion 2.1 whose four views, 90 degrees apart, are denoised together and each
know their camera. Reads the public folders in diffusers' layout with a U-Net of our own (_mvunet.py); no code of theirs is run.

Cameras are told as the authors' code tells them (_views.py). Without cameras no embedding of them is added, as in the share of their
training that was on single pictures: the views are joined still, but the network does not know from where they look."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.interfaces import Prior
from dream3d.priors import _views
from dream3d.priors._stable import Stable
from dream3d.types import Cameras, Embedding, Render


class MVDream(Stable, Prior):
    """As stable_diffusion."""

    offers: ClassVar[dict[str, str]] = {"student": "True", "camera": "True", "views": "True"}
    family, pipelines, own = "mvdream", ("MVDreamPipeline",), _views.OWN
    views, time = _views.VIEWS, "time_embed"

    def __init__(self, *, model: str = "mvdream", **rest):
        super().__init__(model, **rest)

    def _fits(self) -> None:
        if self.net.config.ip_dim:
            raise Mistake("this network also listens to a picture", where="prior.model", fix="prior.type=imagedream", code=3)

    def answer(
        self,
        net: nn.Module,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """Rows are whole groups of four views, views fastest. Raises Mistake where they are not."""
        _views.check(t, cameras)
        low = x.to(self.source.dtype)
        camera = None if cameras is None else _views.poses(cameras)
        out = net(low, self.table.index(t), text.tokens.to(low.dtype), _views.VIEWS, camera)
        return self.table.to_eps(out.float(), x.float(), t)
