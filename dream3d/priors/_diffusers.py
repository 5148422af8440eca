"""What every model read through diffusers shares: text that is embedded once, one network whose answers become eps, an autoencoder, a
student. A family's own file says which pipelines it reads, how its texts are embedded and how its network is called."""

from abc import abstractmethod
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dream3d import models
from dream3d.errors import Mistake
from dream3d.interfaces import Prior
from dream3d.priors import _hub, _texts
from dream3d.priors._latent import Autoencoder
from dream3d.priors._lora import Student
from dream3d.priors._network import Table
from dream3d.priors._pipeline import Source, dtype
from dream3d.toybox.language import plainly
from dream3d.types import Cameras, Embedding, Render

MOST = 1 << 16  # tokens of a text
READERS = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3")


def opened(
    model: str, family: str, classes: tuple[str, ...], precision: str, config: str | None = None, own: dict[str, str] | None = None
) -> Source:
    """The components of a model that was named by folder, file, alias or hub's name; `own` as Source says."""
    layout = None if config is None else _hub.locate(config, family, "prior.config").path
    return Source(_hub.locate(model, family).path, classes, dtype(precision), layout, own, model)


class Diffusers(Prior):
    """`source`, `table`, `net` and, for latent models, `vae` are set by the family's constructor; `time` names the module of the network
    that a student's camera is added to."""

    remembers, embeds = False, True
    texts: _texts.Texts | None = None  # None: in the user's folder
    encoder: str = ""  # what its texts are embedded with, once it is known
    source: Source
    table: Table
    net: nn.Module
    vae: Autoencoder | None
    time: str = "time_embedding"
    readers: tuple[str, ...] = READERS  # components that a text is embedded with
    adapters: object = ""  # what else changes the meaning of a text
    learnt: tuple[str | None, ...] = ()  # files that do, by name

    @property
    def about(self) -> str:
        return f"{self.source.name}, {str(self.source.dtype).removeprefix('torch.')}"

    @abstractmethod
    def _embed(self, prompts: list[str]) -> Embedding:
        """Load the text encoders, ask them, forget them."""

    def inputs(self, x: Float[Tensor, "B C h w"], text: Embedding, cameras: Cameras | None, render: Render | None) -> dict:
        """What a U-Net is told besides x and t, by the names of its arguments."""
        return {"encoder_hidden_states": text.tokens.to(x.dtype)}

    def answer(
        self,
        net: nn.Module,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """eps by this prior's network, or by a student's of the same shape; float32. Here for a U-Net, whose further channels (a learnt
        variance) are left out."""
        low = x.to(next(net.parameters()).dtype)
        out = net(low, self.table.index(t), **self.inputs(low, text, cameras, render)).sample
        return self.table.to_eps(out[:, : x.shape[1]].float(), x.float(), t)

    def text(self, prompts: list[str]) -> Embedding:
        """One row per prompt, from disk where it was embedded before. Longer prompts than the encoder reads are cut by its tokenizer. What
        was trained on the toybox hears the world's plainest words for the same wish; raises Mistake for what the world does not know."""
        if models.words(self.source.path) and not any(self.learnt):
            prompts = [plainly(prompt) for prompt in prompts]
        self.encoder = self.encoder or self._fingerprint()
        texts = self.texts or _texts.Texts(_texts.folder())
        return texts.embedded(prompts, self.encoder, self._embed, self.source.held()).to(self.table.device)

    def _fingerprint(self) -> str:
        """Of all that reads texts."""
        readers = [path for path in self.source.files(*self.readers) if Path(path).exists()]
        readers += [path for name in self.learnt if name is not None and (path := models.local(name)) is not None]
        return _texts.fingerprint(*readers, told=(type(self).__name__, str(self.source.dtype), self.adapters))

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

    def student(self, *, rank: int = 4) -> nn.Module:
        """Low-rank adapters on every attention projection, and the camera where a class would be told."""
        return Student(self, self.net, rank=rank, time=self.time)

    def encode(self, image: Float[Tensor, "B H W K"]) -> Float[Tensor, "B C h w"]:
        return super().encode(image) if self.vae is None else self.vae.encode(image)

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W K"]:
        return super().decode(x) if self.vae is None else self.vae.decode(x)


def clip_tokens(source: Source, prompts: list[str]) -> Embedding:
    """The last hidden states of one CLIP text encoder."""
    with torch.no_grad():
        return Embedding(source.get("text_encoder")(tokens(source.get("tokenizer"), prompts)[0])[0].float())


def tokens(tokenizer, prompts: list[str], length: int | None = None):
    """ids and mask as tensors, padded and cut to what the encoder reads."""
    if (length := length or tokenizer.model_max_length) > MOST:  # what transformers takes where nothing is told
        raise Mistake("the tokenizer does not tell how long a text may be", where=f"{tokenizer.name_or_path}/tokenizer_config.json",
                      near="model_max_length: 77", fix="fetch the model again", code=3)  # fmt: skip
    told = tokenizer(prompts, padding="max_length", max_length=length, truncation=True)
    return torch.tensor(told.input_ids), torch.tensor(told.attention_mask)
