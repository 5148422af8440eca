"""What moves over a still scene: a field of position and time, and a rigid motion of everything.

What they say are velocities: at time t a primitive is changed by t times what the field says there and then, and the whole is turned and
shifted by t times two vectors. So time 0 is the still scene, whatever has been learnt, and a steady motion is a constant.
"""

import dataclasses
from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from dream3d.renderers._backends.fourier import Fourier
from dream3d.renderers._backends.hexplane import HexPlane
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.interfaces import Group, Representation
from dream3d.schedule import Count, Positive, Ramp, at
from dream3d.types import Cameras, Field, Mesh, Points, Render, Step

GRIDS = ("space", "time")  # names of planes begin with one of them
TURNS = 10  # radians that are learnt while a metre is


class Moving(Representation):
    """A still scene, what it looks like at time 0 or to cameras without a time, and what moves it. frozen: it stays as it is and only
    moves. Its primitives stay those it has: nothing is densified, pruned or remeshed.

    field: "hexplane": planes of texels x texels over two of x, y, z in [-bound, bound] metres and of moments x texels over time and one
    of them, with `channels` numbers each, at `levels` resolutions, each twice as fine in space as the one before, read by a network of
    `hidden` units; "mlp": a perceptron of two layers of `hidden` units over sines and cosines of position and time in `octaves` octaves.
    whole: everything also moves as one body: "shift" (as in Animate3D, arXiv:2407.11398), by a velocity that is linear between `moments`
    moments, or "rigid", which also turns it steadily about an axis through the origin. lr_planes, lr_field and lr_whole are learning rates
    per Adam step of the planes, of the network and of the whole, in metres and ten times as many radians: a turn of a third of a circle
    between two moments has no slope that leads there, but one in clips that grow (cameras: unfolding) has.

    A stage starts from Gaussians, points, a mesh or a volume, at rest, and hands over the still scene: motion does not travel between
    stages.
    """

    offers: ClassVar[dict[str, str]] = {"normal": "True", "motion": "True"}

    def __init__(
        self,
        rng: torch.Generator,
        still: Representation,
        outputs: int,
        *,
        frozen: bool = False,
        field: Literal["hexplane", "mlp"] = "hexplane",
        texels: Count = 8,
        moments: Count = 6,
        channels: Count = 8,
        levels: Count = 2,
        octaves: Count = 2,
        hidden: Count = 32,
        bound: Positive = 0.75,
        whole: Literal["none", "shift", "rigid"] = "none",
        lr_planes: Ramp = Ramp(1e-2, 1e-3, shape="exp"),
        lr_field: Ramp = Ramp(2e-3, 2e-4, shape="exp"),
        lr_whole: Ramp = Ramp(1e-2, 1e-3, shape="exp"),
    ):
        super().__init__()
        self.still = still
        if field == "hexplane":
            self.field = HexPlane(rng, outputs=outputs, side=texels, moments=moments, channels=channels, levels=levels, hidden=hidden,
                                  bound=bound)  # fmt: skip
        else:
            self.field = Fourier(rng, outputs=outputs, octaves=octaves, hidden=hidden, bound=bound)
        self.whole = None if whole == "none" else Rigid(moments, turns=whole == "rigid")
        self.frozen, self.lr_planes, self.lr_field, self.lr_whole = frozen, lr_planes, lr_field, lr_whole
        self._freeze()

    @property
    def about(self) -> str:
        parts = [self.field, *([self.whole] if self.whole is not None else [])]
        return f"{self.still.about}; moved by {sum(p.numel() for part in parts for p in part.parameters())} numbers"

    # --- drawing ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def rest(self) -> Float[Tensor, "N 3"]:
        """Where the still scene's primitives are, in metres."""

    @abstractmethod
    def drawn(
        self, rest: Float[Tensor, "N 3"], time: Float[Tensor, ""], cameras: Cameras, now: Step | None
    ) -> Render:
        """The scene at one moment."""

    @abstractmethod
    def extras(self, rest: Float[Tensor, "N 3"], parts: list[Render], share: list[float]) -> dict[str, Tensor]:
        """What else penalties may read; `parts` is the scene at each moment, `share` of the rows show it."""

    def render(self, cameras: Cameras, now: Step | None = None) -> Render:
        """All buffers, every row at its own time (0 where cameras have none); each moment is drawn once, for its rows alone, and all see
        the same chance. extras: rest (N 3, metres), shift (T N 3, metres, at the T different times in order; its gradient
        reaches what moves only), moments (T, the times), and those of the kind of scene."""
        times = cameras.azimuth.new_zeros(len(cameras)) if cameras.time is None else cameras.time
        moments, which = times.unique(return_inverse=True)  # sorted
        rows = [(which == k).nonzero()[:, 0] for k in range(len(moments))]
        rest = self.rest()
        each = zip(moments, rows, _alike(now, len(moments)), strict=True)
        single = dataclasses.replace(cameras, frames=1)  # of a clip every moment has each view once, in order
        parts, order = [self.drawn(rest, time, single.at(i), chance) for time, i, chance in each], torch.cat(rows).argsort()
        buffers = {name: torch.cat([getattr(part, name) for part in parts])[order] for name in parts[0].buffers()}
        shift = torch.stack([self.shifted(rest.detach(), time) for time in moments])  # what penalties pull is the motion alone
        more = self.extras(rest, parts, [len(i) / len(cameras) for i in rows])
        return Render(**buffers, extras={**more, "rest": rest, "shift": shift, "moments": moments})

    def change(self, rest: Float[Tensor, "N 3"], time: Float[Tensor, ""]) -> Float[Tensor, "N outputs"]:
        """What the field adds to what rests there, by this time; the first three are metres."""
        return time * self.field(rest, time)

    def shifted(self, rest: Float[Tensor, "N 3"], time: Float[Tensor, ""]) -> Float[Tensor, "N 3"]:
        """How far what rests there has gone by this time, in metres."""
        return self.carried(rest + self.change(rest, time)[:, :3], time) - rest

    def carried(self, position: Float[Tensor, "N 3"], time: Float[Tensor, ""]) -> Float[Tensor, "N 3"]:
        """These positions after the motion of the whole."""
        if self.whole is None:
            return position
        more, shift = self.whole(time)
        return position + position @ more.T + shift

    # --- optimising -------------------------------------------------------------------------------------------------

    def groups(self, now: Step) -> list[Group]:
        planes, network, whole = at(self.lr_planes, now), at(self.lr_field, now), at(self.lr_whole, now)
        field = [Group(name, p, planes if name.startswith(GRIDS) else network) for name, p in self.field.named_parameters()]
        if self.whole is not None:
            field += [Group(f"whole.{name}", p, whole * (TURNS if name == "turn" else 1)) for name, p in self.whole.named_parameters()]
        return field if self.frozen else [*self.still.groups(now), *field]

    def _freeze(self) -> None:
        self.still.requires_grad_(not self.frozen)

    # --- handing over -----------------------------------------------------------------------------------------------

    def handover(self) -> Points | Mesh:
        """The still scene."""
        return self.still.handover()

    def init_from(self, data: Points | Mesh | Field) -> None:
        self.still.requires_grad_(True)  # what takes a scene over may be fitted to it
        self.still.init_from(data)
        self._freeze()

    def restore(self, state: dict[str, Tensor]) -> None:
        def part(name: str) -> dict[str, Tensor]:
            return {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}

        self.still.restore(part("still"))
        self.field.load_state_dict(part("field"))
        if self.whole is not None:
            self.whole.load_state_dict(part("whole"))
        self._freeze()


