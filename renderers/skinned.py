"""A body with joints, linear blend skinning over a template (SMPL, Loper et al. 2015), that learns its shape, a displacement and its looks.

The template is our humanoid, a rig of one's own, or SMPL-X, SMPL or FLAME from the user's own file (`dream3d/rig`). Displacements along
normals, and poses by chance while it is optimised, are TADA's (Liao et al., arXiv:2308.10899); Gaussians on its triangles are as in
GaussianAvatars (`_skin_gaussians.py`), where TADA has a texture.
"""

import dataclasses
from typing import ClassVar, Literal

import torch
from dream3d.renderers._skin_body import Body
from dream3d.renderers._skin_gaussians import Anchored
from dream3d.renderers._skin_mesh import Painted
from jaxtyping import Float
from torch import Tensor

from dream3d.clips import Frames, Skin, SplatClip
from dream3d.errors import Mistake
from dream3d.interfaces import Group, Representation, idle
from dream3d.rig import kinematics
from dream3d.rig.find import check_unchanged
from dream3d.rig.finer import chosen, finer
from dream3d.rig.load import load
from dream3d.rig.motion import motion as play
from dream3d.schedule import Angle, Count, Inside, NonNegative, Positive, Ramp, Share, Whole
from dream3d.types import Cameras, Field, Mesh, Points, Render, Step

OF_MESH = ("appearance", "texture", "bound", "shading", "ambient", "environment", "turning", "smooth")  # settings of one surface alone
OF_GAUSSIANS = ("count", "opacity", "antialias", "lr_offset", "lr_scale", "lr_rotation", "lr_opacity")


