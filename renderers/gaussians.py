"""3D Gaussians, splatted (Kerbl et al. 2023, arXiv:2308.04079), with spherical harmonics up to degree 3.

Compositing runs in numba on the CPU, in gsplat on CUDA where it is installed, in torch elsewhere (`_backends/splat_*`:
the same signature and rules). The starting ball is DreamGaussian's (Tang et al., arXiv:2309.16653). Densification is relative, see
`_backends/surgery.py`; other ways to it, windows and caps are in `_backends/strategies.py`.
"""

import dataclasses
from typing import ClassVar, Literal

import torch
from dream3d.renderers._backends import splat_gsplat, splat_numba, splat_torch
from dream3d.renderers._backends.choice import kernel
from dream3d.renderers._backends.project import C0, harmonics, matrix, project
from dream3d.renderers._backends.seeds import ball, spacing, start
from dream3d.renderers._backends.strategies import Upkeep
from dream3d.renderers._backends.unit import unit
from dream3d.renderers._settle import settle
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.interfaces import Group, Representation
from dream3d.schedule import Count, Inside, Positive, Ramp, Share, Shares, Whole, at
from dream3d.types import Cameras, Field, Mesh, Points, Render, Step

BACKENDS = {"numba": splat_numba, "torch": splat_torch, "gsplat": splat_gsplat}
NAMES = ("position", "log_scale", "rotation", "logit", "colour", "harmonics")


