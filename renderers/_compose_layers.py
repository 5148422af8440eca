"""Drawing several objects at once: those of one kind together, different kinds as layers that lie before each other pixel by pixel.

Sets of Gaussians are one set, composited in one order of depth; meshes are one mesh before one z-buffer, each with its own look: both
exactly as if they had never been several, but for lamps and skies: these are drawn in every object's own frame (with one chance for all
objects of a picture, so that all are lit or plain together), and stand to its own size and turn. Every other object (a volume, a surface of
a grid, what moves or is skinned) is a layer of its own, drawn by moved cameras, and so is each of those joint pictures. A pixel's layers
are composited by their mean depth there: exact where at most one of them covers it, or where the nearer one is opaque or all of it is
nearer; fog in fog is not mixed along the ray.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from dream3d.renderers._compose_place import Place, turned_harmonics
from dream3d.renderers._surface import Hits
from dream3d.renderers._surface import draw as draw_mesh
from dream3d.renderers.gaussians import NAMES, Gaussians
from dream3d.renderers.mesh import TriangleMesh
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from dream3d.interfaces import Representation
from dream3d.types import Cameras, Render, Step

EMPTY = 1e-6  # alpha below which a layer has no depth


@dataclass(frozen=True)
class Member:
    """One object: its label, what it is, and where it stands (None: in its own frame)."""

    label: int
    part: Representation
    place: Place | None


def draw(members: list[Member], count: int, cameras: Cameras, now: Step | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Buffers with labels of `count` objects and the background; and what each part's `refine` reads, named by the labels of those that
    were drawn together: "0+2.means2d"."""
    kinds: dict[tuple, list[Member]] = {}
    for member in members:
        kinds.setdefault(_kind(member), []).append(member)
    drawn = alike(now)
    layers = [drawn(DRAWN[kind[0]], several, count, cameras, now) for kind, several in kinds.items()]
    extras = {f"{'+'.join(str(m.label) for m in several)}.{name}": value
              for several, layer in zip(kinds.values(), layers, strict=True) for name, value in layer.extras.items()}  # fmt: skip
    return stack(layers), extras


def alike(now: Step | None):
    """Calls what it is given, every time with the chances of the first time."""
    chance = None if now is None else now.rng.get_state()

    def call(function, *args):
        if now is not None:
            now.rng.set_state(chance)
        return function(*args)

    return call


def _kind(member: Member) -> tuple:
    """What is equal for objects that are drawn together."""
    part = member.part
    if member.place is not None and type(part) is Gaussians:
        return "splats", part.antialias, part.backend
    if member.place is not None and type(part) is TriangleMesh:
        return "faces", part.smooth, part.backend
    return "alone", member.label


# --- one kind ---------------------------------------------------------------------------------------------------------------------


class Canvas(nn.Module):
    """Gaussians that stand for others in a functional call."""

    def __init__(self, degree: int, antialias: bool, backend: str):
        super().__init__()
        self.set = Gaussians(torch.Generator(), count=1, sh_degree=degree, antialias=antialias, backend=backend)

    def forward(self, cameras: Cameras) -> Render:
        return self.set.render(cameras)


def _splats(members: list[Member], count: int, cameras: Cameras, now: Step | None) -> Render:
    first, degree = members[0].part, max(m.part.sh_degree for m in members)
    rows = [placed(m.part, m.place, degree) for m in members]
    values = {f"set.{name}": torch.cat([row[name] for row in rows]) for name in NAMES}
    label = torch.cat([torch.full((len(m.part),), m.label, device=cameras.device) for m in members])
    values |= {"set.label": label, "set.objects": torch.tensor(count, device=cameras.device)}
    canvas = Canvas(degree, first.antialias, first.backend).to(cameras.device)
    drawn = functional_call(canvas, values, (cameras,))
    return replace(drawn, extras={name: drawn.extras[name] for name in ("means2d", "radii")})


def placed(part: Gaussians, place: Place, degree: int) -> dict[str, Tensor]:
    """A set's parameters, as many rows each, in the world and with harmonics up to `degree`."""
    more = turned_harmonics(part.harmonics, place.turn) if part.sh_degree else part.harmonics
    more = F.pad(more, (0, 0, 0, (degree + 1) ** 2 - 1 - more.shape[1]))
    return {"position": place.out(part.position), "log_scale": part.log_scale + place.scale.log(), "rotation": place.turned(part.rotation),
            "logit": part.logit, "colour": part.colour, "harmonics": more}  # fmt: skip


def _faces(members: list[Member], count: int, cameras: Cameras, now: Step | None) -> Render:
    own = [m.part.vertices() for m in members]
    drawn = alike(now)
    shades = [drawn(m.part.shading.shader, m.part.look, vertices, m.part.faces, m.place.cameras(cameras), now)
              for m, vertices in zip(members, own, strict=True)]  # fmt: skip
    vertices, faces, ends = merged([(m.place.out(v), m.part.faces) for m, v in zip(members, own, strict=True)])

    def shade(hits: Hits) -> tuple[Float[Tensor, "n 3"], None]:
        rgb, begin = torch.zeros_like(hits.position), 0
        for m, end, look in zip(members, ends, shades, strict=True):
            rows = ((hits.face >= begin) & (hits.face < end)).nonzero()[:, 0]
            if len(rows):
                rgb = rgb.index_copy(0, rows, look(_own(hits, rows, begin, m.place))[0])
            begin = end
        return rgb, None

    label = torch.cat([torch.full((len(m.part.faces),), m.label, device=faces.device) for m in members])
    settings = {"smooth": members[0].part.smooth, "backend": members[0].part.backend}
    return replace(draw_mesh(vertices, faces, cameras, shade, label=label, labels=count, **settings), extras={})


