"""Gaussians that move: a still set, and a field of position and time that says how each one changes.

4D Gaussian Splatting (Wu et al. 2023, arXiv:2310.08528) with the field of HexPlane (Cao and Johnson 2023, arXiv:2301.09632): six planes
over pairs of x, y, z and t, multiplied, read by a small network whose last layer starts at zero. What it answers is a velocity: at time
t a Gaussian is shifted, turned, scaled and coloured by t times that, so that the scene at time 0 is exactly the still set and a steady
motion is a constant. 4D Gaussian Splatting has no rest pose; there every moment is deformed, and colours are not.
"""

from typing import ClassVar, Literal

import torch
from dream3d.renderers._moving import Moving
from dream3d.renderers.gaussians import Gaussians
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from dream3d.clips import Frames, SplatClip
from dream3d.interfaces import Representation
from dream3d.rig.kinematics import product
from dream3d.schedule import Count, Inside, Positive, Ramp
from dream3d.types import Cameras, Points, Render, Step

MOVED = {"position": 3, "rotation": 4, "log_scale": 3, "colour": 3}  # what the field changes, and how many numbers each has


class DynamicGaussians(Moving, Representation):
    """The still set: count, radius, opacity, sh_degree, antialias, backend and its learning rates are those of gaussians. It is never
    densified, so what shall have many Gaussians starts from a stage of gaussians. Harmonics of degree 1 and more stay as they are in the
    world when Gaussians turn."""

    memory: ClassVar[str] = (
        "count * (650 + 560 * views + 140 * ((sh_degree + 1)**2 - 1))"
        " + 8 * count * views * (6 * channels * levels + 16 * octaves + 4 * hidden + 40)"
        " + 76 * views * side**2 + 48 * channels * 4**levels * texels**2"
    )
    gives: ClassVar[dict[str, str]] = {"splats": "True", "splat-clip": "True"}

    def __init__(
        self,
        rng: torch.Generator,
        *,
        count: Count = 2000,
        radius: Positive = 0.6,
        opacity: Inside = 0.1,
        sh_degree: Literal[0, 1, 2, 3] = 0,
        antialias: bool = True,
        backend: Literal["auto", "numba", "torch", "gsplat"] = "auto",
        lr_position: Ramp = Ramp(5e-3, 2e-4, shape="exp"),
        lr_scale: Ramp = Ramp(1e-2, 2e-3, shape="exp"),
        lr_rotation: Ramp = Ramp(1e-2, 2e-3, shape="exp"),
        lr_opacity: Ramp = Ramp(5e-2),
        lr_colour: Ramp = Ramp(1e-2, 2e-3),
        **motion,
    ):
        rates = {"lr_position": lr_position, "lr_scale": lr_scale, "lr_rotation": lr_rotation, "lr_opacity": lr_opacity}
        still = Gaussians(rng, count=count, radius=radius, opacity=opacity, sh_degree=sh_degree, antialias=antialias, backend=backend,
                          lr_colour=lr_colour, **rates)  # fmt: skip
        super().__init__(rng, still, sum(MOVED.values()), **motion)

    def __len__(self) -> int:
        return len(self.still)

    # --- drawing ----------------------------------------------------------------------------------------------------

    def rest(self) -> Float[Tensor, "N 3"]:
        return self.still.position

    def drawn(
        self, rest: Float[Tensor, "N 3"], time: Float[Tensor, ""], cameras: Cameras, now: Step | None
    ) -> Render:
        return functional_call(self, self.moved(time), (cameras, now))

    def extras(self, rest: Float[Tensor, "N 3"], parts: list[Render], share: list[float]) -> dict[str, Tensor]:
        """opacity (N), scale (N 3, metres, mean over rows)."""
        scale = sum(weight * part.extras["scale"] for part, weight in zip(parts, share, strict=True))
        return {"opacity": parts[0].extras["opacity"], "scale": scale}

    def forward(self, cameras: Cameras | None, now: Step | None) -> Render | Points:
        """The still set, or what takes its place in a functional call, drawn; or handed over, for no cameras."""
        return self.still.handover() if cameras is None else self.still.render(cameras, now)

    @torch.no_grad()
    def clip(self, times: Float[Tensor, " T"]) -> SplatClip:
        """All Gaussians at every moment."""
        there = times.to(self.still.position)
        return SplatClip(Frames(lambda k: functional_call(self, self.moved(there[k]), (None, None)), len(times)), times)

    def moved(self, time: Float[Tensor, ""]) -> dict[str, Tensor]:
        """What the still set's parameters are at this time, by their full names."""
        parts = zip(MOVED, self.change(self.still.position, time).split(list(MOVED.values()), -1), strict=True)
        values = {name: getattr(self.still, name) + part for name, part in parts}
        values["position"] = self.carried(values["position"], time)
        if self.whole is not None and self.whole.turn is not None:
            values["rotation"] = product(self.whole.quaternion(time), values["rotation"])
        return {f"still.{name}": value for name, value in values.items()}
