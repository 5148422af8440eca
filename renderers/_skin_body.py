"""A body that stands, bends and swells: a rig, and what of it can be learnt. Nothing here draws."""

import dataclasses
import math

import torch
from dream3d.renderers._stiff import Stiff
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.errors import Mistake, choices
from dream3d.export.texture import vertex_normals
from dream3d.interfaces import Group, learning
from dream3d.rig import kinematics
from dream3d.rig.motion import Motion
from dream3d.rig.types import Rig
from dream3d.schedule import Ramp, at
from dream3d.types import Cameras, Mesh, Step

TENSORS = ("vertices", "faces", "joints", "weights", "shapes", "joint_shapes", "limits", "bends", "axes", "shift")
LEARNT = ("pose", "shape", "expression", "displacement")


class Body(nn.Module):
    """`pose` (J 3): axis times angle, radians, in the rig's own axes. `shape` and `expression`: coefficients. `displacement`: metres, along
    the template's normals (V 1) or any way (V 3), smoothed by `stiffness` (`_stiff.py`); `base` (V 3) is what was there before it. A user's
    rig stays out of the state, which has its digest."""

    def __init__(self, rig: Rig, *, pose: dict, shape: dict, vectors: bool, stiffness: float, rates: dict[str, Ramp]):
        super().__init__()
        self.given = rig
        for name in TENSORS:
            self.register_buffer(name, getattr(rig, name), persistent=False)
        self.register_buffer("normals", vertex_normals(rig.mesh()).to(rig.vertices), persistent=False)
        self.register_buffer("base", torch.zeros_like(rig.vertices))
        self.register_buffer("digest", torch.tensor(list(rig.digest), dtype=torch.uint8))
        self.stiff = Stiff(rig.faces, len(rig.vertices), stiffness)
        coefficients = _numbers("shape", shape, rig.shape_names, 1)[:, 0].to(rig.shapes)
        known, face = coefficients.split([len(coefficients) - rig.expressions, rig.expressions])
        self.pose = nn.Parameter(_numbers("pose", pose, rig.names, 3).to(rig.vertices) * math.pi / 180)
        self.shape, self.expression = nn.Parameter(known.clone()), nn.Parameter(face.clone())
        self.displacement = nn.Parameter(torch.zeros(len(rig.vertices), 3 if vectors else 1).to(rig.vertices))
        self.rates = rates
        for name in LEARNT:
            getattr(self, name).requires_grad_(learns(rates[name]))

    @property
    def rig(self) -> Rig:
        """With its tensors where the module is."""
        return dataclasses.replace(self.given, **{name: getattr(self, name) for name in TENSORS})

    # --- where it is ------------------------------------------------------------------------------------------------

    def rest(self) -> tuple[Float[Tensor, "V 3"], Float[Tensor, "J 3"]]:
        """Vertices and joints, unbent, in the rig's own axes."""
        rig = self.rig
        vertices, joints = kinematics.shaped(rig, torch.cat([self.shape, self.expression]))
        moved = self.stiff.vertices(self.displacement)
        return vertices + rig.own(self.base + (moved if moved.shape[1] == 3 else moved * self.normals)), joints

    def bent(self, rest, turns: Float[Tensor, "J 3 3"], shift: Float[Tensor, "3"] | None = None) -> Float[Tensor, "V 3"]:
        """The vertices of `rest`, bent, in the world."""
        rig = self.rig
        vertices = rig.world(kinematics.skinned(rig, *rest, turns))
        return vertices if shift is None else vertices + shift

    def standing(self) -> Float[Tensor, "J 3 3"]:
        """How its joints are turned as it stands."""
        return kinematics.rotations(self.pose)

    def swaying(self, now: Step, share: float) -> Float[Tensor, "J 3 3"]:
        """Every joint turned by chance, at most by this share of its limits, from where it stands; and no further than its limits, or than
        it stands where that is beyond them. A rig without limits turns as far from wherever it stands."""
        low, high = self.limits.unbind(1)
        u = now.uniform(*low.shape).to(low)
        more = share * (low + (high - low) * u)
        if not self.given.bounded:
            return self.standing() @ kinematics.rotations(more)
        stands = self.pose.detach()
        least, most = torch.minimum(low, stands), torch.maximum(high, stands)
        return kinematics.rotations(self.pose + ((stands + more).clamp(least, most) - stands))

    def playing(self, motion: Motion, time: float) -> tuple[Float[Tensor, "J 3 3"], Float[Tensor, "3"]]:
        """At a moment of a motion; joints that it does not turn stay as they stand."""
        turns, shift = motion.at(time)
        index = torch.tensor(motion.joints, device=self.pose.device)
        return self.standing().index_copy(0, index, kinematics.matrices(turns).to(self.pose)), shift.to(self.pose)

    def stances(self, cameras: Cameras, now: Step | None, poses: str, motion: Motion | None, sway: float) -> list[tuple]:
        """(rows, turns, shift) of every moment that cameras see: those of their times where there is a motion, else one."""
        every = torch.arange(len(cameras), device=cameras.device)
        if motion is not None and cameras.time is not None:
            moments, which = cameras.time.unique(return_inverse=True)
            return [((which == k).nonzero()[:, 0], *self.playing(motion, time)) for k, time in enumerate(moments.tolist())]
        if now is not None and poses == "motion":
            return [(every, *self.playing(motion, now.uniform(1).item()))]
        return [(every, self.swaying(now, sway) if now is not None and poses == "random" else self.standing(), None)]

    # --- what it learns ---------------------------------------------------------------------------------------------

    def groups(self, now: Step) -> list[Group]:
        return learning([(name, getattr(self, name), at(self.rates[name], now)) for name in LEARNT])

    @torch.no_grad()
    def fit(self, mesh: Mesh) -> None:
        """Look like a mesh with these triangles, as it stands: what shape and pose do not explain is `base`."""
        rig = self.rig
        self.displacement.zero_()
        self.base.zero_()
        vertices, joints = self.rest()
        wanted = kinematics.unskinned(rig, rig.back(mesh.vertices.to(vertices)), joints, self.standing())
        self.base.copy_(rig.scale * ((wanted - vertices) @ rig.axes.mT))

    def restore(self, state: dict[str, Tensor]) -> None:
        if not torch.equal(state["digest"].cpu(), self.digest.cpu()):
            raise Mistake("the rig is not the one that this run began with", where="renderer.rig", fix="put that file back, or start anew")
        self.load_state_dict(state)


def learns(rate: Ramp) -> bool:
    """Whether a learning rate is ever above 0."""
    return rate.start > 0 or (rate.end or 0) > 0


def _numbers(setting: str, given: dict, names: tuple[str, ...], width: int) -> Float[Tensor, "n w"]:
    """One row per name, zeros where nothing is said."""
    rows = torch.zeros(len(names), width)
    for name, value in given.items():
        if name not in names:
            what = "joint" if setting == "pose" else "shape direction"
            raise Mistake(f"this rig has no {what} {name!r}", where=f"renderer.{setting}", near=choices(name, names))
        rows[names.index(name)] = torch.tensor(value, dtype=rows.dtype)
    return rows