def merged(meshes: list[tuple[Tensor, Tensor]]) -> tuple[Float[Tensor, "V 3"], Tensor, list[int]]:
    """Vertices and faces of several meshes as one, and where the faces of each end."""
    starts = torch.tensor([0, *(len(vertices) for vertices, _ in meshes)]).cumsum(0).tolist()
    faces = torch.cat([faces + start for (_, faces), start in zip(meshes, starts, strict=False)])
    ends = torch.tensor([len(faces) for _, faces in meshes]).cumsum(0).tolist()
    return torch.cat([vertices for vertices, _ in meshes]), faces, ends


def _own(hits: Hits, rows: Tensor, begin: int, place: Place) -> Hits:
    """Those of one mesh, as it sees them in its own frame."""
    index, view, face, weights, position, normal, towards = (value.index_select(0, rows) for value in vars(hits).values())
    return Hits(index, view, face - begin, weights, place.back(position), normal @ place.turn, towards @ place.turn)


def _alone(members: list[Member], count: int, cameras: Cameras, now: Step | None) -> Render:
    """An object as it draws itself, before moved cameras."""
    (member,) = members
    place = member.place
    drawn = member.part.render(cameras if place is None else place.cameras(cameras), now)
    mine = F.one_hot(torch.tensor(member.label, device=cameras.device), count).to(drawn.alpha)
    labels = torch.cat([drawn.alpha * mine, 1 - drawn.alpha], -1)
    depth = drawn.depth if place is None else place.scale * drawn.depth
    normal = drawn.normal if place is None or drawn.normal is None else drawn.normal @ place.turn.T
    return Render(drawn.rgb, drawn.alpha, depth, normal, labels, extras=drawn.extras)


DRAWN = {"splats": _splats, "faces": _faces, "alone": _alone}


# --- layers -----------------------------------------------------------------------------------------------------------------------


def stack(layers: list[Render]) -> dict[str, Float[Tensor, "B H W K"]]:
    """Layers by their mean depth at each pixel, the nearest first, where all have such a buffer."""
    names = [name for name in layers[0].buffers() if all(getattr(layer, name) is not None for layer in layers)]
    if len(layers) == 1:
        return {name: getattr(layers[0], name) for name in names}
    far = torch.stack([torch.where(x.alpha > EMPTY, x.depth / x.alpha.clamp(min=EMPTY), torch.inf) for x in layers]).detach()
    order = far.argsort(dim=0, stable=True)
    found = {name: _sorted([getattr(layer, name) for layer in layers], order) for name in names}
    light, out = torch.ones_like(layers[0].alpha), {name: 0 for name in names}
    for k in range(len(layers)):
        for name in names:
            out[name] = out[name] + light * found[name][k]
        light = light * (1 - found["alpha"][k])
    out["labels"] = torch.cat([out["labels"][..., :-1], 1 - out["alpha"]], -1)
    return out


def _sorted(buffers: list[Float[Tensor, "B H W K"]], order: Tensor) -> Float[Tensor, "L B H W K"]:
    stacked = torch.stack(buffers)
    return stacked.gather(0, order.expand_as(stacked))


# --- what penalties and parts read --------------------------------------------------------------------------------------------------


def told(members: list[Member], free: list[bool]) -> dict[str, Tensor]:
    """In the world: opacity (N) and scale (N 3, metres) of all Gaussians, vertices and faces of all meshes; outside (N): metres by which
    the centres of Gaussians and the vertices of those that are free lie out of their object's box, where it is now."""
    sets = [m for m in members if type(m.part) is Gaussians]
    meshes = [(m, m.part.vertices()) for m in members if type(m.part) is TriangleMesh]
    out: dict[str, Tensor] = {}
    if sets:
        out["opacity"] = torch.cat([m.part.logit.sigmoid() for m in sets])
        out["scale"] = torch.cat([m.place.scale * m.part.log_scale.exp() for m in sets])
    if meshes:
        out["vertices"], out["faces"], _ = merged([(m.place.out(vertices), m.part.faces) for m, vertices in meshes])
    points = [m.place.outside(x) for m, x in [*((m, m.part.position) for m in sets), *meshes] if free[m.label]]
    return {**out, "outside": torch.cat(points)} if points else out


def seen(extras: dict[str, Tensor], label: int, sizes: dict[int, int]) -> dict[str, Tensor]:
    """What one part's `refine` reads, of every picture it was in. `sizes`: how many Gaussians each set has. Of sets drawn together
    come a part's own columns; of a set that no view showed nothing, without a gradient."""
    found: dict[str, list[Tensor]] = {}
    for name, value in extras.items():
        drawn, _, own = name.rpartition(".")
        labels = [int(one) for one in drawn.split("+")] if drawn else []
        if label in labels:
            begin = sum(sizes.get(one, 0) for one in labels[: labels.index(label)])
            several = len(labels) > 1
            found.setdefault(own, []).append(_columns(value, begin, begin + sizes[label]) if several else value)
    if not found and label in sizes:
        return {"means2d": torch.zeros(0, sizes[label], 2), "radii": torch.zeros(0, sizes[label])}
    return {name: _together(values) for name, values in found.items()}


def _columns(value: Float[Tensor, "B N *K"], begin: int, end: int) -> Float[Tensor, "B n *K"]:
    """Some columns, with their gradient where there is one."""
    mine = value.detach()[:, begin:end].clone()
    mine.grad = None if value.grad is None else value.grad[:, begin:end].clone()
    return mine


def _together(values: list[Tensor]) -> Tensor:
    """Views of several pictures as those of one."""
    if len(values) == 1:
        return values[0]
    several = torch.cat([value.detach() for value in values])
    several.grad = None if any(value.grad is None for value in values) else torch.cat([value.grad for value in values])
    return several
