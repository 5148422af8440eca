"""One scene learns to be another, whatever either of them is: the teacher is a finished run or a file and stays as it is.

Between volumes, progressive volume distillation (PVD, Fang et al., arXiv:2211.15977): student and teacher are asked at the same places of
the same rays, first for densities, then for colours too, then also for what the rays show; the hardest rays come again (PVD-AL, Fang et
al., arXiv:2304.04012). PVD's first stage compares features before the last layers: ours have no such layers of equal widths, so the first
stage is densities alone. All other pairs compare renders from the same cameras, as BoostDream (arXiv:2401.16764) does, and there other
terms may pull as well.
"""

import dataclasses
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dream3d.clock import Clock
from dream3d.convert.lesson import UNSEEN, decibels, density_gap, per_ray, shape_gap, shown_gap, stage
from dream3d.convert.pool import Pool
from dream3d.convert.teacher import moving, taught
from dream3d.errors import Mistake
from dream3d.export.views import sphere
from dream3d.interfaces import Log, Representation, System, device_of, freeze, idle
from dream3d.optim import clip_pixels, clipped_share
from dream3d.schedule import Count, NonNegative, Share, Whole, at
from dream3d.types import Cameras, Field, Mesh, Points, Render, Step

VIEW = ("to_world", "intrinsics", "azimuth", "elevation")  # what a view is in a pool
VIEWS, MINED = 64, 0.5  # views that are kept; the largest share that comes again
FIELDS, SEEN = ("rays", "milestones", "density", "colour"), ("depth", "normal")  # settings that count between fields, between views


