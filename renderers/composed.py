"""Several objects in one scene, each a representation of its own in a frame of its own, placed by a layout.

SemanticSDS (Yang et al. 2024, arXiv:2410.09009): every object has its place (position, rotation, one scale), its label and its prompt;
groups of objects keep their places to each other; rounds show objects alone, in their own frames, before the scene as a whole. Frozen
objects are seen and never change. What is drawn exactly: `_compose_layers.py`. The authors' objects are Gaussians, placed by a language
model; here they are any representation, and the layout is the user's or the prompt's. Their objects are seen under view words of their
own; here words are those of the camera, which are an object's own in its rounds, and in the scene where it is not turned.
"""

import dataclasses
from typing import Any, ClassVar

import torch
from dream3d.renderers import _compose_place
from dream3d.renderers._compose_clip import together
from dream3d.renderers._compose_data import carried, given, joined, split, stretched
from dream3d.renderers._compose_layers import Member, draw, seen, told
from dream3d.renderers._compose_place import Place
from dream3d.renderers._volume import Volume
from dream3d.renderers.gaussians import Gaussians
from dream3d.renderers.mesh import TriangleMesh
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dream3d import build, layout
from dream3d.clips import MeshClip, SplatClip
from dream3d.errors import Mistake
from dream3d.interfaces import Group, Representation, learning
from dream3d.schedule import Ramp, Share, at
from dream3d.types import Cameras, Field, Mesh, Points, Render, Step

OWN = ("shift", "turn", "size", "begun")  # of the scene, beside its parts


