"""Penalties: scalars of the scene that are no pixel's business. Every function here is a key of `penalties`, its value the weight.

A penalty gets the scene and its (uncut) render; renderers name what they offer in `render.extras`. Penalties are sums over
primitives or pixels and means over views, as the gradients of guidances are: a weight means the same for a small and a large scene. So a
penalty of a scene of several objects, which offers what they are made of by their labels ("0/opacity"), is the sum of theirs (`_each`).
"""

import dataclasses
import functools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.interfaces import Representation, device_of
from dream3d.neighbours import edges, neighbours, rotations
from dream3d.schedule import Ramp, at
from dream3d.types import Render, Step

NEEDS = {"arap": ("motion", 1), "smoothness": ("motion", 3), "fog": ("weights", 1)}  # of a renderer; moments that cameras have to see
UNSEEN = "unseen"  # what an object of several offers that nothing shows now, and that has nothing to offer otherwise
CELLS = 32  # a side of a volume, where its densities are compared with what they were


class Lacking(Mistake):
    """A scene does not offer what a penalty reads."""


def _extra(render: Render, name: str, penalty: str, fix: str = "") -> Tensor:
    if name not in render.extras:
        offered = sorted({name.rpartition("/")[2] for name in render.extras if "." not in name} - {UNSEEN})
        raise Lacking(f"penalty {penalty!r} needs {name!r}, which this renderer does not offer", near=", ".join(offered),
                      fix=f"{fix}penalties.{penalty}=0")  # fmt: skip
    return render.extras[name]


def _each(penalty):
    """Of a scene of several objects the sum over those that offer what the penalty reads. Raises Mistake where none does, and none that
    this step does not show could."""

    @functools.wraps(penalty)
    def summed(scene: Representation, render: Render) -> Float[Tensor, ""]:
        found, parts = [], _parts(render)
        for own in parts:
            try:
                found.append(penalty(scene, own))
            except Lacking:
                continue
        if not found and any(UNSEEN in own.extras for own in parts):
            return render.alpha.new_zeros(())
        return sum(found) if found else penalty(scene, render)

    return summed


def _parts(render: Render) -> list[Render]:
    """What each object of a scene of several offers; of any other scene nothing."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in render.extras.items():
        label, several, own = name.partition("/")
        if several:
            found.setdefault(label, {})[own] = value
    return [dataclasses.replace(render, extras=own) for own in found.values()]


@_each
def opacity(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum of the opacities of the primitives: what no view needs fades and is pruned."""
    return _extra(render, "opacity", "opacity").sum()


