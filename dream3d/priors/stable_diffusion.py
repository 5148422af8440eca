"""Stable Diffusion 1 and 2 (Rombach et al. 2021, arXiv:2112.10752) and what is fine-tuned from it, through diffusers: eps and v
checkpoints, from a pipeline folder, a hub's name, an alias (`list models`) or one file.

What is converted here: t in (0, 1) to the index floor(t T) of the scheduler's table, v to eps, images in [0, 1] to scaled latents by the
posterior's mean, texts to the last hidden states of CLIP, kept on disk. Everything that enters and leaves `eps` is float32.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.claims import offered
from dream3d.errors import Mistake
from dream3d.interfaces import Prior, Spec, freeze
from dream3d.priors import _hub, _texts
from dream3d.priors._adapt import adapted, invert
from dream3d.priors._latent import Autoencoder
from dream3d.priors._lora import Student
from dream3d.priors._network import Knobs, Table, prepared
from dream3d.priors._pipeline import Source, dtype
from dream3d.schedule import Count, Positive, Precision
from dream3d.types import Cameras, Embedding, Render

CLASSES = ("StableDiffusionPipeline",)


class StableDiffusion(Prior):
    """model: a folder, file, alias or hub's name; config: for one file, a pipeline folder that tells how it is built; size: pixels a
    side (null: the model's own); lora, lora_scale: adapters that are merged into the weights; inversion: a learnt word, with its
    token from the file; precision: of the networks; tiny: a distilled autoencoder for the way of the gradient; slicing: views pass the
    autoencoder one by one; channels_last, compile: faster convolutions, a compiled network (CUDA)."""

    offers: ClassVar[dict[str, str]] = {"student": "True"}

    def __init__(
        self,
        *,
        model: str = "sd-2.1-base",
        config: str | None = None,
        size: Count | None = None,
        lora: str | None = None,
        lora_scale: Positive = 1.0,
        inversion: str | None = None,
        precision: Precision = "auto",
        tiny: str | None = None,
        slicing: bool = False,
        channels_last: bool = False,
        compile: bool = False,
    ):
        super().__init__()
        found = _hub.locate(model, "stable_diffusion")
        layout = None if config is None else _hub.locate(config, "stable_diffusion", "prior.config").path
        self.source = Source(found.path, CLASSES, dtype(precision), layout)
        self.lora, self.inversion = (lora, lora_scale), inversion
        self.table = Table(self.source.get("scheduler"))
        unet = adapted(self.source.get("unet"), "unet", *self.lora)
        self.net = prepared(unet, Knobs(channels_last, compile))
        self.vae = Autoencoder.read(self.source, size, unet.config.sample_size, tiny, slicing)
        _same(unet.config.in_channels, self.vae.channels, found.name)
        self.spec = Spec(self.vae.size, self.vae.channels, "latent", capabilities=offered(self.offers, {}), factor=self.vae.factor)
        freeze(self)

    # --- text ---------------------------------------------------------------------------------------------------------------

    def text(self, prompts: list[str]) -> Embedding:
        encoder = _texts.fingerprint(*self.source.files("text_encoder", "tokenizer"), told=(self.lora, self.inversion))
        return _texts.embedded(prompts, encoder, self._embed).to(self.table.device)

    def _embed(self, prompts: list[str]) -> Embedding:
        """The encoder is loaded, asked and forgotten."""
        encoder, tokenizer = self.source.get("text_encoder"), self.source.get("tokenizer")
        encoder, words = invert(adapted(encoder, "text_encoder", *self.lora), tokenizer, self.inversion)
        ids = tokenizer([words(p) for p in prompts], padding="max_length", max_length=tokenizer.model_max_length, truncation=True)
        with torch.no_grad():
            return Embedding(encoder(torch.tensor(ids.input_ids))[0].float())

    # --- the network ----------------------------------------------------------------------------------------------------------

    def alpha_sigma(self, t: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        return self.table.alpha_sigma(t)

    def eps(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        return self.answer(self.net, x, t, text, cameras, render)

    def answer(
        self,
        net: nn.Module,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """eps by this prior's network or a student's."""
        kind = net.conv_in.weight.dtype
        out = net(x.to(kind), self.table.index(t), encoder_hidden_states=text.tokens.to(kind)).sample
        return self.table.to_eps(out.float(), x.float(), t)

    def student(self, *, rank: int = 4) -> nn.Module:
        """Low-rank adapters on every attention projection, and the camera where a class would be told."""
        return Student(self, self.net, rank=rank, time="time_embedding")

    def encode(self, image: Float[Tensor, "B H W K"]) -> Float[Tensor, "B C h w"]:
        return self.vae.encode(image)

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W K"]:
        return self.vae.decode(x)


def _same(inputs: int, channels: int, name: str) -> None:
    if inputs != channels:
        fix = "prior.type=inpaint" if inputs > channels else "another folder"
        problem = f"the U-Net of {name} takes {inputs} channels, its autoencoder makes {channels}"
        raise Mistake(problem, where="prior.model", fix=fix, code=3)
