"""What several objects hand over as one, labelled, and which of it is whose."""

import dataclasses
from collections.abc import Container, Iterator

import torch
import torch.nn.functional as F
from dream3d.renderers._atlas import beyond, painted
from dream3d.renderers._backends.project import C0
from dream3d.renderers._backends.seeds import start
from dream3d.renderers._compose_layers import merged
from dream3d.renderers._compose_place import Place, turned_harmonics
from dream3d.renderers._solid import as_mesh
from jaxtyping import Bool, Float
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.types import Field, Mesh, Points

COUNT = 4000  # discs that stand for a surface among Gaussians
LARGEST = 4096  # texels a side of a texture that repeats, once it is written out
THICK = 0.7  # of their width: thin ones, as gaussians start with, leave holes where a surface is made of them again
Data = Points | Mesh | Field


def given(name: str, sha256: str | None) -> Data:
    """What a file holds, or what a run hands over at its newest checkpoint (the one of this checksum). Raises Mistake where there is none,
    or another one than was stamped."""
    from dream3d.convert import source, teacher
    from dream3d.foreign.load import load
    from dream3d.foreign.start import unchanged

    path = source.place(name)
    if source.is_run(path):
        return teacher.scene(name, sha256).handover()
    unchanged(path, sha256)
    return load(path)[0]


def joined(handed: list[Data], places: list[Place]) -> Points | Mesh:
    """One Mesh where all are surfaces or volumes, one with their textures where all have one, else with a colour per vertex; Points where
    some are Gaussians, surfaces then as discs. Labels are the order."""
    handed = [as_mesh(data) if isinstance(data, Field) else data for data in handed]
    if any(isinstance(data, Points) for data in handed):
        rows = [_as_gaussians(data) for data in handed]
        return _points([carried(data, place) for data, place in zip(rows, places, strict=True)])
    return _mesh([carried(data, place) for data, place in zip(handed, places, strict=True)])


def carried(data: Points | Mesh, place: Place, *, back: bool = False) -> Points | Mesh:
    """An object's Points or Mesh in the world; `back`: the other way. Normal maps turn with the surface they lie on."""
    if isinstance(data, Mesh):
        return dataclasses.replace(data, vertices=place.back(data.vertices) if back else place.out(data.vertices))
    turn, scale = (place.turn.T, 1 / place.scale) if back else (place.turn, place.scale)
    more = {
        "position": place.back(data.position) if back else place.out(data.position),
        "scale": None if data.scale is None else data.scale * scale,
        "rotation": data.rotation if data.rotation is None else (place.unturned if back else place.turned)(data.rotation),
        "sh": data.sh if data.sh is None else torch.cat([data.sh[:, :1], turned_harmonics(data.sh[:, 1:], turn)], 1),
    }
    return dataclasses.replace(data, **more)


def stretched(data: Data, half: Float[Tensor, "3"]) -> Points | Mesh | None:
    """What fills its frame, in the proportions of a box with these half sizes; None for volumes, which stay as they are."""
    share = half / half.max()
    if isinstance(data, Mesh):
        return dataclasses.replace(data, vertices=data.vertices * share)
    if isinstance(data, Points):
        scale = None if data.scale is None else data.scale * share.prod() ** (1 / 3)
        return dataclasses.replace(data, position=data.position * share, scale=scale)
    return None


def _as_gaussians(data: Points | Mesh) -> Points:
    """With everything that Gaussians have, colours as harmonics."""
    points = start(data, COUNT)
    if isinstance(data, Mesh):
        wide = points.scale[:, :1]
        points = dataclasses.replace(points, scale=torch.cat([wide, wide, THICK * wide], 1))
    if points.sh is None:
        points = dataclasses.replace(points, sh=((points.rgb - 0.5) / C0)[:, None])
    if None in (points.scale, points.rotation, points.opacity):
        raise Mistake("an object of plain points cannot be handed over among others", fix="make it of gaussians")
    return points


def _points(rows: list[Points]) -> Points:
    most = max(row.sh.shape[1] for row in rows)
    names = ("position", "rgb", "scale", "rotation", "opacity")
    columns = {name: torch.cat([getattr(row, name) for row in rows]) for name in names}
    sh = torch.cat([F.pad(row.sh, (0, 0, 0, most - row.sh.shape[1])) for row in rows])
    return Points(**columns, sh=sh, label=_labels([len(row.position) for row in rows]).to(sh.device))


def _labels(counts: list[int]) -> Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def _mesh(rows: list[Mesh]) -> Mesh:
    vertices, faces, _ = merged([(row.vertices, row.faces) for row in rows])
    label = _labels([len(row.faces) for row in rows])
    if all(row.uv is not None and row.texture is not None for row in rows):
        return Mesh(vertices, faces, **_strip(rows), label=label)
    return Mesh(vertices, faces, rgb=torch.cat([_by_vertex(row) for row in rows]), label=label)


