"""ImageDream (Wang and Shi 2023, arXiv:2312.02201): MVDream that also sees a picture of the object from the front, its "pixel" kind: the
picture's patches are heard beside the text, and its latent joins self-attention as a fifth frame without noise. Reads the public folders
in diffusers' layout with a U-Net of our own (_mvunet.py); no code of theirs is run.

The picture lies on white, so renders should too (background: {type: solid, ...}). Unconditional and negative rows see no picture: zeros
for its patches and its latent, as in the authors' code. Latents are the posterior's mean where theirs are drawn."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.interfaces import Prior
from dream3d.priors import _sight, _views
from dream3d.priors._stable import Stable
from dream3d.types import Cameras, Embedding, Render


class ImageDream(Stable, Prior):
    """image: a picture (a path, or a name in assets/photos) of the object as a camera at azimuth 0 sees it, over white; the rest as
    stable_diffusion."""

    offers: ClassVar[dict[str, str]] = {"student": "True", "camera": "True", "views": "True", "image": "True"}
    family, pipelines, own = "imagedream", ("MVDreamPipeline",), _views.OWN
    views, background, time = _views.VIEWS, (1.0, 1.0, 1.0), "time_embed"

    def __init__(self, *, image: str, model: str = "imagedream", **rest):
        picture = _sight.on_white(image, "prior.image")
        super().__init__(model, **rest)
        self.picture = picture
        with torch.no_grad():
            self.register_buffer("latent", self.vae.encode(self.picture), persistent=False)

    def _fits(self) -> None:
        if not self.net.config.ip_dim:
            raise Mistake("this network listens to no picture", where="prior.model", fix="prior.type=mvdream", code=3)

    def text(self, prompts: list[str]) -> Embedding:
        """Every prompt with the picture's patches beside it."""
        rows, seen = super().text(prompts), _sight.looked(self.source, self.picture)
        if seen.shape[-1] != (width := self.net.config.ip_width):
            problem = f"the vision model answers in {seen.shape[-1]} numbers, the U-Net hears {width}"
            raise Mistake(problem, where=str(self.source.path), fix="fetch the model again", code=3)
        return Embedding(rows.tokens, rows.mask, rows.pooled, seen.repeat(len(prompts), 1, 1).to(rows.tokens.device))

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
        low, seen = x.to(self.source.dtype), text.image[:: _views.VIEWS]
        shown = (seen != 0).flatten(1).any(1)[:, None, None, None]
        picture = seen.to(low.dtype), (self.latent * shown).to(low.dtype)
        camera = None if cameras is None else _views.poses(cameras)
        out = net(low, self.table.index(t), text.tokens.to(low.dtype), _views.VIEWS, camera, picture)
        return self.table.to_eps(out.float(), x.float(), t)