class Skinned(Representation):
    """rig: humanoid, or a file: SMPL-X (.npz), SMPL or FLAME (.pkl), or a .safetensors as in docs/rigs.md. Of SMPL-X and FLAME the first
    `shapes` and `expressions` are used. cuts: each triangle in four, so often.

    pose: how it stands, degrees about an axis (axis times angle, in the rig's own axes) by joint, {left_shoulder: [0, 30, 0]}. shape:
    coefficients by name, {height: 1}. poses: how it stands while it is optimised: rest (as pose says), random (each joint at most `sway`
    of its limits away, never beyond them), motion (some moment of `motion`). motion: wave, walk, or a .json or .safetensors file; cameras
    with a time see it at that moment of it. digests: of one's own files, each before its name, as they were when a run began. What is
    exported stands as pose says.

    surface: mesh, or `count` gaussians in the frames of its triangles, which start with `opacity`. displace: along normals, or any way;
    stiffness: how far a step of one vertex moves its neighbours. appearance, texture, bound, shading, ambient, environment, turning and
    smooth are those of mesh, for that surface. backend "auto" is that of mesh or gaussians.

    What learns, and how fast: lr_pose in radians, lr_shape and lr_expression in coefficients, lr_displacement in metres, lr_colour in
    colour units; of gaussians lr_offset in metres, lr_scale in log metres, lr_rotation of the quaternion, lr_opacity of the logit. What
    has 0 stays.
    """

    memory: ClassVar[str] = (
        "(1.5e7 + 4e8 * (rig != 'humanoid')) * 4**cuts + 135 * texture**2 * (appearance == 'texture') + 320 * views * side**2"
        " + count * (1000 + 700 * views) * (surface == 'gaussians')"
    )

    offers: ClassVar[dict[str, str]] = {"normal": "True"}
    gives: ClassVar[dict[str, str]] = {"splats": "surface == 'gaussians'", "splat-clip": "surface == 'gaussians' and motion",
                                        "skin": "surface == 'mesh'", "mesh-clip": "surface == 'mesh' and motion"}  # fmt: skip
    completes: ClassVar[str] = "dream3d.rig.find"

    def __init__(
        self,
        rng: torch.Generator,
        *,
        rig: str = "humanoid",
        surface: Literal["mesh", "gaussians"] = "mesh",
        shapes: Whole = 10,
        expressions: Whole = 10,
        cuts: Literal[0, 1, 2] = 0,
        pose: dict[str, tuple[Angle, Angle, Angle]] | None = None,
        shape: dict[str, float] | None = None,
        poses: Literal["rest", "random", "motion"] = "rest",
        sway: Share = 0.5,
        motion: str | None = None,
        digests: tuple[str, ...] = (),
        displace: Literal["normal", "vector"] = "normal",
        stiffness: NonNegative = 4.0,
        count: Count = 4000,
        opacity: Inside = 0.95,
        antialias: bool = True,
        appearance: Literal["vertex", "texture", "field"] = "vertex",
        texture: Count = 512,
        bound: Positive = 0.8,
        shading: Literal["albedo", "lambert", "textureless", "pbr"]
        | dict[Literal["albedo", "lambert", "textureless", "pbr"], Share] = "albedo",
        ambient: Share = 0.3,
        environment: str = "studio",
        turning: bool = True,
        smooth: bool = True,
        lr_pose: Ramp = Ramp(0.0),
        lr_shape: Ramp = Ramp(2e-2, 5e-3),
        lr_expression: Ramp = Ramp(0.0),
        lr_displacement: Ramp = Ramp(5e-3, 1e-3),
        lr_colour: Ramp = Ramp(1e-2, 2e-3),
        lr_offset: Ramp = Ramp(1e-3, 2e-4),
        lr_scale: Ramp = Ramp(1e-2, 2e-3, shape="exp"),
        lr_rotation: Ramp = Ramp(1e-2, 2e-3, shape="exp"),
        lr_opacity: Ramp = Ramp(5e-2),
        backend: Literal["auto", "numba", "torch", "nvdiffrast", "gsplat"] = "auto",
    ):
        given = {**locals()}
        super().__init__()
        if backend == ("gsplat" if surface == "mesh" else "nvdiffrast"):
            raise Mistake(f"{backend} does not draw a surface of {surface}", where="renderer.backend", near="auto, numba, torch")
        if poses == "motion" and motion is None:
            raise Mistake("poses: motion, but there is no motion", where="renderer.poses", near="renderer.motion=wave")
        check_unchanged(digests)
        found = chosen(load(rig), shapes, expressions).to(torch.float32)
        for _ in range(cuts):
            found = finer(found)
        self.name, self.poses, self.sway = rig, poses, sway
        self.vain = idle(Skinned, given, (OF_GAUSSIANS if surface == "mesh" else OF_MESH) + ("sway",) * (poses != "random"))
        self.vain += idle(Skinned, given, ("expressions", "lr_expression") if found.expressions == 0 else ())
        self.motion = None if motion is None else play(motion, found)
        rates = {"pose": lr_pose, "shape": lr_shape, "expression": lr_expression, "displacement": lr_displacement}
        self.body = Body(found, pose=pose or {}, shape=shape or {}, vectors=displace == "vector", stiffness=stiffness, rates=rates)
        if surface == "mesh":
            self.surface = Painted(rng, found.mesh(), appearance=appearance, texture=texture, bound=bound, smooth=smooth, backend=backend,
                                   rate=lr_colour, shading=shading, ambient=ambient, environment=environment, turning=turning)  # fmt: skip
        else:
            own = {"offset": lr_offset, "scale": lr_scale, "rotation": lr_rotation, "opacity": lr_opacity, "colour": lr_colour}
            self.surface = Anchored(rng, found.mesh(), count=count, opacity=opacity, antialias=antialias, backend=backend, rates=own)

    @property
    def about(self) -> str:
        body = self.body
        vain = f"; without effect here: {', '.join(self.vain)}" if self.vain else ""
        return f"{self.name}: {len(body.vertices)} vertices, {len(body.joints)} joints; {self.surface.about}{vain}"

    # --- drawing ----------------------------------------------------------------------------------------------------

    def render(self, cameras: Cameras, now: Step | None = None) -> Render:
        """All buffers. extras: vertices (V 3, metres, shaped and displaced but not bent), faces (F 3); of gaussians opacity (N) and scale
        (N 3, metres, mean over rows)."""
        rest, faces = self.body.rest(), self.body.faces
        stances = self.body.stances(cameras, now, self.poses, self.motion, self.sway)
        chance, parts = None if now is None else now.rng.get_state(), []
        for rows, turns, shift in stances:
            if now is not None:
                now.rng.set_state(chance)  # one lamp for all moments
            parts.append(self.surface.render(self.body.bent(rest, turns, shift), faces, cameras.at(rows), now))
        rows = [rows for rows, _, _ in stances]
        order = torch.cat(rows).argsort()
        buffers = {name: torch.cat([getattr(part, name) for part in parts])[order] for name in parts[0].buffers()}
        extras = {"vertices": self.body.rig.world(rest[0]), "faces": faces}
        if "scale" in parts[0].extras:
            scale = sum(len(i) * part.extras["scale"] for i, part in zip(rows, parts, strict=True)) / max(len(cameras), 1)
            extras |= {"opacity": parts[0].extras["opacity"], "scale": scale}
        return Render(**buffers, extras=extras)

    def vertices(self) -> Float[Tensor, "V 3"]:
        """As it stands, metres."""
        return self.body.bent(self.body.rest(), self.body.standing())

    # --- optimising -------------------------------------------------------------------------------------------------

    def groups(self, now: Step) -> list[Group]:
        return self.body.groups(now) + self.surface.groups(now)

    # --- handing over -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def handover(self) -> Mesh | Points:
        """As it stands: a mesh with colours, texture or materials, or Gaussians."""
        return self.surface.handover(self.vertices(), self.body.faces)

    @torch.no_grad()
    def clip(self, times: Float[Tensor, " T"]) -> Skin | SplatClip | None:
        """The body on its joints, unbent, and how they turn: by `motion`, or once, as it stands. Of gaussians what `motion` shows."""
        if self.motion is None:
            stances, times = [(self.body.standing(), self.body.shift.new_zeros(3))], times[:1]
        else:
            stances = [self.body.playing(self.motion, time) for time in times.tolist()]
        if isinstance(self.surface, Painted):
            return self._skin(stances, times)
        if self.motion is None:
            return None
        rest, faces = self.body.rest(), self.body.faces
        return SplatClip(Frames(lambda k: self.surface.handover(self.body.bent(rest, *stances[k]), faces), len(stances)), times)

    def _skin(self, stances: list[tuple[Float[Tensor, "J 3 3"], Float[Tensor, "3"]]], times: Float[Tensor, " T"]) -> Skin:
        """In the world's axes, joints after their parents."""
        rig, (vertices, joints) = self.body.rig, self.body.rest()
        order = kinematics.order(rig.parents)
        places = [-1 if rig.parents[k] < 0 else order.index(rig.parents[k]) for k in order]
        turns = torch.stack([kinematics.quaternions(rig.axes @ turn @ rig.axes.mT)[order] for turn, _ in stances])
        bends = [kinematics.bent(rig, turn) for turn, _ in stances]
        mesh = dataclasses.replace(self.handover(), vertices=rig.world(vertices).cpu())
        return Skin(
            mesh, tuple(rig.names[k] for k in order), torch.tensor(places), rig.world(joints)[order].cpu(), rig.weights[:, order].cpu(),
            turns.cpu(), torch.stack([shift for _, shift in stances]).cpu(), times,
            torch.stack([rig.scale * (bend @ rig.axes.mT) for bend in bends]).cpu() if rig.bends.shape[-1] else None,
        )  # fmt: skip

    def init_from(self, data: Points | Mesh | Field) -> None:
        """Of a mesh with the same triangles, as an earlier stage hands it over: where its vertices are, and its colours. Raises Mistake for
        anything else: nothing tells which joint would move it."""
        faces, what = self.body.faces, type(data).__name__.lower()
        if isinstance(data, Mesh) and len(data.vertices) != len(self.body.vertices):
            what = f"one of {len(data.vertices)} vertices"
        elif isinstance(data, Mesh) and torch.equal(data.faces.to(faces), faces):
            what = "" if bool(data.vertices.isfinite().all()) else "one whose vertices are not finite"
        elif isinstance(data, Mesh):
            what = f"{len(data.faces)} other faces"
        if what:
            raise Mistake(f"a skinned body starts from a mesh with the {len(faces)} faces of its rig, not from {what}",
                          where="renderer.rig", fix="a mesh that this rig has handed over; or no init, convert with --from-scratch")
        data = dataclasses.replace(data, **{k: v.detach().cpu() for k, v in vars(data).items() if v is not None})
        self.body.fit(data)
        if data.rgb is not None or data.texture is not None:
            self.surface.paint(data)

    def restore(self, state: dict[str, Tensor]) -> None:
        for part in ("body", "surface"):
            getattr(self, part).restore({k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(f"{part}.")})
