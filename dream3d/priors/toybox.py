"""Priors trained on the toybox: small transformers in pixel space (PixArt-alpha's, Chen et al. 2023,
arXiv:2310.00426), read from pipeline folders of diffusers. `python -m dream3d.toybox.train` makes them; docs/trained-priors.md has their
numbers."""

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.claims import offered
from dream3d.interfaces import Prior, Spec, freeze
from dream3d.priors._diffusers import Diffusers, opened
from dream3d.priors._network import Knobs, Table, prepared
from dream3d.schedule import Precision
from dream3d.toybox.language import captions, parse
from dream3d.types import Cameras, Embedding, Render


class Toybox(Diffusers, Prior):
    """model: one of assets/, or a folder that the training wrote; unknown: what to do with words outside the vocabulary; precision: of the
    network; compile: a compiled network (CUDA). Prompts are heard as the world understands them, in its plainest words."""

    vocabulary: ClassVar[str] = "dream3d.toybox.language"
    weights: ClassVar[str] = "toybox-32"
    offers: ClassVar[dict[str, str]] = {"student": "True"}
    embeds = False
    time = "adaln_single.emb.timestep_embedder"

    def __init__(
        self, *, model: str = "toybox-32", unknown: Literal["stop", "ignore"] = "stop", precision: Precision = "auto", compile: bool = False
    ):
        super().__init__()
        self.source, self.unknown, self.vae = opened(model, "toybox", ("PixArtAlphaPipeline",), precision), unknown, None
        self.table, self.tokenizer = Table(self.source.get("scheduler")), self.source.get("tokenizer")
        self.reader, self.net = self.source.get("text_encoder"), prepared(self.source.get("transformer"), Knobs(compile=compile))
        self.spec = Spec(self.net.config.sample_size, self.net.config.in_channels, capabilities=offered(self.offers, {}))
        freeze(self)

    def text(self, prompts: list[str]) -> Embedding:
        """The encoder is small: nothing is kept on disk. Raises Mistake for words the toybox does not know."""
        wishes = [replace(parse(prompt, unknown=self.unknown), motion=None) for prompt in prompts]  # of motions it was told nothing
        return self._embed([captions(wish, wish.view)[0] for wish in wishes])

    def _embed(self, prompts: list[str]) -> Embedding:
        told = self.tokenizer(prompts, padding="max_length", truncation=True)
        ids, mask = (torch.tensor(v, device=self.reader.device) for v in (told.input_ids, told.attention_mask))
        with torch.no_grad():
            return Embedding(self.reader(ids).last_hidden_state.float(), mask.bool())

    def answer(
        self,
        net: nn.Module,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """eps by this prior's network, or by a student's of the same shape; float32."""
        low = x.to(next(net.parameters()).dtype)
        out = net(low, encoder_hidden_states=text.tokens.to(low), timestep=self.table.index(t), encoder_attention_mask=text.mask,
                  added_cond_kwargs={"resolution": None, "aspect_ratio": None}).sample  # fmt: skip
        return self.table.to_eps(out.float(), x.float(), t)