class Gaussians(Representation):
    """`count` Gaussians in a ball of `radius` metres, grey, with the given starting `opacity` (in (0, 1)). With `halves` they
    belong to two objects from the start: label 0 to those above the middle (or left of it, seen from the front), 1 to the
    rest; children inherit it, and `labels` are drawn. What takes over a mesh or a volume is fitted to pictures of it for
    `settle` steps.

    Learning rates are per Adam step: lr_position in metres, lr_scale in log metres, lr_rotation of the quaternion,
    lr_opacity of the logit, lr_colour of rgb (a twentieth of it for the view-dependent harmonics of degree 1 to
    `sh_degree`).

    Between progress `densify_from` and `densify_until`, after every `densify_every` of the run (fractions): the
    `densify_share` with the largest mean screen-space gradient become two each, up to `max_count`: those above
    `split_scale` metres split, smaller ones are cloned; what is below `prune_opacity` or above `prune_scale` metres
    goes. densify "compactness": instead, in the gap between a Gaussian and each of its nearest `neighbours` that it does
    not touch a new one begins, for as many as `densify_share` a time; "both": after the others. when_full "replace":
    at `max_count` it goes on, and those of least importance (opacity times the area of the two largest scales) go, also
    of a larger scene that is taken over. prune_only: between these two fractions nothing is added, and at every
    `densify_every` what is above `prune_only_scale` metres goes. `reset_every` (a fraction; 0: never) lowers all
    opacities to `reset_opacity`, until `densify_until`.

    antialias: a scene fitted at 64 pixels looks the same at 512 (off: the reference code's rule, where small splats grow
    as pixels do). backend "auto": numba for float32 on the CPU, gsplat for float32 on CUDA where it is installed, else torch.
    """

    memory: ClassVar[str] = (
        "max(count, max_count) * (650 + 560 * views + 140 * ((sh_degree + 1)**2 - 1)) + 76 * views * side**2"
    )

    offers: ClassVar[dict[str, str]] = {"labels": "halves", "normal": "True"}
    gives: ClassVar[dict[str, str]] = {"splats": "True"}

    def __init__(
        self,
        rng: torch.Generator,
        *,
        count: Count = 2000,
        radius: Positive = 0.6,
        opacity: Inside = 0.1,
        halves: Literal["above", "left"] | None = None,
        sh_degree: Literal[0, 1, 2, 3] = 0,
        settle: Whole = 60,
        antialias: bool = True,
        backend: Literal["auto", "numba", "torch", "gsplat"] = "auto",
        lr_position: Ramp = Ramp(5e-3, 2e-4, shape="exp"),
        lr_scale: Ramp = Ramp(1e-2, 2e-3, shape="exp"),
        lr_rotation: Ramp = Ramp(1e-2, 2e-3, shape="exp"),
        lr_opacity: Ramp = Ramp(5e-2),
        lr_colour: Ramp = Ramp(1e-2, 2e-3),
        densify: Literal["gradient", "compactness", "both"] = "gradient",
        densify_from: Share = 0.1,
        densify_until: Share = 0.6,
        densify_every: Share = 0.05,
        densify_share: Share = 0.08,
        neighbours: Count = 3,
        max_count: Count = 10000,
        when_full: Literal["wait", "replace"] = "wait",
        split_scale: Positive = 0.02,
        prune_opacity: Share = 0.01,
        prune_scale: Positive = 0.3,
        prune_only: Shares | None = None,
        prune_only_scale: Positive = 0.1,
        reset_every: Share = 0.0,
        reset_opacity: Inside = 0.05,
    ):
        super().__init__()
        self.count, self.opacity, self.sh_degree, self.settle = count, opacity, sh_degree, settle
        self.antialias, self.backend = antialias, backend
        self.rates = {"position": lr_position, "log_scale": lr_scale, "rotation": lr_rotation, "logit": lr_opacity,
                      "colour": lr_colour, "harmonics": lr_colour}  # fmt: skip
        self.reset_opacity = reset_opacity
        self.upkeep = Upkeep(
            densify, densify_from, densify_until, densify_every, densify_share, neighbours, max_count, when_full, split_scale,
            prune_opacity, prune_scale, prune_only, prune_only_scale, reset_every,
        )  # fmt: skip
        self.register_buffer("label", None)
        self.register_buffer("objects", torch.tensor(0))  # labels, also those with no Gaussian left
        self._start(labelled(ball(count, radius, rng), halves))

    def __len__(self) -> int:
        return len(self.position)

    @property
    def about(self) -> str:
        name, why = self._backend()
        return f"{len(self)} gaussians on {name}: {why}"

    # --- drawing ----------------------------------------------------------------------------------------------------

    def render(self, cameras: Cameras, now: Step | None = None) -> Render:
        """All buffers. The normal is the shortest axis, facing the camera. extras: means2d (B N 2, pixels, keeps its
        gradient), radii (B N, pixels, 0 where not seen), opacity (N), scale (N 3, metres)."""
        scale, opacity, turn = self.log_scale.exp(), self.logit.sigmoid(), matrix(self.rotation)
        splats = project(self.position, turn * scale[:, None], opacity, cameras)
        if splats.means2d.requires_grad:
            splats.means2d.retain_grad()
        colours, normals, labels = self._colours(cameras), self._normals(turn, cameras), self._labels(cameras)
        features = torch.cat([colours, splats.depths[..., None], normals, *labels], -1)
        weight = torch.where(splats.visible, opacity * splats.fade if self.antialias else opacity, 0)
        composite = BACKENDS[self._backend()[0]].composite
        size = cameras.height, cameras.width
        image, alpha = composite(splats.means2d, splats.conics, weight, features, splats.depths, *size)
        rgb, depth, normal, labels = image.split([3, 1, 3, image.shape[-1] - 7], -1)
        labels = None if self.label is None else torch.cat([labels, 1 - alpha], -1)
        extras = {"means2d": splats.means2d, "radii": splats.radii, "opacity": opacity, "scale": scale}
        return Render(rgb, alpha, depth, normal, labels, extras=extras)

    def _backend(self) -> tuple[str, str]:
        """The kernel, and why it is this one."""
        return kernel(self.position.device.type, self.position.dtype == torch.float32, self.backend, splat_gsplat.trouble)

    def _towards(self, cameras: Cameras) -> Float[Tensor, "B N 3"]:
        return self.position - cameras.centre[:, None]

    def _colours(self, cameras: Cameras) -> Float[Tensor, "B N 3"]:
        if self.sh_degree == 0:
            return unit(self.colour).expand(len(cameras), -1, -1)
        direction = nn.functional.normalize(self._towards(cameras), dim=-1)
        basis = harmonics(direction, self.sh_degree)[..., 1:]
        return unit(self.colour + torch.einsum("bnk,nkc->bnc", basis, self.harmonics))

    def _normals(self, turn: Float[Tensor, "N 3 3"], cameras: Cameras) -> Float[Tensor, "B N 3"]:
        shortest = self.log_scale.argmin(-1)
        axis = turn.gather(2, shortest[:, None, None].expand(-1, 3, 1))[..., 0]
        away = (self._towards(cameras).detach() * axis.detach()).sum(-1, keepdim=True) > 0
        return torch.where(away, -axis, axis)

    def _labels(self, cameras: Cameras) -> list[Float[Tensor, "B N S"]]:
        if self.label is None:
            return []
        one_hot = nn.functional.one_hot(self.label, int(self.objects)).to(self.position.dtype)
        return [one_hot.expand(len(cameras), -1, -1)]

    # --- optimising -------------------------------------------------------------------------------------------------

    def groups(self, now: Step) -> list[Group]:
        rates = at(self.rates, now)
        rates["harmonics"] /= 20
        return [Group(name, getattr(self, name), rates[name]) for name in NAMES if getattr(self, name).numel()]

    def refine(self, render: Render, optimizer, now: Step) -> None:
        """Densify, prune and reset opacity after a step, when that is due."""
        if self.upkeep.watches(now):
            pull = render.extras["means2d"].grad
            if pull is not None and bool(pull.isfinite().all()):
                self.pull += pull.norm(dim=-1).sum(0)
                self.seen += (render.extras["radii"] > 0).sum(0)
        if self.upkeep.due(now):
            self._densify(optimizer, now)
        if self.upkeep.resets(now):
            self.logit.data.clamp_(max=_logit(self.reset_opacity))
            optimizer.forget("logit")

    @torch.no_grad()
    def _densify(self, optimizer, now: Step) -> None:
        rows = {name: getattr(self, name).data for name in NAMES}
        crowd = self.upkeep.turn(rows, self.label, self.pull / self.seen.clamp(min=1), now)
        if crowd is None:
            return
        optimizer.remap(list(NAMES), crowd.source, crowd.fresh)
        self._replace(crowd.rows)
        if self.label is not None:
            self.label = self.label[crowd.source]

    def _replace(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            setattr(self, name, nn.Parameter(value))
        for name in ("pull", "seen"):
            self.register_buffer(name, torch.zeros_like(values["logit"]))

    # --- handing over -----------------------------------------------------------------------------------------------

    def handover(self) -> Points:
        """Gaussians in world units, with everything an export needs. Without harmonics the colours are those shown, in
        [0, 1]: viewers of splats do not clamp them above. With harmonics only the sum is clamped, by whoever draws."""
        with torch.no_grad():
            colour = self.colour.clamp(0, 1) if self.sh_degree == 0 else self.colour
            sh = torch.cat([(colour[:, None] - 0.5) / C0, self.harmonics], 1)
            rotation = nn.functional.normalize(self.rotation, dim=-1)
            label = None if self.label is None else self.label.clone()
            rgb, scale, opacity = self.colour.clamp(0, 1), self.log_scale.exp(), self.logit.sigmoid()
            return Points(self.position.clone(), rgb, scale, rotation, opacity, sh, label)

    def init_from(self, data: Points | Mesh | Field) -> None:
        """Gaussians are taken as they are, plain points become round ones at their own spacing, meshes and the surfaces of
        volumes `count` discs, which are then fitted to pictures of them."""
        self._start(start(data, self.count))
        if not isinstance(data, Points):
            settle(self, data, self.settle)

    def _start(self, points: Points) -> None:
        device = self.position.device if hasattr(self, "position") else points.position.device
        position = points.position.detach().float()
        one = torch.ones_like(position[:, :1])
        scale = spacing(position)[:, None].expand(-1, 3) if points.scale is None else points.scale.clamp(min=1e-6)
        rotation = torch.cat([one, 0 * position], 1) if points.rotation is None else points.rotation
        opacity = self.opacity * one[:, 0] if points.opacity is None else points.opacity.clamp(1e-4, 1 - 1e-4)
        colour = points.rgb if points.sh is None else 0.5 + C0 * points.sh[:, 0]
        more = torch.zeros(len(position), (self.sh_degree + 1) ** 2 - 1, 3)
        if points.sh is not None:
            given = points.sh[:, 1 : 1 + more.shape[1]]
            more[:, : given.shape[1]] = given.detach()
        values = (position, scale.log(), rotation, opacity.logit(), colour, more)
        rows = {name: v.detach().float().clone().to(device) for name, v in zip(NAMES, values, strict=True)}
        few = self.upkeep.within(rows)
        self._replace({name: value[few] for name, value in rows.items()})
        self.label = None if points.label is None else points.label.to(device)[few]
        self.objects.fill_(0 if points.label is None else int(points.label.max()) + 1)

    def restore(self, state: dict[str, Tensor]) -> None:
        device = self.position.device
        self._replace({name: state[name].clone().to(device) for name in NAMES})
        for name in ("pull", "seen", "label", "objects"):
            setattr(self, name, state[name].clone().to(device) if name in state else None)


def labelled(points: Points, halves: Literal["above", "left"] | None) -> Points:
    """Points of two objects, told apart by where they are; unchanged for None."""
    if halves is None:
        return points
    x, _, z = points.position.unbind(1)
    return dataclasses.replace(points, label=(z < 0 if halves == "above" else x > 0).long())


def _logit(p: float) -> float:
    return torch.logit(torch.tensor(p, dtype=torch.float64)).item()