class Rigid(nn.Module):
    """A rigid motion of everything: by time t a turn about the origin by t times one vector (its axis, in radians) and a shift by t times
    another (metres), which is linear between `knots` even times in [0, 1]; both 0 at first."""

    def __init__(self, knots: int, *, turns: bool):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(knots, 3))
        self.turn = nn.Parameter(torch.zeros(3)) if turns else None

    def forward(self, time: Float[Tensor, ""]) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3"]]:
        """The turn's matrix less the identity, exactly 0 at time 0, and the shift."""
        shift = time * self._at(self.shift, time)
        return (_turned(time * self.turn) if self.turn is not None else shift.new_zeros(3, 3)), shift

    def quaternion(self, time: Float[Tensor, ""]) -> Float[Tensor, "4"]:
        """The turn as wxyz; exactly (1, 0, 0, 0) at time 0."""
        if self.turn is None:
            return time.new_tensor([1.0, 0.0, 0.0, 0.0])
        vector = time * self.turn
        half = _length(vector) / 2
        return torch.cat([half.cos()[None], 0.5 * torch.sinc(half / torch.pi) * vector])

    @staticmethod
    def _at(knots: Float[Tensor, "K 3"], time: Float[Tensor, ""]) -> Float[Tensor, "3"]:
        place = time.clamp(0, 1) * (len(knots) - 1)
        weight = (1 - (place - torch.arange(len(knots), device=knots.device)).abs()).clamp(min=0)
        return weight.to(knots) @ knots


def _turned(vector: Float[Tensor, "3"]) -> Float[Tensor, "3 3"]:
    """Rodrigues' rotation about a vector by its length, less the identity."""
    x, y, z = vector
    cross = torch.stack([0 * x, -z, y, z, 0 * x, -x, -y, x, 0 * x]).view(3, 3)
    angle = _length(vector)
    return torch.sinc(angle / torch.pi) * cross + 0.5 * torch.sinc(angle / (2 * torch.pi)) ** 2 * cross @ cross


def _length(vector: Float[Tensor, "3"]) -> Float[Tensor, ""]:
    """With a derivative where it is 0, and then about 1e-10: its cosine is 1."""
    return (vector.square().sum() + 1e-20).sqrt()


def _alike(now: Step | None, count: int) -> list[Step | None]:
    """The step for each of `count` draws that shall have the same chance; the last one is the step itself, which goes on from there."""
    if now is None or count < 2:
        return [now] * count
    return [*(now.twin() for _ in range(count - 1)), now]
