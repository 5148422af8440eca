"""Zero-1-to-3 (Liu et al. 2023, arXiv:2303.11328) and Stable Zero123: what a pictured object looks like from another side. Reads the
public folders in diffusers' layout: a U-Net of 8 channels, CLIP's vision model, and a linear layer that mixes its answer with the pose.

The pose is (picture's elevation - view's, sine and cosine of the azimuth from the picture's to the view's, view's distance - picture's),
in radians; Stable Zero123's last number is the picture's angle from the zenith instead. The picture's latent beside x is the posterior's
mean, not scaled, as in the authors' code. Unconditional and negative rows: zeros for both. It hears no words: prompts only name a run."""

import math
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.interfaces import Prior, freeze
from dream3d.priors import _sight
from dream3d.priors._stable import Stable
from dream3d.schedule import Angle, Count, Elevation, Positive
from dream3d.types import Cameras, Embedding, Render

OWN = {kind: f"dream3d.priors._posed.{kind}" for kind in ("CCProjection", "CLIPCameraProjection")}  # what folders bring code for


class Zero123(Stable, Prior):
    """image: a picture (a path, or a name in assets/photos), over white; azimuth, elevation: degrees from where it was taken; distance:
    metres (null: from as far as each view); stable: whether this is Stable Zero123 (null: if the model's name says so); the rest as
    stable_diffusion."""

    offers: ClassVar[dict[str, str]] = {"student": "True", "camera": "True", "image": "True"}
    family, pipelines, own = "zero123", ("Zero1to3StableDiffusionPipeline", "Zero123Pipeline"), OWN
    background, readers = (1.0, 1.0, 1.0), ("image_encoder",)

    def __init__(
        self,
        *,
        image: str,
        azimuth: Angle = 0.0,
        elevation: Elevation = 0.0,
        distance: Positive | None = None,
        stable: bool | None = None,
        model: str = "zero123-xl",
        size: Count = 256,
        **rest,
    ):
        picture = _sight.on_white(image, "prior.image")
        super().__init__(model, size=size, **rest)
        self.picture, self.distance = picture, distance
        self.stable = "stable" in Path(model).name.lower() if stable is None else stable
        self.adapters = _sight.digest(self.picture)
        self.azimuth, self.elevation = math.radians(azimuth), math.radians(elevation)
        self.posed = self.source.get("cc_projection" if "cc_projection" in self.source.listed else "clip_camera_projection")
        freeze(self.posed)
        with torch.no_grad():
            latent = self.vae.from_x(self.vae.encode(self.picture))
        self.register_buffer("latent", latent, persistent=False)

    def _fits(self) -> None:
        if (given := self.net.config.in_channels) != 2 * self.vae.channels:
            problem = f"a U-Net that sees a picture beside x takes {2 * self.vae.channels} channels, this one {given}"
            raise Mistake(problem, where="prior.model", fix="prior.type=stable_diffusion, or another folder", code=3)

    def _embed(self, prompts: list[str]) -> Embedding:
        """The picture, whatever is said."""
        seen = _sight.look(self.source, self.picture, tokens=False).repeat(len(prompts), 1, 1)
        return Embedding(torch.zeros_like(seen), image=seen)

    def pose(self, cameras: Cameras | None, count: int) -> Float[Tensor, "B 4"]:
        """What the network is told of `count` views; without cameras, that they are the picture's own."""
        none = torch.zeros(count, device=self.latent.device)
        turn, rise = (none, none) if cameras is None else (cameras.azimuth - self.azimuth, self.elevation - cameras.elevation)
        away = none if cameras is None or self.distance is None else cameras.centre.norm(dim=-1) - self.distance
        last = torch.full_like(none, math.pi / 2 - self.elevation) if self.stable else away
        return torch.stack([rise, turn.sin(), turn.cos(), last], -1)

    def answer(
        self,
        net: nn.Module,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        kind = self.source.dtype
        shown = (text.image != 0).flatten(1).any(1)[:, None, None]
        heard = self.posed(text.image.to(kind), self.pose(cameras, len(x))[:, None].to(kind)) * shown
        beside = (self.latent * shown[..., None]).to(kind)
        out = net(torch.cat([x.to(kind), beside], 1), self.table.index(t), encoder_hidden_states=heard).sample
        return self.table.to_eps(out.float(), x.float(), t)
