"""DeepFloyd IF's first stage (Saharia et al. 2022, arXiv:2205.11487, is its model), through diffusers: pixels, no autoencoder, so that the
gradient's way is short. Its network also predicts a variance, which is left out; texts go through T5, once."""

from typing import ClassVar

import torch

from dream3d.claims import offered
from dream3d.interfaces import Prior, Spec, freeze
from dream3d.priors._diffusers import Diffusers, opened, tokens
from dream3d.priors._network import Knobs, Table, prepared
from dream3d.schedule import Count, Precision
from dream3d.types import Embedding


class DeepFloyd(Diffusers, Prior):
    """As stable_diffusion; tokens: how many of a prompt T5 reads."""

    offers: ClassVar[dict[str, str]] = {"student": "True"}

    def __init__(
        self,
        *,
        model: str = "deepfloyd-if-xl",
        size: Count | None = None,
        tokens: Count = 77,
        precision: Precision = "auto",
        channels_last: bool = False,
        compile: bool = False,
    ):
        super().__init__()
        self.source, self.length = opened(model, "deepfloyd", ("IFPipeline",), precision), tokens
        self.adapters, self.vae = tokens, None
        self.table = Table(self.source.get("scheduler"))
        self.net = prepared(self.source.get("unet"), Knobs(channels_last, compile))
        config = self.net.config
        self.spec = Spec(size or config.sample_size, config.in_channels, capabilities=offered(self.offers, {}))
        freeze(self)

    def _embed(self, prompts: list[str]) -> Embedding:
        """As the authors' code, lower case and without blanks at the ends."""
        ids, mask = tokens(self.source.get("tokenizer"), [p.lower().strip() for p in prompts], self.length)
        with torch.no_grad():
            return Embedding(self.source.get("text_encoder")(ids, attention_mask=mask)[0].float(), mask.bool())

