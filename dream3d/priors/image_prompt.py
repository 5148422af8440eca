"""A picture beside the text: IP-Adapters (Ye et al. 2023, arXiv:2308.06721) over Stable Diffusion or SDXL, through diffusers: the plain
ones (a picture is four tokens) and the plus ones (it is resampled from its patches). Unconditional and negative rows hear no picture."""

import dataclasses
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.claims import offered
from dream3d.errors import Mistake
from dream3d.interfaces import Prior, freeze
from dream3d.pictures import read_picture
from dream3d.priors import _hub
from dream3d.priors._adapt import safetensors, weights
from dream3d.priors._over import Over
from dream3d.priors._pipeline import network
from dream3d.priors._sight import MEAN, STD
from dream3d.schedule import NonNegative
from dream3d.types import Cameras, Embedding, Render


class ImagePrompt(Over, Prior):
    """image: a picture (a path, or a name in assets/photos), over white; adapter: its .safetensors file; encoder: the folder of its CLIP
    vision model; strength: how loud the picture is; base, model, size and the rest: of the model it was trained for."""

    offers: ClassVar[dict[str, str]] = {"student": "True", "image": "True"}

    def __init__(
        self,
        *,
        image: str,
        adapter: str,
        encoder: str,
        strength: NonNegative = 1.0,
        **base,
    ):
        picture, path = read_picture(image, "prior.image"), safetensors(adapter, "prior.adapter")
        super().__init__(**base)
        self.plus = self._adapt(path, strength)
        pictures = torch.cat([picture[:, :3] + 1 - picture[:, 3:], torch.zeros_like(picture[:, :3])])
        self.register_buffer("seen", self._looked(pictures, encoder, self.source.dtype), persistent=False)
        self.spec = dataclasses.replace(self.base.spec, capabilities=offered(self.offers, {}))
        freeze(self)

    def _adapt(self, path, strength: float) -> bool:
        """Hang the adapter into the network; whether it is one that resamples patches."""
        parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
        for name, value in weights(path).items():
            if name.partition(".")[0] in parts:
                parts[name.partition(".")[0]][name.partition(".")[2]] = value
        if not all(parts.values()):
            raise Mistake("this file is no IP-Adapter: it has no image_proj or no ip_adapter weights", where=str(path), code=3,
                          fix="the .safetensors file of an IP-Adapter of the same family")  # fmt: skip
        try:
            self.net._load_ip_adapter_weights([parts], low_cpu_mem_usage=False)
        except (RuntimeError, KeyError, ValueError) as error:
            first = " ".join(str(error).split())[:120]
            problem = f"this IP-Adapter does not fit the model: {first}"
            raise Mistake(problem, where=str(path), fix="one of the same family", code=3) from error
        self.net.to(self.source.dtype)
        for processor in self.net.attn_processors.values():
            if hasattr(processor, "scale"):
                processor.scale = [strength]
        return "proj.weight" not in parts["image_proj"]

    @torch.no_grad()
    def _looked(self, pictures: Float[Tensor, "2 3 H W"], encoder: str, kind: torch.dtype) -> Float[Tensor, "2 M E"]:
        """The picture and an empty one, as the vision model sees them. The model is not kept."""
        from transformers import CLIPVisionModelWithProjection

        eye = network(CLIPVisionModelWithProjection, _hub.locate(encoder, "adapter", "prior.encoder").path, kind)
        side = eye.config.image_size
        x = F.interpolate(_square(pictures), (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        x = (x - x.new_tensor(MEAN)[:, None, None]) / x.new_tensor(STD)[:, None, None]
        x[1] = 0  # as diffusers' pipelines do, after normalisation
        seen = eye(x.to(kind), output_hidden_states=True)
        if self.plus:
            return seen.hidden_states[-2].float()
        whole = seen.image_embeds[:1, None].float()
        return torch.cat([whole, torch.zeros_like(whole)])

    def text(self, prompts: list[str]) -> Embedding:
        """Every prompt with the picture beside it."""
        rows = super().text(prompts)
        return Embedding(rows.tokens, rows.mask, rows.pooled, self.seen[:1].repeat(len(prompts), 1, 1))

    def answer(
        self,
        net: nn.Module,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        low = x.to(self.source.dtype)
        inputs = self.inputs(low, text, cameras, render)
        none = (text.image == 0).flatten(1).all(1)[:, None, None]
        picture = torch.where(none, self.seen[1:], text.image).to(low)
        more = inputs.pop("added_cond_kwargs", {}) | {"image_embeds": [picture[:, None] if self.plus else picture]}
        out = net(low, self.table.index(t), **inputs, added_cond_kwargs=more).sample
        return self.table.to_eps(out.float(), x.float(), t)


def _square(picture: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 S S"]:
    """The middle square, as CLIP's own preparation crops."""
    side = min(picture.shape[-2:])
    top, left = ((size - side) // 2 for size in picture.shape[-2:])
    return picture[..., top : top + side, left : left + side]
