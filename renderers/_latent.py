"""Latents as colours and back: linearly (Latent-NeRF, Metzer et al., arXiv:2211.07600)."""

import torch
import torch.nn.functional as F
from dream3d.renderers._backends.unit import unit
from jaxtyping import Float
from torch import Tensor

LATENT_RGB = ((0.298, 0.207, 0.208), (0.187, 0.286, 0.173), (-0.158, 0.189, 0.264), (-0.184, -0.271, -0.473))  # Latent-NeRF's


def shown(
    features: Float[Tensor, "*n K"], decoder: Float[Tensor, "K 3"] | None = None, alpha: Float[Tensor, "*n 1"] | float = 1.0
) -> Float[Tensor, "*n 3"]:
    """Latents as colours, by `decoder` or the usual map; other than four channels: the first three. What is premultiplied stays so."""
    if features.shape[-1] != 4:
        return unit(F.pad(features[..., :3], (0, max(3 - features.shape[-1], 0))))
    return unit(features @ (features.new_tensor(LATENT_RGB) if decoder is None else decoder) / 2 + alpha / 2)


def latents(rgb: Float[Tensor, "n 3"], channels: int, decoder: Float[Tensor, "4 3"] | None = None) -> Float[Tensor, "n K"]:
    """The smallest latents that are shown as these colours."""
    if channels == 4:
        return (2 * rgb - 1) @ torch.linalg.pinv(rgb.new_tensor(LATENT_RGB) if decoder is None else decoder)
    return F.pad(rgb, (0, max(channels - 3, 0)))[:, :channels]