class Distil(System):
    """teacher: a run folder, or a GLB, glTF, OBJ or PLY file (a mesh or Gaussians). digests: what teacher, merge and mask have to be,
    found when a conversion begins; none: whatever they are. start: on the way from what the teacher hands over, as a stage would, where
    that looks more like the teacher than before, or from what the new scene begins with. how: fields (volumes of colours), views, or auto:
    fields where it can be and nothing else pulls.

    rays: of a step, from its views; milestones: progress from which colours, and then what rays show, count as well; density, colour: what
    they count for beside what is shown; depth, normal: the same between views. mined: the share of rays or views, at most half, that comes
    again because it was hardest, out of the `pool` hardest rays (64 views).

    merge: another run or file, which is laid over the teacher within the mask, on `grid` nodes a side: cut (where they differ, by graph
    cut as Vox-E, arXiv:2303.12048), a box [x, y, z, X, Y, Z] in metres, a mesh file (inside it), or a .safetensors file with `mask`
    (0 or 1) or `weights` (in [0, 1], for the cut) over the grid."""

    pulls: ClassVar[bool] = True

    def __init__(
        self, scene, terms, cameras, background, optimizer, penalties, clip, steps: int, seed: int, salt: int | str = 0,
        *,
        teacher: str,
        digests: tuple[str, ...] = (),
        start: Literal["handover", "nothing"] = "handover",
        how: Literal["auto", "fields", "views"] = "auto",
        rays: Count = 256,
        milestones: tuple[Share, Share] = (0.07, 0.17),
        density: NonNegative = 0.002,
        colour: NonNegative = 0.002,
        depth: NonNegative = 0.1,
        normal: NonNegative = 0.01,
        mined: Share = 0.1,
        pool: Whole = 512,
        merge: str | None = None,
        mask: str | tuple[float, float, float, float, float, float] = "cut",
        grid: Count = 64,
    ):  # fmt: skip
        given = {**locals()}
        if mined > MINED:
            raise Mistake(f"at most half of the rays or views can come again, but system.mined is {mined:g}: nothing new would be seen",
                          where="system.mined", near="0.1", fix=f"system.mined={MINED:g}")  # fmt: skip
        self.scene, self.terms, self.cameras, self.background = scene, terms, cameras, background
        self.optimizer, self.penalties, self.clip = optimizer, penalties, clip
        self.steps, self.seed, self.salt, self.start = steps, seed, salt, start
        if type(scene).init_from is Representation.init_from:
            raise Mistake(f"{type(scene).__name__.lower()} is no scene that another one can become", where="renderer.type",
                          near="hashgrid, gaussians, mesh")  # fmt: skip
        self.rays, self.milestones, self.density, self.colour = rays, milestones, density, colour
        self.depth, self.normal, self.mined = depth, normal, mined
        device = device_of(scene)
        found, said = taught(teacher, digests, merge, mask, grid)
        self.teacher = freeze(found).to(device)
        self.fields = self._beside(how)
        if not self.fields and any(getattr(getattr(part, "shading", None), "lamp", False) for part in scene.modules()):
            raise Mistake("by views, a scene that is shown lit learns colours that make up for its lamps: the teacher has none",
                          where="renderer.shading", near="renderer.shading=albedo",
                          fix="renderer.shading=albedo, and light what has been converted")  # fmt: skip
        if not self.fields:
            _check_shown(scene)
        self.pool = Pool(pool, 6, device) if self.fields else Pool(min(pool, VIEWS), 27, device)
        moves = ", as it moves" if getattr(cameras, "frames", 1) > 1 else ", its still scene"
        still, way = moves if moving(self.teacher) else "", "fields" if self.fields else "views"
        vain = idle(Distil, given, SEEN if self.fields else FIELDS) + ["clip"] * (self.fields and clip is not None)
        vain += idle(Distil, given, ("mask", "grid")) if merge is None else []
        said += [f"without effect by {way}{' and without merge' * (merge is None)}: {', '.join(vain)}"] if vain else []
        self.about = "; ".join([f"teacher {teacher} ({type(self.teacher).__name__.lower()}{still}) by {way}", *said])

    def _beside(self, how: str) -> bool:
        """Whether the two are asked at places."""
        nowhere = torch.zeros(0, 3, device=device_of(self.scene))
        ask = getattr(self.scene, "beside", None)
        able = ask is not None and ask(self.teacher, nowhere, nowhere, Step.make(0, 1, self.seed)) is not None
        if how == "fields" and (not able or self.terms):
            raise Mistake("only volumes of colours can be compared as fields, where nothing else pulls", where="system.how",
                          near="system.how=auto", fix="guidance=[], or system.how=views")  # fmt: skip
        return how != "views" and able and not self.terms

    def begin(self, handed: Points | Mesh | Field | None) -> None:
        """From what a file or an earlier stage hands over; else from what the teacher does, if that is nearer to it."""
        if handed is not None or self.start == "nothing":
            return super().begin(handed)
        before, apart = {name: value.clone() for name, value in self.scene.state().items()}, self._apart()
        super().begin(self.teacher.handover())
        if self._apart() > apart:  # no surface of a few loose discs, for one
            self.scene.restore(before)
            self.about += ", begun with nothing: converted it looked less alike"

    @torch.no_grad()
    def _apart(self) -> float:
        """How little the two look alike from all around."""
        cameras = sphere(6, radius=0.95, size=32).to(device_of(self.scene))
        return float(shown_gap(self.scene.render(cameras), self.teacher.render(cameras)).mean())

    def step(self, index: int) -> Log:
        clock, now = Clock(), Step.make(index, self.steps, self.seed, salt=self.salt)
        cameras = self.cameras(now).to(device_of(self.scene))
        render, scalars = (self._by_rays if self.fields else self._by_views)(cameras, now, clock)
        moved = self.optimizer.step(self.scene.groups(now))
        if moved:
            for term in self.terms:
                term.learn(now)
            self.scene.refine(render, self.optimizer, now)
        clock.lap("rest")
        counts = {"parameters": float(sum(p.numel() for p in self.scene.parameters())), "skipped": float(self.optimizer.skipped)}
        return Log({**scalars, **counts}, clock.seconds, skipped=not moved)

    # --- at places of rays ------------------------------------------------------------------------------------------

    def _by_rays(self, cameras: Cameras, now: Step, clock: Clock) -> tuple[Render, dict[str, float]]:
        hard = self.pool.draw(round(self.mined * self.rays), now)
        fresh = self._some(cameras, self.rays - len(hard), now)
        origin, way = torch.cat([hard, fresh]).split(3, 1)
        both, until = self.scene.beside(self.teacher, origin, way, now), stage(now.progress, self.milestones)
        render = self._row(both, cameras, now)
        clock.lap("renderer")

        mean = [both.ray, len(origin), both.light.shape[1]]
        shape = per_ray(density_gap(*both.density), *mean)
        paint = per_ray((both.taken + UNSEEN) * (both.colour[0] - both.colour[1]).square().sum(-1), *mean)
        shown = shown_gap(render, render.source).flatten()
        gap = self.density * shape + (self.colour * paint if until > 1 else 0) + (shown if until > 2 else 0)
        penalty = self.penalties(self.scene, render, now)
        (gap.sum() + (0 if penalty is None else penalty)).backward()
        clock.lap("teacher")
        self.pool.learn(fresh, gap)
        errors = {"error/density": shape.mean().item(), "error/colour": paint.mean().item(), "error/shown": shown.mean().item()}
        return render, {**errors, "milestone": float(until), "decibels": decibels(render, render.source)}

    def _some(self, cameras: Cameras, count: int, now: Step) -> Float[Tensor, "n 6"]:
        """Rays through pixels by chance."""
        every = torch.cat([v.reshape(-1, 3) for v in cameras.rays()], 1)
        return every[(now.uniform(count) * len(every)).long().clamp(max=len(every) - 1).to(every.device)]

    def _row(self, both, cameras: Cameras, now: Step) -> Render:
        """What the rays show, as a picture one pixel wide over one background, and beside it what they shall show."""
        def picture(k: int, **more) -> Render:
            return Render(both.rgb[k][None, :, None], both.alpha[k][None, :, None], both.depth[None, :, None], **more)

        render = picture(0, source=picture(1), extras={"weights": both.light, **self.scene.grids()})
        one = dataclasses.replace(cameras.at(cameras.group[:1]), views=1, frames=1)
        return self.background(render, one, now)

    # --- by what cameras see ----------------------------------------------------------------------------------------

    def draw(self, cameras: Cameras, now: Step) -> Render:
        """The scene, and beside it the teacher."""
        with torch.no_grad():
            wanted = self.teacher.render(cameras).detach()
        return dataclasses.replace(self.scene.render(cameras, now), source=wanted)

    def _by_views(self, cameras: Cameras, now: Step, clock: Clock) -> tuple[Render, dict[str, float]]:
        cameras, fresh = self._again(cameras, now)
        render = self.background(self.draw(cameras, now), cameras, now)
        clock.lap("renderer")
        seen = render.cut()
        for term in self.terms:
            term.pull(seen, cameras, now)
        gap = shown_gap(seen, seen.source)
        (gap + shape_gap(seen, seen.source, self.depth, self.normal)).sum().backward()
        clock.lap("teacher")
        raw, limit = seen.gradients(), at(self.clip, now)
        render.backward(clip_pixels(raw, limit), self.penalties(self.scene, render, now))
        if fresh is not None:
            self.pool.learn(fresh, gap.mean((1, 2)))
        scalars = {"error/shown": gap.mean().item(), "clipped": clipped_share(raw, limit)}
        return render, {**scalars, "decibels": decibels(render, render.source)}

    def _again(self, cameras: Cameras, now: Step) -> tuple[Cameras, Float[Tensor, "n 27"] | None]:
        """The hardest views take the place of some; and the others (maybe none), or None where views belong together."""
        if cameras.views * cameras.frames > 1 or cameras.role is not None or cameras.subject is not None:
            return cameras, None
        rows = torch.cat([getattr(cameras, name).flatten(1) if name in VIEW[:2] else getattr(cameras, name)[:, None] for name in VIEW], 1)
        hard = self.pool.draw(int(self.mined * len(rows) + float(now.uniform(1))), now)
        fresh = rows[: len(rows) - len(hard)]
        pose, lens, azimuth, elevation = torch.cat([hard, fresh]).split([16, 9, 1, 1], 1)
        views = {"to_world": pose.view(-1, 4, 4), "intrinsics": lens.view(-1, 3, 3), "azimuth": azimuth[:, 0], "elevation": elevation[:, 0]}
        return dataclasses.replace(cameras, **views), fresh

    def state(self) -> dict:
        terms = {str(i): term.state() for i, term in enumerate(self.terms)}
        return {"scene": self.scene.state(), "optimizer": self.optimizer.state(), "pool": self.pool.state(), "terms": terms}

    def restore(self, state: dict) -> None:
        self.scene.restore(state["scene"])
        self.optimizer.restore(state["optimizer"])
        self.pool.restore(state["pool"])
        for i, term in enumerate(self.terms):
            term.restore(state["terms"].get(str(i), {}))


def _check_shown(scene: Representation) -> None:
    """Raises Mistake for a scene that is not seen as the teacher is: one of its objects alone, or in another pose."""
    whole = getattr(scene, "whole", 1.0)
    poses = {getattr(part, "poses", "rest") for part in scene.modules()} - {"rest"}
    if isinstance(whole, float) and whole < 1:
        raise Mistake(f"by views, a scene whose objects are shown one by one (whole: {whole:g}) would be told the whole teacher each time",
                      where="renderer.whole", fix="renderer.whole=1")  # fmt: skip
    if poses:
        raise Mistake(f"by views, a body in other poses (poses: {poses.pop()}) would be told the teacher's one pose",
                      where="renderer.poses", fix="renderer.poses=rest")  # fmt: skip
