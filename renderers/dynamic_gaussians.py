"""Gaussians that move: a still set, and a field of position and time that says how each one changes.

4D Gaussian Splatting (Wu et al. 2023, arXiv:2310.08528) with the field of HexPlane (Cao and Johnson 2023, arXiv:2301.09632): six planes
over pairs of x, y, z and t, multiplied, read by a small network whose last layer starts at zero. What it answers is a velocity: at time
t a Gaussian is shifted, turned, scaled and coloured by t times that, so that the scene at time 0 is exactly the still set and a steady
motion is a constant. 4D Gaussian Splatting has no rest pose; there every moment is deformed, and colours are not.
"""

from typing import ClassVar, Literal

import torch
from dream3d.renderers._backends.hexplane import HexPlane
from dream3d.renderers.gaussians import Gaussians
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from dream3d.interfaces import Group, Representation
from dream3d.schedule import Count, Inside, Positive, Ramp, at
from dream3d.types import Cameras, Field, Mesh, Points, Render, Step

MOVED = {"position": 3, "rotation": 4, "log_scale": 3, "colour": 3}  # what the field changes, and how many numbers each has


class DynamicGaussians(Representation):
    """The still set, what it looks like at time 0 or to cameras without a time: count, radius, opacity, sh_degree, antialias, backend and
    its learning rates are those of gaussians. It is never densified, so what shall have many Gaussians starts from a stage of gaussians.
    frozen: it stays as it is and only moves.

    The field: planes of texels x texels over two of x, y, z in [-bound, bound] metres and of moments x texels over time and one of them,
    with `channels` numbers each, at `levels` resolutions, each twice as fine in space as the one before; a network of `hidden` units.
    lr_planes and lr_field are the learning rates per Adam step of the planes and of the network.

    A stage starts from Gaussians, points, a mesh or a volume, at rest, and hands over the still set: motion does not travel between stages.
    """

    memory: ClassVar[str] = (
        "count * (650 + 560 * views + 140 * ((sh_degree + 1)**2 - 1) + 8 * views * (6 * channels * levels + 4 * hidden + 40))"
        " + 76 * views * side**2 + 48 * channels * 4**levels * texels**2"
    )

    offers: ClassVar[dict[str, str]] = {"normal": "True"}

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
        frozen: bool = False,
        texels: Count = 8,
        moments: Count = 6,
        channels: Count = 8,
        levels: Count = 2,
        hidden: Count = 32,
        bound: Positive = 0.75,
        lr_position: Ramp = Ramp(5e-3, 2e-4, shape="exp"),
        lr_scale: Ramp = Ramp(1e-2, 2e-3, shape="exp"),
        lr_rotation: Ramp = Ramp(1e-2, 2e-3, shape="exp"),
        lr_opacity: Ramp = Ramp(5e-2),
        lr_colour: Ramp = Ramp(1e-2, 2e-3),
        lr_planes: Ramp = Ramp(1e-2, 1e-3, shape="exp"),
        lr_field: Ramp = Ramp(2e-3, 2e-4, shape="exp"),
    ):
        super().__init__()
        rates = {"lr_position": lr_position, "lr_scale": lr_scale, "lr_rotation": lr_rotation, "lr_opacity": lr_opacity}
        self.still = Gaussians(rng, count=count, radius=radius, opacity=opacity, sh_degree=sh_degree, antialias=antialias,
                               backend=backend, lr_colour=lr_colour, **rates)  # fmt: skip
        self.field = HexPlane(rng, outputs=sum(MOVED.values()), side=texels, moments=moments, channels=channels, levels=levels,
                              hidden=hidden, bound=bound)  # fmt: skip
        self.frozen, self.lr_planes, self.lr_field = frozen, lr_planes, lr_field
        self._freeze()

    def __len__(self) -> int:
        return len(self.still)

    @property
    def about(self) -> str:
        return f"{self.still.about}; moved by {sum(p.numel() for p in self.field.parameters())} numbers"

    # --- drawing ----------------------------------------------------------------------------------------------------

    def render(self, cameras: Cameras, now: Step | None = None) -> Render:
        """All buffers, every row at its own time (0 where cameras have none). extras: opacity (N), scale (N 3, metres, mean over rows),
        shift (T N 3, metres, at the T different times in order)."""
        times = cameras.azimuth.new_zeros(len(cameras)) if cameras.time is None else cameras.time
        moments, which = times.unique(return_inverse=True)  # sorted; the set is moved once for each
        rows = [(which == k).nonzero()[:, 0] for k in range(len(moments))]
        moved = [self.moved(time) for time in moments]
        drawn = [functional_call(self, change, (cameras.at(i), now)) for change, i in zip(moved, rows, strict=True)]
        order = torch.cat(rows).argsort()
        buffers = {name: torch.cat([getattr(d, name) for d in drawn])[order] for name in drawn[0].buffers()}
        scale = sum(len(i) * d.extras["scale"] for d, i in zip(drawn, rows, strict=True)) / max(len(cameras), 1)
        shift = torch.stack([change["still.position"] for change in moved]) - self.still.position
        return Render(**buffers, extras={"opacity": drawn[0].extras["opacity"], "scale": scale, "shift": shift})

    def forward(self, cameras: Cameras, now: Step | None) -> Render:
        """The still set, or what takes its place in a functional call."""
        return self.still.render(cameras, now)

    def moved(self, time: Float[Tensor, ""]) -> dict[str, Tensor]:
        """What the still set's parameters are at this time, by their full names."""
        change = time * self.field(self.still.position, time)
        parts = zip(MOVED, change.split(list(MOVED.values()), -1), strict=True)
        return {f"still.{name}": getattr(self.still, name) + part for name, part in parts}

    # --- optimising -------------------------------------------------------------------------------------------------

    def groups(self, now: Step) -> list[Group]:
        planes, network = at(self.lr_planes, now), at(self.lr_field, now)
        field = [Group(name, p, planes if name.startswith(("space", "time")) else network) for name, p in self.field.named_parameters()]
        return field if self.frozen else [*self.still.groups(now), *field]

    def _freeze(self) -> None:
        self.still.requires_grad_(not self.frozen)

    # --- handing over -----------------------------------------------------------------------------------------------

    def handover(self) -> Points:
        """The still set."""
        return self.still.handover()

    def init_from(self, data: Points | Mesh | Field) -> None:
        self.still.init_from(data)
        self._freeze()

    def restore(self, state: dict[str, Tensor]) -> None:
        parts = {part: {k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(f"{part}.")} for part in ("still", "field")}
        self.still.restore(parts["still"])
        self.field.load_state_dict(parts["field"])
        self._freeze()
