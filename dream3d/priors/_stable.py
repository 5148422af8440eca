"""What has the make of Stable Diffusion: CLIP's texts, a U-Net with DDPM's noise and an autoencoder."""

from collections.abc import Callable

from torch import nn

from dream3d.claims import offered
from dream3d.interfaces import Spec, freeze
from dream3d.priors._diffusers import Diffusers, clip_tokens, opened
from dream3d.priors._latent import Autoencoder
from dream3d.priors._network import Knobs, Table, prepared
from dream3d.schedule import Count, Precision
from dream3d.types import Embedding


class Stable(Diffusers):
    """`family` and `pipelines` say which models a kind reads, `own` where networks of ours stand in for code that folders bring; its Spec
    has these `views` and this `background`. `change` is done to the network that was read; `_fits` may refuse it."""

    family: str
    pipelines: tuple[str, ...]
    own: dict[str, str] | None = None
    views: int = 1
    background: tuple[float, float, float] | None = None

    def __init__(
        self,
        model: str,
        config: str | None = None,
        change: Callable[[nn.Module], nn.Module] = lambda net: net,
        *,
        size: Count | None = None,
        precision: Precision = "auto",
        tiny: str | None = None,
        slicing: bool = False,
        channels_last: bool = False,
        compile: bool = False,
    ):
        super().__init__()
        self.source = opened(model, self.family, self.pipelines, precision, config, self.own)
        self.table = Table(self.source.get("scheduler"))
        self.net = prepared(change(self.source.get("unet")), Knobs(channels_last, compile))
        told = self.net.config
        self.vae = Autoencoder.read(self.source, size, told.get("sample_size", told.get("image_size")), tiny, slicing)
        self._fits()
        self.spec = Spec(self.vae.size, self.vae.channels, "latent", views=self.views, background=self.background,
                         capabilities=offered(self.offers, {}), factor=self.vae.factor)  # fmt: skip
        freeze(self)

    def _fits(self) -> None:
        """Raise Mistake where this network is another kind's."""

    def _embed(self, prompts: list[str]) -> Embedding:
        return clip_tokens(self.source, prompts)
