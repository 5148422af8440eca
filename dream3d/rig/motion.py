"""How a rig moves: rotations of its joints over time in [0, 1], built in or from a user's file (`moves`)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dream3d.rig import find
from dream3d.rig.kinematics import between, quaternion
from dream3d.rig.moves import moves
from dream3d.rig.types import Rig

FAR = math.pi + 1e-3  # radians: what is turned further is meant to be


@dataclass(frozen=True)
class Motion:
    """T moments of M joints: which of the rig's they are, unit quaternions, where the whole goes (metres in the world); and the same
    rotations as axis times angle, radians, which say the way between two moments where it is `far`."""

    joints: tuple[int, ...]
    times: Float[Tensor, " T"]
    turns: Float[Tensor, "T M 4"]
    shift: Float[Tensor, "T 3"]
    angles: Float[Tensor, "T M 3"]
    far: Bool[Tensor, "S M"]  # from each moment to the next: S = T - 1

    def at(self, time: float) -> tuple[Float[Tensor, "M 4"], Float[Tensor, "3"]]:
        """Between its moments joints turn at a steady pace, the shorter way; as it is written where one of the two is turned by more than
        180 degrees. Before the first and after the last they stay."""
        after = int(torch.searchsorted(self.times, torch.tensor(time, dtype=self.times.dtype)))
        if after == 0 or after == len(self.times):
            end = min(after, len(self.times) - 1)
            return self.turns[end], self.shift[end]
        first, last = self.times[after - 1].item(), self.times[after].item()
        share = (time - first) / (last - first)
        short, shift = (way(rows[after - 1], rows[after], share) for way, rows in ((between, self.turns), (torch.lerp, self.shift)))
        written = quaternion(torch.lerp(self.angles[after - 1], self.angles[after], share))
        return torch.where(self.far[after - 1, :, None], written, short), shift


def motion(name: str, rig: Rig) -> Motion:
    """By name, or from a file. Raises Mistake for a motion that is not there, is not of this rig, or is broken."""
    found = moves(name, find.motion(name), rig.names, torch.equal(rig.axes, torch.eye(3).to(rig.axes)))
    times, angles, shift = (torch.from_numpy(v) for v in (found.times, found.turns, found.shift))
    far = angles.norm(dim=-1) > FAR
    return Motion(found.joints, times, quaternion(angles), shift, angles, far[1:] | far[:-1])
