"""An image as parameters: the two-dimensional playground of guidance, where the renderer is the identity map.

Pixels are stored as they are, not through a sigmoid, so that a gradient on the image is the gradient on the
parameters and closed forms hold; outside [0, 1] they are clamped for showing, with a gradient that always leads back
inside (`_backends/unit.py`).
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from dream3d.renderers._backends.unit import unit
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.interfaces import Group, Representation
from dream3d.schedule import Count, NonNegative, Ramp, at
from dream3d.types import Cameras, Mesh, Render, Step


class Plane(Representation):
    """`particles` images of `size` x `size` pixels, grey with Gaussian noise of standard deviation `noise`. Every
    camera sees the image of its `subject` (the first without one), whatever its pose. `lr` is per Adam step, in
    colour units."""

    about = "an image"
    memory: ClassVar[str] = "48 * particles * size**2 + 76 * views * side**2"

    offers: ClassVar[dict[str, str]] = {}
    gives: ClassVar[dict[str, str]] = {}

    def __init__(
        self,
        rng: torch.Generator,
        *,
        size: Count = 64,
        particles: Count = 1,
        noise: NonNegative = 0.1,
        lr: Ramp = Ramp(1e-2),
    ):
        super().__init__()
        self.pixels = nn.Parameter(0.5 + noise * torch.randn(particles, size, size, 3, generator=rng))
        self.lr = lr

    def render(self, cameras: Cameras, now: Step | None = None) -> Render:
        """The image, resized where the cameras ask for another resolution; alpha 1, depth the camera's distance to
        the origin."""
        rgb = self._sized(unit(self.pixels), cameras)[self._subject(cameras)]
        alpha = torch.ones_like(rgb[..., :1])
        return Render(rgb, alpha, alpha * cameras.centre.norm(dim=-1)[:, None, None, None])

    def _subject(self, cameras: Cameras) -> Tensor:
        if cameras.subject is None:
            return torch.zeros(len(cameras), dtype=torch.long, device=self.pixels.device)
        if (last := int(cameras.subject.max())) >= len(self.pixels):
            problem = f"cameras look at subject {last}, but there are {len(self.pixels)} images"
            raise Mistake(problem, where="renderer.particles")
        return cameras.subject

    @staticmethod
    def _sized(image: Float[Tensor, "P h w 3"], cameras: Cameras) -> Float[Tensor, "P H W 3"]:
        size = cameras.height, cameras.width
        if image.shape[1:3] == size:
            return image
        return F.interpolate(image.movedim(-1, 1), size, mode="bilinear", antialias=True).movedim(1, -1)

    def groups(self, now: Step) -> list[Group]:
        return [Group("pixels", self.pixels, at(self.lr, now))]

    def handover(self) -> Mesh:
        """The first image on an upright square of side 1 that faces -y."""
        corner = torch.tensor([[-0.5, 0.0, -0.5], [0.5, 0.0, -0.5], [0.5, 0.0, 0.5], [-0.5, 0.0, 0.5]])
        faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
        texture = self.pixels[0].detach().clamp(0, 1).clone()
        uv = (corner[:, [0, 2]] + 0.5)[faces].to(texture)
        return Mesh(corner.to(texture), faces.to(texture.device), uv=uv, texture=texture)
