"""Rectified flows (Liu et al. 2022, arXiv:2209.03003; Esser et al. 2024, arXiv:2403.03206), through diffusers: SD 3, Z-Image and
FLUX.2-klein-base class models. alpha = 1 - t, sigma = t; the velocity eps - x0 becomes eps here, so no formula knows the difference.

Distilled models (turbo, schnell, guidance-distilled) load too, but are poor teachers: they have no score at most noise levels.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.claims import offered
from dream3d.interfaces import Prior, Spec, freeze
from dream3d.priors._diffusers import Diffusers, opened
from dream3d.priors._flows import KINDS
from dream3d.priors._network import Knobs, Line, prepared
from dream3d.schedule import Count, Precision
from dream3d.types import Cameras, Embedding, Render


class Flow(Diffusers, Prior):
    """model, size, precision, tiny, slicing, compile: as in stable_diffusion; tokens: how many of a prompt the longest encoder reads
    (null: as many as the model's own pipeline; FLUX.2 hears the empty ones, too)."""

    offers: ClassVar[dict[str, str]] = {"student": "True"}

    def __init__(
        self,
        *,
        model: str = "sd-3.5-medium",
        size: Count | None = None,
        tokens: Count | None = None,
        precision: Precision = "auto",
        tiny: str | None = None,
        slicing: bool = False,
        compile: bool = False,
    ):
        super().__init__()
        self.source = opened(model, "flow", tuple(KINDS), precision)
        self.kind = KINDS[self.source.pipeline]
        self.length = tokens or self.kind.length
        self.adapters, self.time = (self.source.pipeline, self.length), self.kind.time
        self.table = Line()
        self.net = prepared(self.source.get("transformer"), Knobs(compile=compile))
        self.vae = self.kind.autoencoder.read(self.source, size, self.kind.side(self.net), tiny, slicing)
        can, factor = offered(self.offers, {}), self.vae.factor
        self.spec = Spec(self.vae.size, self.vae.channels, "latent", flow=True, capabilities=can, factor=factor)
        freeze(self)

    def _embed(self, prompts: list[str]) -> Embedding:
        """As the model's own pipeline embeds them, which asks the network how wide a text is that no encoder reads."""
        import diffusers

        cls, parts = getattr(diffusers, self.source.pipeline), {**dict.fromkeys(self.kind.parts), "transformer": self.net}
        readers = {name: self.source.get(name) for name in self.source.listed if name in parts and name.startswith(("text", "token"))}
        with torch.no_grad():
            return self.kind.embed(cls(**parts | readers), prompts, self.length)

    def answer(
        self,
        net: nn.Module,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        dtype = next(p.dtype for p in self.net.parameters())
        velocity = self.kind.velocity(net, x.to(dtype), t, text)
        return self.table.to_eps(velocity.float(), x.float(), t)