@_each
def scale(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum of each primitive's largest standard deviation, in metres: no balloons."""
    return _extra(render, "scale", "scale").amax(-1).sum()


@_each
def flatness(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum of each primitive's smallest standard deviation, in metres: surfels rather than blobs (PhysGaussian, SuGaR)."""
    return _extra(render, "scale", "flatness").amin(-1).sum()


def opaque(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum over pixels of the binary entropy of alpha, in nats: every pixel is either object or background (threestudio's lambda_opaque)."""
    a = render.alpha.clamp(1e-3, 1 - 1e-3)
    return -(a * a.log() + (1 - a) * (1 - a).log()).sum() / len(render)


def sparsity(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum over pixels of sqrt(alpha^2 + 0.01): empty space stays empty (threestudio's lambda_sparsity)."""
    return (render.alpha**2 + 0.01).sqrt().sum() / len(render)


@_each
def boxed(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum over the primitives of a composed scene of the metres, along the axes of its object's box, by which each lies outside of it
    (SemanticSDS, arXiv:2410.09009)."""
    return _extra(render, "outside", "boxed", "a composed renderer of gaussians or meshes, or ").sum()


@_each
def laplacian(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum over a surface's vertices of the squared distance, in square metres, to the mean of their neighbours: no crumples."""
    vertices, faces = _extra(render, "vertices", "laplacian"), _extra(render, "faces", "laplacian")
    found, _ = edges(faces, len(vertices))
    i, j = torch.cat([found, found.flip(1)]).unbind(1)
    total = torch.zeros_like(vertices).index_add(0, i, vertices.index_select(0, j))
    count = torch.zeros_like(vertices[:, :1]).index_add(0, i, torch.ones_like(vertices[:1, :1]).expand(len(i), 1))
    return torch.where(count > 0, total / count.clamp(min=1) - vertices, 0).square().sum()


@_each
def normal_consistency(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum over the edges between two of a surface's faces of 1 - cos of the angle between their normals; faces too small to have a
    normal have no say."""
    vertices, faces = _extra(render, "vertices", "normal_consistency"), _extra(render, "faces", "normal_consistency")
    a, b, c = vertices.index_select(0, faces.flatten()).unflatten(0, (-1, 3)).unbind(1)
    cross = torch.linalg.cross(b - a, c - a)
    size = cross.square().sum(-1, keepdim=True)
    normal = torch.where(size > 1e-20, cross / size.clamp(min=1e-20).sqrt(), 0)  # square metres, squared
    _, inverse = edges(faces, len(vertices))
    order = inverse.argsort(stable=True)  # sides by their edge
    first = (inverse[order][1:] == inverse[order][:-1]).nonzero()[:, 0]
    one, other = order[first] // 3, order[first + 1] // 3
    cosine = (normal.index_select(0, one) * normal.index_select(0, other)).sum(-1)
    return torch.where((size[one, 0] > 1e-20) & (size[other, 0] > 1e-20), 1 - cosine, 0).sum()


@_each
def crossing(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum over the edges of a grid whose ends lie on two sides of its surface of the cross-entropy, in nats, that either end has with the
    side of the other (nvdiffrec, Munkberg et al., arXiv:2111.12503, equation 2; distances in cells): less surface, no specks inside."""
    a, b = _extra(render, "crossing", "crossing").unbind(1)
    return (F.softplus(-a * b.sign()) + F.softplus(-b * a.sign())).sum()


@_each
def eikonal(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum over the seen places of a signed distance's surface of (|gradient| - 1)^2, means over views (IGR, Gropp et al.,
    arXiv:2002.10099)."""
    length = _extra(render, "gradient", "eikonal").square().sum(-1).clamp(min=1e-12).sqrt()
    return (length - 1).square().sum() / len(render)


@_each
def orientation(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum over the sections of rays of the light they take times max(0, cos)^2, where cos is that of their outward normal and the ray's
    way: what is seen faces who sees it (Ref-NeRF, Verbin et al., arXiv:2112.03907, equation 11; the light is taken as given, as in
    DreamFusion, arXiv:2209.14988); means over views."""
    facing = _extra(render, "facing", "orientation", "of volumes: renderer.normals=samples, or ")
    return (_extra(render, "weights", "orientation").detach() * facing.clamp(min=0).square()).sum() / len(render)


@_each
def variation(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Total variation of a volume's grids, before activations (as in Plenoxels, arXiv:2112.05131): the sum over nodes of the length of
    the differences to the next nodes along x, y, z. What no view has seen is like what is around it."""
    grids = _extra(render, "geometry", "variation"), _extra(render, "colour", "variation")
    return sum((_steps(grid).square().sum(0) + 1e-4).sqrt().sum() for grid in grids)


def _steps(grid: Float[Tensor, "1 K X Y Z"]) -> Float[Tensor, "3 K x y z"]:
    x, y, z = (side - 1 for side in grid.shape[2:])
    return torch.cat([grid.diff(dim=axis)[:, :, :x, :y, :z] for axis in (2, 3, 4)])


@_each
def fog(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum over rays of the entropy, in nats, of where along them light is lost (ProlificDreamer, arXiv:2305.16213): one place rather than
    many; means over views. Rays that lose less than a tenth of it do not count (InfoNeRF, Kim et al., arXiv:2112.15399)."""
    weights = _extra(render, "weights", "fog")
    total = weights.sum(1, keepdim=True)
    share = weights / total.clamp(min=1e-6)
    entropy = -(share * share.clamp(min=1e-8).log()).sum(1)
    return torch.where(total[:, 0] > 0.1, entropy, 0).sum() / len(render)


def correlation(scene: Representation, render: Render, source: Representation, now: Step) -> Float[Tensor, ""]:
    """1 - the correlation of a volume's densities (1/metre) with those of the scene as its stage found it, over 32^3 places, one by chance
    in every cell of its cube (Vox-E, Sella et al., arXiv:2303.12048, over all nodes of a grid; their weight is 200): an edit may make all
    of it thicker or thinner, not another shape. In [0, 2], whatever the size of a scene."""
    if not all(hasattr(volume, name) for volume in (scene, source) for name in ("told", "dense")):
        raise Mistake("penalty 'correlation' compares densities, which this renderer has not", near="hashgrid, nerf, triplane, voxels",
                      fix="one of these as renderer.type, or penalties.correlation=0")  # fmt: skip
    axis = torch.arange(CELLS, device=device_of(scene))
    cells = torch.cartesian_prod(axis, axis, axis)
    x = scene.bound * (2 * (cells + now.uniform(CELLS**3, 3, device=axis.device)) / CELLS - 1)
    with torch.no_grad():
        before = scene.dense(source.told(x, now)[0])  # at one width of a signed distance's edge: its schedule is no edit
    return 1 - _correlation(scene.dense(scene.told(x, now)[0]), before)


def _correlation(a: Float[Tensor, " N"], b: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """Pearson's, 0 where either is constant."""
    a, b = a - a.mean(), b - b.mean()
    return (a * b).mean() / (a.square().mean() * b.square().mean()).clamp(min=1e-20).sqrt()


@_each
def arap(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """As rigid as possible (Sorkine and Alexa, "As-Rigid-As-Possible Surface Modeling", SGP 2007, equation 7; with nearest neighbours as in
    Animate3D, arXiv:2407.11398): how far, in square metres, the edges to a primitive's neighbours are from those at rest, turned as fits
    them best; mean over the neighbours (along a mesh's edges, else the 8 nearest at rest), sum over primitives, mean over the moments
    drawn. The still scene is not pulled. Turns are the best there are, so the gradient needs no derivative of theirs."""
    fix = "of scenes that move: renderer=dynamic_gaussians, or "
    rest, shift = _extra(render, "rest", "arap", fix).detach(), _extra(render, "shift", "arap", fix)
    i, j = neighbours(rest, render.extras.get("faces"))
    before = rest[j] - rest[i]
    after = before + shift.index_select(1, j) - shift.index_select(1, i)
    share = 1 / torch.bincount(i, minlength=len(rest)).clamp(min=1).to(rest)[i, None]
    with torch.no_grad():
        pairs = after[..., None] * (share * before)[:, None]  # T E 3 3
        turn = rotations(rest.new_zeros(*shift.shape, 3).index_add(1, i, pairs))
        turned = (turn.index_select(1, i) @ before[..., None])[..., 0]
    return (share * (after - turned).square()).sum() / max(len(shift), 1)


@_each
def smoothness(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum over primitives of their squared accelerations, in square metres per clip to the fourth, by second differences between the
    moments drawn, mean over the inner ones: the same for any number of moments, and for a part of a clip. 0 for what moves steadily."""
    fix = "of scenes that move: renderer=dynamic_gaussians, or "
    shift, moments = _extra(render, "shift", "smoothness", fix), _extra(render, "moments", "smoothness", fix)
    if len(moments) < 3:
        raise Mistake(f"penalty 'smoothness' compares three moments, but cameras see {len(moments)}", where="cameras.frames",
                      near="cameras.frames=4", fix="penalties.smoothness=0")  # fmt: skip
    before, after = moments.diff()[:-1, None, None], moments.diff()[1:, None, None]
    line = torch.lerp(shift[:-2], shift[2:], before / (before + after))
    return (2 * (shift[1:-1] - line) / (before * after)).square().sum() / (len(moments) - 2)


class Penalties:
    """The weighted sum of the configured penalties, or None where there are none; a weight of 0 is none. Those that are `comparing` are
    also handed the scene as its stage found it, which the system then keeps, and the step."""

    comparing = (correlation,)

    def __init__(self, weights: dict[str, Ramp]):
        self.terms = [(globals()[name], weight) for name, weight in weights.items() if not weight.zero]

    @property
    def compare(self) -> bool:
        return any(penalty in self.comparing for penalty, _ in self.terms)

    def __call__(
        self, scene: Representation, render: Render, now: Step, source: Representation | None = None
    ) -> Float[Tensor, ""] | None:
        values = [at(weight, now) * self._value(penalty, scene, render, now, source) for penalty, weight in self.terms]
        return sum(values) if values else None

    def _value(self, penalty, scene: Representation, render: Render, now: Step, source: Representation | None) -> Float[Tensor, ""]:
        if penalty not in self.comparing:
            return penalty(scene, render)
        if source is None:
            raise Mistake(f"penalty {penalty.__name__!r} compares with the scene as its stage found it, which is not kept here",
                          near="system.type=text_to_3d", fix=f"penalties.{penalty.__name__}=0")  # fmt: skip
        return penalty(scene, render, source, now)
