"""Drawing several objects at once: those of one kind together, different kinds as layers that lie before each other pixel by pixel.

Sets of Gaussians are one set, composited in one order of depth; meshes are one mesh before one z-buffer, each with its own look: both
exactly as if they had never been several, under the lamps and the sky of the world (one chance for all objects of a picture). Every
other object (a volume, a surface of a grid, what moves or is skinned) is a layer of its own, drawn by moved cameras, and so is each of
those joint pictures. A pixel's layers are composited by their mean depth there: exact where at most one of them covers it, or where the
nearer one is opaque or all of it is nearer; fog in fog is not mixed along the ray.
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
from dream3d.penalties import UNSEEN
from dream3d.types import Cameras, Render, Step

EMPTY = 1e-6  # alpha below which a layer has no depth
PICTURE = ("means2d", "radii")  # of a set of Gaussians as one picture has it: for `refine` alone
VIEWED = ("weights", "facing", "gradient")  # of what views see: of several pictures, one after the other
Own = dict[int, dict[str, Tensor]]  # what parts tell of themselves, in their own frames, by their labels


@dataclass(frozen=True)
class Member:
    """One object: its label, what it is, and where it stands (None: in its own frame)."""

    label: int
    part: Representation
    place: Place | None


def draw(members: list[Member], count: int, cameras: Cameras, now: Step | None) -> tuple[dict[str, Tensor], dict[str, Tensor], Own]:
    """Buffers with labels of `count` objects and the background; what each part's `refine` reads, named by the labels of those that
    were drawn together: "0+2.means2d"; and what each part tells of itself."""
    kinds: dict[tuple, list[Member]] = {}
    for member in members:
        kinds.setdefault(_kind(member), []).append(member)
    drawn = alike(now)
    layers = [drawn(DRAWN[kind[0]], several, count, cameras, now) for kind, several in kinds.items()]
    extras = {f"{'+'.join(str(m.label) for m in several)}.{name}": value
              for several, (layer, _) in zip(kinds.values(), layers, strict=True) for name, value in layer.extras.items()}  # fmt: skip
    return stack([layer for layer, _ in layers]), extras, {label: own for _, said in layers for label, own in said.items()}


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


def _splats(members: list[Member], count: int, cameras: Cameras, now: Step | None) -> tuple[Render, Own]:
    first, degree = members[0].part, max(m.part.sh_degree for m in members)
    rows = [placed(m.part, m.place, degree) for m in members]
    values = {f"set.{name}": torch.cat([row[name] for row in rows]) for name in NAMES}
    label = torch.cat([torch.full((len(m.part),), m.label, device=cameras.device) for m in members])
    values |= {"set.label": label, "set.objects": torch.tensor(count, device=cameras.device)}
    canvas = Canvas(degree, first.antialias, first.backend).to(cameras.device)
    drawn = functional_call(canvas, values, (cameras,))
    return replace(drawn, extras={name: drawn.extras[name] for name in PICTURE}), {m.label: _still(m.part) for m in members}


def placed(part: Gaussians, place: Place, degree: int) -> dict[str, Tensor]:
    """A set's parameters, as many rows each, in the world and with harmonics up to `degree`."""
    more = turned_harmonics(part.harmonics, place.turn) if part.sh_degree else part.harmonics
    more = F.pad(more, (0, 0, 0, (degree + 1) ** 2 - 1 - more.shape[1]))
    return {"position": place.out(part.position), "log_scale": part.log_scale + place.scale.log(), "rotation": place.turned(part.rotation),
            "logit": part.logit, "colour": part.colour, "harmonics": more}  # fmt: skip


def _faces(members: list[Member], count: int, cameras: Cameras, now: Step | None) -> tuple[Render, Own]:
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
    said = {m.label: {"vertices": vertices, "faces": m.part.faces} for m, vertices in zip(members, own, strict=True)}
    return replace(draw_mesh(vertices, faces, cameras, shade, label=label, labels=count, **settings), extras={}), said


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


def _alone(members: list[Member], count: int, cameras: Cameras, now: Step | None) -> tuple[Render, Own]:
    """An object as it draws itself, before moved cameras."""
    (member,) = members
    place = member.place
    drawn = member.part.render(cameras if place is None else place.cameras(cameras), now)
    mine = F.one_hot(torch.tensor(member.label, device=cameras.device), count).to(drawn.alpha)
    labels = torch.cat([drawn.alpha * mine, 1 - drawn.alpha], -1)
    depth = drawn.depth if place is None else place.scale * drawn.depth
    normal = drawn.normal if place is None or drawn.normal is None else drawn.normal @ place.turn.T
    said = {name: value for name, value in drawn.extras.items() if name not in PICTURE}
    own = _still(member.part) if type(member.part) is Gaussians else said
    return Render(drawn.rgb, drawn.alpha, depth, normal, labels, extras=drawn.extras), {member.label: own}


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


def told(members: list[Member], own: list[Own], free: list[bool]) -> dict[str, Tensor]:
    """What penalties read of every object, named "LABEL/name", in the world: what its representation tells of itself (opacity, scale,
    vertices, rest, shift, ...), and outside (N): metres by which the centres of Gaussians and the vertices of those that are free lie out
    of their object's box, where it is now. `own`: what was told picture by picture. Still Gaussians and meshes are told of in every step,
    others in those that show them; in others they say that they are unseen."""
    out: dict[str, Tensor] = {}
    for m in members:
        said = _said(m, [picture[m.label] for picture in own if m.label in picture])
        placed = {name: value for name in ("position", "rest", "vertices") if (value := said.pop(name, None)) is not None}
        if free[m.label] and placed:
            said["outside"] = m.place.outside(next(iter(placed.values())))
        ways = {"scale": lambda x, p=m.place: p.scale * x, "shift": lambda x, p=m.place: p.scale * (x @ p.turn.T)}
        said |= {name: m.place.out(x) for name, x in placed.items()} | {name: way(said[name]) for name, way in ways.items() if name in said}
        out |= {f"{m.label}/{name}": value for name, value in said.items()}
    return out


def _said(member: Member, pictures: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """What a part tells of itself, of all pictures it was in; plain Gaussians and meshes also where it was in none."""
    if not pictures:
        part = member.part
        if type(part) is TriangleMesh:
            return {"vertices": part.vertices(), "faces": part.faces}
        return _still(part) if type(part) is Gaussians else {UNSEEN: member.place.centre.new_zeros(0)}
    joined = {name: torch.cat([one[name] for one in pictures]) for name in VIEWED if len(pictures) > 1 and name in pictures[0]}
    return {**pictures[0], **joined}


def _still(part: Gaussians) -> dict[str, Tensor]:
    return {"position": part.position, "opacity": part.logit.sigmoid(), "scale": part.log_scale.exp()}


def seen(extras: dict[str, Tensor], label: int, sizes: dict[int, int]) -> dict[str, Tensor]:
    """What one part's `refine` reads, of every picture it was in. `sizes`: how many Gaussians each set has. Of sets drawn together
    come a part's own columns; of a set that no view showed nothing, without a gradient. A picture that is not the first is said before
    the labels: "1:0+2.means2d"."""
    found: dict[str, list[Tensor]] = {}
    for name, value in extras.items():
        drawn, _, own = name.rpartition(".")
        labels = [int(one) for one in drawn.rpartition(":")[2].split("+")] if drawn else []
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
