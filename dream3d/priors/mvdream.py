"""MVDream (Shi et al. 2023, arXiv:2308.16512): Stable Diffusion 2.1 whose four views, 90 degrees apart, are denoised together and each
know their camera. Reads the public folders in diffusers' layout with a U-Net of our own (_mvunet.py); no code of theirs is run.

Cameras are told as the authors' code tells them (_views.py). Without cameras no embedding of them is added, as in the share of their
training that was on single pictures: the views are joined still, but the network does not know from where they look."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from dream3d.claims import offered
from dream3d.errors import Mistake
from dream3d.interfaces import Prior, Spec, freeze
from dream3d.priors import _views
from dream3d.priors._diffusers import Diffusers, clip_tokens, opened
from dream3d.priors._latent import Autoencoder
from dream3d.priors._network import Knobs, Table, prepared
from dream3d.schedule import Count, Precision
from dream3d.types import Cameras, Embedding, Render


class MVDream(Diffusers, Prior):
    """As stable_diffusion."""

    offers: ClassVar[dict[str, str]] = {"student": "True", "camera": "True", "views": "True"}
    time = "time_embed"

    def __init__(
        self,
        *,
        model: str = "mvdream",
        size: Count | None = None,
        precision: Precision = "auto",
        tiny: str | None = None,
        slicing: bool = False,
        channels_last: bool = False,
        compile: bool = False,
    ):
        super().__init__()
        self.source = opened(model, "mvdream", ("MVDreamPipeline",), precision, own=_views.OWN)
        self.table = Table(self.source.get("scheduler"))
        self.net = prepared(self.source.get("unet"), Knobs(channels_last, compile))
        if self.net.config.ip_dim:
            raise Mistake("this network also listens to a picture", where="prior.model", fix="prior.type=imagedream", code=3)
        self.vae = Autoencoder.read(self.source, size, self.net.config.image_size, tiny, slicing)
        self.spec = Spec(self.vae.size, self.vae.channels, "latent", views=_views.VIEWS, capabilities=offered(self.offers, {}),
                         factor=self.vae.factor)  # fmt: skip
        freeze(self)

    def _embed(self, prompts: list[str]) -> Embedding:
        return clip_tokens(self.source, prompts)

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
