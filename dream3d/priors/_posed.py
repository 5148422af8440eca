"""How Zero-1-to-3 mixes a picture's embedding with a pose: one linear layer, which public folders call by two names."""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn


class CCProjection(ModelMixin, ConfigMixin):
    """As the pipeline in diffusers' examples calls it."""

    @register_to_config
    def __init__(self, in_channel: int = 772, out_channel: int = 768):
        super().__init__()
        self.projection = nn.Linear(in_channel, out_channel)

    def forward(self, seen: Float[Tensor, "B 1 E"], pose: Float[Tensor, "B 1 4"]) -> Float[Tensor, "B 1 D"]:
        return self.projection(torch.cat([seen, pose], -1))


class CLIPCameraProjection(ModelMixin, ConfigMixin):
    """As threestudio's folders call it."""

    @register_to_config
    def __init__(self, embedding_dim: int = 768, additional_embeddings: int = 4):
        super().__init__()
        self.proj = nn.Linear(embedding_dim + additional_embeddings, embedding_dim)

    def forward(self, seen: Float[Tensor, "B 1 E"], pose: Float[Tensor, "B 1 4"]) -> Float[Tensor, "B 1 D"]:
        return self.proj(torch.cat([seen, pose], -1))