def _strip(rows: list[Mesh]) -> dict[str, Tensor]:
    """Textures below each other in one, and the uvs into it; materials and normals where all have them. One that repeats is written out."""
    rows = [_untiled(row) if beyond(row.uv) else row for row in rows]
    heights, wide = [row.texture.shape[0] for row in rows], max(row.texture.shape[1] for row in rows)
    tall, uv, above = sum(heights), [], 0
    for row, height in zip(rows, heights, strict=True):
        u, v = row.uv.clamp(0, 1).unbind(-1)
        uv.append(torch.stack([u * row.texture.shape[1] / wide, 1 - (above + (1 - v) * height) / tall], -1))
        above += height
    out = {"uv": torch.cat(uv)}
    for name in ("texture", "orm", "bump"):
        images = [getattr(row, name) for row in rows]
        if all(image is not None for image in images):
            sized = [_sized(image, row.texture) for image, row in zip(images, rows, strict=True)]
            out[name] = torch.cat([F.pad(image, (0, 0, 0, wide - image.shape[1])) for image in sized])
    return out


def _untiled(mesh: Mesh) -> Mesh:
    """With its pictures as often beside each other as its faces reach into their neighbours, smaller where that would be too large."""
    uv = mesh.uv - mesh.uv.amin(1, keepdim=True).floor()  # every face begins in the first one
    u, v = (int(n) for n in uv.amax((0, 1)).ceil().clamp(min=1))
    high, wide = mesh.texture.shape[:2]
    size = [max(1, min(side, LARGEST // count)) for side, count in ((high, v), (wide, u))]
    if max(u, v) > LARGEST:
        raise Mistake(f"a texture that repeats {max(u, v)} times cannot be handed over among others", fix="fewer repetitions, or one part")
    like = mesh.texture.new_zeros(*size, 3)
    there = {name: image for name in ("texture", "orm", "bump") if (image := getattr(mesh, name)) is not None}
    repeated = {name: _sized(image, like).repeat(v, u, 1) for name, image in there.items()}
    return dataclasses.replace(mesh, uv=uv / uv.new_tensor([u, v]), **repeated)


def _sized(image: Float[Tensor, "h w 3"], like: Float[Tensor, "i j 3"]) -> Float[Tensor, "i j 3"]:
    if image.shape == like.shape:
        return image
    return F.interpolate(image.movedim(-1, 0)[None], like.shape[:2], mode="bilinear")[0].movedim(0, -1)


def _by_vertex(mesh: Mesh) -> Float[Tensor, "V 3"]:
    """Colours of vertices; of a texture the mean over the corners that meet there."""
    if mesh.rgb is not None:
        return mesh.rgb
    count = len(mesh.faces)
    colours = painted(mesh, torch.arange(count).repeat_interleave(3), torch.eye(3)[torch.arange(3).repeat(count)])
    sums = torch.zeros(len(mesh.vertices), 4).index_add_(0, mesh.faces.flatten(), F.pad(colours, (0, 1), value=1.0))
    return sums[:, :3] / sums[:, 3:].clamp(min=1)


# --- whose is what ------------------------------------------------------------------------------------------------------------------


def split(data: Data, names: list[str], filed: Container[int] = ()) -> Iterator[Points | Mesh | None]:
    """What each object is given of a labelled whole, without labels; None for one of those with a file of their own that is not in it.
    Raises Mistake where that cannot be told."""
    if isinstance(data, Field):
        raise Mistake("a field does not say what belongs to which object", where="init", fix="start from labelled gaussians or a mesh")
    if data.label is None and len(names) > 1:
        kind = "gaussians" if isinstance(data, Points) else "a mesh"
        raise Mistake(f"{len(names)} objects cannot start from {kind} without labels", where="init",
                      fix="give each object a file of its own: renderer.layout.objects.0.file")  # fmt: skip
    if data.label is not None and (found := int(data.label.max()) + 1 if len(data.label) else 0) > len(names):
        raise Mistake(f"what was handed over has {found} objects, the layout {len(names)}", where="renderer.layout",
                      fix="one object of the layout for each label")  # fmt: skip
    for k, name in enumerate(names):
        mine = torch.ones(_length(data), dtype=torch.bool) if data.label is None else data.label == k
        if not bool(mine.any()) and k not in filed:
            raise Mistake(f"nothing of what was handed over belongs to {name!r} (label {k})", where="renderer.layout",
                          fix="leave this object out, or give it a file of its own")  # fmt: skip
        yield _only(data, mine) if bool(mine.any()) else None


def _length(data: Points | Mesh) -> int:
    return len(data.position) if isinstance(data, Points) else len(data.faces)


def _only(data: Points | Mesh, mine: Bool[Tensor, " n"]) -> Points | Mesh:
    """Some of the points, or some of the faces with their vertices."""
    if isinstance(data, Points):
        rows = {name: value[mine] for name, value in vars(data).items() if value is not None}
        return Points(**{**rows, "label": None})
    used, inverse = data.faces[mine].unique(return_inverse=True)
    rgb, uv = None if data.rgb is None else data.rgb[used], None if data.uv is None else data.uv[mine]
    return dataclasses.replace(data, vertices=data.vertices[used], faces=inverse, rgb=rgb, uv=uv, label=None)
