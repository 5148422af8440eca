"""What the vision model of a pipeline sees in a picture: asked once, kept on disk as texts are, and not kept in memory."""

import hashlib

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dream3d.pictures import read_picture
from dream3d.priors import _texts
from dream3d.priors._pipeline import Source
from dream3d.types import Embedding

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP's pictures


def on_white(name: str, where: str) -> Float[Tensor, "1 S S 3"]:
    """A picture over white, widened to a square, in [0, 1]. Raises Mistake as read_picture does."""
    picture = read_picture(name, where)
    image = picture[:, :3] + 1 - picture[:, 3:]
    high, wide = (max(image.shape[-2:]) - side for side in image.shape[-2:])
    return F.pad(image, (wide // 2, wide - wide // 2, high // 2, high - high // 2), value=1.0).movedim(1, -1)


def digest(image: Float[Tensor, "1 S S 3"]) -> str:
    """What tells a picture from others."""
    return hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()


def looked(source: Source, image: Float[Tensor, "1 S S 3"]) -> Float[Tensor, "1 M E"]:
    """The hidden states before the last of all patches, from disk where they were made before."""
    files = [path for path in source.files("image_encoder") if path.exists()]
    encoder = _texts.fingerprint(*files, told=("picture", str(source.dtype), digest(image)))
    return _texts.embedded([""], encoder, lambda _: Embedding(look(source, image, tokens=True))).tokens


@torch.no_grad()
def look(source: Source, image: Float[Tensor, "1 S S 3"], *, tokens: bool) -> Float[Tensor, "1 M E"]:
    """The hidden states before the last of all patches, or the one projected embedding of the whole picture."""
    eye = source.get("image_encoder")
    side = eye.config.image_size
    x = F.interpolate(image.movedim(-1, 1), (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    x = (x - x.new_tensor(MEAN)[:, None, None]) / x.new_tensor(STD)[:, None, None]
    seen = eye(x.to(source.dtype), output_hidden_states=tokens)
    return seen.hidden_states[-2].float() if tokens else seen.image_embeds[:, None].float()
