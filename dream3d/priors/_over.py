"""What stands over a model of the Stable Diffusion family and adds to it: a model whose parts are those of its base."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from dream3d import build
from dream3d.priors._diffusers import Diffusers
from dream3d.priors._latent import Autoencoder
from dream3d.priors._network import Table
from dream3d.priors._pipeline import Source
from dream3d.schedule import Count, Precision
from dream3d.types import Cameras, Embedding, Render


class Over(Diffusers):
    """base: what it was trained on; model, size, lora and the rest: of that (null: as there). `answer` is what a kind adds."""

    def __init__(
        self,
        *,
        base: Literal["stable_diffusion", "sdxl"] = "stable_diffusion",
        model: str | None = None,
        size: Count | None = None,
        lora: str | None = None,
        precision: Precision = "auto",
        tiny: str | None = None,
        slicing: bool = False,
    ):
        super().__init__()
        told = {"model": model, "size": size, "lora": lora, "precision": precision, "tiny": tiny, "slicing": slicing}
        self.base: Diffusers = build.make("priors", {"type": base, **{k: v for k, v in told.items() if v is not None}})

    @property
    def source(self) -> Source:
        return self.base.source

    @property
    def table(self) -> Table:
        return self.base.table

    @property
    def net(self):
        return self.base.net

    @property
    def vae(self) -> Autoencoder:
        return self.base.vae

    def text(self, prompts: list[str]) -> Embedding:
        return self.base.text(prompts)

    def _embed(self, prompts: list[str]) -> Embedding:
        return self.base._embed(prompts)

    def inputs(self, x: Float[Tensor, "B C h w"], text: Embedding, cameras: Cameras | None, render: Render | None) -> dict:
        return self.base.inputs(x, text, cameras, render)
