"""Stable Diffusion XL (Podell et al. 2023, arXiv:2307.01952), through diffusers: two text encoders, a pooled text, and the size of the
picture told to the network. Its autoencoder overflows in float16 and is kept in float32 there, unless the folder's own says otherwise."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.interfaces import Prior
from dream3d.priors._adapt import adapted
from dream3d.priors._diffusers import tokens
from dream3d.priors._stable import Stable
from dream3d.schedule import Count, Positive
from dream3d.types import Cameras, Embedding, Render


class SDXL(Stable, Prior):
    """As stable_diffusion; told: the size in pixels that the network is told the picture has (null: `size`)."""

    offers: ClassVar[dict[str, str]] = {"student": "True"}
    family, pipelines = "sdxl", ("StableDiffusionXLPipeline",)

    def __init__(
        self,
        *,
        model: str = "sdxl",
        config: str | None = None,
        told: Count | None = None,
        lora: str | None = None,
        lora_scale: Positive = 1.0,
        **rest,
    ):
        super().__init__(model, config, lambda net: adapted(net, "unet", lora, lora_scale), **rest)
        self.zeros = self.source.options.get("force_zeros_for_empty_prompt", True)
        self.lora, self.adapters, self.learnt = (lora, lora_scale), (lora_scale, self.zeros), (lora,)
        if self.source.dtype == torch.float16 and self.vae.vae.config.force_upcast:
            self.vae.vae.float()
        self.told = told or self.vae.pixels

    def _embed(self, prompts: list[str]) -> Embedding:
        """The hidden states before the last of both encoders side by side, and the second one's pooled text. No text is zeros, as the
        network was trained, unless the folder says otherwise."""
        rows = []
        for end in ("", "_2"):
            encoder = adapted(self.source.get(f"text_encoder{end}"), f"text_encoder{end}", *self.lora)
            with torch.no_grad():
                rows.append(encoder(tokens(self.source.get(f"tokenizer{end}"), prompts)[0], output_hidden_states=True))
        said = torch.tensor([float(prompt != "" or not self.zeros) for prompt in prompts])[:, None]
        both = torch.cat([row.hidden_states[-2].float() for row in rows], -1)
        return Embedding(both * said[..., None], pooled=rows[1][0].float() * said)

    def inputs(self, x: Float[Tensor, "B C h w"], text: Embedding, cameras: Cameras | None, render: Render | None) -> dict:
        size = torch.tensor([self.told, self.told, 0, 0, self.told, self.told], device=x.device, dtype=x.dtype).expand(len(x), 6)
        return {"encoder_hidden_states": text.tokens.to(x.dtype),
                "added_cond_kwargs": {"text_embeds": text.pooled.to(x.dtype), "time_ids": size}}  # fmt: skip