class Composed(Representation):
    """layout: a JSON file, the same as a mapping, or "prompt": the one or two objects that the prompt names, where the toybox would put
    them (docs/layouts.md). object: what an object is, `type` and settings of any renderer but plane and composed; a layout's object may
    change that by its own `renderer`. Lengths in an object's settings are those of its own frame, in which it is as large as alone
    (inside [-0.75, 0.75]^3).

    whole: share of the steps that show the scene as a whole (the same ones as `scene` of semantic_sds takes for the prompt of all); in the
    others every view shows one of the objects that learn, by turns, alone and in its own frame, and no other prompt has a pixel.
    cameras.subject, where cameras have it, says so view by view (-1: the whole scene).

    lr_place: how fast groups of objects move (metres), turn about z (radians) and grow (log scale); objects without a group move alone,
    what is frozen stays. 0: places stay as the layout has them.

    An object with a `file` (a mesh, points, Gaussians, or a run's folder) starts from that; what an earlier stage hands over is split by
    its labels and goes before files, but not before the file of a frozen object, or of one that was not among what is handed over.
    """

    offers: ClassVar[dict[str, str]] = {"labels": "True", "normal": "True"}
    gives: ClassVar[dict[str, str]] = {}
    completes: ClassVar[str] = "dream3d.layout"

    def __init__(
        self,
        rng: torch.Generator,
        *,
        layout: str | dict[str, Any] = "prompt",
        object: str | dict[str, Any] = "gaussians",
        whole: Share = 1.0,
        lr_place: Ramp = Ramp(0.0),
    ):
        super().__init__()
        self.whole, self.lr_place = whole, lr_place
        self._lay({"layout": layout, "object": object}, rng)

    def _lay(self, settings: dict[str, Any], rng: torch.Generator) -> None:
        if settings["layout"] == "prompt":
            raise Mistake("a layout from a prompt needs the prompt", where="renderer.layout", fix="layout: {objects: [...]}")
        found = layout.complete(settings, "")
        self.things = found["layout"]["objects"]
        self.names = [thing["name"] for thing in self.things]
        self.frozen = [thing["frozen"] for thing in self.things]
        self.parts = nn.ModuleList(build.make("renderers", layout.part(found["object"], thing), rng) for thing in self.things)
        self.boxes = [_compose_place.of_box(thing) for thing in self.things]
        groups = [thing.get("group", i) for i, thing in enumerate(self.things)]  # those of none are numbers: no name of a user's
        self.group = [list(dict.fromkeys(groups)).index(name) for name in groups]
        count = max(self.group) + 1
        self.shift, self.turn = nn.Parameter(torch.zeros(count, 3)), nn.Parameter(torch.zeros(count))
        self.size = nn.Parameter(torch.zeros(count))
        self.register_buffer("begun", torch.tensor(False))
        for part, box in zip(self.parts, self.boxes, strict=True):
            if isinstance(part, Gaussians | TriangleMesh) and box.half.min() < box.half.max():
                part.init_from(stretched(part.handover(), box.half))
        self._freeze()

    @property
    def about(self) -> str:
        self._begin()
        said = (f"{name}: {part.about}{', frozen' * still}" for name, part, still in zip(self.names, self.parts, self.frozen, strict=True))
        return "; ".join(said)

    # --- drawing ----------------------------------------------------------------------------------------------------

    def render(self, cameras: Cameras, now: Step | None = None) -> Render:
        """All buffers, labels in the order of the layout. extras: of every part what penalties read, in the world (`_compose_layers.told`),
        and what its `refine` reads."""
        self._begin()
        places = self.places()
        members = [Member(i, part, place) for i, (part, place) in enumerate(zip(self.parts, places, strict=True))]
        shown = self._shown(cameras, now)
        rows = {k: (shown == k).nonzero()[:, 0] for k in shown.unique().tolist()}
        drawn = [self._drawn(members, k, cameras.at(index) if len(rows) > 1 else cameras, now) for k, index in rows.items()]
        order = torch.cat([*rows.values()]).argsort()
        names = [name for name in drawn[0][0] if all(name in buffers for buffers, *_ in drawn)]
        buffers = {name: torch.cat([buffers[name] for buffers, *_ in drawn])[order] for name in names}
        extras = {f"{n}:{name}" if n else name: value for n, (_, several, _) in enumerate(drawn) for name, value in several.items()}
        return Render(**buffers, extras={**extras, **told(members, [own for *_, own in drawn], [not still for still in self.frozen])})

    def _drawn(self, members: list[Member], subject: int, cameras: Cameras, now: Step | None):
        """The scene, or one of its objects in its own frame."""
        chosen = members if subject < 0 else [dataclasses.replace(members[subject], place=None)]
        return draw(chosen, len(members), cameras, now)

    def _shown(self, cameras: Cameras, now: Step | None) -> Int[Tensor, " B"]:
        """Which object every view shows, -1 for all; views of one group show the same."""
        if cameras.subject is not None:
            if int(cameras.subject.max()) >= len(self.parts):
                raise Mistake(f"cameras look at object {int(cameras.subject.max())}, but the layout has {len(self.parts)}",
                              where="renderer.layout", near=", ".join(f"{i}: {name}" for i, name in enumerate(self.names)))  # fmt: skip
            return cameras.subject
        if now is None or int((now.index + 1) * self.whole) > int(now.index * self.whole):
            return torch.full((len(cameras),), -1, device=cameras.device)
        rounds = now.index - int(now.index * self.whole)  # before this one
        free = torch.tensor([i for i, still in enumerate(self.frozen) if not still], device=cameras.device)
        groups = int(cameras.group[-1]) + 1
        return free[(rounds * groups + cameras.group) % len(free)]

    def places(self) -> list[Place]:
        """Where the objects stand now; of frozen ones without a gradient."""
        boxes = [box.to(self.shift.device) for box in self.boxes]
        if not self._moves():
            return boxes
        members = [[box.centre for box, g in zip(boxes, self.group, strict=True) if g == k] for k in range(len(self.turn))]
        pivots = [torch.stack(centres).mean(0) for centres in members]
        found = [_compose_place.moved(box, pivots[g], self.shift[g], self.turn[g], self.size[g])
                 for box, g in zip(boxes, self.group, strict=True)]  # fmt: skip
        return [box if still else place for box, place, still in zip(boxes, found, self.frozen, strict=True)]

    def _moves(self) -> bool:
        return max(self.lr_place(0.0), self.lr_place(1.0)) > 0

    # --- optimising -------------------------------------------------------------------------------------------------

    def groups(self, now: Step) -> list[Group]:
        """Those of the parts that learn, named by their labels, then the places."""
        free = [(i, part) for i, (part, still) in enumerate(zip(self.parts, self.frozen, strict=True)) if not still]
        own = [dataclasses.replace(group, name=f"{i}.{group.name}") for i, part in free for group in part.groups(now)]
        rate = at(self.lr_place, now)
        return own + learning([(name, getattr(self, name), rate) for name in ("shift", "turn", "size")])

    def refine(self, render: Render, optimizer, now: Step) -> None:
        """Each part as if it were alone, from what it showed in this step; frozen volumes look where they are empty."""
        sizes = {i: len(part) for i, part in enumerate(self.parts) if isinstance(part, Gaussians)}  # before any of them has others
        for i, part in enumerate(self.parts):
            if not self.frozen[i] or isinstance(part, Volume):
                part.refine(dataclasses.replace(render, extras=seen(render.extras, i, sizes)), Named(optimizer, i), now)

    def _freeze(self) -> None:
        for part, still in zip(self.parts, self.frozen, strict=True):
            if still:
                part.requires_grad_(False)

    # --- handing over -----------------------------------------------------------------------------------------------

    def handover(self) -> Points | Mesh:
        """All of it as one, labelled in the order of the layout: a mesh where no object is made of Gaussians, else Gaussians."""
        self._begin()
        with torch.no_grad():
            places = [place.to("cpu") for place in self.places()]
            return joined([_settled(part.handover()) for part in self.parts], places)

    @torch.no_grad()
    def clip(self, times: Float[Tensor, " T"]) -> MeshClip | SplatClip | None:
        """All of it as one over time, where an object moves; no mesh may do so among Gaussians."""
        self._begin()
        places = [place.to("cpu") for place in self.places()]
        return together([part.clip(times) for part in self.parts], [_settled(part.handover()) for part in self.parts], places, times)

    def init_from(self, data: Points | Mesh | Field) -> None:
        """Labelled Gaussians or a labelled mesh, whose parts stay where they are in the world; places begin as the layout has them."""
        pieces = [*split(_settled(data), self.names, [i for i, thing in enumerate(self.things) if "file" in thing])]
        self.begun.fill_(True)
        for i, (piece, box) in enumerate(zip(pieces, self.boxes, strict=True)):
            own = piece is None or self.frozen[i] and "file" in self.things[i]
            self._take(i, self._file(i) if own else carried(piece, box, back=True))

    def _begin(self) -> None:
        """Read the objects' files, once: not where a checkpoint or an earlier stage says what they are."""
        if not bool(self.begun):
            self.begun.fill_(True)
            for i in [i for i, thing in enumerate(self.things) if "file" in thing]:
                self._take(i, self._file(i))

    def _file(self, i: int) -> Points | Mesh | Field:
        try:
            return _settled(given(self.things[i]["file"], self.things[i].get("sha256")))
        except Mistake as mistake:
            raise mistake.completed(within=f"{self.names[i]}: ") from None

    def _take(self, i: int, data: Points | Mesh | Field) -> None:
        plain = data if isinstance(data, Field) else dataclasses.replace(data, label=None)
        self.parts[i].init_from(plain)
        self._freeze()

    def state(self) -> dict[str, Tensor]:
        self._begin()
        own = {name: getattr(self, name) for name in OWN}
        return own | {f"parts.{i}.{name}": value for i, part in enumerate(self.parts) for name, value in part.state().items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name in OWN:
                getattr(self, name).copy_(state[name])
        for i, part in enumerate(self.parts):
            begin = f"parts.{i}."
            part.restore({name.removeprefix(begin): value for name, value in state.items() if name.startswith(begin)})
        self._freeze()


class Named:
    """The optimiser as one part knows it."""

    def __init__(self, optimizer, label: int):
        self.optimizer, self.label = optimizer, label

    def remap(self, names: list[str], source: Int[Tensor, " n"], fresh: Bool[Tensor, " n"]) -> None:
        self.optimizer.remap([f"{self.label}.{name}" for name in names], source, fresh)

    def forget(self, name: str) -> None:
        self.optimizer.forget(f"{self.label}.{name}")


def _settled(data: Points | Mesh | Field) -> Points | Mesh | Field:
    """The same on the CPU, without gradients."""
    return dataclasses.replace(data, **{k: v.detach().cpu() for k, v in vars(data).items() if isinstance(v, Tensor)})
